#!/usr/bin/env python3
"""Counts what nvcc made of the CUDA kernels: registers, and the instructions of the loop that matters.

    compiled.py BUILD [--gpus 80,120] [--all]

BUILD is a build folder whose kernels were compiled (target device_objects). Needs NVIDIA's cuobjdump and nvdisasm
(cmake/cuda_disassembler.cmake fetches them); exits with 77 where they or the objects are missing. docs/counts.md says
what the columns are.

The loop that matters is, by this rule, the innermost one that multiplies: on tensor cores (HMMA, else IMMA), else by
IDP.4A, else by FFMA; of several the one that does most. Its weights follow from its products, so it does not matter how often it was
unrolled.
"""
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from sass import GENERIC, GLOBAL, SHARED, kernels_of

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
# Of every kernel registers are told. These are disassembled too, which takes up to half a second for each file; or, with --all,
# whatever multiplies: the formats that recipes make are enough to see what a change does.
COMMON = r"(F32|BF16|F8_E4M3|Q8_0|Q5_0|Q4_0|I4_G128|IQ4_XS|Q[2-6]_K)"
TILES = r"(tile|byte)_kernel .*,(Q8_0|I4_G128|Q4_K|Q6_K)$"
DISASSEMBLED = rf"(attend|merge)\w+ |vec_kernel {COMMON},(true|false)$|few_kernel {COMMON},\d$|{TILES}"
ALL = r"(attend|merge|few|tile|byte)\w+ |vec_kernel (?!mixed)"
PIECE_WEIGHTS = {"F32": 128, "F16": 256, "BF16": 256}  # of others 512, between 8 lanes (matmul_vec_job.h)


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(77)


def find_tools(build):
    """A folder with both programs."""
    places = [build / "cuda-disassembler/nvidia/cu13/bin", ROOT / "build/cuda-disassembler/nvidia/cu13/bin"]
    places += [pathlib.Path(found).parent for found in [shutil.which("nvdisasm")] if found]
    places += [pathlib.Path("/usr/local/cuda/bin")]
    for place in places:
        if (place / "nvdisasm").exists() and (place / "cuobjdump").exists():
            return place
    skip("no cuobjdump and nvdisasm (cmake -DTO=build/cuda-disassembler -P cmake/cuda_disassembler.cmake fetches them)")


def vec_counts(kernel, block):
    """(instructions per weight, wavefronts of loads without conflicts per 1024 weights) of matmul_vec's kernel: those of
    the loop over units, and those of the loop around it that stages pieces of rows, shared by a piece's weights; or of
    one loop that does both."""
    loop, product = kernel.loop_that_matters("LDGSTS")  # not one that makes the activations
    products, instructions = kernel.count(loop, product), kernel.count(loop)
    # Of integers each weight takes part in two products of four (two bytes of an activation), else in one.
    weights = products * 4 / 2 if product == "IDP" else 8 * max(1, round(products / 8))
    lane_weights = PIECE_WEIGHTS.get(block, 512) / 8
    whole = kernel.count(loop, "LDGSTS") > 0  # a lane's part of a piece is in one turn of the loop
    if whole:
        weights = lane_weights
    # Activations that are prepared already come from global memory, by way of L1, whose data shared memory's banks hold.
    phases = kernel.phases(loop, (GENERIC, SHARED, GLOBAL)) * 32 / weights
    if whole:
        return instructions / lane_weights, phases
    staging = min((o for o in kernel.loops if loop < o and kernel.count(o, "LDGSTS")), key=len)
    around = staging.difference(*(inner for inner in kernel.loops if inner < staging))
    others = max(0, kernel.count(around) - kernel.count(around, product) * instructions / products)
    return instructions / weights + others / lane_weights, phases


def few_counts(kernel, block):
    """The same of matmul_few's kernel: of the loop over spans of 128 weights of a warp's 32 rows, and of the one around it
    that stages two of them (of plain floats one does both), without what only a row's end needs."""
    loop, _ = kernel.loop_that_matters()
    staging = min((o for o in kernel.loops if loop <= o and kernel.count(o, "LDGSTS")), key=len)
    span = 128  # weights of a lane
    others = staging - loop
    if block not in PIECE_WEIGHTS:
        others -= kernel.blocks_with("LDGSTS.*ZFILL")
    # Scales are stored, too.
    phases = kernel.phases(loop, (GENERIC, SHARED, GLOBAL, "STS"))
    return kernel.count(loop) / span + kernel.count(others) / (2 * span), phases / (span * 32 / 1024)


def byte_counts(kernel, decoders):
    """Instructions per product of a tile of bytes: of a whole step, which has the loop over the scales of 64 weights and
    what lies around it, mostly the decoding, which so many groups of warps take turns at."""
    loop, product = kernel.loop_that_matters()
    n, products = kernel.count(loop), kernel.count(loop, product)
    if kernel.count(loop, "LDGSTS"):  # one scale: a step is one loop
        return n / products
    times = 4 if kernel.count(loop, "IMMA.16816") else 2
    step = min((o for o in kernel.loops if loop < o and kernel.count(o, "LDGSTS")), key=len)
    return (n * times + (kernel.count(step) - n) / decoders) / (products * times)


