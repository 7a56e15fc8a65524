// SPDX-License-Identifier: Apache-2.0
//
// The two functions that a CPU port may bring in assembly; see context.h.
#include "pool.h"

thread_local constinit pool_thread pool_thread_state = {};

int jobswitch_start_job(jobswitch_job **job, int *ret, int (*func)(void *),
                        void *args, size_t size)
{
    return job_start(job, ret, func, args, size);
}

int jobswitch_pause_job() { return job_pause(); }
