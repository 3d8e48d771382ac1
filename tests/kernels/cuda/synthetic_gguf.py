#!/usr/bin/env python3
"""A GGUF file of DeepSeek-V2-Lite's shapes with random weights: for measuring speed, where no real model is at hand.

    synthetic_gguf.py OUT.gguf [--layers N] [--vocab N] [--experts FORMAT]

Formats are those of a usual Q4_K file: Q4_K, with Q5_0 where rows are no multiple of 256, Q6_K for the head and for
the down matrices that fit it, Q8_0 for the absorbed attention matrices, F32 for norms and router. 9.5 GB. --experts:
another format for the gate and up matrices of the routed experts. The vocabulary is 256 bytes and placeholders, so texts are noise. Needs no module but Python's own.
"""
import argparse
import array
import random
import struct

U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5
# name: (ggml's number, weights of a block, its bytes, where its fp16 scales lie, a scale for weights of about 0.02)
FORMATS = {
    "F32": (0, 1, 4, (), 0),
    "Q5_0": (6, 32, 22, (0,), 2e-3),
    "Q8_0": (8, 32, 34, (0,), 2.5e-4),
    "Q4_K": (12, 256, 144, (0,), 8e-5),
    "Q6_K": (14, 256, 210, (208,), 1.5e-5),
    "IQ1_S": (19, 256, 50, (0,), 3e-3),
    "IQ2_XXS": (16, 256, 66, (0,), 4e-4),
    "IQ2_XS": (17, 256, 74, (0,), 4e-4),
    "IQ2_S": (22, 256, 82, (0,), 4e-4),
    "IQ3_XXS": (18, 256, 98, (0,), 2e-4),
    "IQ3_S": (21, 256, 110, (0,), 1.5e-4),
}
DIM, HEADS, LORA, NOPE, ROPE, V_HEAD = 2048, 16, 512, 128, 64, 128
INTER, MOE_INTER, EXPERTS, USED, SHARED = 10944, 1408, 64, 6, 2
POOL = 16384  # different blocks of a format
PIECE = 61  # of them at a time, from anywhere: no row, matrix or expert is like another


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def key(name, kind, value):
    if kind == STRING:
        body = string(value)
    else:
        body = struct.pack({U32: "<I", F32: "<f", BOOL: "<?"}[kind], value)
    return string(name) + struct.pack("<I", kind) + body


def key_array(name, kind, values):
    body = b"".join(string(v) for v in values) if kind == STRING else struct.pack(f"<{len(values)}i", *values)
    return string(name) + struct.pack("<IIQ", ARRAY, kind, len(values)) + body


def byte_tokens():
    """The characters that byte-level vocabularies write for the 256 bytes."""
    spare = iter(range(0x100, 0x200))
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(b if b in visible else next(spare)) for b in range(256)]


def tokenizer(n_vocab):
    tokens = ["<begin>", "<end>", *byte_tokens()]
    tokens += [f"[PAD{i}]" for i in range(len(tokens), n_vocab)]
    types = [3, 3] + [1] * 256 + [5] * (n_vocab - 258)  # control, normal, unused
    return [
        key("tokenizer.ggml.model", STRING, "gpt2"),
        key("tokenizer.ggml.pre", STRING, "deepseek-llm"),
        key_array("tokenizer.ggml.tokens", STRING, tokens),
        key_array("tokenizer.ggml.token_type", I32, types),
        key_array("tokenizer.ggml.merges", STRING, []),
        key("tokenizer.ggml.bos_token_id", U32, 0),
        key("tokenizer.ggml.eos_token_id", U32, 1),
    ]


def config(n_layers, n_vocab):
    numbers = {
        "block_count": n_layers, "context_length": 163840, "embedding_length": DIM, "feed_forward_length": INTER,
        "vocab_size": n_vocab, "leading_dense_block_count": 1, "expert_count": EXPERTS, "expert_used_count": USED,
        "expert_shared_count": SHARED, "expert_feed_forward_length": MOE_INTER, "attention.head_count": HEADS,
        "attention.head_count_kv": 1, "attention.kv_lora_rank": LORA, "attention.key_length": LORA + ROPE,
        "attention.value_length": LORA, "attention.key_length_mla": NOPE + ROPE, "attention.value_length_mla": V_HEAD,
        "rope.dimension_count": ROPE, "rope.scaling.original_context_length": 4096, "expert_gating_func": 1,
    }
    floats = {
        "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 10000.0, "rope.scaling.factor": 40.0,
        "rope.scaling.yarn_log_multiplier": 0.0707, "expert_weights_scale": 1.0,
    }
    return [
        key("general.architecture", STRING, "deepseek2"),
        key("general.name", STRING, "random weights of V2-Lite's shapes"),
        *(key("deepseek2." + name, U32, value) for name, value in numbers.items()),
        *(key("deepseek2." + name, F32, value) for name, value in floats.items()),
        key("deepseek2.rope.scaling.type", STRING, "yarn"),
    ]


