// SPDX-License-Identifier: Apache-2.0
//
// The two functions that a CPU port may bring in assembly; see context.h.
#include "pool.h"

thread_local constinit pool_thread pool_thread_state = {
    0, 0, ~uintptr_t(0), 0, 0, {&pool_nobody.root, {}, &pool_nobody.root}, {}, 0, 0, 0,
    nullptr, 0, nullptr, nullptr, nullptr, 0, 0, {}};

int jobswitch_start_job(jobswitch_job **job, int *ret, int (*func)(void *),
                        void *args, size_t size)
{
    return job_start_to(job, ret, func, args, size);
}

int jobswitch_pause_job() { return job_pause(); }
