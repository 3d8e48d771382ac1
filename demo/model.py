"""Small models of the V2 and the V3 architecture: multi-head latent attention, YaRN, and group-limited experts.

The semantics are those of Hugging Face's DeepseekV2ForCausalLM and DeepseekV3ForCausalLM (compare_hf.py checks the
logits). V3 chooses experts by sigmoid scores and a bias that keeps them evenly loaded, and has a further layer for
multi-token prediction (MTP), which those classes leave out.
The experts of a layer live in stacked tensors, and in training each takes as many tokens.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    model_type: str = "deepseek_v2"
    vocab_size: int = 1280
    hidden_size: int = 256
    intermediate_size: int = 768  # the dense feed-forward network of the first layer
    moe_intermediate_size: int = 128
    num_hidden_layers: int = 4
    num_nextn_predict_layers: int = 0
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
    aux_loss_alpha: float = 0.01  # weight of the balance loss

    @staticmethod
    def v3() -> "Config":
        """Rows of 256 throughout, so that every 256-wide block format applies; two groups of three experts."""
        return Config(model_type="deepseek_v3", moe_intermediate_size=256, num_hidden_layers=3, num_nextn_predict_layers=1,
                      q_lora_rank=256, kv_lora_rank=256, qk_nope_head_dim=64, n_routed_experts=6, n_group=2, topk_group=1,
                      routed_scaling_factor=2.5, yarn_mscale=1.0, aux_loss_alpha=1e-4)

    @property
    def is_v3(self) -> bool:
        return self.model_type == "deepseek_v3"

    def to_hf(self, bos: int, eos: int) -> dict:
        """The config.json of the checkpoint, with every field the published models carry."""
        routing = {"scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": True} if self.is_v3 else \
                  {"scoring_func": "softmax", "topk_method": "group_limited_greedy", "norm_topk_prob": False}
        own = {"num_nextn_predict_layers": self.num_nextn_predict_layers,
               "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                       "weight_block_size": [128, 128]}} if self.is_v3 else {}
        same = {name: getattr(self, name) for name in Config.__dataclass_fields__
                if not name.startswith("yarn_") and name != "num_nextn_predict_layers"}
        return {
            "architectures": ["DeepseekV3ForCausalLM" if self.is_v3 else "DeepseekV2ForCausalLM"],
            "_name_or_path": "hearth-demo-v3" if self.is_v3 else "hearth-demo",
            **same,
            **routing,
            **own,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": bos,
            "eos_token_id": eos,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "moe_layer_freq": 1,
            "num_key_value_heads": self.num_attention_heads,
            "pretraining_tp": 1,
            "rope_scaling": {
                "beta_fast": self.yarn_beta_fast,
                "beta_slow": self.yarn_beta_slow,
                "factor": self.yarn_factor,
                "mscale": self.yarn_mscale,
                "mscale_all_dim": self.yarn_mscale,
                "original_max_position_embeddings": self.yarn_original,
                "type": "yarn",
            },
            "seq_aux": self.is_v3,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "use_cache": True,
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


class Router(nn.Module):
    """Which experts a token goes to, and with what weight."""

    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.weight = nn.Parameter(torch.empty(c.n_routed_experts, c.hidden_size))
        if c.is_v3:  # added to the scores by which experts are chosen; moved by the load, not by a gradient
            self.register_buffer("e_score_correction_bias", torch.zeros(c.n_routed_experts))

    def forward(self, x):
        """[tokens, H] -> weights [tokens, E], zero for the experts not chosen, the balance loss, and the load [E], 1 on average."""
        c = self.c
        with torch.autocast(x.device.type, enabled=False):
            logits = F.linear(x.float(), self.weight.float())
        p = logits.sigmoid() if c.is_v3 else logits.softmax(-1)
        choice = p + self.e_score_correction_bias if c.is_v3 else p
        groups = choice.unflatten(-1, (c.n_group, -1))
        groups = groups.topk(2, -1).values.sum(-1) if c.is_v3 else groups.amax(-1)
        keep = torch.zeros_like(groups).scatter(-1, groups.topk(c.topk_group, -1).indices, 1.0)
        keep = keep.repeat_interleave(c.n_routed_experts // c.n_group, -1)
        chosen = choice.masked_fill(keep == 0, -math.inf).topk(c.num_experts_per_tok, -1).indices
        hit = torch.zeros_like(p).scatter(-1, chosen, 1.0)
        load = hit.mean(0) * (c.n_routed_experts / c.num_experts_per_tok)
        if c.is_v3:
            share = p / p.sum(-1, keepdim=True)
            weight = p * hit
            weight = weight / weight.sum(-1, keepdim=True)
        else:
            share = weight = p
            weight = weight * hit
        balance = (load * share.mean(0)).sum()  # 1 when even, n_routed_experts/num_experts_per_tok when collapsed
        return weight * c.routed_scaling_factor, balance, load.detach()


class Experts(nn.Module):
    """Routed experts chosen within the best groups, plus one shared expert that sees every token."""

    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        e, m, h = c.n_routed_experts, c.moe_intermediate_size, c.hidden_size
        self.gate = Router(c)
        self.gate_proj = nn.Parameter(torch.empty(e, m, h))
        self.up_proj = nn.Parameter(torch.empty(e, m, h))
        self.down_proj = nn.Parameter(torch.empty(e, h, m))
        self.shared_experts = Dense(h, m * c.n_shared_experts)

    def forward(self, x):
        shape = x.shape
        x = x.reshape(-1, self.c.hidden_size)
        weight, balance, load = self.gate(x)
        routed = self.in_training(x, weight) if self.training else self.exactly(x, weight)
        return (self.shared_experts(x)[0] + routed).view(shape), (balance, load)

    def exactly(self, x, weight):
        """All experts for all tokens; most are weighed by zero."""
        out = 0
        for e in range(self.c.n_routed_experts):
            h = F.silu(F.linear(x, self.gate_proj[e])) * F.linear(x, self.up_proj[e])
            out = out + F.linear(h * weight[:, e, None].to(h.dtype), self.down_proj[e])
        return out

    def in_training(self, x, weight):
        """Every expert for the tokens that give it most weight, half as many again as its share: twice as fast. The load is
        even enough that hardly any token loses an expert; where an expert has fewer tokens, others are weighed by zero."""
        c = self.c
        capacity = x.shape[0] * c.num_experts_per_tok * 3 // (c.n_routed_experts * 2)
        weight, token = weight.t().topk(capacity, -1)  # [E, capacity]
        mine = x[token.flatten()].view(*token.shape, -1)
        h = F.silu(torch.bmm(mine, self.gate_proj.mT)) * torch.bmm(mine, self.up_proj.mT)
        out = torch.bmm(h * weight[..., None].to(h.dtype), self.down_proj.mT)
        return torch.zeros_like(x, dtype=torch.float32).index_add(0, token.flatten(), out.flatten(0, 1).float()).to(x.dtype)


class Layer(nn.Module):
    def __init__(self, c: Config, index: int):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = Dense(c.hidden_size, c.intermediate_size) if index < c.first_k_dense_replace else Experts(c)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        y, routing = self.mlp(self.post_attention_layernorm(x))
        return x + y, routing


class NextToken(nn.Module):
    """Multi-token prediction (DeepSeek-V3, section 2.2): the token after the next, from the trunk's state and the next token."""

    def __init__(self, c: Config):
        super().__init__()
        self.enorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.hnorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.eh_proj = nn.Linear(2 * c.hidden_size, c.hidden_size, bias=False)
        self.layer = Layer(c, c.num_hidden_layers)
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, embedding, state, cos, sin, mask):
        """Embeddings of the next tokens and normalised states of the trunk, [batch, length, H] each."""
        x = self.eh_proj(torch.cat((self.enorm(embedding), self.hnorm(state)), -1))
        x, routing = self.layer(x, cos, sin, mask)
        return self.norm(x), routing


