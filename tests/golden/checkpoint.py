"""Random checkpoints of the DeepSeek-V2 family in Hugging Face form, scaled so that they behave like trained ones:
projections keep their input's size, attention looks at a few tokens, routers prefer some experts.
"""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file

from pre_tokenizers import byte_letters, tokenizer_json

FP8_BLOCK = 128
FP8_MAX = 448.0

BOS, EOS = "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"
USER, ASSISTANT = "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>"
MERGES = [("\u0120", "t"), ("h", "e"), ("\u0120t", "he"), ("i", "n"), ("\u0120", "a"), ("e", "r")]
SPECIALS = [BOS, EOS, USER, ASSISTANT]
FIRST_SPECIAL = 256 + len(MERGES)
N_TOKENS = FIRST_SPECIAL + len(SPECIALS)  # rows of the embedding beyond these are padding

YARN_DEFAULTS = {"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1}


def config(family, **fields):
    """config.json of a family ("v2" or "v3"): the published fields, with those of a small model given by the caller."""
    v3 = family == "v3"
    result = {
        "architectures": [f"Deepseek{family.upper()}ForCausalLM"],
        "model_type": f"deepseek_{family}",
        "vocab_size": 272,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000,
        "rope_scaling": None,
        "max_position_embeddings": 1024,
        "attention_bias": False,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": FIRST_SPECIAL,
        "eos_token_id": FIRST_SPECIAL + 1,
        "q_lora_rank": None,
        "moe_layer_freq": 1,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
        "topk_method": "noaux_tc" if v3 else "greedy",
        "scoring_func": "sigmoid" if v3 else "softmax",
        "norm_topk_prob": v3,
        "routed_scaling_factor": 2.5 if v3 else 1.0,
    }
    result.update(fields)
    result["num_key_value_heads"] = result["num_attention_heads"]
    return result


def yarn(mscale, **fields):
    return dict(YARN_DEFAULTS, mscale=mscale, mscale_all_dim=mscale, **fields)


def layer_tensors(c, layer, dense):
    """(name, shape, gain) of one decoder layer; gain is the size of the output for an input of size 1, None a norm."""
    name, hidden = f"model.layers.{layer}.", c["hidden_size"]
    heads, nope, rope, value = (c["num_attention_heads"], c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"])
    yield name + "input_layernorm", [hidden], None
    yield name + "post_attention_layernorm", [hidden], None
    attention = name + "self_attn."
    if c["q_lora_rank"]:
        yield attention + "q_a_proj", [c["q_lora_rank"], hidden], 1.0
        yield attention + "q_a_layernorm", [c["q_lora_rank"]], None
        yield attention + "q_b_proj", [heads * (nope + rope), c["q_lora_rank"]], 1.5
    else:
        yield attention + "q_proj", [heads * (nope + rope), hidden], 1.5
    yield attention + "kv_a_proj_with_mqa", [c["kv_lora_rank"] + rope, hidden], 1.0
    yield attention + "kv_a_layernorm", [c["kv_lora_rank"]], None
    yield attention + "kv_b_proj", [heads * (nope + value), c["kv_lora_rank"]], 1.0
    yield attention + "o_proj", [hidden, heads * value], 1.5

    def mlp(prefix, width):
        yield prefix + "gate_proj", [width, hidden], 1.5
        yield prefix + "up_proj", [width, hidden], 1.5
        yield prefix + "down_proj", [hidden, width], 1.0

    if dense:
        yield from mlp(name + "mlp.", c["intermediate_size"])
        return
    yield name + "mlp.gate", [c["n_routed_experts"], hidden], 1.5
    for expert in range(c["n_routed_experts"]):
        yield from mlp(f"{name}mlp.experts.{expert}.", c["moe_intermediate_size"])
    yield from mlp(name + "mlp.shared_experts.", c["moe_intermediate_size"] * c["n_shared_experts"])


def all_tensors(c):
    hidden, vocabulary, layers = c["hidden_size"], c["vocab_size"], c["num_hidden_layers"]
    yield "model.embed_tokens", [vocabulary, hidden], math.sqrt(hidden)
    for layer in range(layers):
        yield from layer_tensors(c, layer, layer < c["first_k_dense_replace"])
    yield "model.norm", [hidden], None
    yield "lm_head", [vocabulary, hidden], 1.5
    for layer in range(layers, layers + c.get("num_nextn_predict_layers", 0)):  # multi-token prediction
        name = f"model.layers.{layer}."
        yield from layer_tensors(c, layer, False)
        yield name + "enorm", [hidden], None
        yield name + "hnorm", [hidden], None
        yield name + "eh_proj", [hidden, 2 * hidden], 1.0
        yield name + "shared_head.norm", [hidden], None


def quantize_fp8(weight):
    """weight [n, k] -> e4m3 [n, k] and its scales, one float32 for each block of 128x128 (partial at the edges)."""
    rows, cols = weight.shape
    scales = torch.empty(math.ceil(rows / FP8_BLOCK), math.ceil(cols / FP8_BLOCK))
    quantized = torch.empty(rows, cols, dtype=torch.float8_e4m3fn)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            block = (slice(i * FP8_BLOCK, (i + 1) * FP8_BLOCK), slice(j * FP8_BLOCK, (j + 1) * FP8_BLOCK))
            scales[i, j] = weight[block].abs().max() / FP8_MAX
            quantized[block] = (weight[block].float() / scales[i, j]).to(torch.float8_e4m3fn)
    return quantized, scales


def random_tensors(c, seed, residual_gain=1.0):
    """Every tensor of the checkpoint, in the types it is stored in. What attention and experts add to the residual is
    multiplied by `residual_gain`: below 1 a rounding error grows less from layer to layer."""
    generator = torch.Generator().manual_seed(seed)
    stored = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[c["torch_dtype"]]
    tensors = {}
    for name, shape, gain in all_tensors(c):
        noise = torch.randn(shape, generator=generator)
        value = 1 + 0.1 * noise if gain is None else noise * gain / math.sqrt(shape[-1])
        if name.endswith(("o_proj", "down_proj")):
            value = value * residual_gain
        fp8 = "quantization_config" in c and ("_proj" in name and "eh_proj" not in name)
        if fp8:
            # Blocks of different sizes, as trained ones are: a loader that mixes up scales is far off.
            block_rows = torch.arange(shape[0])[:, None] // FP8_BLOCK
            block_cols = torch.arange(shape[1])[None, :] // FP8_BLOCK
            value = value * torch.where((block_rows + block_cols) % 2 == 0, 1.25, 0.75)
            tensors[name + ".weight"], tensors[name + ".weight_scale_inv"] = quantize_fp8(value)
        else:
            tensors[name + ".weight"] = value.to(stored)
        if name.endswith("mlp.gate") and c["topk_method"] == "noaux_tc":
            # Low enough to make many selection scores negative: filling refused groups with 0 instead of -inf shows.
            bias = -0.75 + 0.2 * torch.randn(shape[0], generator=generator)
            tensors[name + ".e_score_correction_bias"] = bias
    for layer in range(c["num_hidden_layers"], c["num_hidden_layers"] + c.get("num_nextn_predict_layers", 0)):
        tensors[f"model.layers.{layer}.embed_tokens.weight"] = tensors["model.embed_tokens.weight"].clone()
        tensors[f"model.layers.{layer}.shared_head.head.weight"] = tensors["lm_head.weight"].clone()
    return tensors


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def save_tensors(directory, tensors, shards=1):
    """model.safetensors, or shards of about equal size with their index, as transformers writes them."""
    metadata = {"format": "pt"}
    if shards == 1:
        save_file(tensors, directory / "model.safetensors", metadata)
        return
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    files, weight_map, before = [{} for _ in range(shards)], {}, 0
    for name, tensor in tensors.items():
        shard = before * shards // total
        files[shard][name] = tensor
        weight_map[name] = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        before += tensor.numel() * tensor.element_size()
    for shard, content in enumerate(files):
        save_file(content, directory / f"model-{shard + 1:05d}-of-{shards:05d}.safetensors", metadata)
    write_json(
        directory / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map}
    )


def save_tokenizer(directory, c, pre, chat_template):
    vocabulary = {letter: byte for byte, letter in enumerate(byte_letters())}
    for left, right in MERGES:
        vocabulary[left + right] = len(vocabulary)
    specials = {text: FIRST_SPECIAL + i for i, text in enumerate(SPECIALS)}
    write_json(directory / "tokenizer.json", tokenizer_json(pre, vocabulary, MERGES, specials))
    write_json(
        directory / "tokenizer_config.json",
        {
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": BOS,
            "eos_token": EOS,
            "pad_token": EOS,
            "model_max_length": c["max_position_embeddings"],
            "tokenizer_class": "LlamaTokenizerFast",
            "chat_template": chat_template,
        },
    )
    write_json(
        directory / "generation_config.json",
        {
            "bos_token_id": c["bos_token_id"],
            "eos_token_id": c["eos_token_id"],
            "do_sample": True,
            "temperature": 0.3,
            "top_p": 0.95,
        },
    )


def save(directory, c, seed, pre, chat_template, shards=1, residual_gain=1.0):
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "config.json", c)
    save_tensors(directory, random_tensors(c, seed, residual_gain), shards)
    save_tokenizer(directory, c, pre, chat_template)
