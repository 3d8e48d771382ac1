#!/usr/bin/env python3
"""Forecasts times on GPUs that are not at hand, from the counts that are checked in.

    forecast.py                        tokens: of whole models
    forecast.py --launches MODEL GPU   each launch of a token
    forecast.py --formats              products with one column
    forecast.py --columns              products with 8, 16 and 64 columns, beside those with one
    forecast.py --tiles                products of prompts, in bf16 and in bytes
    forecast.py --attention            attention of decoded tokens and of prompts

Nothing here is measured. A launch takes a fixed time, and then as long as the resource takes that it needs most of:

  memory   bytes of matrices and of the cache, at SUSTAINED of the peak
  issue    instructions of the loop that matters, four for each multiprocessor and cycle
  shared   wavefronts of shared memory, one for each multiprocessor and cycle
  tensor   mma.m16n8k16, 4096 operations each; in bytes m16n8k32, of which two do the work of two of those
  latency  what the slowest warp waits for, one after the other: reads as far as L2 where matrices come by copies, else
           as far as memory; of copies, of which two are under way, half; times the waves in which blocks run

  barrier  of attention, whose blocks fill a multiprocessor alone: BARRIER cycles for each that a block meets at

A launch with fewer blocks than multiprocessors has as many multiprocessors as blocks. That is if all resources are busy at
the same time; the other end of the range is if one works after the other. Left out, so that all is rather too fast: L2's
bandwidth, tails of waves, prologues, the host. Models are those of steps.txt whether they fit into the GPU or not.
"""
import math
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
# Of a launch in a recorded step, in microseconds: 0.5 between two kernels (NVIDIA, "Getting Started with CUDA Graphs",
# developer.nvidia.com/blog/cuda-graphs: 3.4 a kernel of 2.9), the rest an assumption for starting and draining blocks.
LAUNCH = 1.0
SUSTAINED = 0.92  # of a peak: what copies of the whole memory reach, an assumption
# Cycles, shared by the blocks of a multiprocessor: until the slowest warp's loads, exchanges and products have come, and
# the first products of what follows. An assumption.
BARRIER = 100
MMA_OPERATIONS = 16 * 8 * 16 * 2
MMA_ON_HOPPER = 0.63  # of the peak, which only wgmma reaches: an assumption (arXiv:2501.12084 compares the two)


class Gpu:
    def __init__(self, name, code, sms, ghz, gbs, gb, tflops, shared_kb, threads, l2, memory, tops=None, byte_code=None):
        self.name, self.code, self.sms, self.ghz, self.gbs, self.gb = name, code, sms, ghz, gbs, gb
        self.tflops, self.shared, self.threads, self.l2, self.memory = tflops, shared_kb * 1024, threads, l2, memory
        self.tops, self.byte_code = tops, byte_code  # dense int8, and the code of tiles of bytes, of those that have them


# Multiprocessors, boost clock, bandwidth, memory and dense bf16 with float sums from NVIDIA's data sheets and
# architecture white papers (A100 80 GB SXM, H100 SXM, H200 SXM, "Ada" and "RTX Blackwell"); shared memory and threads of a
# multiprocessor from the CUDA programming guide's table of compute capabilities. Under load H100s run below their
# boost clock of 1.98 GHz. They were checked again on 30 November 2026 against what such pages as could be read without the
# Internet repeat of NVIDIA's (4090: 128 multiprocessors, 2.52 GHz, 165.2 TFLOP/s and 660.6 TOP/s; 5090: 170, 2.407 GHz,
# 838 TOP/s, 1792 GB/s; H100: 989.5 = 132 x 1.83 GHz x 4096), and against each other: multiprocessors x clock x operations
# of a cycle, which are 2048 in bf16 on the A100, and on GeForce 512 in bf16 with float sums and 2048 in int8. Latencies in cycles, L2 and memory: github.com/markdewing/AI_kernels, latency/README.md, where
# a GH200 stands for H100 and H200; the A100's are assumed, between the V100's and the GH200's. Code for sm_80 stands for
# sm_89 and sm_90, where instructions per weight are the same but for 2 %, those per HMMA but for 5 % in large tiles.
GPUS = [
    Gpu("A100", "sm_80", 108, 1.41, 2039, 80, 312, 164, 2048, 250, 560),
    Gpu("H100", "sm_80", 132, 1.755, 3350, 80, 989 * MMA_ON_HOPPER, 228, 2048, 281, 690),
    Gpu("H200", "sm_80", 132, 1.755, 4800, 141, 989 * MMA_ON_HOPPER, 228, 2048, 281, 690),
    Gpu("4090", "sm_80", 128, 2.52, 1008, 24, 165, 100, 1536, 296, 636, 660, "sm_86"),
    Gpu("5090", "sm_120", 170, 2.41, 1792, 32, 209, 100, 1536, 360, 936, 838, "sm_120"),
]


