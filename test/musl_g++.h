/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What g++'s own headers were configured for, and musl has not: they are glibc's. Included
 * before all else by musl_g++.sh.
 */
#define __GLIBC_PREREQ(major, minor) 0
#define __locale_t locale_t
#include <bits/c++config.h>
#undef _GLIBCXX_USE_PTHREAD_COND_CLOCKWAIT
#undef _GLIBCXX_USE_PTHREAD_MUTEX_CLOCKLOCK
#undef _GLIBCXX_USE_PTHREAD_RWLOCK_CLOCKLOCK
