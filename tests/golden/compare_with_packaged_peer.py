"""Converts checkpoints and compares log-probabilities of the next token with a packaged llama.cpp (PyPI: xllamacpp).

    python compare_with_packaged_peer.py [CHECKPOINT_DIR ...] [--recipe f32] [--hearth build/hearth] [--limit 1e-4]
    python compare_with_packaged_peer.py --formats Q4_K IQ2_XXS ... --limit 0.2

Default: models/v3_plain, a V3-class checkpoint with a multi-token-prediction layer, by the default options. The peer gets
the file as `hearth convert` wrote it. Tokens come from CHECKPOINT_DIR/logits.json; each prefix in --prefixes is a prompt.
Columns: largest difference in log-probability over the whole vocabulary of hearth and peer, of peer and logits.npy. Exit
code 1 where hearth and the peer differ by more than --limit. Needs numpy and xllamacpp, in a virtual environment.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import xllamacpp

HERE = Path(__file__).resolve().parent


def log_softmax(logits):
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


class Peer:
    def __init__(self, model):
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx = 256
        params.n_batch = params.n_ubatch = 256
        params.n_gpu_layers = 0
        params.warmup = False
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xllamacpp.Server(params)

    def log_probabilities(self, tokens, n_vocabulary):
        """Of every token that may follow; NaN where the peer does not tell."""
        request = {"prompt": tokens, "n_predict": 1, "n_probs": n_vocabulary, "temperature": 0, "cache_prompt": False}
        answer = self.server.handle_completions(request)
        out = np.full(n_vocabulary, np.nan)
        logprobs = answer["choices"][0]["logprobs"] or {"content": []}  # none where it ended at once
        for content in logprobs["content"][:1]:
            for entry in content["top_logprobs"]:
                out[entry["id"]] = entry["logprob"]
        return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", type=Path, default=[HERE / "models" / "v3_plain"])
    parser.add_argument("--recipe", default="f32")
    parser.add_argument("--formats", nargs="+", help="in place of checkpoints: a demo model with a layer in each format")
    parser.add_argument("--hearth", default="build/hearth")
    parser.add_argument("--prefixes", type=int, nargs="+", default=[1, 7, 24, 48])
    parser.add_argument("--limit", type=float, default=1e-4)
    arguments = parser.parse_args()

    compare = formats if arguments.formats else recipe
    sys.exit(int(compare(arguments) > arguments.limit))


def hearth_logits(arguments, model, tokens, output):
    ids = ",".join(map(str, tokens))
    options = ["--device", "cpu", "--cache-type", "f32", "--isa", "scalar"]
    command = [arguments.hearth, "logits", str(model), "--tokens", ids, "--output", str(output), *options]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return log_softmax(np.fromfile(output, "<f4").reshape(len(tokens), -1))


def recipe(arguments):
    worst = 0.0
    for checkpoint in arguments.checkpoints:
        tokens = json.loads((checkpoint / "logits.json").read_text())["tokens"]
        with tempfile.TemporaryDirectory() as folder:
            model, output = Path(folder) / "model.gguf", Path(folder) / "logits"
            subprocess.run(
                [arguments.hearth, "convert", str(checkpoint), str(model), "--recipe", arguments.recipe], check=True
            )
            ours = hearth_logits(arguments, model, tokens, output)
            reference = log_softmax(np.load(checkpoint / "logits.npy"))
            peer = Peer(model)
            for n in arguments.prefixes:
                theirs = peer.log_probabilities(tokens[:n], ours.shape[1])
                told = ~np.isnan(theirs)
                difference = np.abs(theirs - ours[n - 1])[told].max()
                from_reference = np.abs(theirs - reference[n - 1])[told].max()
                worst = max(worst, difference)
                print(
                    f"{checkpoint.name} {arguments.recipe}, {n} tokens, {told.sum()} of {told.size} told: "
                    f"hearth and peer {difference:.1e}, peer and reference {from_reference:.1e}"
                )
    return worst


def formats(arguments):
    """The demo model of the V3 architecture, a layer with experts in each format. The peer rounds activations for
    integer formats, which counts for most where a router is on the edge: the median of the prefixes is judged."""
    worst = 0.0
    tokens = [7 * i % 1200 + 3 for i in range(24)]
    with tempfile.TemporaryDirectory() as folder:
        exact, model, output = (Path(folder) / name for name in ("exact.gguf", "model.gguf", "logits"))
        checkpoint = HERE.parents[1] / "demo" / "checkpoint-v3"
        subprocess.run([arguments.hearth, "convert", str(checkpoint), str(exact), "--recipe", "f32"], check=True)
        for name in arguments.formats:
            rule = f"^blk.1.={name}"
            options = ["--recipe", "f32", "--tensor", rule, "--force"]
            subprocess.run([arguments.hearth, "quantize", str(exact), str(model), *options], check=True)
            ours, peer = hearth_logits(arguments, model, tokens, output), Peer(model)
            differences = []
            for n in range(1, len(tokens) + 1, 2):
                theirs = peer.log_probabilities(tokens[:n], ours.shape[1])
                told = ~np.isnan(theirs)
                if told.any():
                    differences.append(np.abs(theirs - ours[n - 1])[told].max())
            assert len(differences) >= 6, name
            worst = max(worst, np.median(differences))
            print(f"{name}: median {np.median(differences):.1e}, largest {max(differences):.1e}", flush=True)
    return worst


if __name__ == "__main__":
    main()
