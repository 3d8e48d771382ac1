"""Converts checkpoints and compares log-probabilities of the next token with a packaged llama.cpp (PyPI: xllamacpp).

    python compare_with_packaged_peer.py [CHECKPOINT_DIR ...] [--recipe f32] [--hearth build/hearth] [--limit 1e-4]

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
        for entry in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            out[entry["id"]] = entry["logprob"]
        return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", type=Path, default=[HERE / "models" / "v3_plain"])
    parser.add_argument("--recipe", default="f32")
    parser.add_argument("--hearth", default="build/hearth")
    parser.add_argument("--prefixes", type=int, nargs="+", default=[1, 7, 24, 48])
    parser.add_argument("--limit", type=float, default=1e-4)
    arguments = parser.parse_args()

    worst = 0.0
    for checkpoint in arguments.checkpoints:
        tokens = json.loads((checkpoint / "logits.json").read_text())["tokens"]
        with tempfile.TemporaryDirectory() as folder:
            model, output = Path(folder) / "model.gguf", Path(folder) / "logits"
            subprocess.run(
                [arguments.hearth, "convert", str(checkpoint), str(model), "--recipe", arguments.recipe], check=True
            )
            ids = ",".join(map(str, tokens))
            options = ["--device", "cpu", "--cache-type", "f32", "--isa", "scalar"]
            subprocess.run(
                [arguments.hearth, "logits", str(model), "--tokens", ids, "--output", str(output), *options], check=True
            )
            ours = log_softmax(np.fromfile(output, "<f4").reshape(len(tokens), -1))
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
    sys.exit(int(worst > arguments.limit))


if __name__ == "__main__":
    main()
