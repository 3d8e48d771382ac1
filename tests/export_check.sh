#!/usr/bin/env bash
# Does vLLM, or SGLang, say what hearth says about a checkpoint that hearth has exported? For a machine with a GPU and one
# of the two installed.
#
#   tests/export_check.sh [--engine vllm|sglang] [--formats "bf16 fp8 int4"] [--kinds "lite v2 v3"] [--hearth build/hearth]
#                         [--python PYTHON]
#   tests/export_check.sh --self-check MODEL.gguf OTHER.gguf [--hearth build/hearth]
#
# Small random checkpoints with the published models' heads (tests/golden/make_export_checkpoint.py) are converted,
# exported in each form and served by both programs: the engine has the export, hearth a file made of the same export, so
# that both have the same weights. tests/compare_servers.py asks both over HTTP. PYTHON (default: python3) is the one
# that has the engine, torch and safetensors.
# --self-check: hearth serves MODEL twice, which must agree, then MODEL and OTHER, which must not.
#
# A line for each kind and form: the same, they differ, or why it did not run. What servers print is kept in the folder
# that the last line names. Exits with 0 if all were the same, 1 if any was not, 2 if nothing could be checked.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
give_up() { echo "export_check.sh: $*" >&2; exit 2; }

engine="" formats="bf16 fp8 int4" kinds="lite v2 v3" hearth=build/hearth python=python3 self=() wait_seconds=900
while [ $# -gt 0 ]; do
  case $1 in
    --engine | --formats | --kinds | --hearth | --python)
      [ $# -ge 2 ] || give_up "$1 needs a value"
      case $1 in
        --engine) engine=$2 ;; --formats) formats=$2 ;; --kinds) kinds=$2 ;; --hearth) hearth=$2 ;;
        --python) python=$2 ;;
      esac
      shift 2 ;;
    --self-check)
      [ $# -ge 3 ] || give_up "--self-check needs two files"
      self=("$2" "$3")
      shift 3 ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '$d' >&2; exit 2 ;;
  esac
done

[ -x "$hearth" ] || give_up "no program $hearth: build it, or name it with --hearth"
command -v "$python" >/dev/null || give_up "no $python: name one with --python"
work=$(mktemp -d "${TMPDIR:-/tmp}/export-check-XXXXXX") || exit 2
servers=()
stop_servers() {
  for server in "${servers[@]}"; do kill "$server" 2>/dev/null; done
  for server in "${servers[@]}"; do wait "$server" 2>/dev/null; done
  servers=()
}
trap stop_servers EXIT

free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# serve_hearth FILE LOG: sets `url`.
serve_hearth() {
  local port
  port=$(free_port)
  "$hearth" serve "$1" --port "$port" --cache-type f32 >"$2" 2>&1 &
  servers+=($!)
  url=http://127.0.0.1:$port
}

# serve_engine FOLDER LOG: sets `url`.
serve_engine() {
  local port
  port=$(free_port)
  case $engine in
    vllm) "$python" -m vllm.entrypoints.openai.api_server --model "$1" --host 127.0.0.1 --port "$port" --max-model-len 512 \
            --gpu-memory-utilization 0.5 --generation-config vllm >"$2" 2>&1 & ;;
    sglang) "$python" -m sglang.launch_server --model-path "$1" --host 127.0.0.1 --port "$port" --context-length 512 \
              --mem-fraction-static 0.5 >"$2" 2>&1 & ;;
  esac
  servers+=($!)
  url=http://127.0.0.1:$port
}

# compare FIRST SECOND LIMIT: as compare_servers.py; gives up at once where a server ends before it answers.
compare() {
  "$python" "$here/compare_servers.py" "$1" "$2" --limit "$3" --wait "$wait_seconds" &
  local comparison=$!
  while kill -0 "$comparison" 2>/dev/null; do
    for server in "${servers[@]}"; do
      kill -0 "$server" 2>/dev/null && continue
      kill "$comparison" 2>/dev/null
      wait "$comparison" 2>/dev/null
      echo "a server ended by itself"
      return 2
    done
    sleep 0.2
  done
  wait "$comparison"
}

if [ ${#self[@]} -gt 0 ]; then
  wait_seconds=60
  serve_hearth "${self[0]}" "$work/first.log"; first=$url
  serve_hearth "${self[0]}" "$work/second.log"; second=$url
  serve_hearth "${self[1]}" "$work/other.log"; other=$url
  compare "$first" "$second" 0.01; same=$?
  [ $same -eq 0 ] || give_up "the same model twice: expected the same, see $work"
  compare "$first" "$other" 0.01; differs=$?
  [ $differs -eq 1 ] || give_up "two models: expected that they differ, see $work"
  stop_servers
  rm -r "$work"
  exit 0
fi

"$hearth" export --help >/dev/null 2>&1 || give_up "$hearth has no command export"
grep -q GPU <<< "$(nvidia-smi -L 2>/dev/null)" || give_up "no NVIDIA GPU here (nvidia-smi -L)"
has() { "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)" 2>/dev/null; }
if [ -z "$engine" ]; then
  if has vllm; then engine=vllm; elif has sglang; then engine=sglang; fi
  [ -n "$engine" ] || give_up "$python has neither vllm nor sglang"
fi
case $engine in vllm | sglang) ;; *) give_up "--engine: expected vllm or sglang, found $engine" ;; esac
for module in "$engine" torch safetensors; do has "$module" || give_up "$python has no $module"; done

failed=0 checked=0
for kind in $kinds; do
  "$python" "$here/golden/make_export_checkpoint.py" "$kind" "$work/$kind" || give_up "no checkpoint like $kind"
  "$hearth" convert "$work/$kind" "$work/$kind.gguf" --recipe bf16 >"$work/$kind.log" 2>&1 || give_up "$(tail -1 "$work/$kind.log")"
  for format in $formats; do
    # Engines compute in BF16, and FP8 rounds activations to FP8 too.
    case $format in bf16 | int4) limit=0.1 ;; fp8) limit=0.4 ;; *) give_up "--formats: unknown format $format" ;; esac
    name=$kind-$format
    if ! "$hearth" export "$work/$kind.gguf" "$work/$name" --format "$format" >"$work/$name.log" 2>&1 ||
       ! "$hearth" convert "$work/$name" "$work/$name.gguf" --recipe f32 >>"$work/$name.log" 2>&1; then
      echo "$name: $(tail -1 "$work/$name.log")"; failed=1; continue
    fi
    serve_hearth "$work/$name.gguf" "$work/$name.hearth.log"; ours=$url
    serve_engine "$work/$name" "$work/$name.$engine.log"; theirs=$url
    said=$(compare "$ours" "$theirs" $limit); result=$?
    stop_servers
    echo "$name, $engine: $(tr '\n' ';' <<<"$said")"
    checked=$((checked + (result < 2))); failed=$((failed | (result != 0)))
  done
done
echo "logs: $work"
[ $checked -gt 0 ] || exit 2
exit $failed
