#!/usr/bin/env python3
"""What recipes and formats cost the demo model of the V3 architecture: writes docs/quality.md and docs/quality.svg.

    quality.py [--build build] [--peer LIBRARY]

Every recipe, with and without importance; every format for all matrices of the layers, made by hearth and, where a
shared library with llama.cpp's ggml_quantize_chunk is given, by the encoders of llama-quantize, from the same weights
and importance. Needs numpy, tokenizers and the gguf package. Some minutes on two cores.
"""

import argparse
import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECIPES = "q8_0 q6_k q5_k_m q4_k_m iq4_m iq4_xs q4_0 int4 q3_k_m iq3_m iq2_m q2_k iq2_xxs iq1_s".split()
SIZES = "6M 5M 4M 3500K".split()  # --target-size
FORMATS = ("IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S Q2_K IQ3_XXS Q3_K IQ3_S IQ4_XS IQ4_NL Q4_0 Q4_K Q5_0 Q5_K Q6_K "
           "Q8_0").split()
MATRICES = "^blk"  # all matrices of the layers; the embedding and the head stay as they are
DIALOGUES = 2000


def practice_text(n):
    """Conversations like those that the model was trained on; none of the held-out ones."""
    sys.path.insert(0, str(ROOT / "demo"))
    import dialogues

    marks = {"system": "", "user": "<｜User｜>", "assistant": "<｜Assistant｜>"}
    drawn = dialogues.Dialogues(seed=17)
    while n > 0:
        messages = drawn.short()[0]
        if any(m["role"] not in marks or not m["content"] for m in messages):
            continue  # calls of functions
        n -= 1
        yield "<｜begin▁of▁sentence｜>"
        for m in messages:
            yield marks[m["role"]] + m["content"] + ("<｜end▁of▁sentence｜>" if m["role"] == "assistant" else "")


class Peer:
    """llama.cpp's encoders, put into a file in place of ours."""

    def __init__(self, library):
        self.quantize = ctypes.CDLL(library).ggml_quantize_chunk
        self.quantize.restype = ctypes.c_size_t
        self.quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]

    def remake(self, path, exact, importance):
        import gguf

        weights = {t.name: t.data for t in gguf.GGUFReader(exact).tensors}
        sums = {t.name: np.array(t.data) for t in gguf.GGUFReader(importance).tensors} if importance else {}
        file = bytearray(pathlib.Path(path).read_bytes())
        for tensor in gguf.GGUFReader(path).tensors:
            number = int(tensor.tensor_type)
            if not tensor.name.startswith("blk.") or number in (0, 1, 30) or tensor.name not in weights:
                continue
            x = np.ascontiguousarray(weights[tensor.name], dtype=np.float32)
            matrices = x.reshape(-1, *x.shape[-2:])
            for i, matrix in enumerate(matrices):
                columns = self.columns(sums, tensor.name, i, matrix.shape[1])
                size = tensor.n_bytes // len(matrices)
                out = np.zeros(size, np.uint8)
                made = self.quantize(number, matrix.ctypes.data, out.ctypes.data, 0, *matrix.shape,
                                     columns.ctypes.data if columns is not None else None)
                assert made == size, tensor.name
                at = int(tensor.data_offset) + i * size
                file[at:at + size] = out.tobytes()
        pathlib.Path(path).write_bytes(file)

    @staticmethod
    def columns(sums, name, i, cols):
        """As llama-quantize has them: the mean square, or alike where nothing was seen; some types need some."""
        if name + ".in_sum2" not in sums:
            return None
        seen, count = sums[name + ".in_sum2"].reshape(-1, cols), sums[name + ".counts"].reshape(-1)
        i = min(i, len(seen) - 1)
        return (seen[i] / count[i] if count[i] > 0 else np.ones(cols)).astype(np.float32)


