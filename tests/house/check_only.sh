#!/bin/sh
# A compiler launcher for a build that only checks: runs the compiler's command without making code, and leaves an empty
# object where the build looks for one.
object=""
previous=""
for argument; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
"$@" -fsyntax-only && : >"$object"