def short(demangled):
    """'vec_kernel Q4_K,true' of a kernel's whole name; a list of several formats is 'mixed'."""
    name = re.sub(r"\(anonymous namespace\)::|hearth::|gpu::|vec::|few::|\((int|bool)\)", "", demangled)
    name = re.sub(r"^void ", "", name)
    name = re.sub(r"FormatList<Row<\(FormatId\)\d+, (\w+)> ?>", r"\1", name)
    name = re.sub(r"FormatList<.*> >", "mixed", name)
    found = re.match(r"(\w+)(?:<(.*)>)?\(", name)
    return found.group(1) + " " + (re.sub(r"Block|\s", "", found.group(2)) if found.group(2) else "-")


def count_object(tools, path, gpus, disassembled):
    """(rows: {(kernel, gpu): numbers}, the compiler's name) of an object file."""
    rows, compiler = {}, ""
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, PATH=f"{tools}:{os.environ['PATH']}")
        run = lambda *command: subprocess.run(command, cwd=folder, env=environment, check=True, text=True,
                                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout  # fmt: skip
        run("cuobjdump", "-xelf", "all", str(path))
        for cubin in sorted(pathlib.Path(folder).glob("*.cubin")):
            gpu = re.search(r"sm_(\d+)", cubin.name).group(1)
            if gpus and gpu not in gpus:
                continue
            release = re.search(rb"release [\d.]+, (V[\d.]+)", cubin.read_bytes())
            compiler = release.group(1).decode() if release else "an unknown compiler"
            usage = re.findall(r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)",
                               run("cuobjdump", "-res-usage", str(cubin)))  # fmt: skip
            if not usage:
                continue
            mangled = [name for name, *_ in usage]
            names = dict(zip(mangled, map(short, run("c++filt", *mangled).splitlines())))
            symbols = re.findall(r"^ *(\d+): .* FUNC .* (\S+)$", run("readelf", "-sW", str(cubin)), re.MULTILINE)
            wanted = [number for number, name in symbols if re.match(disassembled, names.get(name, ""))]
            code = kernels_of(run("nvdisasm", "-c", "-fun", ",".join(wanted), str(cubin))) if wanted else {}
            for name, registers, stack, shared, local in usage:
                counted = counts(names[name], code[name]) if name in code else [0] * 7
                rows[names[name], gpu] = [int(registers), int(stack) + int(local), int(shared), *counted]
    return rows, compiler


def block_of(name):
    return name.split()[-1].split(",")[0]


def counts(name, kernel):
    """[instructions, products, generic, shared and global loads of the loop that matters; instructions per weight or,
    with tensor cores, per product; phases per 1024 weights or per turn of the loop]."""
    loop, product = kernel.loop_that_matters("LDGSTS" if name.startswith("vec_kernel") else "")
    if not loop:
        return [0] * 7
    n, products = kernel.count(loop), kernel.count(loop, product)
    loads = [kernel.count(loop, kind + r"(\.|$)") for kind in (GENERIC, SHARED, GLOBAL)]
    if name.startswith("vec_kernel"):
        per, phases = vec_counts(kernel, block_of(name))
    elif name.startswith("few_kernel"):
        per, phases = few_counts(kernel, block_of(name))
    elif name.startswith("byte_kernel"):
        per, phases = byte_counts(kernel, 2 if "ByteTile<128" in name else 1), kernel.phases(loop)
    else:
        per, phases = n / products if product == "HMMA" else 0, kernel.phases(loop)
    return [n, products, *loads, per, phases]


def main(arguments):
    gpus, disassembled = [], DISASSEMBLED
    if "--all" in arguments:
        arguments.remove("--all")
        disassembled = ALL
    if "--gpus" in arguments:
        at = arguments.index("--gpus")
        gpus = arguments[at + 1].split(",")
        del arguments[at : at + 2]
    if len(arguments) != 1:
        sys.exit(__doc__)
    build = pathlib.Path(arguments[0]).resolve()
    objects = build / "kernels/CMakeFiles/kernels_cuda.dir/cuda"
    paths = sorted(path for path in objects.rglob("*.cu.o") if "host" not in path.relative_to(objects).parts)
    if not paths:
        skip(f"no kernels that nvcc compiled in {build} (-DHEARTH_CUDA=ON, target device_objects)")
    tools = find_tools(build)
    rows, compilers = {}, set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for found, compiler in pool.map(lambda path: count_object(tools, path, gpus, disassembled), paths):
            rows.update(found)
            compilers |= {compiler} - {""}
    if not rows:
        skip(f"no code for {', '.join('sm_' + gpu for gpu in gpus) or 'any GPU'} in {build}")
    print("# by nvcc " + " and ".join(sorted(compilers)))
    print("# Registers, bytes of stack and of static shared memory; of the loop that matters: instructions, products, generic,\n"
          "# shared and global loads, instructions per weight (or per HMMA), wavefronts of loads without conflicts per 1024\n"
          "# weights (or per turn)\n"
          f"# {'kernel':<17} {'variant':<32} {'gpu':<6} | regs stack  smem  loop prod.  gen.  sh.  gl.   per  phases")  # fmt: skip
    for (name, gpu), n in sorted(rows.items(), key=lambda row: (row[0][0], int(row[0][1]))):
        kernel, variant = name.split()
        print(f"{kernel:<19} {variant:<32} sm_{gpu:<3} | {n[0]:4} {n[1]:5} {n[2]:5} {n[3]:5} {n[4]:5} {n[5]:5} {n[6]:4}"
              f" {n[7]:4} {n[8]:5.2f} {n[9]:7.1f}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
