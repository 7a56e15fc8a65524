/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same API under the names of the ASYNC manual page. Only source code
 * sees these names; what is linked is jobswitch_*, so the program may hold
 * libcrypto as well. Do not include it beside OpenSSL's own async.h in one
 * file: take jobswitch.h there.
 */
#ifndef JOBSWITCH_ASYNC_H
#define JOBSWITCH_ASYNC_H

#include "jobswitch.h"

typedef jobswitch_job ASYNC_JOB;

#define ASYNC_ERR JOBSWITCH_ERR
#define ASYNC_NO_JOBS JOBSWITCH_NO_JOBS
#define ASYNC_PAUSE JOBSWITCH_PAUSE
#define ASYNC_FINISH JOBSWITCH_FINISH

#define ASYNC_init jobswitch_init
#define ASYNC_cleanup jobswitch_cleanup
#define ASYNC_init_thread jobswitch_init_thread
#define ASYNC_cleanup_thread jobswitch_cleanup_thread
#define ASYNC_start_job jobswitch_start_job
#define ASYNC_pause_job jobswitch_pause_job
#define ASYNC_in_job jobswitch_in_job
#define ASYNC_get_wait_fd jobswitch_get_wait_fd
#define ASYNC_get_current_job jobswitch_get_current_job
#define ASYNC_wake jobswitch_wake
#define ASYNC_clear_wake jobswitch_clear_wake
#define ASYNC_block_pause jobswitch_block_pause
#define ASYNC_unblock_pause jobswitch_unblock_pause

#endif