# Rows of attention.txt in compiled.txt.
ATTENTION = {
    "16_heads": ("attend_tiles", "Tile<1,1>,PublishedWidths"),
    "32_heads": ("attend_tiles", "Tile<2,1>,PublishedWidths"),
    "128_heads": ("attend_tiles", "Tile<2,2>,PublishedWidths"),
    "64_tokens": ("attend_chunk", "Shape<4,1,64,64,PublishedHeads>"),
    "128_tokens": ("attend_chunk", "Shape<4,2,32,16,PublishedHeads>"),
    "256_tokens": ("attend_chunk", "Shape<8,2,32,16,PublishedHeads>"),
}


def table(name):
    """[(key's words, numbers)]"""
    rows = []
    for line in (HERE / name).read_text().splitlines():
        if not line.startswith("#"):
            key, _, numbers = line.partition(" | ")
            rows.append((key.split(), [float(n) for n in numbers.split()]))
    return rows


class Code:
    """What was compiled, by kernel, variant and GPU."""

    COLUMNS = ["registers", "stack", "shared", "loop", "products", "generic", "lds", "ldg", "per", "phases"]

    def __init__(self):
        self.rows = {tuple(key): dict(zip(self.COLUMNS, numbers)) for key, numbers in table("compiled.txt")}

    def product(self, format, gpu, prepared=False):
        """For one token, whose activations were prepared by a launch before, or are by each block. None: not looked at."""
        return self.rows.get(("vec_kernel", f"{format},{'false' if prepared else 'true'}", gpu.code))

    def of(self, launch, gpu):
        """The kernel that a launch has; None: one whose instructions do not matter."""
        if launch.kernel == "matmul_vec":
            format = "mixed" if len(launch.formats) > 1 else next(iter(launch.formats))
            return self.product(format, gpu, prepared=launch.prepared)
        if launch.kernel == "mla_attend":
            rows = {128: "16_heads", 256: "128_heads"}[launch.threads]
            return self.rows[*ATTENTION[rows], gpu.code]
        return None


class Launch:
    def __init__(self, key, numbers, before=None):
        self.model, self.part, self.kernel, self.matrices = key
        shares = re.findall(r":([A-Z]\w*)(?::(\d+)%)?", self.matrices)  # as steps.cpp writes them
        self.formats = {format: float(share or 100) / 100 for format, share in shares}
        (self.blocks, self.threads, self.shared, self.weights, self.cache, self.others, self.written, self.wavefronts,
         self.conflicts, self.products, self.reads, self.waits) = numbers  # fmt: skip
        found = re.match(r"(\d+)xlayer", self.part)
        self.times = int(found.group(1)) if found else 1
        self.prepared = self.matrices.startswith(("ffn_down", "attn_output")) or (before and before.kernel == "prepare_activations")

    def microseconds(self, gpu, code, formats):
        """{resource: microseconds}"""
        cycles_per_us = gpu.ghz * 1000
        sms = min(gpu.sms, self.blocks)
        c = code.of(self, gpu)
        us = {"memory": (self.weights + self.cache) * 1e3 / (gpu.gbs * 1e3 * SUSTAINED)}
        if self.kernel == "matmul_vec":
            us["issue"] = us["shared"] = 0
            for format, share in self.formats.items():  # of several in one kernel as each has in its own
                own = code.product(format, gpu, self.prepared)
                loads, copies, conflicts, sectors = formats[format]
                weights = share * self.weights * 1e3 / (sectors * 32 / 1024)
                us["issue"] += own["per"] * weights / 32 / 4 / (sms * cycles_per_us)
                us["shared"] += (own["phases"] + copies + conflicts) * weights / 1024 / (sms * cycles_per_us)
        else:
            us["shared"] = self.wavefronts * 1e3 / (sms * cycles_per_us)
        if self.products:
            us["tensor"] = self.products * 1e3 * MMA_OPERATIONS / (gpu.tflops * 1e6 * sms / gpu.sms)
            us["issue"] = c["per"] * self.products * 1e3 / 4 / (sms * cycles_per_us)
        far = gpu.l2 if self.waits or not self.weights + self.cache else gpu.memory
        waits = gpu.memory * (1 + (self.waits - 1) / 2) if self.waits else 0
        waves = math.ceil(self.blocks / (gpu.sms * self.resident(gpu, c)))
        us["latency"] = (self.reads * far + waits) * waves / cycles_per_us
        return us

    def resident(self, gpu, c):
        return resident(gpu, self.threads, self.shared, c["registers"] if c else 0)


