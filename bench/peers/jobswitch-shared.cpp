// SPDX-License-Identifier: Apache-2.0
//
// jobswitch as a program gets it by including the header and linking the shared
// library.
#include "jobswitch_runtime.h"

namespace {

struct Runtime : JobswitchRuntime {
    static constexpr const char *NAME = "jobswitch-shared";
    static constexpr bool SAME_POOL = true;
};

const PeerRegister registered({.name = Runtime::NAME,
                               .title = "jobswitch, shared library",
                               .note = "the header as a program gets it by default, linked "
                                       "with libjobswitch.so: a start jumps to the library "
                                       "and its end from there, which is far, and some "
                                       "processors predict that less well (see the floor's "
                                       "rows)",
                               .missing = "",
                               .library = jobswitch_library,
                               .order = 15});

} // namespace

#include <bench_rows.h>
