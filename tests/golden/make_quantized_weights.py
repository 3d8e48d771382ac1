"""Weights in integers and FP8 as the library compressed-tensors stores them, with what it decodes them to:
quantized_weights/model.safetensors (README.md). AWQ's packing is undone by the library's own converter; GPTQ's is
written here from its description, and the library decodes the codes.

    pip install compressed-tensors safetensors numpy    # and torch
    python make_quantized_weights.py

Of each case NAME: the tensors of a checkpoint, and `NAME.expected`, the library's weights in the scale's type, and
`NAME.in_f32`, the same computed in float32.
"""

from pathlib import Path

import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.entrypoints.convert.converters import AutoAWQConverter
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # of the columns in a word, lowest nibble first


def parameters(weight, args):
    """Scales and zeros [rows, groups] from the least and largest weight of each group (or channel, or tensor)."""
    rows, cols = weight.shape
    if args.strategy == "tensor":
        groups = weight.reshape(1, 1, -1)
    else:
        groups = weight.reshape(rows, -1, args.group_size if args.strategy == "group" else cols)
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
    return scale.reshape(-1) if args.strategy == "tensor" else scale, zero.reshape(scale.shape)


def in_f32(compressor, state, scheme):
    wide = {k: v.float() if k == "weight_scale" else v for k, v in state.items()}
    return compressor.decompress(wide, scheme)["weight"].float()


def compressed(out, name, form, dtype, rows, cols, **args):
    args = QuantizationArgs(**args)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    weight = torch.randn(rows, cols).to(dtype)
    scale, zero = parameters(weight, args)
    state = {"weight": weight, "weight_scale": scale.to(dtype), "weight_zero_point": zero}
    compressor = BaseCompressor.get_value_from_registry(form)
    state = {k: v.contiguous() for k, v in compressor.compress(state, scheme).items()}
    for part, tensor in state.items():
        out[f"{name}.{part}"] = tensor
    if args.symmetric:
        state.setdefault("weight_zero_point", None)
    out[f"{name}.expected"] = compressor.decompress(state, scheme)["weight"].contiguous()
    out[f"{name}.in_f32"] = in_f32(compressor, state, scheme).contiguous()
    return state, scheme


def words(values, bits):
    """[n, m] small integers -> [n, m * bits / 32] int32, the first in the lowest bits."""
    values = values.astype(np.uint32).reshape(values.shape[0], -1, 32 // bits)
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    return torch.from_numpy(np.bitwise_or.reduce(values << shifts, axis=2).view(np.int32).copy())


def awq(out, name, dtype, rows, cols, group):
    codes = np.random.randint(0, 16, (cols, rows))
    zeros = np.random.randint(0, 16, (cols // group, rows))
    scales = (torch.rand(cols // group, rows) * 0.02 + 0.001).to(dtype)
    in_order = lambda m: m.reshape(m.shape[0], -1, 8)[:, :, AWQ_ORDER].reshape(m.shape)
    tensors = {"X.qweight": words(in_order(codes), 4), "X.qzeros": words(in_order(zeros), 4), "X.scales": scales}
    for part, tensor in tensors.items():
        out[part.replace("X", name)] = tensor.clone()
    converted = AutoAWQConverter(group_size=group).process(tensors)
    state = {k[2:]: v for k, v in converted.items()}
    args = QuantizationArgs(num_bits=4, symmetric=False, strategy="group", group_size=group)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    out[f"{name}.expected"] = compressor.decompress(state, scheme)["weight"].contiguous()
    out[f"{name}.in_f32"] = in_f32(compressor, state, scheme).contiguous()


def gptq(out, name, rows, cols, group, bits, less_one, act_order):
    """w[k, n] = (code[k, n] - zero[g, n]) * scale[g, n] with g = g_idx[k], in float16 as AutoGPTQ computes it."""
    n_groups = cols // group
    codes = np.random.randint(0, 2**bits, (cols, rows))
    zeros = np.random.randint(0, 2**bits, (n_groups, rows))
    scales = (torch.rand(n_groups, rows) * 0.02 + 0.001).half()
    g_idx = np.arange(cols) // group
    if act_order:
        np.random.shuffle(g_idx)
    stored = (zeros - 1) % 2**bits if less_one else zeros
    out[f"{name}.qweight"] = words(codes.T, bits).T.contiguous()
    out[f"{name}.qzeros"] = words(stored, bits)
    out[f"{name}.scales"] = scales
    out[f"{name}.g_idx"] = torch.from_numpy(g_idx.astype(np.int32))
    steps = torch.from_numpy((codes - zeros[g_idx]).astype(np.int16))
    out[f"{name}.expected"] = (steps.half() * scales[g_idx]).T.contiguous()
    out[f"{name}.in_f32"] = (steps.float() * scales[g_idx].float()).T.contiguous()


def main():
    torch.manual_seed(1)
    np.random.seed(1)
    out = {}
    bf16, f16, f32 = torch.bfloat16, torch.float16, torch.float32
    pack, plain, real = "pack-quantized", "int-quantized", "float-quantized"
    compressed(out, "pack_sym_g128", pack, bf16, 6, 256, num_bits=4, strategy="group", group_size=128)
    compressed(out, "pack_asym_g32", pack, bf16, 10, 96, num_bits=4, strategy="group", group_size=32, symmetric=False)
    compressed(out, "pack_asym_g64_f16", pack, f16, 9, 64, num_bits=4, strategy="group", group_size=64, symmetric=False)
    compressed(out, "pack_sym_row_odd", pack, bf16, 5, 77, num_bits=4, strategy="channel")
    compressed(out, "pack_asym_row_odd", pack, bf16, 13, 45, num_bits=4, strategy="channel", symmetric=False)
    compressed(out, "pack8_sym_row_odd", pack, bf16, 5, 30, num_bits=8, strategy="channel")
    compressed(out, "pack8_asym_g32", pack, f32, 6, 64, num_bits=8, strategy="group", group_size=32, symmetric=False)
    compressed(out, "int8_row", plain, bf16, 6, 64, num_bits=8, strategy="channel")
    compressed(out, "int8_tensor", plain, bf16, 4, 40, num_bits=8, strategy="tensor")
    compressed(out, "int8_asym_row", plain, bf16, 6, 64, num_bits=8, strategy="channel", symmetric=False)
    compressed(out, "fp8_row", real, bf16, 6, 64, num_bits=8, type="float", strategy="channel")
    compressed(out, "fp8_tensor", real, bf16, 4, 40, num_bits=8, type="float", strategy="tensor")
    awq(out, "awq_g128", f16, 16, 256, 128)
    awq(out, "awq_g32", f16, 24, 64, 32)
    gptq(out, "gptq_g64", 16, 128, 64, 4, True, False)
    gptq(out, "gptq_v2_act_order", 8, 128, 32, 4, False, True)
    gptq(out, "gptq8_g32", 8, 64, 32, 8, True, False)

    folder = Path(__file__).parent / "quantized_weights"
    folder.mkdir(exist_ok=True)
    save_file(out, folder / "model.safetensors")
    print(f"{folder}: {len(out)} tensors, {(folder / 'model.safetensors').stat().st_size} bytes")


if __name__ == "__main__":
    main()