def tensors(n_layers, n_vocab, experts):
    """(name, dimensions with the contiguous one first, format)"""
    def quantized(k, wanted="Q4_K"):
        return wanted if k % 256 == 0 else "Q5_0"

    yield "token_embd.weight", (DIM, n_vocab), "Q4_K"
    yield "output_norm.weight", (DIM,), "F32"
    yield "output.weight", (DIM, n_vocab), "Q6_K"
    for layer in range(n_layers):
        def of(name, *dimensions, wanted="Q4_K"):
            return f"blk.{layer}.{name}.weight", dimensions, wanted if wanted == "F32" else quantized(dimensions[0], wanted)

        yield of("attn_norm", DIM, wanted="F32")
        yield of("attn_q", DIM, HEADS * (NOPE + ROPE))
        yield of("attn_kv_a_mqa", DIM, LORA + ROPE)
        yield of("attn_kv_a_norm", LORA, wanted="F32")
        yield f"blk.{layer}.attn_k_b.weight", (NOPE, LORA, HEADS), "Q8_0"
        yield f"blk.{layer}.attn_v_b.weight", (LORA, V_HEAD, HEADS), "Q8_0"
        yield of("attn_output", HEADS * V_HEAD, DIM)
        yield of("ffn_norm", DIM, wanted="F32")
        if layer == 0:
            yield of("ffn_gate", DIM, INTER)
            yield of("ffn_up", DIM, INTER)
            yield of("ffn_down", INTER, DIM, wanted="Q6_K")
            continue
        yield of("ffn_gate_inp", DIM, EXPERTS, wanted="F32")
        yield of("ffn_gate_exps", DIM, MOE_INTER, EXPERTS, wanted=experts)
        yield of("ffn_up_exps", DIM, MOE_INTER, EXPERTS, wanted=experts)
        yield of("ffn_down_exps", MOE_INTER, DIM, EXPERTS)
        yield of("ffn_gate_shexp", DIM, MOE_INTER * SHARED)
        yield of("ffn_up_shexp", DIM, MOE_INTER * SHARED)
        yield of("ffn_down_shexp", MOE_INTER * SHARED, DIM, wanted="Q6_K")


def random_blocks(name, rng):
    """POOL blocks of a format: random bits, but scales of a sane size."""
    _, _, size, places, scale = FORMATS[name]
    if name == "F32":
        return array.array("f", (rng.gauss(0, 0.02) for _ in range(POOL))).tobytes()
    data = bytearray(rng.randbytes(POOL * size))
    for block in range(0, len(data), size):
        for place in places:
            struct.pack_into("<e", data, block + place, scale * rng.uniform(0.5, 1.5))
        if name == "Q4_K":  # the smallest of a group: what centres it
            struct.pack_into("<e", data, block + 2, 7.5 * struct.unpack_from("<e", data, block)[0])
    return bytes(data)


def write_pieces(out, pool, block, size, rng):
    """`size` bytes: pieces of the pool from random places."""
    while size > 0:
        start = rng.randrange(POOL - PIECE) * block
        size -= out.write(pool[start:start + min(PIECE * block, size)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--layers", type=int, default=27)
    parser.add_argument("--vocab", type=int, default=102400)
    parser.add_argument("--experts", default="Q4_K", choices=[name for name in FORMATS if "Q" in name])
    arguments = parser.parse_args()

    rng = random.Random(1)
    used = [name for name in FORMATS if "IQ" not in name or name == arguments.experts]
    pools = {name: random_blocks(name, rng) for name in used}
    keys = config(arguments.layers, arguments.vocab) + tokenizer(arguments.vocab)
    header, places, offset = b"", [], 0
    for name, dimensions, format_name in tensors(arguments.layers, arguments.vocab, arguments.experts):
        number, elements, size, _, _ = FORMATS[format_name]
        count = 1
        for d in dimensions:
            count *= d
        assert dimensions[0] % elements == 0, name
        header += string(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, number, offset)
        places.append((name, format_name, count // elements * size))
        offset += (places[-1][2] + 31) // 32 * 32

    with open(arguments.out, "wb") as out:
        out.write(b"GGUF" + struct.pack("<IQQ", 3, len(places), len(keys)) + b"".join(keys) + header)
        out.write(b"\0" * (-out.tell() % 32))
        for name, format_name, size in places:
            if name.endswith("_norm.weight"):
                out.write(struct.pack("<f", 1.0) * (size // 4))
            else:
                write_pieces(out, pools[format_name], FORMATS[format_name][2], size, rng)
            out.write(b"\0" * (-size % 32))
    print(f"{arguments.out}: {offset / 1e9:.2f} GB, {len(places)} tensors")


main()
