"""Loads what `hearth export` writes with transformers, on the CPU, and compares logits with hearth's.

    check_export.py [--hearth build/hearth] [--kinds lite v2 v3] [--formats bf16 fp8 int4] [--limit 1e-3]

Small random checkpoints (make_export_checkpoint.py) are converted, exported in each form, loaded (no key missing, none
unexpected; FP8 and packed integers are decoded by transformers and compressed-tensors) and run in float32; `hearth
convert --recipe f32` of the same export and `hearth logits` say the same with other code on both sides. Exits with 1
where the largest difference is beyond --limit times the largest logit. Needs torch, transformers >= 5.13.1,
compressed-tensors and numpy."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, CompressedTensorsConfig, FineGrainedFP8Config

from checkpoint import save
from make_export_checkpoint import TEMPLATE, published

TOKENS = [262] + [(37 * i * i + 11 * i) % 250 for i in range(47)]
DECODED = {"bf16": {}, "fp8": {"quantization_config": FineGrainedFP8Config(dequantize=True)},
           "int4": {"quantization_config": CompressedTensorsConfig(run_compressed=False)}}


def hugging_face_logits(folder, form):
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True,
                                                         attn_implementation="eager", experts_implementation="eager", **DECODED[form])
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if report.get(kind):
            print(f"  {kind}: {list(report[kind])[:4]} and {len(report[kind])} in all")
            return None
    model = model.float()
    with torch.no_grad():
        return model(torch.tensor([TOKENS])).logits[0].numpy()


def hearth_logits(hearth, folder, scratch):
    file, out = scratch / "again.gguf", scratch / "logits.bin"
    subprocess.run([hearth, "convert", folder, file, "--recipe", "f32", "--force"], check=True, capture_output=True)
    tokens = ",".join(map(str, TOKENS))
    subprocess.run([hearth, "logits", file, "--tokens", tokens, "--output", out, "--cache-type", "f32"], check=True, capture_output=True)
    return np.fromfile(out, np.float32).reshape(len(TOKENS), -1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hearth", default="build/hearth")
    parser.add_argument("--kinds", nargs="+", default=["lite", "v2", "v3"])
    parser.add_argument("--formats", nargs="+", default=["bf16", "fp8", "int4"])
    parser.add_argument("--limit", type=float, default=1e-3)
    arguments = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for kind in arguments.kinds:
            # The rows of kv_a_proj_with_mqa, 512 here and 576 as published, must be whole blocks for transformers to decode.
            settings, pre = published(kind, kv_lora_rank=448)
            save(scratch / kind, settings, 1, pre, TEMPLATE, residual_gain=0.25)
            model = scratch / f"{kind}.gguf"
            subprocess.run([arguments.hearth, "convert", scratch / kind, model, "--recipe", "bf16"], check=True, capture_output=True)
            for form in arguments.formats:
                folder = scratch / f"{kind}-{form}"
                subprocess.run([arguments.hearth, "export", model, folder, "--format", form], check=True, capture_output=True)
                theirs, ours = hugging_face_logits(folder, form), hearth_logits(arguments.hearth, folder, scratch)
                difference = np.inf if theirs is None else np.abs(theirs - ours).max() / np.abs(ours).max()
                wrong += not difference <= arguments.limit
                print(f"{kind} {form}: largest difference {difference:.2e} of the largest logit {np.abs(ours).max():.2f}", flush=True)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
