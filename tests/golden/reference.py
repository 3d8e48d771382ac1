"""The forward pass of the DeepSeek-V2 family in float64, written from its equations and from nothing else.

It reads a checkpoint in Hugging Face form (BF16, F16, F32 or FP8 with 128x128 scales), runs whole sequences at once,
and reports how close every routing decision was: a sequence with a close call is no basis for a comparison, because
one rounding can send a token to another expert.

    python reference.py CHECKPOINT_DIR --tokens 1,2,3        top-1 ids and the smallest routing margin
"""

import argparse
import json
import math
from pathlib import Path

import torch
from safetensors import safe_open

FP8_BLOCK = 128


def dequantize_fp8(weight, scale_inv):
    """weight [n, k] e4m3, scale_inv [ceil(n/128), ceil(k/128)]: the scale multiplies, edge blocks are partial."""
    rows, cols = weight.shape
    scale = scale_inv.double().repeat_interleave(FP8_BLOCK, 0)[:rows].repeat_interleave(FP8_BLOCK, 1)[:, :cols]
    return weight.double() * scale


def load_tensors(directory):
    """name -> float64 tensor of every weight in the directory's safetensors files, FP8 already dequantized."""
    raw = {}
    for path in sorted(Path(directory).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            raw.update({name: file.get_tensor(name) for name in file.keys()})
    tensors = {}
    for name, value in raw.items():
        if name.endswith("_scale_inv"):
            continue
        scale = raw.get(name + "_scale_inv")
        tensors[name] = value.double() if scale is None else dequantize_fp8(value, scale)
    return tensors


def yarn_multiplier(factor, mscale):
    return 1.0 + 0.1 * mscale * math.log(factor) if factor > 1 else 1.0


def rope_frequencies(config):
    """Angle per position of each adjacent pair [d_r / 2], and the multiplier of cos and sin."""
    dim, theta = config["qk_rope_head_dim"], config["rope_theta"]
    pairs = torch.arange(dim // 2, dtype=torch.float64)
    frequencies = theta ** (-2 * pairs / dim)
    yarn = config.get("rope_scaling")
    if not yarn:
        return frequencies, 1.0

    def pair_with(rotations):  # the pair that makes so many rotations over the original context
        context = yarn["original_max_position_embeddings"]
        return dim * math.log(context / (2 * math.pi * rotations)) / (2 * math.log(theta))

    low = max(math.floor(pair_with(yarn["beta_fast"])), 0)
    high = min(math.ceil(pair_with(yarn["beta_slow"])), dim - 1)
    ramp = ((pairs - low) / max(high - low, 0.001)).clamp(0, 1)
    factor = yarn["factor"]
    frequencies = frequencies * (1 - ramp) + frequencies / factor * ramp
    return frequencies, yarn_multiplier(factor, yarn["mscale"]) / yarn_multiplier(factor, yarn["mscale_all_dim"])


def softmax_scale(config):
    scale = (config["qk_nope_head_dim"] + config["qk_rope_head_dim"]) ** -0.5
    yarn = config.get("rope_scaling")
    if yarn and yarn["mscale_all_dim"]:
        scale *= yarn_multiplier(yarn["factor"], yarn["mscale_all_dim"]) ** 2
    return scale


class Reference:
    def __init__(self, directory):
        self.config = json.loads((Path(directory) / "config.json").read_text())
        self.tensors = load_tensors(directory)
        # How groups of experts are ranked: by "max" (V2) or by the sum of their "top2" (V3). Changing it, or `fill`,
        # shows how often a sequence tells the right rule from the wrong one.
        self.group_rule = "top2" if self.config["topk_method"] == "noaux_tc" else "max"
        self.fill = -math.inf

    def weight(self, name):
        return self.tensors[name + ".weight"]

    def norm(self, x, name):
        return self.weight(name) * x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.config["rms_norm_eps"])

    def linear(self, x, name):
        return x @ self.weight(name).T

    def rotate(self, x):
        """x [B, T, n, d_r]: turns each adjacent pair by its position's angle."""
        frequencies, multiplier = rope_frequencies(self.config)
        angle = torch.arange(x.shape[1], dtype=torch.float64)[:, None, None] * frequencies
        cos, sin = torch.cos(angle) * multiplier, torch.sin(angle) * multiplier
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)

    def attention(self, x, layer):
        c, name = self.config, f"model.layers.{layer}.self_attn."
        batch, length, _ = x.shape
        heads, nope, rope, value = (
            c["num_attention_heads"],
            c["qk_nope_head_dim"],
            c["qk_rope_head_dim"],
            c["v_head_dim"],
        )
        if c.get("q_lora_rank"):
            q = self.linear(self.norm(self.linear(x, name + "q_a_proj"), name + "q_a_layernorm"), name + "q_b_proj")
        else:
            q = self.linear(x, name + "q_proj")
        q_nope, q_rope = q.view(batch, length, heads, nope + rope).split([nope, rope], -1)
        latent, k_rope = self.linear(x, name + "kv_a_proj_with_mqa").split([c["kv_lora_rank"], rope], -1)
        latent = self.norm(latent, name + "kv_a_layernorm")
        q_rope, k_rope = self.rotate(q_rope), self.rotate(k_rope[:, :, None])
        k_nope, v = (
            self.linear(latent, name + "kv_b_proj").view(batch, length, heads, nope + value).split([nope, value], -1)
        )
        scores = torch.einsum("bthd,bshd->bhts", q_nope, k_nope)
        scores += torch.einsum("bthd,bsd->bhts", q_rope, k_rope[:, :, 0])
        future = torch.full((length, length), -math.inf, dtype=torch.float64).triu(1)
        p = torch.softmax(scores * softmax_scale(c) + future, -1)
        return self.linear(torch.einsum("bhts,bshd->bthd", p, v).flatten(-2), name + "o_proj")

    def mlp(self, x, name):
        gate, up = self.linear(x, name + "gate_proj"), self.linear(x, name + "up_proj")
        return self.linear(torch.nn.functional.silu(gate) * up, name + "down_proj")

    def route(self, x, layer):
        """x [N, H] -> chosen experts [N, K] and their weights, and how far each decision was from another one [N]: the
        smallest gap between a score kept and one refused, of logarithms where the scores come from a softmax."""
        c, name = self.config, f"model.layers.{layer}.mlp.gate"
        logits = self.linear(x, name)
        p = torch.softmax(logits, -1) if c["scoring_func"] == "softmax" else torch.sigmoid(logits)
        score = p
        if c["topk_method"] == "noaux_tc":
            score = p + self.tensors[name + ".e_score_correction_bias"]
        margin = torch.full(p.shape[:1], math.inf, dtype=torch.float64)

        def gap(ordered, kept):
            if c["scoring_func"] == "softmax":
                ordered = ordered.log()
            return torch.minimum(margin, ordered[:, kept - 1] - ordered[:, kept])

        groups, kept = c.get("n_group") or 1, c.get("topk_group") or 1
        if groups > 1:
            by_group = score.view(len(score), groups, -1)
            rank = by_group.amax(-1) if self.group_rule == "max" else by_group.topk(2, -1)[0].sum(-1)
            ordered = rank.sort(-1, descending=True)[0]
            if kept < groups:
                margin = gap(ordered, kept)
            mask = torch.zeros_like(rank).scatter_(1, rank.topk(kept, -1)[1], 1).bool()
            score = by_group.masked_fill(~mask[:, :, None], self.fill).flatten(1)
        used = c["num_experts_per_tok"]
        ordered, experts = score.sort(-1, descending=True)
        margin = gap(ordered, used)
        experts = experts[:, :used]
        weights = p.gather(1, experts)
        if c["norm_topk_prob"]:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return experts, weights * c["routed_scaling_factor"], margin

    def moe(self, x, layer):
        name = f"model.layers.{layer}.mlp."
        flat = x.flatten(0, -2)
        experts, weights, margin = self.route(flat, layer)
        self.chosen.append(experts.sort(-1)[0].view(*x.shape[:-1], -1))
        self.margin = torch.minimum(self.margin, margin.view(x.shape[:-1]))
        y = self.mlp(flat, name + "shared_experts.")
        for expert in range(self.config["n_routed_experts"]):
            token, slot = torch.where(experts == expert)
            y[token] += weights[token, slot, None] * self.mlp(flat[token], f"{name}experts.{expert}.")
        return y.view_as(x)

    def forward(self, tokens):
        """tokens [B, T] -> logits [B, T, V]. Afterwards `margin` [B, T] holds the smallest routing margin of each token
        and `chosen` the sorted experts [B, T, K] of each MoE layer."""
        tokens = torch.as_tensor(tokens)
        self.margin = torch.full(tokens.shape, math.inf, dtype=torch.float64)
        self.chosen = []
        h = self.weight("model.embed_tokens")[tokens]
        for layer in range(self.config["num_hidden_layers"]):
            name = f"model.layers.{layer}."
            h = h + self.attention(self.norm(h, name + "input_layernorm"), layer)
            x = self.norm(h, name + "post_attention_layernorm")
            h = h + (self.mlp(x, name + "mlp.") if layer < self.config["first_k_dense_replace"] else self.moe(x, layer))
        return self.linear(self.norm(h, "model.norm"), "lm_head")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--tokens", required=True, help="comma-separated ids")
    arguments = parser.parse_args()
    model = Reference(arguments.checkpoint)
    logits = model.forward([[int(t) for t in arguments.tokens.split(",")]])[0]
    print("top-1:", logits.argmax(-1).tolist())
    print("routing margin:", model.margin.min().item())


if __name__ == "__main__":
    main()
