#!/usr/bin/env bash
# cmake/cuda_toolkit.cmake and cuda_disassembler.cmake with stand-ins for the driver, the compiler and the files that are fetched: when it fetches,
# what it says, and that nothing half fetched stays. Runs on any machine, without a network.
set -uo pipefail
script=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/cmake/cuda_toolkit.cmake
cmake=$(command -v cmake)
. "$(dirname "${BASH_SOURCE[0]}")/../support/stand_ins.sh"
unset CMAKE_FLAGS HEARTH_CUDA
# fetch PATH-FOLDERS FLAGS...: what `make deps` does, with those folders first on the PATH.
fetch() {
  local folders=$1
  shift
  PATH=$folders:/usr/bin:/bin "$cmake" -DTO="$work/build/cuda-toolkit" -DWHEELS="$work/wheels.txt" -DTOOLKITS=/nowhere \
    -DDRIVERS="$work/kernel" "$@" -P "$script" > output 2>&1
}
nothing_left() { [ ! -e build/cuda-toolkit ] && [ ! -e build/cuda-toolkit.partial ]; }
one_line() { [ "$(wc -l < output)" = 1 ]; }
silent() { [ ! -s output ]; }

program driver/nvidia-smi 'echo "580.65.06, A stand-in"'
program old-driver/nvidia-smi 'echo "550.54.14, A stand-in"'
program no-gpu/nvidia-smi 'echo "NVIDIA-SMI has failed" >&2' 'exit 9'
program nvcc11/nvcc 'echo "Cuda compilation tools, release 11.8, V11.8.89"'  # too old, and found before a real one
program nvcc12/nvcc 'echo "Cuda compilation tools, release 12.0, V12.0.140"'
program nvidia/cu13/bin/nvcc 'echo "Cuda compilation tools, release 13.0, V13.0.88"'
mkdir -p nvidia/cu13/lib nvidia/cu13/nvvm/bin
echo library > nvidia/cu13/lib/libcudart_static.a
program nvidia/cu13/nvvm/bin/cicc 'true'
chmod -x nvidia/cu13/bin/nvcc nvidia/cu13/nvvm/bin/cicc
"$cmake" -E tar cf stand_in.whl --format=zip nvidia
line="$(sha256sum stand_in.whl | cut -d' ' -f1) $(stat -c %s stand_in.whl) file://$work/stand_in.whl"
printf '# a list\n%s\n' "$line" > wheels.txt

fetch "$work/no-gpu:$work/nvcc11"
expect "no GPU: nothing is said" silent
fetch "$work/driver:$work/nvcc12"
expect "a compiler is there: nothing is said" silent
fetch "$work/driver:$work/nvcc11" "-DFLAGS=-DHEARTH_CUDA=OFF"
expect "somebody said no: nothing is said" silent
HEARTH_CUDA=OFF fetch "$work/driver:$work/nvcc11"
expect "somebody said no in the environment: nothing is said" silent
expect "and nothing is fetched" nothing_left

fetch "$work/old-driver:$work/nvcc11"
expect "an old driver: one line" one_line
expect "an old driver: which it is, and what is wanted" grep -q "driver 550.54.14 .* older than 580.* toolkit 12" output
expect "an old driver: nothing is fetched" nothing_left

mkdir kernel && echo "NVRM version" > kernel/version
fetch "$work/nvcc11"
expect "a driver without nvidia-smi: one line" one_line
expect "a driver without nvidia-smi: what to do" grep -q "no nvidia-smi .* -DHEARTH_CUDA=ON" output
rm -r kernel

printf '%s\n' "$line" "${line/stand_in/missing}" > wheels.txt
fetch "$work/driver:$work/nvcc11"
expect "no network: fails nothing" [ $? = 0 ]
expect "no network: said" grep -q "building for the CPU alone: the CUDA compiler could not be fetched (missing.whl: " output
expect "no network: nothing half fetched" nothing_left
printf '%s\n' "0123${line:4}" > wheels.txt
fetch "$work/driver:$work/nvcc11"
expect "another file: fails nothing" [ $? = 0 ]
expect "another file: both hashes" grep -q "stand_in.whl is not what it should be: expected the SHA-256 0123.*, found ${line%% *}" output
expect "another file: nothing is unpacked" nothing_left

printf '%s\n' "$line" > wheels.txt
fetch "$work/driver:$work/nvcc11"
expect "fetched: what and how large" grep -q "A stand-in, but no CUDA compiler: fetching NVIDIA's (files: 1, 1 MB)" output
expect "fetched: runs" [ "$(build/cuda-toolkit/nvidia/cu13/bin/nvcc)" = "Cuda compilation tools, release 13.0, V13.0.88" ]
expect "fetched: its parts run" build/cuda-toolkit/nvidia/cu13/nvvm/bin/cicc
expect "fetched: libraries where they are looked for" [ -e build/cuda-toolkit/nvidia/cu13/lib64/libcudart_static.a ]
expect "fetched: no archives stay" [ ! -e build/cuda-toolkit/stand_in.whl ]
fetch "$work/driver:$work/nvcc11"
expect "fetched once: nothing is said again" silent

# The disassembler, by the same means.
disassemble() { "$cmake" -DTO="$work/disassembler" -DWHEELS="$work/$1" -P "${script%toolkit.cmake}disassembler.cmake" > output 2>&1; }
printf '%s\n' "0123${line:4}" > others.txt
disassemble others.txt
expect "another disassembler: fails nothing" [ $? = 0 ]
expect "another disassembler: said in a line" grep -q "instructions are not counted: stand_in.whl is not what it should be" output
expect "another disassembler: nothing stays" [ ! -e disassembler ]
disassemble wheels.txt
expect "the disassembler is fetched" disassembler/nvidia/cu13/bin/nvcc

# CMake's own module demands a shared runtime library, which is not fetched, and would end the build.
root=${script%/cmake/*}
expect "no room asks for more than is fetched" [ -z "$(grep -rl --include=CMakeLists.txt "find_package(CUDAToolkit" \
  "$root"/CMakeLists.txt "$root"/{kernels,tests,runtime,convert,quant})" ]
exit $failed
