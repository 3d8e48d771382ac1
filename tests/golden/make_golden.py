"""Writes models/: tiny random checkpoints, and the logits that Hugging Face's own classes compute from them.

    python make_golden.py [NAME...]      torch, transformers >= 5.20 (older DeepseekV2 lacks the m^2 softmax factor)

The classes run in float64 throughout: they cast router, norms, softmax and rotary angles to float32, and those casts
are widened here. An independent reference (reference.py) must agree, and chooses the tokens: a prompt on which no
routing decision is close, reaching beyond YaRN's original context, and a greedy continuation without a close call.
"""

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from transformers import modeling_rope_utils
from transformers.models.deepseek_v2 import modeling_deepseek_v2
from transformers.models.deepseek_v3 import modeling_deepseek_v3

from checkpoint import FIRST_SPECIAL, FP8_BLOCK, config, save, save_tensors, write_json, yarn
from make_chat_cases import TEMPLATES
from reference import Reference, load_tensors

HERE = Path(__file__).parent
N_PROMPT, N_GREEDY = 48, 16
ROUTER_MARGIN = 0.03  # of every token of the prompt
GREEDY_MARGIN = (0.004, 0.06)  # routing margin and distance of the two best logits along the continuation

# V2-Lite: no query latent, plain softmax routing, two shared experts.
LITE = dict(
    hidden_size=64,
    intermediate_size=96,
    moe_intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    kv_lora_rank=32,
    qk_nope_head_dim=16,
    qk_rope_head_dim=16,
    v_head_dim=16,
    n_routed_experts=8,
    n_shared_experts=2,
    num_experts_per_tok=3,
)
# V2 and V3: query latent, four groups of experts of which two are kept, two MoE layers one after the other.
LARGE = dict(
    hidden_size=64,
    intermediate_size=64,
    moe_intermediate_size=16,
    num_hidden_layers=3,
    num_attention_heads=4,
    q_lora_rank=32,
    kv_lora_rank=32,
    qk_nope_head_dim=16,
    qk_rope_head_dim=16,
    v_head_dim=16,
    n_routed_experts=12,
    n_shared_experts=1,
    num_experts_per_tok=3,
    n_group=4,
    topk_group=2,
)
# The published ramp lies outside so small a rotary part; these bounds put all five steps of it inside.
SOFT_RAMP = dict(original_max_position_embeddings=32, beta_fast=4, beta_slow=0.25)
FP8 = dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=[FP8_BLOCK, FP8_BLOCK])

VARIANTS = {
    "lite": dict(config=config("v2", **LITE, rope_scaling=yarn(0.707, original_max_position_embeddings=16))),
    "lite_plain": dict(  # F16, no YaRN, widths that fit no block of 32
        config=config(
            "v2",
            **dict(
                LITE,
                hidden_size=48,
                moe_intermediate_size=24,
                intermediate_size=80,
                qk_nope_head_dim=24,
                n_routed_experts=6,
                num_experts_per_tok=2,
            ),
            torch_dtype="float16",
        )
    ),
    "v2": dict(
        config=config(
            "v2",
            **dict(LARGE, n_shared_experts=2),
            topk_method="group_limited_greedy",
            routed_scaling_factor=4.0,
            rope_theta=1000,
            rope_scaling=yarn(0.707, **SOFT_RAMP),
        ),
        shards=3,
    ),
    "v3": dict(config=config("v3", **LARGE, rope_theta=1000, rope_scaling=yarn(1.0, **SOFT_RAMP))),
    "v3_plain": dict(  # no YaRN, no groups, a multi-token-prediction layer that inference ignores
        config=config(
            "v3",
            **dict(
                LARGE,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                n_group=1,
                topk_group=1,
                n_routed_experts=8,
                moe_intermediate_size=32,
            ),
            num_nextn_predict_layers=1,
        )
    ),
    "v3fp8": dict(  # rows and columns of 160, 256, 48 and 32: whole and partial blocks of 128x128
        config=config(
            "v3",
            **dict(
                LARGE,
                hidden_size=256,
                intermediate_size=160,
                num_hidden_layers=2,
                n_routed_experts=8,
                moe_intermediate_size=32,
                num_experts_per_tok=2,
                q_lora_rank=48,
            ),
            rope_scaling=yarn(1.0, original_max_position_embeddings=16),
            quantization_config=FP8,
        )
    ),
}


class WideTorch:
    """Stands for the module `torch` inside transformers, with float64 in the place of float32."""

    float32 = float = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


@contextlib.contextmanager
def float64_everywhere():
    modules = [modeling_deepseek_v2, modeling_deepseek_v3, modeling_rope_utils]
    narrow = torch.Tensor.float
    for module in modules:
        module.torch = WideTorch()
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        for module in modules:
            module.torch = torch
        torch.Tensor.float = narrow


def hugging_face_logits(directory, tokens, dtype):
    """Logits [T, V] of the transformers class that config.json names. FP8 weights reach it already dequantized: its own
    FP8 kernels need a GPU and quantize the activations too."""
    with tempfile.TemporaryDirectory() as scratch:
        c = Reference(directory).config
        if c.pop("quantization_config", None):
            tensors = {name: t.to(dtype) for name, t in load_tensors(directory).items()}
            write_json(Path(scratch) / "config.json", c)
            save_tensors(Path(scratch), tensors)
            directory = scratch
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype,
            attn_implementation="eager",
            experts_implementation="eager",
            output_loading_info=True,
        )
    unexpected = [name for name in report["unexpected_keys"] if ".layers." not in name]
    if report["missing_keys"] or report["mismatched_keys"] or unexpected:
        raise SystemExit(f"{directory}: transformers did not load every tensor: {report}")
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]


