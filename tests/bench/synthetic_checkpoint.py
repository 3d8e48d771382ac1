#!/usr/bin/env python3
"""A Hugging Face checkpoint of DeepSeek's shapes with random weights: for measuring `hearth convert`.

    synthetic_checkpoint.py DIR [--shapes lite|v3] [--layers N] [--hole]

lite: V2-Lite, BF16, 1.2 GB a layer. v3: V3 and R1, FP8 with scales for blocks of 128 x 128, 11.5 GB a layer (61, of which
3 dense). --hole leaves the weights out: the files have their size and read as zeros, but take no room, so that a
checkpoint of 671 billion weights can be planned on any disk. The tokenizer is the demo's. Needs no module but Python's own.
"""
import argparse
import json
import pathlib
import random
import shutil
import struct

DEMO = pathlib.Path(__file__).parents[2] / "demo"
LITE = {
    "vocab_size": 102400, "hidden_size": 2048, "intermediate_size": 10944, "moe_intermediate_size": 1408,
    "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16, "q_lora_rank": None,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 64,
    "n_shared_experts": 2, "num_experts_per_tok": 6, "n_group": 1, "topk_group": 1, "topk_method": "greedy",
    "first_k_dense_replace": 1,
}  # fmt: skip
V3 = {
    "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
    "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 1536,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 256,
    "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4, "topk_method": "noaux_tc",
    "first_k_dense_replace": 3,
}  # fmt: skip
PIECE = 1 << 20  # bytes of random weights; the files repeat pieces of them


def tensors(c, fp8):
    """Yields name, type, shape of every tensor."""
    d, heads, r = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    dn, dr, dv = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]

    def matrix(name, rows, cols):
        yield name + ".weight", "F8_E4M3" if fp8 else "BF16", (rows, cols)
        if fp8:
            yield name + ".weight_scale_inv", "F32", (-(-rows // 128), -(-cols // 128))

    def mlp(name, width):
        yield from matrix(name + ".gate_proj", width, d)
        yield from matrix(name + ".up_proj", width, d)
        yield from matrix(name + ".down_proj", d, width)

    yield "model.embed_tokens.weight", "BF16", (c["vocab_size"], d)
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", "BF16", (d,)
        yield at + "post_attention_layernorm.weight", "BF16", (d,)
        if q := c["q_lora_rank"]:
            yield from matrix(at + "self_attn.q_a_proj", q, d)
            yield at + "self_attn.q_a_layernorm.weight", "BF16", (q,)
            yield from matrix(at + "self_attn.q_b_proj", heads * (dn + dr), q)
        else:
            yield from matrix(at + "self_attn.q_proj", heads * (dn + dr), d)
        yield from matrix(at + "self_attn.kv_a_proj_with_mqa", r + dr, d)
        yield at + "self_attn.kv_a_layernorm.weight", "BF16", (r,)
        yield from matrix(at + "self_attn.kv_b_proj", heads * (dn + dv), r)
        yield from matrix(at + "self_attn.o_proj", d, heads * dv)
        if layer < c["first_k_dense_replace"]:
            yield from mlp(at + "mlp", c["intermediate_size"])
            continue
        yield at + "mlp.gate.weight", "BF16", (c["n_routed_experts"], d)
        if c["topk_method"] == "noaux_tc":
            yield at + "mlp.gate.e_score_correction_bias", "F32", (c["n_routed_experts"],)
        for expert in range(c["n_routed_experts"]):
            yield from mlp(f"{at}mlp.experts.{expert}", c["moe_intermediate_size"])
        yield from mlp(at + "mlp.shared_experts", c["n_shared_experts"] * c["moe_intermediate_size"])
    yield "model.norm.weight", "BF16", (d,)
    yield "lm_head.weight", "BF16", (c["vocab_size"], d)


def bytes_of(kind, shape):
    n = {"F32": 4, "BF16": 2, "F8_E4M3": 1}[kind]
    for dim in shape:
        n *= dim
    return n


def random_piece(kind):
    generator = random.Random(kind)
    if kind == "F8_E4M3":
        return bytes(generator.choice((0x00, 0x80)) | generator.randrange(0x7F) for _ in range(PIECE))
    piece = b"".join(struct.pack("<f", generator.gauss(0, 0.02)) for _ in range(PIECE // 4))
    if kind == "F32":
        return bytes(b & 0x7F if i % 4 == 3 else b for i, b in enumerate(piece))  # scales are positive
    return b"".join(piece[i + 2 : i + 4] for i in range(0, PIECE, 4)) * 2


def write_shard(path, shard, pieces):
    header, at = {}, 0
    for name, kind, shape in shard:
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + bytes_of(kind, shape)]}
        at += bytes_of(kind, shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        if pieces is None:
            file.truncate(8 + len(text) + at)
            return
        for _, kind, shape in shard:
            left = bytes_of(kind, shape)
            while left:
                begin = random.randrange(PIECE // 8) * 4
                part = pieces[kind][begin : begin + left]
                file.write(part)
                left -= len(part)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--shapes", choices=("lite", "v3"), default="lite")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--hole", action="store_true")
    arguments = parser.parse_args()
    v3 = arguments.shapes == "v3"
    demo = DEMO / ("checkpoint-v3" if v3 else "checkpoint")
    config = json.loads((demo / "config.json").read_text()) | (V3 if v3 else LITE)
    config.pop("num_nextn_predict_layers", None)
    config["_name_or_path"] = "synthetic"
    if arguments.layers:
        config["num_hidden_layers"] = arguments.layers
    if v3:
        config["quantization_config"] = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
    arguments.dir.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(demo / name, arguments.dir)
    (arguments.dir / "config.json").write_text(json.dumps(config, indent=1))

    shards, size = [[]], 0
    for tensor in tensors(config, fp8=v3):
        if size > 4 << 30:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += bytes_of(*tensor[1:])
    random.seed(1)
    pieces = None if arguments.hole else {kind: random_piece(kind) for kind in ("F32", "BF16", "F8_E4M3")}
    weight_map = {}
    for i, shard in enumerate(shards):
        name = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        write_shard(arguments.dir / name, shard, pieces)
        weight_map |= {tensor[0]: name for tensor in shard}
    index = {"metadata": {}, "weight_map": weight_map}
    (arguments.dir / "model.safetensors.index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    main()
