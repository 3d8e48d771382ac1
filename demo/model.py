"""A small DeepSeek-V2: multi-head latent attention, YaRN, and group-limited experts.

The semantics are those of Hugging Face's DeepseekV2ForCausalLM (compare_hf.py checks the logits).
Two things differ only in layout: the experts of a layer live in stacked tensors, and training
computes all of them densely and weighs most by zero. At this size one large matrix product is
faster than gathering the tokens of each expert.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    vocab_size: int = 1280
    hidden_size: int = 256
    intermediate_size: int = 768  # the dense feed-forward network of the first layer
    moe_intermediate_size: int = 128
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    q_lora_rank: int = 128
    kv_lora_rank: int = 128
    qk_nope_head_dim: int = 32
    qk_rope_head_dim: int = 32
    v_head_dim: int = 64
    n_routed_experts: int = 8
    n_shared_experts: int = 1
    num_experts_per_tok: int = 2
    n_group: int = 4
    topk_group: int = 2
    routed_scaling_factor: float = 2.0
    first_k_dense_replace: int = 1
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    max_position_embeddings: int = 2048
    yarn_factor: float = 4.0
    yarn_original: int = 512
    yarn_beta_fast: float = 32.0
    yarn_beta_slow: float = 1.0
    yarn_mscale: float = 0.707  # used for both mscale and mscale_all_dim

    def to_hf(self, bos: int, eos: int) -> dict:
        """The config.json of the checkpoint, with every field the published models carry."""
        return {
            "architectures": ["DeepseekV2ForCausalLM"],
            "_name_or_path": "hearth-demo",
            "model_type": "deepseek_v2",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "aux_loss_alpha": 0.003,
            "bos_token_id": bos,
            "eos_token_id": eos,
            "first_k_dense_replace": self.first_k_dense_replace,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate_size,
            "kv_lora_rank": self.kv_lora_rank,
            "max_position_embeddings": self.max_position_embeddings,
            "moe_intermediate_size": self.moe_intermediate_size,
            "moe_layer_freq": 1,
            "n_group": self.n_group,
            "n_routed_experts": self.n_routed_experts,
            "n_shared_experts": self.n_shared_experts,
            "norm_topk_prob": False,
            "num_attention_heads": self.num_attention_heads,
            "num_experts_per_tok": self.num_experts_per_tok,
            "num_hidden_layers": self.num_hidden_layers,
            "num_key_value_heads": self.num_attention_heads,
            "pretraining_tp": 1,
            "q_lora_rank": self.q_lora_rank,
            "qk_nope_head_dim": self.qk_nope_head_dim,
            "qk_rope_head_dim": self.qk_rope_head_dim,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_scaling": {
                "beta_fast": self.yarn_beta_fast,
                "beta_slow": self.yarn_beta_slow,
                "factor": self.yarn_factor,
                "mscale": self.yarn_mscale,
                "mscale_all_dim": self.yarn_mscale,
                "original_max_position_embeddings": self.yarn_original,
                "type": "yarn",
            },
            "rope_theta": self.rope_theta,
            "routed_scaling_factor": self.routed_scaling_factor,
            "scoring_func": "softmax",
            "seq_aux": False,
            "tie_word_embeddings": False,
            "topk_group": self.topk_group,
            "topk_method": "group_limited_greedy",
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "v_head_dim": self.v_head_dim,
            "vocab_size": self.vocab_size,
        }

    @staticmethod
    def from_hf(d: dict) -> "Config":
        yarn = d["rope_scaling"]
        same = {k: d[k] for k in Config.__dataclass_fields__ if k in d}
        return Config(**same, yarn_factor=yarn["factor"],
                      yarn_original=yarn["original_max_position_embeddings"],
                      yarn_beta_fast=yarn["beta_fast"], yarn_beta_slow=yarn["beta_slow"],
                      yarn_mscale=yarn["mscale_all_dim"])


def yarn_frequencies(c: Config) -> torch.Tensor:
    """One angular frequency per rotated pair; slow pairs are divided by the YaRN factor."""
    dim = c.qk_rope_head_dim

    def pair_of(rotations: float) -> float:
        """The pair that turns `rotations` times within the original context."""
        return dim * math.log(c.yarn_original / (2 * math.pi * rotations)) / (2 * math.log(c.rope_theta))

    lo = max(math.floor(pair_of(c.yarn_beta_fast)), 0)
    hi = min(math.ceil(pair_of(c.yarn_beta_slow)), dim - 1)
    j = torch.arange(dim // 2, dtype=torch.float64)
    base = c.rope_theta ** (-2 * j / dim)
    ramp = ((j - lo) / max(hi - lo, 0.001)).clamp(0, 1)
    return (base * (1 - ramp) + base / c.yarn_factor * ramp).float()


def softmax_scale(c: Config) -> float:
    """1/sqrt(d) times YaRN's second multiplier m squared. (The first, on cos and sin, is 1 here.)"""
    m = 1 + 0.1 * c.yarn_mscale * math.log(c.yarn_factor)
    return (c.qk_nope_head_dim + c.qk_rope_head_dim) ** -0.5 * m * m


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding on adjacent pairs (2j, 2j+1), in float32; x is [..., dim]."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        h = x.float()
        h = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + self.eps)
        return (h * self.weight).to(x.dtype)