def resident(gpu, threads, shared, registers):
    """Blocks of a multiprocessor. Registers are given out by 8 for a thread; a block has 1 KB of shared memory that is not
    its own."""
    most = min(32, gpu.threads // threads, gpu.shared // (shared + 1024))
    if registers:
        most = min(most, 65536 // (math.ceil(registers / 8) * 8 * threads))
    return max(1, most)


def token(launches, gpu, code, formats):
    """(microseconds if all resources work beside each other, and if none does; {what bounds: microseconds of such launches
    in the first case})"""
    beside, alone, bounds = 0, 0, {}
    for launch in launches:
        us = launch.microseconds(gpu, code, formats)
        bound = max(us, key=us.get)
        time = (LAUNCH + us[bound]) * launch.times
        bound = bound if us[bound] > LAUNCH else "launch"
        beside += time
        alone += (LAUNCH + sum(us.values())) * launch.times
        bounds[bound] = bounds.get(bound, 0) + time
    return beside, alone, bounds


def print_formats(code, formats):
    """Of the formats whose code was looked at: what a weight costs, and the share of its memory's peak that a GPU can read at
    by issue and by shared memory (at most 100)."""
    names = [gpu.name for gpu in GPUS]
    print("| format | instructions per weight | wavefronts per 1024 | of them conflicts | bytes per wavefront | registers |"
          + "".join(f" {name} |" for name in names) + "\n" + "|---" * (6 + len(names)) + "|")  # fmt: skip
    for name, (loads, copies, conflicts, sectors) in formats.items():
        c = code.product(name, GPUS[0])
        if not c or not c["per"]:
            continue
        wavefronts, bytes_ = c["phases"] + copies + conflicts, sectors * 32
        shares = ""
        for gpu in GPUS:
            per = code.product(name, gpu)["per"]
            by_cycle = {"shared": bytes_ / wavefronts, "issue": bytes_ / (per * 1024 / 32 / 4)}
            bound = min(by_cycle, key=by_cycle.get)
            share = 100 * by_cycle[bound] * gpu.sms * gpu.ghz / gpu.gbs
            shares += f" {share:.0f} % {bound} |" if share < 100 else " 100 % |"
        print(f"| {name} | {c['per']:.1f} | {wavefronts:.0f} | {conflicts:.0f} | {bytes_ / wavefronts:.1f} |"
              f" {c['registers']:.0f} |{shares}")  # fmt: skip


def print_columns(code, formats, of_few):
    """How long 8, 16 and 64 tokens take beside one, for the same matrix, and by what: a multiprocessor's cycles for 1024
    weights of the scarcest resource."""
    print("| format | instructions per weight: 1, 8, 16, 64 | wavefronts per 1024 | registers |"
          + "".join(f" {gpu.name} |" for gpu in GPUS) + "\n" + "|---" * (4 + len(GPUS)) + "|")  # fmt: skip
    for name, (_, copies, conflicts, sectors) in formats.items():
        variants = {8: 1, 16: 2, 64: 8}
        few = lambda gpu, columns: code.rows.get(("few_kernel", f"{name},{variants[columns]}", gpu.code))
        if not code.product(name, GPUS[0]) or not few(GPUS[0], 8) or not few(GPUS[0], 8)["per"]:
            continue
        wavefronts = lambda c, counted: c["phases"] + counted[1] + counted[2]
        cells = []
        for gpu in GPUS:
            memory = sectors * 32 / (gpu.gbs * SUSTAINED / gpu.sms / gpu.ghz)
            one = code.product(name, gpu)
            alone = max(memory, one["per"] * 8, one["phases"] + copies + conflicts)
            times = []
            for columns in variants:
                c = few(gpu, columns)
                tensor = gpu.tflops * 1e3 / gpu.sms / gpu.ghz  # operations a cycle
                cycles = {"memory": memory, "issue": c["per"] * 8, "shared": wavefronts(c, of_few[name]),
                          "tensor": c["products"] / 4 * MMA_OPERATIONS / tensor}  # fmt: skip
                bound = max(cycles, key=cycles.get)
                times.append(f"{cycles[bound] / alone:.2f} {bound}")
            cells.append(", ".join(times))
        all_few = [few(GPUS[0], columns) for columns in variants]
        one = code.product(name, GPUS[0])
        per = ", ".join(f"{c['per']:.1f}" for c in [one, *all_few])
        shared = ", ".join([f"{wavefronts(one, formats[name]):.0f}", *(f"{wavefronts(c, of_few[name]):.0f}" for c in all_few)])
        print(f"| {name} | {per} | {shared} | {', '.join(str(int(c['registers'])) for c in all_few)} | {' | '.join(cells)} |")


# Tiles of tiles.txt in compiled.txt.
TILES = {
    ("64", "bf16"): ("tile_kernel", "Tile<64,1,128,64,64,32,3>"),
    ("128", "bf16"): ("tile_kernel", "Tile<128,1,128,64,64,64,2>"),
    ("64", "bytes"): ("byte_kernel", "ByteTile<64,2>"),
    ("128", "bytes"): ("byte_kernel", "ByteTile<128,1>"),
}
SCALES_OF_16 = {"Q6_K"}  # which products of bytes take m16n8k16 for


def print_tiles(code):
    """The most that a resource allows, in TFLOP/s of the whole GPU; in bytes of two products for each of bf16."""
    print("| format, tile | GPU | in | tensor | shared | issue | least |\n|---|---|---|---|---|---|---|")
    rows = [(key, n) for key, n in table("tiles.txt") if (*key[1:3],) in TILES and key[0] != "BF16"]
    for key, (ldmatrix, others, copies, *_) in sorted(rows, key=lambda row: (row[0][0], int(row[0][1]), row[0][2])):
        format, tokens, way = key
        kernel, tile = TILES[tokens, way]
        for gpu in GPUS:
            if way == "bytes" and not gpu.tops:
                continue
            operations = MMA_OPERATIONS / 2 if way == "bytes" and format in SCALES_OF_16 else MMA_OPERATIONS
            mma = operations * gpu.sms * gpu.ghz / 1000  # one for each multiprocessor and cycle, in TFLOP/s
            per = code.rows[kernel, f"{tile},{format}", gpu.byte_code if way == "bytes" else gpu.code]["per"]
            allowed = [gpu.tops / 2 if way == "bytes" else gpu.tflops, mma / (ldmatrix + others + copies), 4 * mma / per]
            each = " | ".join(f"{n:.0f}" for n in [*allowed, min(allowed)])
            print(f"| {format}, {tokens} tokens | {gpu.name} | {way} | {each} |")


def attention_cycles(numbers, compiled, gpu):
    """({resource: cycles of a multiprocessor for an mma}, blocks at once)"""
    ldmatrix, others, copies, _, barriers, shared, threads = numbers
    at_once = resident(gpu, threads, shared, compiled["registers"])
    tensor = MMA_OPERATIONS * gpu.sms * gpu.ghz / 1000 / gpu.tflops
    return {"tensor": tensor, "shared": ldmatrix + others + copies, "issue": compiled["per"] / 4,
            "barrier": barriers / 1000 * BARRIER / at_once}, at_once  # fmt: skip


def print_attention(code):
    """What each resource allows, in TFLOP/s of the whole GPU, and all of them: barriers, and the scarcest resource or one
    after the other."""
    print("| kernel | GPU | at once | tensor | shared | issue | all |\n|---|---|---|---|---|---|---|")
    for key, numbers in table("attention.txt"):
        for gpu in GPUS:
            compiled = code.rows[*ATTENTION[key[1]], gpu.code]
            cycles, at_once = attention_cycles([*numbers, int(key[2])], compiled, gpu)
            tflops = lambda cycles: f"{MMA_OPERATIONS * gpu.sms * gpu.ghz / 1000 / cycles:.0f}"
            each = " | ".join(tflops(cycles[r]) for r in ["tensor", "shared", "issue"])
            beside = cycles["barrier"] + max(n for r, n in cycles.items() if r != "barrier")
            print(f"| {key[0]}, {key[1].replace('_', ' ')} | {gpu.name} | {at_once:.0f} | {each} |"
                  f" {tflops(sum(cycles.values()))} to {tflops(beside)} |")  # fmt: skip


def print_launches(launches, gpu, code, formats):
    """At once: blocks that a multiprocessor has room for."""
    resources = ["memory", "issue", "shared", "tensor", "latency"]
    print("| part | kernel | blocks | at once | us | bound by | " + " | ".join(resources) + " |\n" + "|---" * 11 + "|")
    for launch in launches:
        us = launch.microseconds(gpu, code, formats)
        bound = max(us, key=us.get)
        each = " | ".join(f"{us[r]:.2f}" if r in us else "" for r in resources)
        name = launch.kernel if launch.matrices == "-" else f"{launch.kernel} {launch.matrices}"
        at_once = launch.resident(gpu, code.of(launch, gpu))
        print(f"| {launch.part} | {name} | {launch.blocks:.0f} | {at_once:.0f} | {LAUNCH + us[bound]:.2f} | {bound} | {each} |")


def main(arguments):
    code = Code()
    formats = {key[0]: numbers[:4] for key, numbers in table("formats.txt") if key[1] == "1"}
    launches = []
    for key, numbers in table("steps.txt"):
        if key[2] != "launches":
            launches.append(Launch(key, numbers, launches[-1] if launches else None))
    models = list(dict.fromkeys(launch.model for launch in launches))
    if arguments[:1] == ["--launches"] and len(arguments) == 3:
        mine = [launch for launch in launches if launch.model == arguments[1]]
        gpus = [gpu for gpu in GPUS if gpu.name == arguments[2]]
        if not mine or not gpus:
            sys.exit(f"expected one of {', '.join(models)} and of {', '.join(gpu.name for gpu in GPUS)}, found {arguments[1:]}")
        print_launches(mine, gpus[0], code, formats)
        return 0
    if arguments == ["--formats"]:
        print_formats(code, formats)
        return 0
    if arguments == ["--columns"]:
        print_columns(code, formats, {key[0]: numbers[:4] for key, numbers in table("formats.txt") if key[1] == "8"})
        return 0
    if arguments == ["--tiles"]:
        print_tiles(code)
        return 0
    if arguments == ["--attention"]:
        print_attention(code)
        return 0
    if arguments:
        sys.exit(__doc__)
    bounds_of = ["memory", "issue", "shared", "tensor", "latency", "launch"]
    print("| model, q4_k_m | GPU | ms a token | tok/s | by memory alone | " + " | ".join(bounds_of) + " |")
    print("|---|---|---|---|---|" + "---|" * len(bounds_of))
    tokens = {key[0]: numbers[0] for key, numbers in table("steps.txt") if key[1] == "token"}
    for model in models:
        mine = [launch for launch in launches if launch.model == model]
        for gpu in GPUS:
            beside, alone, bounds = token(mine, gpu, code, formats)
            memory = sum((l.weights + l.cache) * l.times for l in mine) / (gpu.gbs * SUSTAINED)
            shares = " | ".join(f"{100 * bounds.get(b, 0) / beside:.0f} %" for b in bounds_of)
            print(f"| {model} | {gpu.name} | {beside / 1e3:.2f} to {alone / 1e3:.2f} | {1e6 / alone:.0f} to"
                  f" {1e6 / beside:.0f} | {1e6 / memory:.0f} | {shares} |")  # fmt: skip
        launched = sum(launch.times for launch in mine)
        if launched != tokens[model]:
            sys.exit(f"{model}: {launched} launches of layers, expected the token's {tokens[model]:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
