#!/usr/bin/env bash
# The README's table of models: size on disk by recipe, and the bound of `hearth plan` on machines that people have.
#   tests/bench/model_table.sh [BUILD]        (needs build/hearth and build/tests/shape_file; reads no weights)
set -euo pipefail
build=${1:-build}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Plans are made as if nothing had been measured here.
export XDG_CACHE_HOME=$folder/cache

gb() { awk -v b="$1" 'BEGIN { printf(b < 1e11 ? "%.1f" : "%.0f", b / 1e9) }'; }
# plan FILE OPTION...: at most so many tokens per second
plan() {
  "$build/hearth" plan "$@" --ctx 8192 --json 2>/dev/null |
    python3 -c 'import json,sys; s=json.load(sys.stdin)["decode_tok_s"]; print(f"{s:.0f}" if s >= 10 else f"{s:.1f}")' ||
    echo "does not fit"
}
echo "| model | recipe | on disk | RAM alone | with a 12 GB GPU | with a 24 GB GPU |"
echo "|---|---|---|---|---|---|"
row() {
  local name=$1 shape=$2 recipe=$3 ram=$4 bandwidth=$5
  local file=$folder/$shape-$recipe.gguf
  "$build/tests/shape_file" "$shape" "$recipe" "$file"
  local machine=(--ram "$ram" --ram-bandwidth "$bandwidth" --disk-bandwidth 5)
  echo "| $name | $recipe | $(gb "$(stat -c %s "$file")") GB |" \
    "$(plan "$file" --vram 0 "${machine[@]}") tok/s with $ram |" \
    "$(plan "$file" --vram 11G --vram-bandwidth 360 "${machine[@]}") tok/s |" \
    "$(plan "$file" --vram 22G --vram-bandwidth 1000 "${machine[@]}") tok/s |"
  rm "$file"
}
for recipe in q8_0 q4_k_m q3_k_m; do row "V2-Lite, Coder-V2-Lite (16B)" lite $recipe 32G 60; done
for recipe in q8_0 q4_k_m q3_k_m q2_k; do row "V2, V2.5, Coder-V2 (236B)" v2 $recipe 256G 200; done
for recipe in q4_k_m q3_k_m q2_k; do row "V3, R1 (671B)" v3 $recipe 512G 300; done
