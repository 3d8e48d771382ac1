#!/usr/bin/env bash
# Everything that only a GPU can say about hearth, in one command: is each instruction what its plain C++ twin says, do
# the kernels give the CPU's numbers, how fast is it all, and does compute-sanitizer find nothing.
#
#   tests/device_check.sh [--build-dir DIR] [--model FILE.gguf] [--out FILE] [--deadline SECONDS] [--quick]
#   tests/device_check.sh --pack OUT --build-dir DIR
#
# --build-dir: programs that were built elsewhere, DIR/device/* and DIR/hearth. Without it they are built here, in
#   build-device; where the libraries that takes are missing, only the programs that need none are.
# --pack: copies those programs, the libraries they need, the commit's name and this script to the folder OUT, which
#   can be carried to a machine that has nothing but a driver: OUT/device_check.sh --build-dir OUT. Refuses more than
#   28 MB, with the sizes: build for one architecture (-DCMAKE_CUDA_ARCHITECTURES=90-real).
# --model: a file for `hearth bench`, of V2-Lite's shapes for figures that compare. Without it one is made where there
#   is room for it and python3 (9 GB in TMPDIR).
# --deadline: ends after so many seconds (default: 540). What there was no time for is a row "not run".
# --quick: no sanitizer, no model.
#
# The table is written to --out (device_check.md here) row by row, and what programs print to the file beside it that
# ends in .log: whoever stops this loses nothing that was found. What tells most comes first. Exits with 0 if all checks
# passed, 1 if one failed, 2 if nothing could be checked.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
give_up() { echo "device_check.sh: $*" >&2; exit 2; }
most_packed=28000000

build="" pack="" model="" out=device_check.md quick="" deadline=540
while [ $# -gt 0 ]; do
  case $1 in
    --build-dir | --pack | --model | --out | --deadline)
      [ $# -ge 2 ] || give_up "$1 needs a value"
      case $1 in
        --build-dir) build=$2 ;; --pack) pack=$2 ;; --model) model=$2 ;; --out) out=$2 ;; --deadline) deadline=$2 ;;
      esac
      shift 2 ;;
    --quick) quick=1; shift ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
  esac
done
case $deadline in '' | *[!0-9]*) give_up "--deadline: expected seconds, found '$deadline'" ;; esac

# The libraries of a program, but for those that belong to the machine: libc's own, the loader, the driver.
libraries_of() {
  ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
    grep -Ev '/(libc|libm|libdl|libpthread|librt|ld-linux[^/]*|libcuda)\.so'
}

