/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For programs written for the ASYNC manual page: with this folder's parent
 * on the include path, their <openssl/async.h> is jobswitch.
 */
#ifndef JOBSWITCH_COMPAT_OPENSSL_ASYNC_H
#define JOBSWITCH_COMPAT_OPENSSL_ASYNC_H

/* The page's own example uses fd_set with no other header that brings it. */
#include <sys/select.h>

/* Beside this tree and in the installed one alike. */
#include "../../jobswitch/async.h"

/* Other headers of OpenSSL that include this one name descriptors so. */
#define OSSL_ASYNC_FD int
#define OSSL_BAD_ASYNC_FD (-1)

#endif