class Bench:
    def __init__(self, build, folder, peer):
        self.build, self.folder, self.peer = pathlib.Path(build), pathlib.Path(folder), peer
        self.exact, self.importance = self.folder / "f32.gguf", self.folder / "importance.gguf"
        text = self.folder / "practice.txt"
        text.write_text("".join(practice_text(DIALOGUES)))
        self.hearth("convert", ROOT / "demo" / "checkpoint-v3", self.exact, "--recipe", "f32")
        self.hearth("imatrix", self.exact, "--file", text, "--special", "-o", self.importance)

    def hearth(self, *arguments):
        done = subprocess.run([self.build / "hearth", *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)

    def make(self, name, importance, *arguments):
        path = self.folder / name
        self.hearth("quantize", self.exact, path, *arguments, *(["--imatrix", self.importance] if importance else []))
        return path

    def measure(self, paths):
        """A row for each file; the files are removed."""
        out = subprocess.run([self.build / "tests" / "quality", self.exact, *paths], check=True, capture_output=True)
        rows = {row["file"]: row for row in map(json.loads, out.stdout.decode().splitlines())}
        for path in paths:
            path.unlink()
        return rows

    def recipes(self):
        paths = [self.make(f"{r}{'+' if i else ''}", i, "--recipe", r) for r in RECIPES for i in (False, True)]
        paths += [self.make(f"{s}{'+' if i else ''}", i, "--target-size", s) for s in SIZES for i in (False, True)]
        return self.measure(paths)

    def formats(self):
        paths = []
        for name in FORMATS:
            for importance in (False, True):
                arguments = ("--recipe", "f32", "--tensor", f"{MATRICES}={name}")
                mark = "+" if importance else ""
                paths.append(self.make(f"{name}{mark}", importance, *arguments))
                if self.peer and (importance or name not in ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS")):  # it asserts
                    paths.append(self.make(f"{name}{mark} peer", importance, *arguments))
                    self.peer.remake(paths[-1], self.exact, self.importance if importance else None)
        return self.measure(paths)


def plain(value):
    return f"{value:.2e}".replace("e-0", "e-").replace("e+00", "")


def cells(row):
    if not row:
        return ["", "", "", ""]
    return [plain(row["kl"]), plain(row["kl_999"]), f"{100 * row['top1']:.2f} %", f"{100 * row['exact']:.1f} %"]


def table(head, rows):
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows])


