#!/bin/bash
# What importance is worth: KL divergence from F32 of the demo's V3 checkpoint, all its layers in one format, encoded
# without and with importance. Both texts are dialogues of demo/heldout.jsonl: one half to gather, the other to compare.
#
#   tests/bench/importance_kl.sh [FORMAT ...]    default: those of 2 and 3 bits
set -eu
cd "$(dirname "$0")/../.."
HEARTH=${HEARTH:-build/hearth}
TMP=$(mktemp -d) && trap 'rm -rf "$TMP"' EXIT
python3 - "$TMP" <<'PYTHON'
import json, sys
halves = [open(f"{sys.argv[1]}/{name}.txt", "w") for name in ("gather", "compare")]
for number, line in enumerate(open("demo/heldout.jsonl")):
    dialogue = json.loads(line)
    if not isinstance(dialogue["answer"], str) or any(set(m) != {"role", "content"} for m in dialogue["messages"]):
        continue
    text = "<｜begin▁of▁sentence｜>"
    for m in dialogue["messages"] + [{"role": "assistant", "content": dialogue["answer"]}]:
        text += {"system": "{}", "user": "<｜User｜>{}", "assistant": "<｜Assistant｜>{}<｜end▁of▁sentence｜>",
                 "tool": "{}"}[m["role"]].format(m["content"])
    halves[number % 2].write(text)
PYTHON
"$HEARTH" convert demo/checkpoint-v3 "$TMP/f32.gguf" --recipe f32
"$HEARTH" imatrix "$TMP/f32.gguf" --special --file "$TMP/gather.txt" -o "$TMP/imatrix.gguf"
"$HEARTH" perplexity "$TMP/f32.gguf" --special --file "$TMP/compare.txt" --save-baseline "$TMP/baseline"
for format in ${*:-iq1_m iq2_xxs iq2_xs iq2_s q2_k iq3_xxs iq3_s q3_k}; do
  for imatrix in "" "--imatrix $TMP/imatrix.gguf"; do
    # shellcheck disable=SC2086  # two words or none
    "$HEARTH" quantize "$TMP/f32.gguf" "$TMP/q.gguf" --force --recipe f16 --tensor "^blk=$format" $imatrix 2>"$TMP/log" ||
      { cat "$TMP/log"; exit 1; }
    echo "$format ${imatrix:+with importance}"
    "$HEARTH" perplexity "$TMP/q.gguf" --special --file "$TMP/compare.txt" --baseline "$TMP/baseline" | tail -2
  done
done
