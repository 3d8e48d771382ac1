#!/usr/bin/env bash
# hearth and another program's llama-bench on the same file, alternately, so that a busy minute hits both.
#
#   tests/bench/versus.sh HEARTH PEER_LLAMA_BENCH MODEL.gguf [ROUNDS] [DEPTH]
#
# Prints, for each figure, the median of both over the rounds (3 by default) and their ratio, and beside hearth's decode
# its share of what the memory allowed in that run. With DEPTH, decode is also measured after so many tokens.
# THREADS, PREFILL and DECODE in the environment change the defaults (all cores, 512, 64), LIMIT the seconds that one run
# may take (1200). A run that fails, or takes longer, is shown with what it said. Needs python3.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
hearth=$1 peer=$2 model=$3 rounds=${4:-3} depth=${5:-0}
threads=${THREADS:-$(nproc)} prefill=${PREFILL:-512} decode=${DECODE:-64} limit=${LIMIT:-1200}
for file in "$hearth" "$peer" "$model"; do
  [ -r "$file" ] || { echo "versus.sh: cannot read $file" >&2; exit 1; }
done
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
cat "$model" > /dev/null  # both find it in the page cache

# run OUTPUT COMMAND...: false where it fails, and then $results/said has its words.
run() {
  local output=$1 status=0
  shift
  timeout "$limit" "$@" > "$results/$output" 2> "$results/said" || status=$?
  [ $status = 124 ] && echo "stopped after $limit s (LIMIT)" >> "$results/said"
  return $status
}
must_run() {
  run "$@" && return
  echo "versus.sh: this failed: ${*:2}" >&2
  tail -n 20 "$results/said" >&2
  exit 1
}

for round in $(seq "$rounds"); do
  echo "round $round of $rounds" >&2
  must_run "ours.$round" "$hearth" bench "$model" -t "$threads" -p "$prefill" -n "$decode" -r 1 --json
  must_run "theirs.$round" "$peer" -m "$model" -t "$threads" -p "$prefill" -n "$decode" -r 1 -o json
  if [ "$depth" -gt 0 ]; then
    must_run "ours_deep.$round" "$hearth" bench "$model" -t "$threads" -p 0 -n "$decode" -d "$depth" -r 1 --json
    # "-gp P,N" (ik_llama.cpp) or "-d P" (llama.cpp)
    run "theirs_deep.$round" "$peer" -m "$model" -t "$threads" -p 0 -n 0 -gp "$depth,$decode" -r 1 -o json ||
      must_run "theirs_deep.$round" "$peer" -m "$model" -t "$threads" -p 0 -n "$decode" -d "$depth" -r 1 -o json
  fi
done

python3 - "$results" "$rounds" "$prefill" "$decode" "$depth" <<'PYTHON'
import json, sys
from pathlib import Path
from statistics import median

folder, rounds, prefill, decode, depth = Path(sys.argv[1]), *map(int, sys.argv[2:])

def read(name):
    return [json.loads((folder / f"{name}.{i}").read_text()) for i in range(1, rounds + 1)]

def mine(runs, what):
    return [run[what]["tok_s"]["median"] for run in runs]

def theirs(runs, generated):  # llama-bench: one object for each test
    return [max(row["avg_ts"] for row in run if (row["n_gen"] > 0) == generated) for run in runs]

def show(title, ours, theirs, note=""):
    a, b = median(ours), median(theirs)
    print(f"{title:28} {a:8.2f} {b:8.2f} tok/s   ratio {a / b:5.2f}   {note}")

ours, peer = read("ours"), read("theirs")
share = median(100 * run["decode"]["share_of_floor"] for run in ours)
bandwidth = median(run["read_bandwidth_gb_s"] for run in ours)
print(f"{'':28} {'hearth':>8} {'peer':>8}")
show(f"prefill {prefill}", mine(ours, "prefill"), theirs(peer, False))
show(f"decode {decode}", mine(ours, "decode"), theirs(peer, True),
     f"{share:.0f} % of the floor, memory read at {bandwidth:.1f} GB/s")
if depth:
    show(f"decode {decode} at {depth}", mine(read("ours_deep"), "decode"),
         theirs(read("theirs_deep"), True))
PYTHON
