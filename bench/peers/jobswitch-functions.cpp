// SPDX-License-Identifier: Apache-2.0
//
// jobswitch by its exported functions, as other languages and dlsym() get it.
#define JOBSWITCH_NO_INLINE
#include "jobswitch_runtime.h"

namespace {

struct Runtime : JobswitchRuntime {
    static constexpr const char *NAME = "jobswitch-functions";
    static constexpr bool SAME_POOL = true;
};

const PeerRegister registered({.name = Runtime::NAME,
                               .title = "jobswitch, plain functions",
                               .note = "with JOBSWITCH_NO_INLINE, from the shared library",
                               .missing = "",
                               .library = jobswitch_library,
                               .order = 20});

} // namespace

#include <bench_rows.h>
