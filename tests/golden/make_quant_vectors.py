#!/usr/bin/env python3
"""Writes quant_vectors.bin: blocks of random bytes of every format, and the floats that they mean.

The floats come from the `gguf` package's decoders (pip install gguf numpy) for ggml's formats, and from the formulas
below for F8_E4M3 and I4_G128. Scales are finite; everything else is any byte. tests/quant/decode_test.cpp compares bits.

File, little-endian, for each format: u32 type, u32 n_blocks, u32 block_bytes, u32 block_elems,
blocks [n_blocks * block_bytes], float32 [n_blocks * block_elems].

    python3 tests/golden/make_quant_vectors.py
"""
import pathlib
import struct

import gguf
import numpy as np

rng = np.random.default_rng(20240507)

# format: where its fp16 fields lie in the block
GGML = {
    "F32": [], "F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
    "BF16": [],
}
# Behind all others, whose random numbers stay what they were.
LATER = {"TQ2_0": [64], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0], "IQ1_S": [0],
         "IQ1_M": [], "TQ1_0": [52], "MXFP4": [], "NVFP4": []}


def halves(n):
    """fp16 bit patterns: scales of every size and sign, subnormals and zero included; finite."""
    bits = rng.integers(0, 0x7C00, n, dtype=np.uint16)
    bits[::7] = rng.integers(0, 0x400, len(bits[::7]), dtype=np.uint16)
    bits[::11] = 0
    return bits | (rng.integers(0, 2, n, dtype=np.uint16) << 15)


def random_blocks(n, size, half_fields):
    blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at in half_fields:
        blocks[:, at:at + 2] = halves(n).view(np.uint8).reshape(n, 2)
    return blocks


def e4m3(b):
    """OCP 8-bit floating point, E4M3FN, from its definition."""
    b = b.astype(np.int32)
    sign, e, m = 1 - 2 * (b >> 7), b >> 3 & 15, b & 7
    value = np.where(e == 0, m * 2.0**-9, (8 + m) * 2.0 ** (e - 10.0))
    return (sign * np.where(b & 127 == 127, np.nan, value)).astype(np.float32)


def f8_e4m3(n):
    blocks = random_blocks(n, 132, [])
    d = (rng.standard_normal(n) * np.exp2(rng.integers(-30, 20, n))).astype(np.float32)
    blocks[:, :4] = d.view(np.uint8).reshape(n, 4)
    q = blocks[:, 4:]
    q[q & 127 == 127] ^= 1  # NaN is tested apart: no pattern of it to compare
    return 0x4801, blocks, d[:, None] * e4m3(q)


def i4_g128(n):
    blocks = random_blocks(n, 66, [0])
    d = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.int8)
    return 0x4802, blocks, d * np.where(nibbles < 8, nibbles, nibbles - 16).astype(np.float32)


def ggml(name, n, half_fields):
    kind = gguf.GGMLQuantizationType[name]
    elems, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random_blocks(n, size, half_fields)
    if name == "IQ1_M":  # an fp16 in the top nibbles of the last four words
        words = blocks[:, 48:].view(np.uint16)
        words[:] = words & 0xFFF | (halves(n)[:, None] >> np.array([0, 4, 8, 12], dtype=np.uint16) & 15) << 12
    if name == "MXFP4":  # finite: the exponents of powers of two whose twelvefold is
        blocks[:, 0] %= 253
    if name in ("F32", "BF16"):  # finite: no all-ones exponent
        top = blocks[:, -2:].view(np.uint16)
        top[(top & 0x7F80) == 0x7F80] ^= 0x4000
    return kind, blocks, gguf.quants.dequantize(blocks.reshape(-1), kind).reshape(n, elems)


def blocks_for(name):
    return 256 if name in ("F32", "F16", "BF16") else 8 if "K" in name or "XS" in name else 24


def main():
    path = pathlib.Path(__file__).with_name("quant_vectors.bin")
    vectors = [ggml(name, blocks_for(name), fields) for name, fields in GGML.items()] + [f8_e4m3(12), i4_g128(12)]
    vectors += [ggml(name, 12, fields) for name, fields in LATER.items()]
    with open(path, "wb") as f:
        for kind, blocks, values in vectors:
            assert np.isfinite(values).all(), kind
            f.write(struct.pack("<4I", kind, len(blocks), blocks.shape[1], values.shape[1]))
            f.write(blocks.tobytes())
            f.write(values.astype("<f4").tobytes())
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
