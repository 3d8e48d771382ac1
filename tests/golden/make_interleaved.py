"""Blocks of ik_llama.cpp's interleaved formats, random bits, with a checksum of what its own decoders make of them:
tests/golden/interleaved.bin, for tests/quant/interleaved_test.cpp.

    python3 make_interleaved.py LIBRARY

LIBRARY is a shared library with ik_llama.cpp's dequantize_row_* functions: ggml/src/iqk/iqk_quantize.cpp,
ggml-quants.c and what they need, compiled with -fPIC -shared. Per record, little-endian: type u32, rows u32, columns
u32, bytes u32, the bytes, FNV-1a u64 of the decoded floats [rows, columns].
"""

import ctypes
import pathlib
import struct
import sys

import numpy as np

# Name, type number, rows, bytes and weights of a plain block, bytes of a row's header, halves (scales) in front of a
# group of blocks; a header of two bytes is a half, one of four a float.
FORMATS = [
    ("q4_0_r8", 202, 8, 18, 32, 0, 8), ("q5_0_r4", 206, 4, 22, 32, 0, 4), ("q8_0_r8", 208, 8, 34, 32, 0, 8),
    ("q2_k_r4", 210, 4, 84, 256, 0, 8), ("q3_k_r4", 211, 4, 110, 256, 0, 4), ("q4_k_r4", 212, 4, 144, 256, 0, 8),
    ("q5_k_r4", 213, 4, 176, 256, 0, 8), ("q6_k_r4", 214, 4, 210, 256, 0, 4), ("iq2_xxs_r4", 216, 4, 66, 256, 0, 4),
    ("iq2_xs_r4", 217, 4, 74, 256, 0, 4), ("iq3_xxs_r4", 218, 4, 98, 256, 0, 4), ("iq1_s_r4", 219, 4, 6, 32, 2, 0),
    ("iq1_m_r4", 229, 4, 7, 32, 2, 0),
    ("iq4_nl_r4", 220, 4, 18, 32, 0, 4), ("iq3_s_r4", 221, 4, 110, 256, 0, 4), ("iq2_s_r4", 222, 4, 82, 256, 0, 4),
    ("iq4_xs_r8", 223, 8, 136, 256, 0, 8), ("iq2_k_r4", 337, 4, 76, 256, 0, 4), ("iq3_k_r4", 338, 4, 110, 256, 0, 4),
    ("iq4_k_r4", 339, 4, 144, 256, 0, 4), ("iq5_k_r4", 340, 4, 176, 256, 0, 4), ("iq4_ks_r4", 344, 4, 136, 256, 4, 0),
    ("iq5_ks_r4", 352, 4, 168, 256, 4, 0),
]
COLUMNS = 512


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return value


def main():
    library = ctypes.CDLL(sys.argv[1])
    rng = np.random.default_rng(17)
    out = b""
    for name, number, rows, block_bytes, block, header, halves in FORMATS:
        n_blocks = COLUMNS // block
        group = rng.integers(0, 256, (n_blocks, rows * block_bytes), dtype=np.uint8)
        scales = rng.uniform(0.001, 0.01, (n_blocks, halves)).astype(np.float16)
        group[:, : 2 * halves] = scales.view(np.uint8).reshape(n_blocks, 2 * halves)
        headers = rng.uniform(0.001, 0.01, rows).astype(np.float16 if header == 2 else np.float32)
        data = (headers.tobytes() if header else b"") + group.tobytes()
        floats = np.zeros(rows * COLUMNS, np.float32)
        decode = getattr(library, f"dequantize_row_{name}")
        decode(ctypes.c_char_p(data), floats.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(floats.size))
        assert np.isfinite(floats).all() and np.abs(floats).max() > 0, name
        out += struct.pack("<4I", number, rows, COLUMNS, len(data)) + data
        out += struct.pack("<Q", fnv1a(floats.tobytes()))
    pathlib.Path(__file__).with_name("interleaved.bin").write_bytes(out)


if __name__ == "__main__":
    main()
