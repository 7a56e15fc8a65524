// SPDX-License-Identifier: Apache-2.0
//
// Results as one self-contained HTML file, and the headline chart alone as SVG.
#ifndef BENCH_HTML_H
#define BENCH_HTML_H

#include <string>

#include "results.h"

std::string html_text(const Results &results);
// False, with the reason in *why, if the file cannot be written.
bool html_write(const Results &results, const char *path, std::string *why);

// What the report begins with, to stand in another page, light or dark.
std::string chart_text(const Results &results);
bool chart_write(const Results &results, const char *path, std::string *why);

#endif
