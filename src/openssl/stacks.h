// SPDX-License-Identifier: Apache-2.0
//
// What stacks the jobs of this library have: guarded ones of the runtime's, or those of
// ASYNC_set_mem_functions. Knows no jobs.
#pragma once

// The calling thread's pool, with these limits (0: none) and so many jobs made at once, as
// far as there is memory for them. False with the runtime's reason.
bool stacks_open(unsigned long max_jobs, unsigned long initial_jobs);
