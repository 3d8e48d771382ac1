#!/usr/bin/env python3
"""Writes iqk_vectors.bin: rows of random bytes of the formats that ik_llama.cpp adds, and the floats that they mean.

The floats come from that program's own decoders (dequantize_row_*): one source file of a checkout is compiled by itself
into a library; of what else it refers to only the table of halves is used, and made here. Only IQ6_K is decoded here, by the table that the program's product
kernels go by (level_tables.h says why), read from the checkout; its decoder's polynomial must be within half a level.
Units are finite; everything else is any byte. tests/quant/decode_test.cpp compares bits.

File, little-endian, for each format: u32 type, u32 n_rows, u32 row_bytes, u32 row_elems,
rows [n_rows * row_bytes], float32 [n_rows * row_elems].

    git clone https://github.com/ikawrakow/ik_llama.cpp
    python3 tests/golden/make_iqk_vectors.py ik_llama.cpp       (needs numpy, g++, a processor with AVX2)
"""
import ctypes
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np

rng = np.random.default_rng(20261130)

# type, bytes of the row's header (a half or a float), of a block
FORMATS = {
    "iq2_k": (137, 0, 76), "iq3_k": (138, 0, 110), "iq4_k": (139, 0, 144), "iq5_k": (140, 0, 176),
    "iq6_k": (141, 0, 212), "iq4_ks": (144, 4, 136), "iq2_ks": (145, 2, 70), "iq5_ks": (152, 4, 168),
    "iq3_ks": (156, 2, 102),
}
N_ROWS, N_BLOCKS = 6, 2


def library(checkout, folder):
    ggml, source, table, stubs = checkout / "ggml", folder / "iqk.o", folder / "table.cpp", folder / "stubs.s"
    subprocess.run(["g++", "-O1", "-fPIC", "-std=c++17", "-march=native", "-ffp-contract=off", "-I", ggml / "include",
                    "-I", ggml / "src", "-c", ggml / "src" / "iqk" / "iqk_quantize.cpp", "-o", source], check=True)
    table.write_text('extern "C" { float ggml_table_f32_f16[1 << 16]; }')
    stubs.write_text("")
    link = ["g++", "-shared", "-fPIC", "-Wl,-z,defs", "-Wl,--no-demangle", source, table, stubs, "-o", folder / "iqk.so"]
    # What the linker misses is in other files of the program, and is not called.
    missing = re.findall(r"undefined reference to `(\w+)'", subprocess.run(link, stderr=subprocess.PIPE, text=True).stderr)
    stubs.write_text("".join(f".globl {name}\n{name}: ud2\n" for name in sorted(set(missing))))
    subprocess.run(link, check=True)
    iqk = ctypes.CDLL(str(folder / "iqk.so"))
    halves = (ctypes.c_float * (1 << 16)).in_dll(iqk, "ggml_table_f32_f16")
    halves[:] = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32).tolist()
    return iqk


def halves(n):
    """fp16 bit patterns: scales of every size and sign, subnormals and zero included; finite."""
    bits = rng.integers(0, 0x7C00, n, dtype=np.uint16)
    bits[::5] = rng.integers(0, 0x400, len(bits[::5]), dtype=np.uint16)
    bits[::11] = 0
    return bits | (rng.integers(0, 2, n, dtype=np.uint16) << 15)


def floats(n):
    return (rng.standard_normal(n) * np.exp2(rng.integers(-30, 20, n))).astype(np.float32)


def random_rows(header, block_bytes):
    rows = rng.integers(0, 256, (N_ROWS, header + N_BLOCKS * block_bytes), dtype=np.uint8)
    if header == 0:
        for b in range(N_BLOCKS):
            rows[:, b * block_bytes:b * block_bytes + 2] = halves(N_ROWS).view(np.uint8).reshape(N_ROWS, 2)
    else:
        unit = halves(N_ROWS) if header == 2 else floats(N_ROWS)
        rows[:, :header] = unit.view(np.uint8).reshape(N_ROWS, header)
    return rows


def iq6_k(rows, checkout):
    """The values by the table, and how far the polynomial, which the table rounds, may be from them."""
    text = (checkout / "ggml" / "src" / "ggml-common.h").read_text()
    numbers = re.search(r"iq6nl_values, 128\)([^G]*)GGML_TABLE_END", text).group(1)
    table = np.array([int(x) for x in re.findall(r"-?\d+", numbers)])
    b = rows.reshape(-1, 212)
    d = b[:, :2].copy().view(np.float16).astype(np.float32)
    extra = b[:, 2:4].copy().view(np.uint16)
    scales = b[:, 4:20].view(np.int8).astype(np.float32)
    i = np.arange(256)
    low = b[:, 20 + i // 64 * 32 + i % 32] >> (4 * (i // 32 % 2)) & 15
    high = b[:, 148 + i // 128 * 32 + i % 32] >> (2 * (i % 128 // 32)) & 3
    moved = extra >> (i // 16) & 1
    level = table[64 * moved + 16 * high + low].astype(np.float32)
    step = (d * scales)[:, i // 16]
    return (step * level).reshape(rows.shape[0], -1), np.abs(step).reshape(rows.shape[0], -1) * 0.52


def main():
    checkout = pathlib.Path(sys.argv[1])
    path = pathlib.Path(__file__).with_name("iqk_vectors.bin")
    with tempfile.TemporaryDirectory() as folder, open(path, "wb") as f:
        iqk = library(checkout, pathlib.Path(folder))
        for name, (kind, header, block_bytes) in FORMATS.items():
            rows = random_rows(header, block_bytes)
            values = np.full((N_ROWS, 256 * N_BLOCKS), np.nan, dtype=np.float32)
            for row, out in zip(rows, values):
                decode = getattr(iqk, f"dequantize_row_{name}")
                aligned = ctypes.create_string_buffer(row.tobytes())
                decode(aligned, out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(len(out)))
            if name == "iq6_k":
                by_polynomial = values
                values, half = iq6_k(rows, checkout)
                assert (np.abs(values - by_polynomial) <= half).all()
            assert np.isfinite(values).all(), name
            np.array([kind, N_ROWS, rows.shape[1], values.shape[1]], dtype="<u4").tofile(f)
            f.write(rows.tobytes())
            f.write(values.astype("<f4").tobytes())
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