class Attention(nn.Module):
    """Multi-head latent attention in its expanded form, the one that suits training."""

    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        n = c.num_attention_heads
        self.q_a_proj = nn.Linear(c.hidden_size, c.q_lora_rank, bias=False)
        self.q_a_layernorm = RMSNorm(c.q_lora_rank, c.rms_norm_eps)
        self.q_b_proj = nn.Linear(c.q_lora_rank, n * (c.qk_nope_head_dim + c.qk_rope_head_dim), bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(c.hidden_size, c.kv_lora_rank + c.qk_rope_head_dim, bias=False)
        self.kv_a_layernorm = RMSNorm(c.kv_lora_rank, c.rms_norm_eps)
        self.kv_b_proj = nn.Linear(c.kv_lora_rank, n * (c.qk_nope_head_dim + c.v_head_dim), bias=False)
        self.o_proj = nn.Linear(n * c.v_head_dim, c.hidden_size, bias=False)
        self.scale = softmax_scale(c)

    def forward(self, x, cos, sin, mask):
        c, (batch, length, _) = self.c, x.shape
        n, nope, rope = c.num_attention_heads, c.qk_nope_head_dim, c.qk_rope_head_dim
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x))).view(batch, length, n, nope + rope)
        q = torch.cat((q[..., :nope], rotate(q[..., nope:], cos[:, :, None], sin[:, :, None])), -1)
        latent, k_pe = self.kv_a_proj_with_mqa(x).split((c.kv_lora_rank, rope), -1)
        k_pe = rotate(k_pe, cos, sin)[:, :, None].expand(-1, -1, n, -1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent)).view(batch, length, n, nope + c.v_head_dim)
        k = torch.cat((kv[..., :nope], k_pe), -1)
        v = kv[..., nope:]
        # Written out: on CPUs the backward pass of the fused attention takes twice as long at these lengths.
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        p = (q * self.scale @ k.mT).masked_fill(~mask, -math.inf).softmax(-1, torch.promote_types(q.dtype, torch.float32)).to(v.dtype)
        return self.o_proj((p @ v).transpose(1, 2).reshape(batch, length, n * c.v_head_dim))


class Dense(nn.Module):
    """down(silu(gate x) * up x)"""

    def __init__(self, hidden: int, width: int):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, width, bias=False)
        self.up_proj = nn.Linear(hidden, width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x)), None


