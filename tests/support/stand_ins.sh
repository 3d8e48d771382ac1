# For tests that are shell scripts, sourced by them: a folder of their own, expectations, and stand-ins for programs.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
expect() { # expect WHAT CONDITION...
  local what=$1
  shift
  "$@" || { echo "FAILED: $what; the last output: $(cat "$work/output" 2> /dev/null)" >&2; failed=1; }
}
program() { # program PATH LINE...: a shell script
  mkdir -p "$(dirname "$1")"
  { echo '#!/bin/sh'; printf '%s\n' "${@:2}"; } > "$1"
  chmod +x "$1"
}
cd "$work" || exit 1
