#!/usr/bin/env python3
"""Writes quant/codebook_bits.h from the `gguf` package's tables (pip install gguf numpy).

    python3 tests/golden/make_codebooks.py
"""
import pathlib

import gguf.quants as quants
import numpy as np

HEAD = '''// The codebooks of ggml's IQ formats as they were published with llama.cpp (ggml-quants.c), taken from the `gguf`
// package by tests/golden/make_codebooks.py. A codebook is a set of points in the order of their numbers: point n is the
// tuple of level numbers whose coordinate i is digit i of n (base 3 for eight coordinates, base 8 for four). The sets are
// written as bits, four in a hexadecimal digit: point n is in the set if bit n % 4 of digit n / 4 is set.
#pragma once

namespace hearth::codebook {

'''

FORMATS = [("kIq2XxsBits", quants.IQ2_XXS), ("kIq2XsBits", quants.IQ2_XS), ("kIq2SBits", quants.IQ2_S),
           ("kIq1Bits", quants.IQ1_S), ("kIq3XxsBits", quants.IQ3_XXS), ("kIq3SBits", quants.IQ3_S)]

text = HEAD
for name, form in FORMATS:
    form.init_grid()
    grid = form.grid.reshape(form.grid_shape)
    base = len(form.grid_map)
    numbers = (np.searchsorted(np.array(form.grid_map), grid) * base ** np.arange(grid.shape[1])).sum(axis=1)
    assert (np.diff(numbers) > 0).all()
    bits = np.zeros(-(-base ** grid.shape[1] // 4) * 4, dtype=int)
    bits[numbers] = 1
    digits = "".join(f"{d:x}" for d in (bits.reshape(-1, 4) * [1, 2, 4, 8]).sum(axis=1))
    lines = "\n".join(f'    "{digits[i:i + 110]}"' for i in range(0, len(digits), 110))
    text += f"inline constexpr char {name}[] =  // {len(grid)} of {base}^{grid.shape[1]}\n{lines};\n\n"
out = pathlib.Path(__file__).parents[2] / "quant/codebook_bits.h"
out.write_text(text + "}  // namespace hearth::codebook\n")
print(out)
