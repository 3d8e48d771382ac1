#!/usr/bin/env bash
# tests/device_check.sh without a GPU: what it refuses, and, with stand-ins for the GPU and for the programs, that its
# table says what they said. Runs on any machine.
set -uo pipefail
check=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/device_check.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../support/stand_ins.sh"

program no-gpu/nvidia-smi 'echo "NVIDIA-SMI has failed" >&2' 'exit 9'
PATH=$work/no-gpu:$PATH "$check" > output 2>&1
expect "no GPU: exit code 2" [ $? = 2 ]
expect "no GPU: one line" [ "$(wc -l < output)" = 1 ]
expect "no GPU: says so" grep -q "no GPU here" output
expect "no GPU: no table" [ ! -e device_check.md ]

program gpu/nvidia-smi 'echo "A stand-in, 1.2.3"'
program gpu/python3 'for last; do :; done' ': > "$last"'  # makes a model
program gpu/compute-sanitizer 'shift 4' 'exec "$@"'
export PATH=$work/gpu:$PATH
"$check" --build-dir "$work/nothing" > output 2>&1
expect "no programs: exit code 2" [ $? = 2 ]
"$check" --frobnicate > output 2>&1
expect "unknown option: exit code 2" [ $? = 2 ]
"$check" --build-dir "$work" --deadline soon > output 2>&1
expect "a deadline that is no number: exit code 2" [ $? = 2 ]
expect "a deadline that is no number: says so" grep -qF "expected seconds, found 'soon'" output

# Tests as doctest tells them: of norm three, of route none at first.
tests_program() { # tests_program LINES_FOR_ROUTE...
  program built/device/device_tests 'case $1 in' '*norm_test.cpp) echo "[doctest] test cases:  3 |  3 passed" ;;' \
    '*end_to_end_test.cpp) echo "end to end with ${HEARTH_MODEL:+a file}${HEARTH_DEMO:+the demo}"; exit 0 ;;' \
    '*route_test.cpp)' "$@" ';;' '*) exit 3 ;; esac' 'echo "[doctest] Status: SUCCESS!"'
}
tests_program 'echo "[doctest] test cases:  2 |  2 passed"'
printf 'norm\nroute\n' > built/device/tests.txt
program built/device/cuda_conformance 'echo "16 instructions"'
program built/device/whole_model_test 'echo "all | well"'
program built/device/cuda_bench 'echo "noise"' 'echo "| copy | 1.0 GB/s | |"'
echo abcdef > built/commit
program built/hearth 'echo "$*" >> asked' 'touch x.gguf.experts' \
  'echo "ready     loaded in 3.64 s, 2.500 GB/s" >&2' \
  'echo "{ \"prefill\": { \"tok_s\": { \"median\": 1234.5 } },"' \
  'echo "  \"timeline\": { \"seconds\": 0.01, \"gpu_busy\": 0.009, \"cpu_busy\": 9e-3, \"both_busy\": 8e-3 } }"'
"$check" --build-dir built --model x.gguf --out table.md > output 2>&1
expect "all passed: exit code 0" [ $? = 0 ]
expect "heading" grep -q "^## .* A stand-in, 1.2.3, commit abcdef" table.md
expect "instructions" grep -qF '| instructions | passed | 16 instructions |' table.md
expect "a test of kernels" grep -qF '| cuda_norm_test | passed | test cases: 3 3 passed |' table.md
expect "a program of tests" grep -qF '| whole_model_test | passed | all  well |' table.md
expect "whole models, random" grep -qF "| V2-Lite's shapes, end to end | passed | end to end with a file |" table.md
expect "whole models" grep -qF "| demo, end to end | passed | end to end with" table.md
expect "sanitizer" grep -qF '| racecheck of norm | passed |' table.md
expect "sanitizer: what has no tests is named" grep -qF '| memcheck of attention | not run | there are no such tests |' table.md
expect "measured rows, and these alone" grep -qF '| copy | 1.0 GB/s | |' table.md
expect "no noise in the table" [ "$(grep -c noise table.md)" = 0 ]
expect "all of it in the log" grep -q noise table.log
expect "model" grep -qF '| prefill 2048 | 1234.5 tok/s | x.gguf |' table.md
expect "experts on both sides" grep -qF '| decode 128, 0.25 of the experts on the GPU | 1234.5 tok/s | x.gguf |' table.md
expect "both at work" grep -qF '| decode 128, 0.25 of the experts on the GPU: both at work | 80 % | x.gguf |' table.md
expect "loading" grep -qF '| loading | 2.500 GB/s | x.gguf |' table.md
expect "one strict run" [ "$(grep -c -e --strict asked)" = 1 ]
expect "what tells most first" [ "$(grep -n 'cuda_norm_test' table.md | cut -d: -f1)" -lt "$(grep -n 'racecheck of norm' table.md | cut -d: -f1)" ]

tests_program 'echo "expected 1, found 2"' 'exit 1'
"$check" --build-dir built --quick --out table.md > output 2>&1
expect "one failed: exit code 1" [ $? = 1 ]
expect "the failure is in the table" grep -qF '| cuda_route_test | FAILED | it found something |' table.md
expect "its output is shown" grep -q "expected 1, found 2" output
expect "the device is asked whether it is well" grep -q "device after cuda_route_test" table.log
expect "the others ran" [ "$(grep -c '| whole_model_test | passed |' table.md)" = 2 ]
expect "appended" [ "$(grep -c '^## ' table.md)" = 2 ]
tests_program 'echo "[doctest] test cases:  0 |  0 passed"'
"$check" --build-dir built --quick --out none.md > output 2>&1
expect "a name without tests is no success" grep -qF '| cuda_route_test | FAILED | no test ran |' none.md

# Slow programs: within the deadline, and killed at any moment, what ran is on disk.
tests_program 'echo "half of it"' 'sleep 60'
"$check" --build-dir built --quick --deadline 8 --out late.md > output 2>&1
expect "deadline: exit code 1" [ $? = 1 ]
expect "deadline: what ran" grep -qF '| cuda_norm_test | passed |' late.md
expect "deadline: what was stopped" grep -q '^| cuda_route_test | FAILED | still running after ' late.md
expect "deadline: what had no time" grep -qF '| cuda_bench | not run | no time was left |' late.md
setsid "$check" --build-dir built --quick --out killed.md > output 2>&1 &
for _ in $(seq 100); do grep -q "half of it" killed.log 2> /dev/null && break; sleep 0.1; done
kill -9 -- -$! 2> /dev/null
wait $! 2> /dev/null
expect "killed: what ran is in the table" grep -qF '| cuda_norm_test | passed |' killed.md
expect "killed: what was said is in the log" grep -q "half of it" killed.log

tests_program 'echo "[doctest] test cases:  2 |  2 passed"'
"$check" --pack carried --build-dir built > output 2>&1
expect "pack: exit code 0" [ $? = 0 ]
truncate -s 30M built/device/large_test && chmod +x built/device/large_test
"$check" --pack large --build-dir built > output 2>&1
expect "a pack that is too large: exit code 2" [ $? = 2 ]
expect "a pack that is too large: sizes" grep -q "31457280 device/large_test" output
expect "a pack that is too large: what was expected" grep -q "expected at most 28000000" output
rm -r built
carried/device_check.sh --build-dir carried --quick --out packed.md > output 2>&1
expect "pack: runs from there" [ $? = 0 ]
expect "pack: everything ran" grep -qF '| cuda_norm_test | passed |' packed.md
exit $failed
