"""Converts a checkpoint, evaluates the file with `hearth logits` and with another program, and compares the two.

    python compare_with_peer.py CHECKPOINT_DIR PEER [--recipe f32 q8_0 q4_k_m] [--hearth build/hearth] [--keep DIR]

PEER is the other program: it is called as `PEER MODEL.gguf --tokens 1,2,3 --output FILE`, like `hearth logits`, and
must write raw float32 [n_tokens, vocab]. The tokens come from CHECKPOINT_DIR/tokens.json or logits.json, or from
--tokens. "Exact" is the same file with every tensor dequantized to F32, evaluated by hearth: what is left between it and
a program is that program's own rounding of activations and cache. Needs numpy and gguf.
"""

import argparse
import json
import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from check_gguf_with_python import rewrite


def read_tokens(checkpoint):
    for name in ("tokens.json", "logits.json"):
        if (checkpoint / name).exists():
            return json.loads((checkpoint / name).read_text())["tokens"]
    raise SystemExit(f"{checkpoint}: neither tokens.json nor logits.json; give --tokens")


def logits(command, model, tokens, output):
    run = subprocess.run(
        [*command, str(model), "--tokens", ",".join(map(str, tokens)), "--output", str(output)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if run.returncode != 0:
        raise SystemExit(f"{' '.join(command)} {model}: exit code {run.returncode}\n{run.stderr[-2000:]}")
    return np.fromfile(output, dtype="<f4").reshape(len(tokens), -1).astype(np.float64)


def compare(ours, theirs):
    if ours.shape != theirs.shape:
        raise SystemExit(f"logits of shape {ours.shape} and {theirs.shape}")
    difference = np.abs(ours - theirs).max(-1)
    scale = np.abs(theirs).max()
    rms = np.sqrt(np.square(ours - theirs).mean() / np.square(theirs).mean())
    top1 = (ours.argmax(-1) == theirs.argmax(-1)).mean()
    return (
        f"max|diff|/max|logit| {difference.max() / scale:.2e}, median token {np.median(difference) / scale:.2e}, "
        f"rms {rms:.2e}, top-1 equal {100 * top1:.1f} %"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("peer", help="the other program, with any options of its own")
    parser.add_argument("--recipe", nargs="+", default=["f32", "q8_0", "q4_k_m"])
    parser.add_argument("--hearth", default="build/hearth")
    parser.add_argument("--hearth-options", default="", help="further options of `hearth logits`")
    parser.add_argument("--tokens", help="comma-separated ids")
    parser.add_argument("--keep", type=Path, help="folder for the converted files (a temporary one by default)")
    a = parser.parse_args()

    tokens = [int(t) for t in a.tokens.split(",")] if a.tokens else read_tokens(a.checkpoint)
    reference = a.checkpoint / "logits.npy"
    reference = np.load(reference).astype(np.float64) if reference.exists() and not a.tokens else None
    with tempfile.TemporaryDirectory() as scratch:
        folder = a.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for recipe in a.recipe:
            model = folder / f"{a.checkpoint.name}-{recipe}.gguf"
            if not model.exists():
                subprocess.run(
                    [a.hearth, "convert", str(a.checkpoint), str(model), "--recipe", recipe],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
            out = Path(scratch) / "logits"
            ours = logits([a.hearth, "logits", *shlex.split(a.hearth_options)], model, tokens, out)
            theirs = logits(shlex.split(a.peer), model, tokens, out)
            dequantized = Path(scratch) / "dequantized.gguf"
            rewrite(model, dequantized, dequantize=True)
            exact = logits([a.hearth, "logits", "--cache-type", "f32"], dequantized, tokens, out)
            for title, left, right in (
                ("hearth and peer", ours, theirs),
                ("hearth and exact", ours, exact),
                ("peer and exact", theirs, exact),
                ("exact and reference", exact, reference),
            ):
                if right is not None:
                    print(f"{a.checkpoint.name} {recipe}, {title + ':':20} {compare(left, right)}", flush=True)


if __name__ == "__main__":
    main()
