// Scores rows of raw values with an export file, from any C++17 program and without a library to
// link: adagrad::score::Model. Compile with -ffp-contract=off for the bits that Python predicts.
#pragma once

#include "../score/model.hpp"  // IWYU pragma: export
