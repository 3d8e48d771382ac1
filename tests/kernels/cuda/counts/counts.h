// The tables of cuda_counts, which are compared with those that are checked in (check.py).
#pragma once

namespace hearth::test {

void count_attention();
void count_formats();
void count_steps();
void count_tiles();

}  // namespace hearth::test