class Experts(nn.Module):
    """Routed experts chosen within the best groups, plus one shared expert that sees every token."""

    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        e, m, h = c.n_routed_experts, c.moe_intermediate_size, c.hidden_size
        self.gate = nn.Linear(h, e, bias=False)  # the router
        self.gate_proj = nn.Parameter(torch.empty(e, m, h))
        self.up_proj = nn.Parameter(torch.empty(e, m, h))
        self.down_proj = nn.Parameter(torch.empty(e, h, m))
        self.shared_experts = Dense(h, m * c.n_shared_experts)

    def route(self, x):
        """[tokens, H] -> weights [tokens, E], zero for the experts not chosen, and the balance loss."""
        c = self.c
        with torch.autocast(x.device.type, enabled=False):
            p = F.linear(x.float(), self.gate.weight.float()).softmax(-1)
        groups = p.unflatten(-1, (c.n_group, -1)).amax(-1)
        keep = torch.zeros_like(groups).scatter(-1, groups.topk(c.topk_group, -1).indices, 1.0)
        keep = keep.repeat_interleave(c.n_routed_experts // c.n_group, -1)
        chosen = p.masked_fill(keep == 0, -math.inf).topk(c.num_experts_per_tok, -1).indices
        hit = torch.zeros_like(p).scatter(-1, chosen, 1.0)
        load = hit.mean(0) * (c.n_routed_experts / c.num_experts_per_tok)
        balance = (load * p.mean(0)).sum()  # 1 when even, n_routed_experts/num_experts_per_tok when collapsed
        return p * hit * c.routed_scaling_factor, balance

    def forward(self, x):
        c, shape = self.c, x.shape
        x = x.reshape(-1, c.hidden_size)
        weight, balance = self.route(x)
        shared = self.shared_experts
        gate = F.linear(x, torch.cat((self.gate_proj.flatten(0, 1), shared.gate_proj.weight)))
        up = F.linear(x, torch.cat((self.up_proj.flatten(0, 1), shared.up_proj.weight)))
        # Every unit of expert e is scaled by the token's weight for e; the shared expert by 1.
        weight = torch.cat((weight.repeat_interleave(c.moe_intermediate_size, -1),
                            weight.new_ones(1, 1).expand(x.shape[0], c.moe_intermediate_size * c.n_shared_experts)), -1)
        act = F.silu(gate) * up * weight.to(up.dtype)
        down = torch.cat((self.down_proj.permute(1, 0, 2).flatten(1), shared.down_proj.weight), 1)
        return F.linear(act, down).view(shape), balance


class Layer(nn.Module):
    def __init__(self, c: Config, index: int):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = Dense(c.hidden_size, c.intermediate_size) if index < c.first_k_dense_replace else Experts(c)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        y, balance = self.mlp(self.post_attention_layernorm(x))
        return x + y, balance


class DeepseekV2(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c, i) for i in range(c.num_hidden_layers))
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.lm_head = nn.Linear(c.hidden_size, c.vocab_size, bias=False)
        self.register_buffer("frequencies", yarn_frequencies(c), persistent=False)

        for name, p in self.named_parameters():
            if p.dim() < 2:
                continue  # norms stay at one
            std = p.shape[-1] ** -0.5
            if "embed_tokens" in name:
                std = 0.5
            elif name.endswith(("o_proj.weight", "down_proj", "down_proj.weight")):
                std *= (2 * c.num_hidden_layers) ** -0.5  # keeps the residual stream at unit size
            elif "lm_head" in name or "gate.weight" in name:
                std *= 0.3
            nn.init.normal_(p, std=std)

    def hidden(self, tokens, positions, documents):
        """Final normalised states and the mean balance loss.

        tokens, positions, documents: [batch, length]. A token sees the earlier tokens of its own
        document only, so several dialogues share one row.
        """
        angle = positions[..., None].float() * self.frequencies
        cos, sin = angle.cos(), angle.sin()
        length = tokens.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        mask = ((documents[:, :, None] == documents[:, None, :]) & causal)[:, None]
        x = self.embed_tokens(tokens)
        balances = []
        for layer in self.layers:
            x, balance = layer(x, cos, sin, mask)
            if balance is not None:
                balances.append(balance)
        return self.norm(x), torch.stack(balances).mean()

    def forward(self, tokens):
        """Logits of whole dialogues, one per row, from position 0."""
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        x, _ = self.hidden(tokens, positions, torch.zeros_like(tokens))
        return self.lm_head(x)
