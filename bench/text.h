// SPDX-License-Identifier: Apache-2.0
//
// Results as text, for a terminal.
#ifndef BENCH_TEXT_H
#define BENCH_TEXT_H

#include <string>

#include "results.h"

// 1.23, 12.3, 1234: as many digits as `like` deserves.
std::string text_number(double value, double like);
std::string text_figure(const Figure &figure); // "1.23 [1.20, 1.27]"

// The lines of the environment: a name and a value each.
std::vector<std::pair<std::string, std::string>> text_environment(const Results &results);

// The environment, and a table for each row; with a baseline, what differs.
void text_print(const Results &results);

#endif
