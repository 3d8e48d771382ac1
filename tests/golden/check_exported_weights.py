"""Compares the weights that `hearth export` writes with what the library compressed-tensors reads from them.

    pip install compressed-tensors safetensors numpy    # and torch
    python check_exported_weights.py HEARTH [MODEL.gguf]

HEARTH: the program. MODEL.gguf: any model whose layers are whole; else the demo, converted. The model is exported in each
quantized form, and each of these as BF16. compressed-tensors' own dequantizers must make the same BF16 of FP8 and INT4, bit
for bit. Exits 1 if anything differs.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.entrypoints.convert.converters import FP8BlockDequantizer
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors import safe_open

ROOT = Path(__file__).parents[2]
differences = 0


def check(what, same):
    global differences
    differences += not same
    print(f"{'the same' if same else 'DIFFERENT'}: {what}")


def tensors_of(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys()}
    return tensors


def unpack_int4(tensors):
    scheme = QuantizationScheme(
        targets=["Linear"], weights=QuantizationArgs(num_bits=4, strategy="group", group_size=128, symmetric=True)
    )
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    for name in [name for name in tensors if name.endswith(".weight_packed")]:
        stem = name.removesuffix("_packed")
        parts = {part: tensors.pop(f"{stem}{part[6:]}") for part in ("weight_packed", "weight_scale", "weight_shape")}
        parts["weight_scale"] = parts["weight_scale"].float()  # the product is rounded once
        tensors[stem] = compressor.decompress(parts, scheme)["weight"].bfloat16()
    return tensors


def same_bits(a, b):
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and torch.equal(a[name].view(torch.uint8), b[name].view(torch.uint8)) for name in a
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hearth")
    parser.add_argument("model", nargs="?")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def hearth(*words):
            subprocess.run([arguments.hearth, *map(str, words)], check=True, stderr=subprocess.DEVNULL)

        model = arguments.model
        if not model:
            model = place / "demo.gguf"
            hearth("convert", ROOT / "demo" / "checkpoint", model, "--recipe", "bf16")
        forms = {"fp8": [], "int4": [], "int4 all": ["--attention"]}
        for name, more in forms.items():
            hearth("export", model, place / name, "--format", name.split()[0], *more)
            hearth("export", place / name, place / f"{name} as bf16", "--format", "bf16")

        fp8 = FP8BlockDequantizer.from_pretrained(place / "fp8").process(tensors_of(place / "fp8"))
        check("FP8 by blocks, in BF16", same_bits(fp8, tensors_of(place / "fp8 as bf16")))
        for name in ("int4", "int4 all"):
            check(f"{name}, in BF16", same_bits(unpack_int4(tensors_of(place / name)), tensors_of(place / f"{name} as bf16")))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
