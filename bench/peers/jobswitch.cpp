// SPDX-License-Identifier: Apache-2.0
//
// jobswitch as a program gets it by including the header.
#include "jobswitch_runtime.h"

namespace {

struct Runtime : JobswitchRuntime {
    static constexpr const char *NAME = "jobswitch";
};

const PeerRegister registered({.name = Runtime::NAME,
                               .title = "jobswitch",
                               .note = "the header as a program gets it by default",
                               .missing = "",
                               .library = jobswitch_library,
                               .order = 10});

} // namespace

#include <bench_rows.h>
