"""The model as a Hugging Face checkpoint: config.json, model.safetensors in bfloat16, tokenizer."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import tokenizer as tk
from model import Config, DeepseekV2


def to_hf(model: DeepseekV2) -> dict:
    """Our state under the published names: stacked experts taken apart, `model.` before the trunk."""
    out = {}
    for name, tensor in model.state_dict().items():
        if name.endswith(("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")):
            layer, projection = name.rsplit(".", 1)
            for e, expert in enumerate(tensor):
                out[f"model.{layer}.experts.{e}.{projection}.weight"] = expert
        else:
            out[name if name.startswith("lm_head") else "model." + name] = tensor
    return {k: v.to("cpu", torch.bfloat16).contiguous() for k, v in out.items()}


def from_hf(model: DeepseekV2, tensors: dict):
    state = {}
    for name in model.state_dict():
        if name.endswith(("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")):
            layer, projection = name.rsplit(".", 1)
            state[name] = torch.stack([tensors[f"model.{layer}.experts.{e}.{projection}.weight"].float()
                                       for e in range(model.c.n_routed_experts)])
        else:
            state[name] = tensors[name if name.startswith("lm_head") else "model." + name].float()
    model.load_state_dict(state)


def export(model: DeepseekV2, folder: Path, t):
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
    model = DeepseekV2(Config.from_hf(json.loads((folder / "config.json").read_text())))
    from_hf(model, load_file(folder / "model.safetensors"))
    return model, tk.load(folder)