if [ -n "$pack" ]; then
  [ -d "$build/device" ] || give_up "no programs in '$build/device' (--build-dir)"
  mkdir -p "$pack/device" "$pack/lib" || give_up "cannot make $pack"
  for program in "$build"/device/*; do
    [ -f "$program" ] && cp "$program" "$pack/device/"
  done
  [ -x "$build/hearth" ] && cp "$build/hearth" "$pack/"
  cp "${BASH_SOURCE[0]}" "$pack/device_check.sh"
  cp "$here/kernels/cuda/synthetic_gguf.py" "$pack/" 2>/dev/null
  if [ -x "$build/hearth" ] && [ -d "$here/../demo/checkpoint" ]; then
    "$build/hearth" convert "$here/../demo/checkpoint" "$pack/demo.gguf" --recipe q4_k_m 2>/dev/null ||
      give_up "cannot convert the demo model for the pack"
  fi
  libraries_of "$build"/device/* "$build/hearth" | xargs -r cp -L -t "$pack/lib"
  git -C "$here" rev-parse --short=10 HEAD > "$pack/commit" 2>/dev/null
  for program in "$pack"/device/* "$pack/hearth"; do
    [ -f "$program" ] && [ -x "$program" ] && strip "$program" 2>/dev/null
  done
  bytes=$(find "$pack" -type f -printf '%s\n' | awk '{sum += $1} END {print sum + 0}')
  if [ "$bytes" -gt "$most_packed" ]; then
    find "$pack" -type f -printf '%10s %P\n' | sort -rn | head -12 >&2
    give_up "$pack holds $bytes bytes: expected at most $most_packed (-DCMAKE_CUDA_ARCHITECTURES=90-real builds for one GPU)"
  fi
  echo "packed $((bytes / 1000000)) MB: $pack/device_check.sh --build-dir $pack"
  exit 0
fi

# ---- Is there a GPU, and what is to run on it?
device=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -1)
[ -n "$device" ] || give_up "no GPU here (nvidia-smi names none): nothing was checked"

if [ -z "$build" ]; then
  build=$PWD/build-device
  root=$(dirname "$here")
  log=$(mktemp)
  if cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DHEARTH_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=native > "$log" 2>&1; then
    targets="device_programs hearth"
  else
    echo "the libraries of a whole build are missing here: only what needs none (see $log)" >&2
    rm -rf "$build"
    targets=all
    cmake -S "$root/tests/kernels/cuda/bare" -B "$build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CUDA_ARCHITECTURES=native \
      > "$log" 2>&1 || give_up "cmake failed, see $log"
  fi
  # shellcheck disable=SC2086
  cmake --build "$build" -j "$(nproc)" --target $targets > "$log" 2>&1 || give_up "the build failed, see $log"
fi
[ -d "$build/device" ] || give_up "no programs in $build/device"
build=$(cd "$build" && pwd)
commit=$(cat "$build/commit" 2>/dev/null || git -C "$here" rev-parse --short=10 HEAD 2>/dev/null || echo unknown)

# ---- Rows of the table, and the log
logs=${out%.md}.log
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
{
  printf '\n## %s, %s, commit %s\n\n' "$(date -u '+%Y-%m-%d %H:%M UTC')" "$device" "$commit"
  printf '| check | result | |\n| --- | --- | --- |\n'
} >> "$out" || give_up "cannot write $out"
printf '\n== %s, commit %s\n' "$device" "$commit" >> "$logs" || give_up "cannot write $logs"
row() { printf '| %s | %s | %s |\n' "$1" "$2" "$3" | tee -a "$out"; }
left() { echo $((deadline - SECONDS)); }

# timed NAME SECONDS COMMAND...: runs it for at most so long and within the deadline; its output comes to the log as it
# is printed, and to $scratch/log. 125: there was no time, and a row says so.
timed() {
  local name=$1 limit=$2 code
  shift 2
  [ "$limit" -le "$(left)" ] || limit=$(left)
  if [ "$limit" -lt 5 ]; then
    row "$name" "not run" "no time was left"
    return 125
  fi
  printf '\n-- %s (after %d s): %s\n' "$name" "$SECONDS" "$*" >> "$logs"
  timeout "$limit" "$@" 2>&1 | tee -a "$logs" > "$scratch/log"
  code=${PIPESTATUS[0]}
  [ "$code" = 124 ] && echo "still running after $limit s" >> "$scratch/log"
  return "$code"
}
fail() { # fail NAME WHY: and is the device still well?
  failed=1
  row "$1" FAILED "$2"
  tail -n 40 "$scratch/log" >&2
  if [ "$1" != instructions ] && [ -x "$build/device/cuda_conformance" ] && [ "$(left)" -ge 5 ]; then
    timed "device after $1" 30 "$build/device/cuda_conformance" || row "device after $1" FAILED "instructions"
  fi
}
# check NAME SECONDS COMMAND...: a row for a program that passes or fails; its last line of output is the note.
check() {
  local name=$1 code
  timed "$@"
  code=$?
  case $code in
    0) row "$name" passed "$(grep -v '^ *$' "$scratch/log" | tail -n 1 | tr -d '|' | sed 's/\x1b\[[0-9;]*m//g')" ;;
    124) fail "$name" "$(tail -n 1 "$scratch/log")" ;;
    125) ;;
    *) fail "$name" "exit code $code" ;;
  esac
}
# The tests of a room of kernels. All are in one program, which holds the kernels once; one that finds no test of that
# name says that all is well.
tests=$(cat "$build/device/tests.txt" 2>/dev/null)
tests_of() { printf '%s\n' "$build/device/device_tests" "--source-file=*cuda/$1_test.cpp"; }
check_tests() { # check_tests NAME OF SECONDS [COMMAND...]: under COMMAND, if there is one
  local name=$1 of=$2 limit=$3 command
  shift 3
  mapfile -t command < <(tests_of "$of")
  if [ ! -x "${command[0]}" ] || ! grep -qx "$of" <<< "$tests"; then
    row "$name" "not run" "there are no such tests"
    return
  fi
  timed "$name" "$limit" "$@" "${command[@]}"
  case $? in
    0)
      if grep -q 'test cases: *[1-9]' "$scratch/log"; then
        row "$name" passed "$(grep -o 'test cases:.*' "$scratch/log" | tail -n 1 | tr -s ' |' ' ')"
      else
        fail "$name" "no test ran"
      fi ;;
    124) fail "$name" "$(tail -n 1 "$scratch/log")" ;;
    125) ;;
    *) fail "$name" "it found something" ;;
  esac
}

printf '| check | result | |\n| --- | --- | --- |\n'
{
  nvidia-smi --query-gpu=clocks.max.sm,clocks.max.memory,power.limit,memory.total,memory.free --format=csv,noheader
  nvidia-smi --query-gpu=pcie.link.gen.current,pcie.link.width.current,compute_cap --format=csv,noheader
  lscpu
  free -g
} >> "$logs" 2>&1
row "machine" "$(nproc) processors" "$(sed -n 's/^Model name: *//p' "$logs" | tail -n 1)"

