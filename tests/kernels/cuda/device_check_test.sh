#!/usr/bin/env bash
# tests/device_check.sh without a GPU: what it refuses, and, with stand-ins for the GPU and for the programs, that its
# table says what they said. Runs on any machine.
set -uo pipefail
check=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/device_check.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
expect() { # expect WHAT CONDITION...
  local what=$1
  shift
  "$@" || { echo "FAILED: $what" >&2; failed=1; }
}
program() { # program PATH LINE...: a shell script
  mkdir -p "$(dirname "$1")"
  { echo '#!/bin/sh'; printf '%s\n' "${@:2}"; } > "$1"
  chmod +x "$1"
}
cd "$work" || exit 1

program no-gpu/nvidia-smi 'echo "NVIDIA-SMI has failed" >&2' 'exit 9'
PATH=$work/no-gpu:$PATH "$check" > output 2>&1
expect "no GPU: exit code 2" [ $? = 2 ]
expect "no GPU: one line" [ "$(wc -l < output)" = 1 ]
expect "no GPU: says so" grep -q "no GPU here" output
expect "no GPU: no table" [ ! -e device_check.md ]

program gpu/nvidia-smi 'echo "A stand-in, 1.2.3"'
program gpu/compute-sanitizer 'shift 4' 'exec "$@"'
export PATH=$work/gpu:$PATH
"$check" --build-dir "$work/nothing" > output 2>&1
expect "no programs: exit code 2" [ $? = 2 ]
"$check" --frobnicate > output 2>&1
expect "unknown option: exit code 2" [ $? = 2 ]

program built/device/cuda_conformance 'echo "16 instructions"'
program built/device/cuda_norm_test 'echo "all | well"'
program built/device/cuda_bench 'echo "noise"' 'echo "| copy | 1.0 GB/s | |"'
echo abcdef > built/commit
program built/hearth 'echo "ready     loaded in 3.64 s, 2.500 GB/s" >&2' \
  'echo "{ \"prefill\": { \"tok_s\": { \"median\": 1234.5 } },"' \
  'echo "  \"timeline\": { \"seconds\": 0.01, \"gpu_busy\": 0.009, \"cpu_busy\": 9e-3, \"both_busy\": 8e-3 } }"'
"$check" --build-dir built --model x.gguf --out table.md > output 2>&1
expect "all passed: exit code 0" [ $? = 0 ]
expect "heading" grep -q "^## .* A stand-in, 1.2.3, commit abcdef" table.md
expect "instructions" grep -qF '| instructions | passed | 16 instructions |' table.md
expect "a test" grep -qF '| cuda_norm_test | passed | all  well |' table.md
expect "sanitizer" grep -qF '| racecheck of norm | passed |' table.md
expect "measured rows, and these alone" grep -qF '| copy | 1.0 GB/s | |' table.md
expect "no noise" [ "$(grep -c noise table.md)" = 0 ]
expect "model" grep -qF '| prefill 2048 | 1234.5 tok/s | x.gguf |' table.md
expect "experts on both sides" grep -qF '| decode 128, 0.25 of the experts on the GPU | 1234.5 tok/s | x.gguf |' table.md
expect "both at work" grep -qF '| decode 128, 0.25 of the experts on the GPU: both at work | 80 % | x.gguf |' table.md
expect "loading" grep -qF '| loading | 2.500 GB/s | x.gguf |' table.md

program built/device/cuda_route_test 'echo "expected 1, found 2"' 'exit 1'
"$check" --build-dir built --quick --out table.md > output 2>&1
expect "one failed: exit code 1" [ $? = 1 ]
expect "the failure is in the table" grep -qF '| cuda_route_test | FAILED | exit code 1 |' table.md
expect "its output is shown" grep -q "expected 1, found 2" output
expect "appended" [ "$(grep -c '^## ' table.md)" = 2 ]

rm built/device/cuda_route_test
"$check" --pack carried --build-dir built > output 2>&1
expect "pack: exit code 0" [ $? = 0 ]
rm -r built
carried/device_check.sh --build-dir carried --quick --out packed.md > output 2>&1
expect "pack: runs from there" [ $? = 0 ]
expect "pack: everything ran" grep -qF '| cuda_norm_test | passed |' packed.md
exit $failed
