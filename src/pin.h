// SPDX-License-Identifier: Apache-2.0
//
// Keeps the code of this library in memory, whatever object it was linked into. Threads call
// into it when they end, and a plugin that holds the archive may be gone by then. (The shared
// library says so to the linker, -z nodelete.) Knows no jobs.
#pragma once

// To be called before anything that calls back later. Takes the loader's lock the first time,
// so with no lock held: a constructor that the loader runs may come here, too.
void pin_own_object();
