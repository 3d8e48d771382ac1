#!/usr/bin/env python3
"""Compares a checkpoint's logits in model.py with those of transformers' own class for its architecture.

    python demo/compare_hf.py demo/checkpoint

Needs a transformers release whose deepseek_v2 multiplies the softmax scale by YaRN's m squared. FP8 weights are compared
as float32, for transformers multiplies FP8 on GPUs only; the MTP layer is not compared, for its classes have none.
Also checks that transformers reads the tokenizer and chat template as we mean them.
"""

import argparse
import inspect
import json
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.deepseek_v2 import modeling_deepseek_v2

import checkpoint
from dialogues import Encoder
from train import load_items


def as_float32(folder: Path, out: Path):
    """The checkpoint without FP8, for transformers to read."""
    config = json.loads((folder / "config.json").read_text())
    config.pop("quantization_config", None)
    (out / "config.json").write_text(json.dumps(config | {"torch_dtype": "float32"}))
    tensors = load_file(folder / "model.safetensors")
    save_file({name: checkpoint.from_fp8(w, tensors[name + "_scale_inv"]) if name + "_scale_inv" in tensors else w.float()
               for name, w in tensors.items() if not name.endswith("_scale_inv")}, out / "model.safetensors", metadata={"format": "pt"})


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    folder = parser.parse_args().checkpoint
    if "mscale_all_dim" not in inspect.getsource(modeling_deepseek_v2):
        raise SystemExit(f"transformers {transformers.__version__} lacks the mscale_all_dim factor; take a newer one")

    ours, t = checkpoint.load(folder)
    with tempfile.TemporaryDirectory() as plain:
        as_float32(folder, Path(plain))
        theirs = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float64, attn_implementation="eager", experts_implementation="eager")
    ours.double().eval()
    # In float64 the routers' float32 scores stay the only rounding both share.
    reference = theirs.eval()
    worst, agree, total = 0.0, 0, 0
    encoder, their_tokenizer = Encoder(t), AutoTokenizer.from_pretrained(folder)
    for item in load_items()[::7]:
        ids = encoder.prompt(item["messages"])
        rendered = their_tokenizer.apply_chat_template(item["messages"], add_generation_prompt=True, tokenize=False)
        assert their_tokenizer.encode(rendered, add_special_tokens=False) == ids, item
        tokens = torch.tensor([ids + encoder.piece(item["answer"])])
        a, b = ours(tokens)[0][0], reference(tokens).logits[0].double()
        worst = max(worst, ((a - b).abs().max() / b.abs().max()).item())
        agree += (a.argmax(-1) == b.argmax(-1)).sum().item()
        total += len(a)
    print(json.dumps({"model": type(theirs).__name__, "transformers": transformers.__version__, "relative_error": worst,
                      "same_greedy_token": f"{agree}/{total}"}))


if __name__ == "__main__":
    main()
