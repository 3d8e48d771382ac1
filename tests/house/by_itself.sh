#!/bin/bash
# Compiles files by themselves, each with what it includes and nothing else: other builds give a dozen files what one of
# them includes. A header is checked by the file of its name, which includes it first.
#
#   tests/house/by_itself.sh           the files that commits touched within four hours before the last one, 16 at most
#   tests/house/by_itself.sh --all     every file
set -euo pipefail
cd "$(dirname "$0")/../.."
rooms="quant runtime convert"
if [ "${1:-}" = --all ]; then
  files=$(git ls-files $rooms)
else
  since=$(($(git log -1 --format=%ct) - 4 * 3600))
  files=$(git log --since="$since" --name-only --format= -- $rooms | sed -nE 's/\.(h|cpp)$/.cpp/p' |
    awk '!seen[$0]++ && ++n <= 16')  # the last ones first; CI has no time for more
fi
build=build-single
cmake -S . -B $build -G Ninja -DHEARTH_UNITY=OFF -DHEARTH_TESTS=OFF -DHEARTH_CUDA=OFF -DHEARTH_WERROR=ON \
  -DCMAKE_CXX_FLAGS_RELEASE=-O0 -DCMAKE_OPTIMIZE_DEPENDENCIES=ON \
  -DCMAKE_CXX_COMPILER_LAUNCHER="$PWD/tests/house/check_only.sh" >/dev/null
targets=()
for file in $files; do
  grep -q "\"file\": \"$PWD/$file\"" $build/compile_commands.json && targets+=("$PWD/$file^")
done
echo "${#targets[@]} files"
[ ${#targets[@]} = 0 ] || ninja -C $build --quiet "${targets[@]}"
