// SPDX-License-Identifier: Apache-2.0
//
// jobswitch as a program gets it by including the header and linking the archive.
#include "jobswitch_runtime.h"

namespace {

struct Runtime : JobswitchRuntime {
    static constexpr const char *NAME = "jobswitch";
};

const PeerRegister registered({.name = Runtime::NAME,
                               .title = "jobswitch",
                               .note = "the header as a program gets it by default, linked "
                                       "with libjobswitch.a; the libraries of other peers "
                                       "are shared, as Debian links them",
                               .missing = "",
                               .library = jobswitch_library,
                               .order = 10});

} // namespace

#include <bench_rows.h>
