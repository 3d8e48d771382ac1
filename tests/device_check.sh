#!/usr/bin/env bash
# Everything that only a GPU can say about hearth, in one command: is each instruction what its plain C++ twin says, do
# the kernels give the CPU's numbers, does compute-sanitizer find nothing, and how fast is it all.
#
#   tests/device_check.sh [--build-dir DIR] [--model FILE.gguf] [--out FILE] [--quick]
#   tests/device_check.sh --pack OUT --build-dir DIR
#
# --build-dir: programs that were built elsewhere, DIR/device/* and DIR/hearth. Without it they are built here, in
#   build-device; where the libraries that takes are missing, only the programs that need none are.
# --pack: copies those programs, the libraries they need, the commit's name and this script to the folder OUT, which
#   can be carried to a machine that has nothing but a driver: OUT/device_check.sh --build-dir OUT.
# --model: a file for `hearth bench`, of V2-Lite's shapes for figures that compare. Without it one is made where there
#   is room for it and python3 (9 GB in TMPDIR).
# --quick: no sanitizer, no model.
#
# Prints one table and appends it to --out (device_check.md here). Exits with 0 if all checks passed, 1 if one failed,
# 2 if nothing could be checked.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
give_up() { echo "device_check.sh: $*" >&2; exit 2; }

build="" pack="" model="" out=device_check.md quick=""
while [ $# -gt 0 ]; do
  case $1 in
    --build-dir | --pack | --model | --out)
      [ $# -ge 2 ] || give_up "$1 needs a value"
      case $1 in --build-dir) build=$2 ;; --pack) pack=$2 ;; --model) model=$2 ;; --out) out=$2 ;; esac
      shift 2 ;;
    --quick) quick=1; shift ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
  esac
done

# The libraries of a program, but for those that belong to the machine: libc's own, the loader, the driver.
libraries_of() {
  ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
    grep -Ev '/(libc|libm|libdl|libpthread|librt|ld-linux[^/]*|libcuda)\.so'
}

