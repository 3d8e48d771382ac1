#!/usr/bin/env python3
"""Compares a checkpoint's logits in model.py with those of transformers' DeepseekV2ForCausalLM.

    python demo/compare_hf.py demo/checkpoint

Needs a transformers release whose deepseek_v2 multiplies the softmax scale by YaRN's m squared.
Also checks that transformers reads the tokenizer and chat template as we mean them.
"""

import argparse
import inspect
import json
from pathlib import Path

import torch
import transformers
from transformers import AutoTokenizer, DeepseekV2ForCausalLM
from transformers.models.deepseek_v2 import modeling_deepseek_v2

import checkpoint
from dialogues import Encoder
from train import load_items


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    folder = parser.parse_args().checkpoint
    if "mscale_all_dim" not in inspect.getsource(modeling_deepseek_v2):
        raise SystemExit(f"transformers {transformers.__version__} lacks the mscale_all_dim factor; take a newer one")

    ours, t = checkpoint.load(folder)
    theirs = DeepseekV2ForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager",
                                                  experts_implementation="eager")
    ours.double().eval()
    # In float64 the routers' float32 softmax stays the only rounding both share.
    reference = theirs.eval()
    worst, agree, total = 0.0, 0, 0
    encoder, their_tokenizer = Encoder(t), AutoTokenizer.from_pretrained(folder)
    for item in load_items()[::7]:
        ids = encoder.prompt(item["messages"])
        rendered = their_tokenizer.apply_chat_template(item["messages"], add_generation_prompt=True, tokenize=False)
        assert their_tokenizer.encode(rendered, add_special_tokens=False) == ids, item
        tokens = torch.tensor([ids + encoder.piece(item["answer"])])
        a, b = ours(tokens)[0], reference(tokens).logits[0].double()
        worst = max(worst, ((a - b).abs().max() / b.abs().max()).item())
        agree += (a.argmax(-1) == b.argmax(-1)).sum().item()
        total += len(a)
    print(json.dumps({"transformers": transformers.__version__, "relative_error": worst, "same_greedy_token": f"{agree}/{total}"}))


if __name__ == "__main__":
    main()