# ---- First what the other results stand on
[ -x "$build/device/cuda_conformance" ] && check "instructions" 120 "$build/device/cuda_conformance"
for name in $tests; do check_tests "cuda_${name}_test" "$name" 120; done
for program in "$build"/device/*_test; do
  [ -x "$program" ] && check "$(basename "$program")" 240 "$program"
done

# ---- Whole models against the CPU: the demo, and random weights of V2-Lite's shapes
maker=$here/kernels/cuda/synthetic_gguf.py
[ -f "$maker" ] || maker=$here/synthetic_gguf.py
end_to_end=("$build/device/device_tests" "--source-file=*golden/end_to_end_test.cpp")
if [ -x "${end_to_end[0]}" ]; then
  [ -f "$build/demo.gguf" ] && export HEARTH_DEMO=$build/demo.gguf
  check "demo, end to end" 180 "${end_to_end[@]}"
  if command -v python3 > /dev/null && timed "three layers" 60 python3 "$maker" --layers 3 --vocab 2048 "$scratch/three.gguf"; then
    check "V2-Lite's shapes, end to end" 180 env HEARTH_MODEL="$scratch/three.gguf" "${end_to_end[@]}"
  else
    row "V2-Lite's shapes, end to end" "not run" "no file could be made"
  fi
  rm -f "$scratch/three.gguf"
fi

# ---- How fast: programs that measure print rows themselves
if [ -x "$build/device/cuda_bench" ]; then
  timed "cuda_bench" 240 "$build/device/cuda_bench"
  code=$?
  grep '^|' "$scratch/log" | tee -a "$out"
  [ $code = 0 ] || [ $code = 125 ] || fail "cuda_bench" "exit code $code"
fi

# ---- How fast a whole model is
if [ -z "$quick" ] && [ -z "$model" ] && [ -x "$build/hearth" ] && command -v python3 > /dev/null; then
  free=$(df -Pk "${TMPDIR:-/tmp}" | awk 'NR == 2 {print int($4 / 1048576)}')
  if [ "$free" -lt 12 ]; then
    row "synthetic model" skipped "12 GB are not free in ${TMPDIR:-/tmp}"
  elif timed "synthetic model" 120 python3 "$maker" "$scratch/v2-lite.gguf"; then
    model=$scratch/v2-lite.gguf
  else
    fail "synthetic model" "$maker"
  fi
fi

# bench NAME ARGUMENTS...: the rows of one `hearth bench`, without what an earlier one left beside the model.
bench() {
  local name=$1 speed code
  shift
  rm -f "$model.experts"
  timed "$name" 120 "$build/hearth" bench "$model" --device cuda --json "$@"
  code=$?
  [ $code = 125 ] && return
  if [ $code != 0 ]; then
    fail "$name" "hearth bench: exit code $code"
    return
  fi
  tr -d ' \n' < "$scratch/log" > "$scratch/json"
  speed=$(grep -o '"tok_s":{"median":[0-9.e+-]*' "$scratch/json" | head -1 | sed 's/.*://')
  row "$name" "$(printf '%.1f tok/s' "$speed")" "$(basename "$model")"
  # Experts on both sides: the part of a token's time in which GPU and CPU are both at work.
  sed -n 's/.*"timeline":{"seconds":\([^,]*\),.*"both_busy":\([^}]*\)}.*/\1 \2/p' "$scratch/json" > "$scratch/both"
  [ -s "$scratch/both" ] && row "$name: both at work" "$(awk '{printf "%.0f %%", 100 * $2 / $1}' "$scratch/both")" "$(basename "$model")"
}
if [ -z "$quick" ] && [ -n "$model" ] && [ -x "$build/hearth" ]; then
  bench "prefill 512" -p 512 -n 0 --strict  # the one run in which a fallback is a failure
  load=$(sed -n 's/^ready .*, \([0-9.]* GB\/s\)$/\1/p' "$scratch/log")  # as runtime/cli/session.cpp prints it
  [ -n "$load" ] && row "loading" "$load" "$(basename "$model")"
  bench "decode 128" -p 0 -n 128
  bench "decode 128, not recorded" -p 0 -n 128 --no-graphs
  # Experts on both sides: what a smaller card would do, and what the cache adds to a fixed choice of experts.
  for share in 0.5 0.25 0.0 0.75; do
    bench "decode 128, $share of the experts on the GPU" -p 0 -n 128 --resident-experts "$share"
  done
  bench "prefill 2048" -p 2048 -n 0
  bench "decode 64 after 8192" -p 0 -n 64 -d 8192
  for policy in auto cpu copy stream; do
    for n in 512 4096; do
      bench "prefill $n, 0.25 of the experts, the others: $policy" -p "$n" -n 0 -r 2 --resident-experts 0.25 \
        --prefill-experts "$policy"
    done
  done
  bench "decode 128, 0.5 of the experts, fixed" -p 0 -n 128 --resident-experts 0.5 --expert-cache static
  bench "decode 32 after 32000" -p 0 -n 32 -d 32000 -r 2
fi

# ---- Where three kernels spend their time: in the log
if [ -z "$quick" ] && command -v ncu > /dev/null && [ -x "$build/device/cuda_bench" ]; then
  for kernel in vec_kernel attend_tiles tile_kernel; do
    check "profile of $kernel" 60 ncu --clock-control none --launch-count 1 --launch-skip 3 --kernel-name "regex:$kernel" \
      --section SpeedOfLight --section MemoryWorkloadAnalysis --section WarpStateStats "$build/device/cuda_bench"
  done
fi

# ---- Last what takes longest
if [ -z "$quick" ] && command -v compute-sanitizer > /dev/null; then
  first="attention moe_tile matmul_vec matmul_few"
  for tool in memcheck racecheck; do
    for name in $first $(printf '%s\n' $tests | grep -vxF -e "${first// /$'\n'}"); do
      check_tests "$tool of $name" "$name" 300 compute-sanitizer --tool "$tool" --error-exitcode 9
    done
  done
fi

echo "written to $out, with $logs"
exit $failed