if [ -n "$pack" ]; then
  [ -d "$build/device" ] || give_up "no programs in '$build/device' (--build-dir)"
  mkdir -p "$pack/device" "$pack/lib" || give_up "cannot make $pack"
  for program in "$build"/device/*; do
    [ -f "$program" ] && [ -x "$program" ] && cp "$program" "$pack/device/"
  done
  [ -x "$build/hearth" ] && cp "$build/hearth" "$pack/"
  cp "${BASH_SOURCE[0]}" "$pack/device_check.sh"
  cp "$here/kernels/cuda/synthetic_gguf.py" "$pack/" 2>/dev/null
  libraries_of "$build"/device/* "$build/hearth" | xargs -r cp -L -t "$pack/lib"
  git -C "$here" rev-parse --short=10 HEAD > "$pack/commit" 2>/dev/null
  for program in "$pack"/device/* "$pack/hearth"; do [ -f "$program" ] && strip "$program" 2>/dev/null; done
  echo "packed $(du -sm "$pack" | cut -f1) MB: $pack/device_check.sh --build-dir $pack"
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
[ -d "$build/lib" ] && export LD_LIBRARY_PATH="$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
commit=$(cat "$build/commit" 2>/dev/null || git -C "$here" rev-parse --short=10 HEAD 2>/dev/null || echo unknown)

# ---- Rows of the table
rows=$(mktemp) scratch=$(mktemp -d)
trap 'rm -rf "$rows" "$scratch"' EXIT
failed=0
row() { printf '| %s | %s | %s |\n' "$1" "$2" "$3" | tee -a "$rows"; }
fail() { failed=1; row "$1" FAILED "$2"; tail -n 40 "$scratch/log" >&2; }

# check NAME SECONDS COMMAND...: a row for a program that passes or fails; its last line of output is the note.
check() {
  local name=$1 limit=$2 code
  shift 2
  timeout "$limit" "$@" > "$scratch/log" 2>&1
  code=$?
  if [ $code = 0 ]; then
    row "$name" passed "$(grep -v '^ *$' "$scratch/log" | tail -n 1 | tr -d '|' | sed 's/\x1b\[[0-9;]*m//g')"
  elif [ $code = 124 ]; then
    fail "$name" "still running after $limit s"
  else
    fail "$name" "exit code $code"
  fi
}

printf '| check | result | |\n| --- | --- | --- |\n'
# First: what the other results stand on.
[ -x "$build/device/cuda_conformance" ] && check "instructions" 120 "$build/device/cuda_conformance"
for program in "$build"/device/*_test; do
  [ -x "$program" ] && check "$(basename "$program")" 600 "$program"
done

if [ -z "$quick" ] && command -v compute-sanitizer > /dev/null; then
  for name in norm route matmul_vec matmul_tile moe_tile attention; do
    program=$build/device/cuda_${name}_test
    [ -x "$program" ] || continue
    for tool in memcheck racecheck; do
      check "$tool of $name" 600 compute-sanitizer --tool $tool --error-exitcode 9 "$program"
    done
  done
fi

# Programs that measure print rows themselves.
if [ -x "$build/device/cuda_bench" ]; then
  if timeout 900 "$build/device/cuda_bench" > "$scratch/bench" 2> "$scratch/log"; then
    grep '^|' "$scratch/bench" | tee -a "$rows"
  else
    fail "cuda_bench" "exit code $?"
  fi
fi

# ---- A whole model
maker=$here/kernels/cuda/synthetic_gguf.py
[ -f "$maker" ] || maker=$here/synthetic_gguf.py
if [ -z "$quick" ] && [ -z "$model" ] && [ -x "$build/hearth" ] && command -v python3 > /dev/null; then
  free=$(df -Pk "${TMPDIR:-/tmp}" | awk 'NR == 2 {print int($4 / 1048576)}')
  if [ "$free" -lt 12 ]; then
    row "synthetic model" skipped "12 GB are not free in ${TMPDIR:-/tmp}"
  elif python3 "$maker" "$scratch/v2-lite.gguf" > "$scratch/log" 2>&1; then
    model=$scratch/v2-lite.gguf
  else
    fail "synthetic model" "$maker"
  fi
fi

# bench NAME ARGUMENTS...: the rows of one `hearth bench`.
bench() {
  local name=$1 speed
  shift
  if ! timeout 900 "$build/hearth" bench "$model" --device cuda --strict --json "$@" > "$scratch/json" 2> "$scratch/log"; then
    fail "$name" "hearth bench"
    return
  fi
  speed=$(tr -d ' \n' < "$scratch/json" | grep -o '"tok_s":{"median":[0-9.e+-]*' | head -1 | sed 's/.*://')
  row "$name" "$(printf '%.1f tok/s' "$speed")" "$(basename "$model")"
  # Experts on both sides: the part of a token's time in which GPU and CPU are both at work.
  tr -d ' \n' < "$scratch/json" | sed -n 's/.*"timeline":{"seconds":\([^,]*\),.*"both_busy":\([^}]*\)}.*/\1 \2/p' > "$scratch/both"
  [ -s "$scratch/both" ] && row "$name: both at work" "$(awk '{printf "%.0f %%", 100 * $2 / $1}' "$scratch/both")" "$(basename "$model")"
}
if [ -z "$quick" ] && [ -n "$model" ] && [ -x "$build/hearth" ]; then
  bench "prefill 512" -p 512 -n 0
  load=$(sed -n 's/^ready .*, \([0-9.]* GB\/s\)$/\1/p' "$scratch/log")  # as runtime/cli/session.cpp prints it
  [ -n "$load" ] && row "loading" "$load" "$(basename "$model")"
  bench "prefill 2048" -p 2048 -n 0
  bench "decode 128" -p 0 -n 128
  bench "decode 64 after 8192" -p 0 -n 64 -d 8192
  bench "decode 32 after 32000" -p 0 -n 32 -d 32000 -r 2
  # Experts on both sides: what a smaller card would do, and what the cache adds to a fixed choice of experts.
  for share in 0.0 0.25 0.5 0.75; do
    bench "decode 128, $share of the experts on the GPU" -p 0 -n 128 --resident-experts "$share"
  done
  bench "decode 128, 0.5 of the experts, fixed" -p 0 -n 128 --resident-experts 0.5 --expert-cache static
  for policy in auto cpu copy stream; do
    for n in 512 4096; do
      bench "prefill $n, 0.25 of the experts, the others: $policy" -p "$n" -n 0 -r 2 --resident-experts 0.25 \
        --prefill-experts "$policy"
    done
  done
fi

{
  printf '\n## %s, %s, commit %s\n\n' "$(date -u '+%Y-%m-%d %H:%M UTC')" "$device" "$commit"
  printf '| check | result | |\n| --- | --- | --- |\n'
  cat "$rows"
} >> "$out" || give_up "cannot write $out"
echo "appended to $out"
exit $failed
