// SPDX-License-Identifier: Apache-2.0
//
// Results as JSON, and back.
#ifndef BENCH_JSON_H
#define BENCH_JSON_H

#include <string>

#include "results.h"

// The layout's number, "format" in the file: a reader refuses others.
constexpr int JSON_FORMAT = 1;

std::string json_text(const Results &results);
// path "-": standard output. False, with the reason in *why.
bool json_write(const Results &results, const char *path, std::string *why);
// What json_write() wrote, but for a comparison with a baseline.
bool json_read(const char *path, Results *results, std::string *why);

#endif
