"""The model as a Hugging Face checkpoint: config.json, model.safetensors, tokenizer.

V2 is in bfloat16. V3 is as DeepSeek publishes it: projections in FP8 (E4M3) with one scale for every 128 x 128 block.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import tokenizer as tk
from model import Config, Deepseek

BLOCK = 128  # rows and columns that share a scale


def to_fp8(w):
    """[rows, cols] -> E4M3 and the blocks' scales, by which it has to be multiplied."""
    rows, cols = w.shape
    blocks = torch.nn.functional.pad(w.float(), (0, -cols % BLOCK, 0, -rows % BLOCK)).unflatten(1, (-1, BLOCK)).unflatten(0, (-1, BLOCK))
    scale = blocks.abs().amax((1, 3)).clamp(min=1e-12) / torch.finfo(torch.float8_e4m3fn).max
    coded = (blocks / scale[:, None, :, None]).flatten(2).flatten(0, 1)[:rows, :cols]
    return coded.to(torch.float8_e4m3fn).contiguous(), scale


def from_fp8(w, scale):
    rows, cols = w.shape
    return w.float() * scale.repeat_interleave(BLOCK, 0)[:rows].repeat_interleave(BLOCK, 1)[:, :cols]


def published_name(c: Config, name: str) -> str:
    """Where a tensor of the trunk or of the MTP layer lies in the checkpoint."""
    if name.startswith("mtp."):
        inside = name.removeprefix("mtp.").removeprefix("layer.")
        return f"model.layers.{c.num_hidden_layers}." + ("shared_head." + inside if inside == "norm.weight" else inside)
    return name if name.startswith("lm_head") else "model." + name


def to_hf(model: Deepseek) -> dict:
    """Our state under the published names: stacked experts taken apart. The MTP layer shares embeddings and head with the
    trunk, of which the published models repeat copies; here they are stored once."""
    whole = {}
    for name, tensor in model.state_dict().items():
        if name.endswith(("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")):
            layer, projection = name.rsplit(".", 1)
            for e, expert in enumerate(tensor):
                whole[published_name(model.c, f"{layer}.experts.{e}.{projection}.weight")] = expert
        else:
            whole[published_name(model.c, name)] = tensor
    out = {}
    for name, tensor in whole.items():
        if model.c.is_v3 and name.endswith(("proj.weight", "proj_with_mqa.weight")) and "eh_proj" not in name:
            out[name], out[name + "_scale_inv"] = to_fp8(tensor.cpu())
        elif name.endswith("e_score_correction_bias"):
            out[name] = tensor.cpu().float()
        else:
            out[name] = tensor.to("cpu", torch.bfloat16).contiguous()
    return out


def from_hf(model: Deepseek, tensors: dict):
    def read(name):
        name = published_name(model.c, name)
        scale = tensors.get(name + "_scale_inv")
        return tensors[name].float() if scale is None else from_fp8(tensors[name], scale)

    state = {}
    for name in model.state_dict():
        if name.endswith(("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")):
            layer, projection = name.rsplit(".", 1)
            state[name] = torch.stack([read(f"{layer}.experts.{e}.{projection}.weight") for e in range(model.c.n_routed_experts)])
        else:
            state[name] = read(name)
    model.load_state_dict(state)


def export(model: Deepseek, folder: Path, t):
    ids = {s: t.token_to_id(s) for s in (tk.BOS, tk.EOS)}
    config = model.c.to_hf(bos=ids[tk.BOS], eos=ids[tk.EOS])
    generation = {"_from_model_config": True, "bos_token_id": ids[tk.BOS], "eos_token_id": ids[tk.EOS],
                  "do_sample": True, "temperature": 0.3, "top_p": 0.95}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    new = folder / "model.safetensors.new"
    save_file(to_hf(model), new, metadata={"format": "pt"})
    new.replace(folder / "model.safetensors")


def load(folder: Path):
    model = Deepseek(Config.from_hf(json.loads((folder / "config.json").read_text())))
    from_hf(model, load_file(folder / "model.safetensors"))
    return model, tk.load(folder)
