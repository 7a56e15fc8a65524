// SPDX-License-Identifier: Apache-2.0
//
// Results as one self-contained HTML file.
#ifndef BENCH_HTML_H
#define BENCH_HTML_H

#include <string>

#include "results.h"

// False, with the reason in *why, if the file cannot be written.
bool html_write(const Results &results, const char *path, std::string *why);

#endif
