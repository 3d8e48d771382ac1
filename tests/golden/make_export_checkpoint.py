"""A small random checkpoint that vLLM, SGLang and transformers can run: heads and latents as published, for which
engines have kernels, and widths that are multiples of 128, as quantized forms need.

    make_export_checkpoint.py lite|v2|v3|v3-mtp DIR [--seed N]

Needs torch and safetensors."""

import argparse

from checkpoint import config, save, yarn

HEADS = {"num_attention_heads": 16, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
SIZES = {"hidden_size": 512, "intermediate_size": 1024, "moe_intermediate_size": 256, "num_hidden_layers": 3,
         "n_routed_experts": 16, "num_experts_per_tok": 4, "max_position_embeddings": 4096, "vocab_size": 384}
GROUPS = {"n_group": 4, "topk_group": 2, "q_lora_rank": 256}
TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"


def published(kind, kv_lora_rank=512):
    """-> config.json, pre-tokenizer"""
    heads = dict(HEADS, kv_lora_rank=kv_lora_rank)
    if kind == "lite":
        scaling = yarn(0.707, original_max_position_embeddings=512)
        return config("v2", **heads, **SIZES, n_shared_experts=2, rope_scaling=scaling), "deepseek-llm"
    if kind == "v2":
        scaling = yarn(1.0, original_max_position_embeddings=512)
        return config("v2", **heads, **SIZES, **GROUPS, n_shared_experts=2, rope_scaling=scaling,
                      topk_method="group_limited_greedy", routed_scaling_factor=2.0), "deepseek-llm"
    scaling = yarn(1.0, original_max_position_embeddings=512)
    layers = {"num_nextn_predict_layers": 1} if kind == "v3-mtp" else {}
    return config("v3", **heads, **SIZES, **GROUPS, **layers, n_shared_experts=1, rope_scaling=scaling), "deepseek-v3"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["lite", "v2", "v3", "v3-mtp"])
    parser.add_argument("dir")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    settings, pre = published(arguments.kind)
    save(arguments.dir, settings, arguments.seed, pre, TEMPLATE, residual_gain=0.25)


if __name__ == "__main__":
    main()
