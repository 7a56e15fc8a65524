// SPDX-License-Identifier: Apache-2.0
//
// What the kernel holds for this process.
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <cstddef>

// Counted page by page, since the kernel's running counts lag behind.
double process_resident_bytes();
double process_page_table_bytes();
double process_mappings();
double process_descriptors();
size_t process_descriptors_most(); // RLIMIT_NOFILE

// Pins the calling thread; false if the system does not allow it.
bool process_pin_thread(int cpu);

#endif