def svg(series):
    """KL over bits per weight, both axes by hand: [(name, colour, [(label, bits, kl)])]."""
    width, height, left, top, right, bottom = 760, 460, 70, 20, 20, 50
    bits = [b for _, _, points in series for _, b, _ in points]
    kls = [np.log10(k) for _, _, points in series for _, _, k in points]
    least, most = int(np.floor(min(bits))), int(np.ceil(max(bits)))
    low, high = int(np.floor(min(kls))), int(np.ceil(max(kls)))

    def x(b):
        return left + (b - least) / (most - least) * (width - left - right)

    def y(k):
        return top + (high - np.log10(k)) / (high - low) * (height - top - bottom)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    for b in range(least, most + 1):
        out.append(f'<path d="M{x(b):.0f} {top}V{height - bottom}" stroke="#ddd"/>'
                   f'<text x="{x(b):.0f}" y="{height - bottom + 16}" text-anchor="middle">{b}</text>')
    for e in range(low, high + 1):
        at = y(10.0**e)
        out.append(f'<path d="M{left} {at:.0f}H{width - right}" stroke="#ddd"/>'
                   f'<text x="{left - 6}" y="{at + 4:.0f}" text-anchor="end">1e{e}</text>')
    out.append(f'<text x="{(left + width - right) / 2:.0f}" y="{height - 12}" text-anchor="middle">bits per weight of the '
               "layers' matrices</text>")
    out.append(f'<text x="16" y="{height / 2:.0f}" transform="rotate(-90 16 {height / 2:.0f})" text-anchor="middle">KL '
               "divergence, nats per token</text>")
    for i, (name, colour, points) in enumerate(series):
        for label, b, k in points:
            out.append(f'<circle cx="{x(b):.1f}" cy="{y(k):.1f}" r="3.5" fill="{colour}"><title>{name}, {label}: {b:.2f} '
                       f"bits, {k:.2e}</title></circle>")
            if i == 0:
                out.append(f'<text x="{x(b) + 6:.1f}" y="{y(k) + 12:.1f}">{label}</text>')
        out.append(f'<circle cx="{width - 250}" cy="{top + 14 + 18 * i}" r="3.5" fill="{colour}"/>'
                   f'<text x="{width - 240}" y="{top + 18 + 18 * i}">{name}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def document(recipes, formats, peer):
    recipe_rows = []
    for name in sorted(RECIPES + SIZES, key=lambda r: -recipes[r]["bits"]):
        title = f"--target-size {name}" if name in SIZES else name
        recipe_rows.append([title, f"{recipes[name]['bits']:.2f}", *cells(recipes[name]), *cells(recipes[name + "+"])])
    format_rows = []
    for name in FORMATS:
        row = [name, f"{bits_of(name):.2f}"]
        for mark in ("", "+"):
            ours, theirs = formats[name + mark], formats.get(f"{name}{mark} peer")
            row += [plain(ours["kl"]), f"{100 * ours['exact']:.1f} %"]
            row += [plain(theirs["kl"]), f"{100 * theirs['exact']:.1f} %"] if theirs else ["", ""]
        format_rows.append(row)
    head = ["KL", "99.9 %", "top 1", "exact"]
    return f"""# What quantizing costs

Measured with the demo model of the V3 architecture (`demo/checkpoint-v3`, whose rows suit all formats), over the 1,000
held-out questions of `demo/heldout.jsonl`, beside the same model in F32, which answers {100 * recipes['q8_0']['exact']:.0f} % as Q8_0 does:

- **KL**: KL divergence of the next token's distribution from F32's, the correct answer so far given; mean over all
  tokens of the answers, in nats; **99.9 %**: that of the worst token in a thousand.
- **top 1**: tokens whose likeliest is F32's. **exact**: questions answered exactly, by greedy decoding.
- **importance**: by `hearth imatrix` from {DIALOGUES:,} conversations like those that the model was trained on.

Made by `tests/bench/quality.py`; computed with this machine's own kernels, whose rounding of activations is in the
figures (q8_0's KL shows how much that is).

## Recipes

{table(["recipe", "bits", *head, *["with importance: " + head[0], *head[1:]]], recipe_rows)}

Bits per weight are of this small model, in which routed experts are a third of all weights; in V3 they are 97 %, and the
mixes have {", ".join(f"{bits} ({name})" for name, bits in MIXES.items())}.

## Formats

All matrices of the layers in one format, the rest in F32. Beside ours what llama.cpp's encoders make of the same weights
and importance{"" if peer else " (not measured in this run)"}; both are read by hearth. Its encoders of
IQ1_S, IQ1_M, IQ2_XXS and IQ2_XS want importance. Why blocks of few bits keep the size of what they encode, and large
weights count for more, is in measurements.md. A token near the edge between two experts changes a KL by as much as 5e-4.

{table(["format", "bits", "KL", "exact", "llama.cpp: KL", "exact", "importance: KL", "exact", "llama.cpp: KL", "exact"], format_rows)}

![KL divergence over bits per weight](quality.svg)
"""


MIXES = {"iq4_m": 4.48, "iq3_m": 3.49, "iq2_m": 2.72, "iq2_xxs": 2.24, "iq1_s": 1.78}
BITS = {"IQ1_S": 1.5625, "IQ1_M": 1.75, "IQ2_XXS": 2.0625, "IQ2_XS": 2.3125, "IQ2_S": 2.5625, "Q2_K": 2.625,
        "IQ3_XXS": 3.0625, "Q3_K": 3.4375, "IQ3_S": 3.4375, "IQ4_XS": 4.25, "IQ4_NL": 4.5, "Q4_0": 4.5, "Q4_K": 4.5,
        "Q5_0": 5.5, "Q5_K": 5.5, "Q6_K": 6.5625, "Q8_0": 8.5}


def bits_of(name):
    return BITS[name]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=ROOT / "build")
    parser.add_argument("--peer", help="shared library with ggml_quantize_chunk")
    arguments = parser.parse_args()
    peer = Peer(arguments.peer) if arguments.peer else None
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.build, folder, peer)
        recipes, formats = bench.recipes(), bench.formats()
    (ROOT / "docs" / "quality.md").write_text(document(recipes, formats, peer))

    def series(mark):
        return [(name, bits_of(name), formats[name + mark]["kl"]) for name in FORMATS if name + mark in formats]

    lines = [("with importance", "#1f77b4", series("+")), ("without", "#aaaaaa", series(""))]
    if peer:
        lines.append(("llama.cpp's encoders, with importance", "#d62728", series("+ peer")))
    (ROOT / "docs" / "quality.svg").write_text(svg(lines))


if __name__ == "__main__":
    main()
