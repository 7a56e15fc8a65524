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
                                       "with libjobswitch.so: a jump between a program and "
                                       "a library goes far, which some processors predict "
                                       "less well (see the floor's rows)",
                               .missing = "",
                               .library = jobswitch_library,
                               .order = 15});

} // namespace

#include <bench_rows.h>
