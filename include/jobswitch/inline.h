/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In the source tree alone: the CPU's part of jobswitch.h, which includes this. make
 * install puts that part itself in this place.
 *
 * Each says of itself for which CPU it is; with another one there are the functions.
 */
#include "../../arch/x86_64/inline.h"
