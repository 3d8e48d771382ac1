#!/usr/bin/env python3
"""One layer of experts: hearth and the CPU kernels of KTransformers (PyPI's kt-kernel), by turns.

    tests/bench/versus_kt.py build/tests/ops_bench [--shape lite|v3] [--bits 4|8] [--threads 2] [--rounds 5]

Needs numpy and kt-kernel, not torch: `pip install numpy; pip install --no-deps kt-kernel`. 4 bits are Q4_K beside its
AMXInt4 (one scale for a row), 8 bits Q8_0 beside AMXInt8. Without AMX those classes multiply on AVX-512.

Every round measures both for each number of tokens, the best of several calls each; the ratio is the median of the
rounds'. Its weights are quantized from random bf16, each expert has its own. Errors are against float64 on the weights
before they were quantized: its own of two tokens of this very layer, ours from layer_error (beside ops_bench).

Besides its workers, kt-kernel has a thread that spins while they work. Where there is a core to spare it gets that one;
otherwise every other call is made with it at the lowest priority, and the best call counts.
"""

import argparse
import glob
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

SHAPES = {"lite": (2048, 1408, 64, 6), "v3": (7168, 2048, 32, 8)}  # width, width of an expert, experts, used
FORMATS = {4: ("Q4_K", "AMXInt4_MOE"), 8: ("Q8_0", "AMXInt8_MOE")}
# The package's extensions, best first, and what the processor must have for them.
VARIANTS = {
    "amx": {"amx_tile", "amx_int8", "amx_bf16", "avx512_bf16"},
    "avx512_bf16": {"avx512f", "avx512bw", "avx512_vnni", "avx512vbmi", "avx512_bf16"},
    "avx512_vnni": {"avx512f", "avx512bw", "avx512_vnni"},
    "avx512_base": {"avx512f", "avx512bw"},
}
SPIN = 0.06  # its workers spin for 50 ms before they sleep


def stop(message):
    sys.exit(f"versus_kt.py: {message}")


def cpu_line(name):
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")