class Deepseek(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c, i) for i in range(c.num_hidden_layers))
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.mtp = NextToken(c) if c.num_nextn_predict_layers else None
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

    def routers(self):
        return [m for m in self.modules() if isinstance(m, Router)]

    def hidden(self, tokens, positions, documents):
        """Final normalised states, those of the MTP layer or None, the mean balance loss, and the routers' loads [layers, E].

        tokens, positions, documents: [batch, length]. A token sees the earlier tokens of its own
        document only, so several dialogues share one row.
        """
        angle = positions[..., None].float() * self.frequencies
        cos, sin = angle.cos(), angle.sin()
        length = tokens.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        mask = ((documents[:, :, None] == documents[:, None, :]) & causal)[:, None]
        embedding = x = self.embed_tokens(tokens)
        routings = []
        for layer in self.layers:
            x, routing = layer(x, cos, sin, mask)
            routings.append(routing)
        x, ahead = self.norm(x), None
        if self.mtp is not None:
            # The last column has no next token; what is made of it is never learnt.
            ahead, routing = self.mtp(embedding.roll(-1, 1), x, cos, sin, mask)
            routings.append(routing)
        balances, loads = zip(*(r for r in routings if r is not None))
        return x, ahead, torch.stack(balances).mean(), torch.stack(loads)

    def forward(self, tokens):
        """Logits of whole dialogues, one per row, from position 0, and the MTP layer's: at i those of token i + 2."""
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        x, ahead, _, _ = self.hidden(tokens, positions, torch.zeros_like(tokens))
        return self.lm_head(x), None if ahead is None else self.lm_head(ahead)

    @torch.no_grad()
    def even_out(self, loads, speed: float = 1e-3):
        """Moves the routers' biases: up where an expert has less than its share (DeepSeek-V3, section 2.1.2)."""
        for router, load in zip(self.routers(), loads):
            router.e_score_correction_bias += speed * (1 - load).sign()
