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
# plan FILE OPTION...: the most tokens per second, or that what every token needs does not fit into VRAM
plan() {
  local said
  said=$("$build/hearth" plan "$@" --ctx 8192 --json 2>/dev/null) || { echo "does not fit"; return; }
  python3 -c 'import json,sys; s=json.load(sys.stdin)["decode_tok_s"]; print(f"{s:.0f} tok/s" if s >= 10 else f"{s:.1f} tok/s")' <<<"$said"
}
echo "| model | recipe | on disk | machine's RAM | CPU alone | 12 GB GPU | 24 GB GPU |"
echo "|---|---|---|---|---|---|---|"
row() {
  local name=$1 shape=$2 recipe=$3 ram=$4 bandwidth=$5
  local file=$folder/$shape-$recipe.gguf
  "$build/tests/shape_file" "$shape" "$recipe" "$file"
  local machine=(--ram "$ram" --ram-bandwidth "$bandwidth" --disk-bandwidth 5)
  echo "| $name | $recipe | $(gb "$(stat -c %s "$file")") GB | ${ram}B at $bandwidth GB/s |" \
    "$(plan "$file" --vram 0 "${machine[@]}") |" \
    "$(plan "$file" --vram 11G --vram-bandwidth 360 "${machine[@]}") |" \
    "$(plan "$file" --vram 22G --vram-bandwidth 1000 "${machine[@]}") |"
  rm "$file"
}
for recipe in q8_0 q4_k_m q3_k_m; do row "V2-Lite, Coder-V2-Lite (16B)" lite $recipe 32G 60; done
for recipe in q8_0 q4_k_m q3_k_m q2_k; do row "V2, V2.5, Coder-V2 (236B)" v2 $recipe 256G 200; done
for recipe in q4_k_m q3_k_m q2_k; do row "V3, R1 (671B)" v3 $recipe 512G 300; done