def load_extension(wanted):
    """The module and its variant; without the package's own __init__, which wants torch."""
    package = importlib.util.find_spec("kt_kernel")
    if not package:
        stop("expected the package kt-kernel (pip install --no-deps kt-kernel), found none for " + sys.executable)
    flags = set(cpu_line("flags").split())
    for variant in [wanted] if wanted else [name for name, needs in VARIANTS.items() if needs <= flags]:
        for path in glob.glob(f"{package.submodule_search_locations[0]}/_kt_kernel_ext_{variant}.*.so"):
            spec = importlib.util.spec_from_file_location("kt_kernel_ext", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module, variant
    stop(f"expected an extension of kt-kernel for {wanted or 'AVX-512 or AMX'}, found none that this processor runs")


def to_bf16(x):
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(x):
    return (x.astype(np.uint32) << 16).view(np.float32)


class KtLayer:
    def __init__(self, module, name, shape, threads, most_tokens):
        self.shape, self.most_tokens = shape, most_tokens
        self.draw = np.random.default_rng(1)
        self.pool = to_bf16(self.draw.standard_normal(2**24 - 3, dtype=np.float32) * np.float32(0.02))
        workers = module.WorkerPoolConfig()
        workers.subpool_count, workers.subpool_numa_map, workers.subpool_thread_count = 1, [0], [threads]
        self.infer = module.CPUInfer(workers)
        d, n, experts, used = shape
        no_gpu, order = np.zeros(experts, np.uint8), np.arange(experts, dtype=np.int64)
        config = module.moe.MOEConfig(experts, used, d, n, no_gpu.ctypes.data)
        config.layer_idx, config.pool, config.max_len = 0, self.infer.backend_, most_tokens
        weights = [np.empty((experts, n * d), np.uint16) for _ in range(3)]
        for which in range(3):
            for e in range(experts):
                weights[which][e] = self.matrix(which, e)
        config.gate_proj, config.up_proj, config.down_proj = (w.ctypes.data for w in weights)
        self.layer = getattr(module.moe, name)(config)
        self.infer.submit(self.layer.load_weights_task(order.ctypes.data))  # quantizes: the bf16 ones may go
        self.infer.sync()
        self.keep = no_gpu, order
        self.y = np.empty((most_tokens, d), np.uint16)
        self.spinners = [int(task) for task in os.listdir("/proc/self/task") if int(task) != os.getpid()
                         and not open(f"/proc/self/task/{task}/comm").read().startswith("numa_")]
        self.spare = sorted(os.sched_getaffinity(0))[threads:]
        if self.spare:
            self.place(lambda task: os.sched_setaffinity(task, self.spare))

    def place(self, how):
        for task in self.spinners:
            how(task)

    def matrix(self, which, e):
        """bf16 weights of an expert, flat: a piece of the pool, another one for each matrix."""
        d, n, experts, _ = self.shape
        return np.resize(np.roll(self.pool, -(which * experts + e) * n * d), n * d)

    def tokens(self, n_tokens):
        d, _, experts, used = self.shape
        x = to_bf16(self.draw.standard_normal((n_tokens, d), dtype=np.float32))
        ids = np.array([self.draw.permutation(experts)[:used] for _ in range(n_tokens)], np.int64)
        return x, ids, np.full((n_tokens, used), 0.2, np.float32)

    def forward(self, x, ids, shares):
        count = np.array([len(x)], np.int32)
        self.infer.submit(self.layer.forward_task(count.ctypes.data, ids.shape[1], ids.ctypes.data, shares.ctypes.data,
                                                  x.ctypes.data, self.y.ctypes.data, False))
        self.infer.sync()

    def seconds(self, n_tokens):
        """The best of at least six calls and three seconds, of two calls where they are long."""
        best, begin, calls = 1e9, time.perf_counter(), 0
        while calls < 2 or time.perf_counter() - begin < 3 or (calls < 6 and time.perf_counter() - begin < 5):
            if not self.spare:
                policy = os.SCHED_IDLE if calls % 2 else os.SCHED_OTHER
                self.place(lambda task: os.sched_setscheduler(task, policy, os.sched_param(0)))
            given = self.tokens(n_tokens)
            time.sleep(SPIN)
            start = time.perf_counter()
            self.forward(*given)
            took = time.perf_counter() - start
            best, calls = min(best, took), calls + 1
        return best

    def error(self):
        d, n, _, _ = self.shape
        x, ids, shares = self.tokens(2)
        self.forward(x, ids, shares)
        expected = np.zeros((2, d))
        for token in range(2):
            row = from_bf16(x[token]).astype(np.float64)
            for e, share in zip(ids[token], shares[token]):
                gate, up, down = (from_bf16(self.matrix(which, e)).astype(np.float64) for which in range(3))
                g = gate.reshape(n, d) @ row
                expected[token] += share * (down.reshape(d, n) @ (g / (1 + np.exp(-g)) * (up.reshape(n, d) @ row)))
        return np.sqrt(np.mean((from_bf16(self.y[:2]) - expected) ** 2) / np.mean(expected**2))


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        stop(f"this failed: {' '.join(command)}\n{done.stderr.strip()}")
    return done.stdout


def our_error(ops_bench, label, isa):
    program = os.path.join(os.path.dirname(ops_bench), "layer_error")
    if not os.access(program, os.X_OK):
        return "unknown (layer_error is not built)"
    rows = [line.split() for line in run([program, label]).splitlines()]
    return next(f"{float(row[5]):.3f}" for row in rows if row[:3] == ["Gaussian", label, isa])


def wait_until_idle(patience):
    """Until nine tenths of the machine were idle for a second, or `patience` is over."""
    def clocks():
        with open("/proc/stat") as lines:
            fields = [int(field) for field in lines.readline().split()[1:9]]
        return fields[3] + fields[4], sum(fields)

    end = time.monotonic() + patience
    while time.monotonic() < end:
        before = clocks()
        time.sleep(1)
        after = clocks()
        if after[0] - before[0] > 0.9 * (after[1] - before[1]):
            return


def compare(arguments, layer, say):
    label, name = FORMATS[arguments.bits]
    counts = [int(count) for count in arguments.tokens.split(",")]
    d, n, experts, used = SHAPES[arguments.shape]

    def ours(n_tokens):
        return json.loads(run([arguments.ops_bench, "layer", str(d), str(n), str(experts), str(used), label,
                               str(n_tokens), "auto", str(arguments.threads)]))

    pairs = {count: [] for count in counts}
    for number in range(arguments.rounds):
        for count in counts:
            wait_until_idle(arguments.patience)
            if number % 2:
                theirs, mine = layer.seconds(count), ours(count)
            else:
                mine, theirs = ours(count), layer.seconds(count)
            pairs[count].append((mine["seconds"], theirs, mine["read_gb_s"]))
    say(f"{cpu_line('model name')}, {os.cpu_count()} cores; {arguments.threads} threads, {arguments.rounds} rounds; "
        f"{experts} experts of {n}, {used} used, width {d}")
    error = our_error(arguments.ops_bench, label, mine["isa"])
    say(f"hearth {mine['isa']} {mine['gate']}/{mine['down']}, error of {label} {error}; "
        f"kt-kernel {layer.variant} {name}, error {layer.error():.3f}")
    say("\n| tokens | hearth GFLOP/s | kt-kernel GFLOP/s | ratio | lowest and highest | memory read at GB/s |\n"
        "|---|---|---|---|---|---|")
    for count, rows in pairs.items():
        mine, theirs, read = (statistics.median(column) for column in zip(*rows))
        work, ratios = 6e-9 * count * used * n * d, sorted(b / a for a, b, _ in rows)
        say(f"| {count} | {work / mine:.1f} | {work / theirs:.1f} | {statistics.median(ratios):.2f} | {ratios[0]:.2f}, "
            f"{ratios[-1]:.2f} | {read:.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ops_bench")
    parser.add_argument("--shape", choices=SHAPES, default="lite")
    parser.add_argument("--bits", type=int, choices=FORMATS, default=4)
    parser.add_argument("--tokens", default="1,16,64,512,2048")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variant", help="of kt-kernel: " + ", ".join(VARIANTS) + "; the best that runs here")
    parser.add_argument("--patience", type=float, default=0, help="seconds to wait before each pair for a quiet machine")
    arguments = parser.parse_args()
    if not os.access(arguments.ops_bench, os.X_OK):
        stop(f"cannot run {arguments.ops_bench}")
    module, variant = load_extension(arguments.variant)
    # The extension prints to standard output; the table goes to a copy of it.
    sys.stdout.flush()
    table = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    most_tokens = max(int(count) for count in arguments.tokens.split(","))
    most_tokens = -(-most_tokens // 32) * 32  # it wants whole blocks of tokens
    layer = KtLayer(module, FORMATS[arguments.bits][1], SHAPES[arguments.shape], arguments.threads, most_tokens)
    layer.variant = variant
    compare(arguments, layer, lambda line: print(line, file=table))


if __name__ == "__main__":
    try:
        import numpy as np
    except ImportError:
        stop("expected the package numpy (pip install numpy), found none for " + sys.executable)
    main()
