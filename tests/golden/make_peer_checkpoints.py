"""Writes two random checkpoints that other programs of the GGUF family accept too, for compare_with_peer.py.

    python make_peer_checkpoints.py OUT_DIR       torch, safetensors, tokenizers; about 300 MB each

The head sizes, latent widths and YaRN settings are the published ones, the rest is narrow: `lite` has 27 layers
because llama.cpp knows V2-Lite by their number; `v3` has two dense layers, then sigmoid routing with bias over groups,
and a multi-token-prediction layer. Layers add little to the residual, as trained ones do, or the rounding of 8-bit
activations would grow into everything.
V2 itself is missing on purpose: llama.cpp ranks its groups of experts by another rule. tokens.json beside each holds a
sequence on which no routing decision is close, logits.npy the float64 reference's logits.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from checkpoint import FIRST_SPECIAL, config, save, write_json, yarn
from make_chat_cases import TEMPLATES
from reference import Reference

HEADS = dict(
    num_attention_heads=4,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    max_position_embeddings=163840,
)

CHECKPOINTS = {
    "lite": (
        config(
            "v2",
            **HEADS,
            hidden_size=512,
            intermediate_size=1024,
            moe_intermediate_size=256,
            num_hidden_layers=27,
            n_routed_experts=8,
            n_shared_experts=2,
            num_experts_per_tok=3,
            rope_scaling=yarn(0.707, original_max_position_embeddings=4096),
        ),
        "deepseek-llm",
        "v2",
    ),
    "v3": (
        config(
            "v3",
            **HEADS,
            hidden_size=768,
            intermediate_size=1536,
            moe_intermediate_size=256,
            q_lora_rank=256,
            num_hidden_layers=6,
            num_nextn_predict_layers=1,
            first_k_dense_replace=2,
            n_routed_experts=16,
            n_shared_experts=1,
            num_experts_per_tok=4,
            n_group=4,
            topk_group=2,
            rope_scaling=yarn(1.0, original_max_position_embeddings=4096),
        ),
        "deepseek-v3",
        "v3_joined",
    ),
}


N_TOKENS, N_CANDIDATES, RESIDUAL_GAIN = 24, 32, 0.25


def choose_tokens(model, seed):
    """Token by token, the candidate whose routing decisions are the clearest over all layers."""
    generator = torch.Generator().manual_seed(seed)
    sequence = torch.tensor([[FIRST_SPECIAL]])
    while sequence.shape[1] < N_TOKENS:
        candidates = torch.randperm(FIRST_SPECIAL, generator=generator)[:N_CANDIDATES, None]
        rows = torch.cat([sequence.expand(N_CANDIDATES, -1), candidates], 1)
        model.forward(rows)
        sequence = rows[model.margin[:, -1].argmax()][None]
    logits = model.forward(sequence)[0]
    return sequence[0].tolist(), model.margin.min().item(), logits


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    for name, (c, pre, template) in CHECKPOINTS.items():
        directory = Path(sys.argv[1]) / name
        save(directory, c, 1, pre, TEMPLATES[template], shards=2, residual_gain=RESIDUAL_GAIN)
        tokens, margin, logits = choose_tokens(Reference(directory), 1)
        np.save(directory / "logits.npy", logits.float().numpy())
        write_json(directory / "tokens.json", {"tokens": tokens, "router_margin": margin})
        print(
            f"{directory}: {len(tokens)} tokens, routing margin {margin:.4f}, rms {logits.square().mean().sqrt():.3f}"
        )
        print(f"{directory}: {sum(f.stat().st_size for f in directory.iterdir()) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