def relative(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def greedy(model, prompts):
    """Continues prompts [B, T] by N_GREEDY tokens. -> sequences, smallest routing margin and logit gap of each."""
    for _ in range(N_GREEDY):
        logits = model.forward(prompts)[:, -1]
        prompts = torch.cat([prompts, logits.argmax(-1, keepdim=True)], 1)
    logits = model.forward(prompts[:, :-1])[:, N_PROMPT - 1 :]
    best = logits.topk(2, -1)[0]
    return prompts, model.margin[:, N_PROMPT:].amin(-1), (best[..., 0] - best[..., 1]).amin(-1)


def choose_tokens(model, seed):
    """BOS and ordinary tokens without a close routing call, and their continuation with its margins, or None."""
    generator = torch.Generator().manual_seed(seed)

    def safe_extensions(prompt, count):
        found = []
        for tokens in torch.randperm(FIRST_SPECIAL, generator=generator).split(32):
            rows = torch.cat([prompt.expand(len(tokens), -1), tokens[:, None]], 1)
            model.forward(rows)
            found.extend(rows[model.margin[:, -1] >= ROUTER_MARGIN])
            if len(found) >= count:
                break
        return torch.stack(found[:count])

    prompt = torch.tensor([[FIRST_SPECIAL]])
    model.forward(prompt)
    if model.margin.min() < ROUTER_MARGIN:
        return None
    while prompt.shape[1] < N_PROMPT - 2:
        prompt = safe_extensions(prompt, 1)
    best = None
    for row in safe_extensions(prompt, 24):
        sequences, routing, gap = greedy(model, safe_extensions(row[None], 24))
        ordinary = (sequences[:, N_PROMPT:] < FIRST_SPECIAL).all(-1)
        score = torch.minimum(routing / GREEDY_MARGIN[0], gap / GREEDY_MARGIN[1]) * ordinary
        i = score.argmax()
        if best is None or score[i] > best[0]:
            best = (score[i], sequences[i], routing[i], gap[i])
        if best[0] >= 1:
            break
    return (best[1].tolist(), best[2].item(), best[3].item()) if best[0] >= 1 else None


def scale_head(directory, shards):
    """Makes the logits' root mean square 1.5 by scaling lm_head, which is linear."""
    model = Reference(directory)
    tokens = torch.randint(FIRST_SPECIAL, (8, N_PROMPT), generator=torch.Generator().manual_seed(1))
    factor = 1.5 / model.forward(tokens).square().mean().sqrt().item()
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        tensors.update(load_file(path))
    for name in tensors:
        if name == "lm_head.weight" or name.endswith("shared_head.head.weight"):
            tensors[name] = (tensors[name].float() * factor).to(tensors[name].dtype)
    save_tensors(directory, tensors, shards)


def rule_differences(model, tokens):
    """On how many tokens the wrong routing rules would choose other experts than the right ones."""

    def chosen():
        model.forward([tokens])
        return torch.stack(model.chosen)

    right, rule = chosen(), model.group_rule
    model.group_rule = "top2" if rule == "max" else "max"
    other_rule = chosen()
    model.group_rule, model.fill = rule, 0.0
    zero_fill = chosen()
    model.fill = -torch.inf
    return {
        name: int((other != right).any(-1).any(0).sum())
        for name, other in [
            ("tokens_where_other_group_rule_differs", other_rule),
            ("tokens_where_zero_fill_differs", zero_fill),
        ]
    }


def make(name, config, shards=1):
    directory = HERE / "models" / name
    shutil.rmtree(directory, ignore_errors=True)
    v3 = config["model_type"] == "deepseek_v3"
    template = TEMPLATES["v3_joined" if v3 else "v2"]
    for seed in range(1, 100):
        print(f"{name}: seed {seed}", flush=True)
        save(directory, config, seed, "deepseek-v3" if v3 else "deepseek-llm", template, shards)
        scale_head(directory, shards)
        model = Reference(directory)
        found = choose_tokens(model, seed)
        if found:
            break
    sequence, greedy_routing, greedy_gap = found
    prompt, continuation = sequence[:N_PROMPT], sequence[N_PROMPT:]

    reference = model.forward([prompt])[0]
    margin = model.margin.min().item()
    with float64_everywhere():
        logits = hugging_face_logits(directory, prompt, torch.float64)
        tail = hugging_face_logits(directory, sequence[:-1], torch.float64)[N_PROMPT - 1 :].argmax(-1).tolist()
    assert logits.dtype == torch.float64 and tail == continuation
    facts = {
        "model": name,
        "made_by": f"transformers {transformers.__version__} {config['architectures'][0]}, float64",
        "seed": seed,
        "tokens": prompt,
        "greedy": continuation,
        "router_margin": margin,
        "greedy_router_margin": greedy_routing,
        "greedy_logit_margin": greedy_gap,
        "absmax": logits.abs().max().item(),
        "rms": logits.square().mean().sqrt().item(),
        "independent_reference": relative(reference, logits),
        "same_class_in_float32": relative(hugging_face_logits(directory, prompt, torch.float32).double(), logits),
    }
    if config["n_group"] > 1:
        facts |= rule_differences(model, prompt)
    assert (
        margin >= ROUTER_MARGIN and facts["independent_reference"] < 1e-12 and facts["same_class_in_float32"] < 1e-4
    ), facts
    np.save(directory / "logits.npy", logits.float().numpy())
    write_json(directory / "logits.json", facts)
    size = sum(f.stat().st_size for f in directory.iterdir()) // 1024
    print(f"{name}: {size} KiB", {k: v for k, v in facts.items() if isinstance(v, (int, float))}, flush=True)


def main():
    transformers.logging.set_verbosity_error()
    for name in sys.argv[1:] or VARIANTS:
        make(name, **VARIANTS[name])


if __name__ == "__main__":
    main()
