#!/bin/bash
# What takes longer than CI may: tests that run many times over. Each has a small part in CI.
#
#   tests/long.sh [NAME ...]    those tests, or all of them; the programs of $BUILD (default: build) are used
#
# BUILD=build-sanitize runs those of `make sanitize`, as far as it builds them: the fuzzers find leaks there.
#
# Prints a line for each, and ends with 1 where one failed.
set -u
cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
HEARTH=$(realpath "$BUILD/hearth") || exit 2
TMP=$(mktemp -d) && trap 'rm -rf "$TMP"' EXIT
export XDG_STATE_HOME=$TMP XDG_CACHE_HOME=$TMP

# A model that is shortened in the middle of an answer ends the program with one line and 1, whichever thread meets the
# end of the file. In CI: terminal_test.
shortened() {
  local runs=${RUNS:-200} caught=0 tries=0 ended
  "$HEARTH" convert demo/checkpoint "$TMP/demo.gguf" --recipe f32 2>/dev/null || return
  while [ $caught -lt "$runs" ]; do
    cp "$TMP/demo.gguf" "$TMP/use.gguf"
    "$HEARTH" run "$TMP/use.gguf" -p "The sun is" -n 400 --ctx 600 --temp 1 --seed $tries --isa scalar -t 2 \
      >"$TMP/out" 2>"$TMP/err" &
    while kill -0 $! 2>/dev/null && [ ! -s "$TMP/out" ]; do sleep 0.01; done
    sleep "0.0$((tries % 10))"
    truncate -s 1M "$TMP/use.gguf"
    wait $! 2>/dev/null
    ended=$?
    tries=$((tries + 1))
    [ $ended = 0 ] && [ $tries -lt $((10 * runs)) ] && continue  # it had said all it wanted to say
    if [ $ended != 1 ] || [ "$(wc -l <"$TMP/err")" != 1 ]; then
      echo "after $caught of $runs runs: ended with $ended and said: $(cat "$TMP/err")"
      return 1
    fi
    caught=$((caught + 1))
  done
  echo "$runs runs: one line and exit status 1 each"
}

# A million chat templates, most of them broken: each ends soon, within its memory. In CI: jinja_fuzz_test.
jinja_fuzz() {
  "$BUILD/tests/jinja_fuzz_test" --inputs "${INPUTS:-1000000}" --seconds 100000 --seed "${SEED:-1}"
}

# A million requests, most of them broken, cut or reset: the server answers on. In CI: http_fuzz_test.
http_fuzz() {
  "$BUILD/tests/http_fuzz_test" --inputs "${INPUTS:-1000000}" --seconds 100000 --seed "${SEED:-1}"
}

# Answers with calls of functions, most of them broken, in several cuts each: the same calls. In CI: calls_fuzz_test.
calls_fuzz() {
  "$BUILD/tests/calls_fuzz_test" --inputs "${INPUTS:-1000000}" --seconds 100000 --seed "${SEED:-1}"
}

# A million requests of every endpoint: one answer each, in whole events. In CI: api_fuzz_test.
api_fuzz() {
  "$BUILD/tests/api_fuzz_test" --inputs "${INPUTS:-1000000}" --seconds 100000 --seed "${SEED:-1}"
}

# A million lists and headers of hubs, most of them broken. In CI: hub_fuzz_test.
hub_fuzz() {
  "$BUILD/tests/hub_fuzz_test" --inputs "${INPUTS:-1000000}" --seconds 100000 --seed "${SEED:-1}"
}

# `hearth pull`, without and with --convert, killed at 50 random moments each: it goes on where it stopped, and fetches
# nothing again that was finished or is needed no more. In CI: 4 moments, 3 with --convert.
pull_kills() {
  HEARTH_KILLS=${KILLS:-50} "$BUILD/tests/command_tests" "--test-case=*killed at any moment*" | grep -E "MESSAGE|ERROR|Status"
  return "${PIPESTATUS[0]}"
}

# A million schemas and grammars, most of them broken: each is refused, or leads nowhere but on. In CI: grammar_fuzz_test.
grammar_fuzz() {
  "$BUILD/tests/grammar_fuzz_test" --inputs "${INPUTS:-1000000}" --seconds 100000 --seed "${SEED:-1}"
}

# Documents that the automata of 10,000 random schemas wrote, and others that are nearly like them, by the judgement of
# Python's jsonschema (of $PYTHON), beside that of llguidance where it is installed. In CI: no place is a dead end (matcher_test).
schema_documents() {
  "${PYTHON:-python3}" tests/golden/validate_documents.py "$BUILD/tests/generate_documents" "${SCHEMAS:-10000}" "${SEED:-1}" 2>/dev/null &&
    "${PYTHON:-python3}" tests/golden/compare_verdicts.py "$BUILD/tests/generate_documents" "${SCHEMAS:-10000}" "${SEED:-1}" 2>/dev/null
}

# Answers of the demo model, bound to 10,000 random schemas, at temperature 1.5, cut anywhere; by the judgement of jsonschema.
# In CI: to 100.
schema_answers() {
  "$HEARTH" convert demo/checkpoint "$TMP/demo.gguf" --recipe bf16 2>/dev/null || return
  "${PYTHON:-python3}" tests/golden/answers_by_schema.py "$HEARTH" "$TMP/demo.gguf" "$BUILD/tests/generate_documents" "${SCHEMAS:-10000}" "${SEED:-1}"
}

# Sixteen clients for two minutes: each answer is the one that its question gets alone, and memory stays flat. In CI: for
# a second.
soak() {
  HEARTH_SOAK_SECONDS=${SOAK:-120} "$BUILD/tests/command_tests" "--source-file=*/soak_test.cpp" | grep -E "MESSAGE|ERROR|alone: |found: |Status"
  return "${PIPESTATUS[0]}"
}

# The line editor with either library, many times over. In CI: once.
line_editor() {
  local program i failed=0
  for program in line_editor_test line_editor_libedit_test; do
    for i in $(seq "${RUNS:-20}"); do "$BUILD/tests/$program" >"$TMP/said" 2>&1 || { failed=1; grep -h "TEST CASE" "$TMP/said"; }; done
    echo "$program: ${RUNS:-20} runs"
  done
  return $failed
}

# The command itself, with its tests, under AddressSanitizer and UndefinedBehaviorSanitizer. In CI: what it calls.
sanitized_command() {
  make --no-print-directory sanitize SANITIZE_ROOMS=runtime/cli
}

# The CUDA kernels, emulated, under AddressSanitizer and UndefinedBehaviorSanitizer. In CI: the race check, which looks at
# the same accesses.
sanitized_kernels() {
  cmake -S . -B "$TMP/sanitized" -G Ninja -DHEARTH_SANITIZE=ON -DHEARTH_SANITIZE_KERNELS=ON >/dev/null &&
    cmake --build "$TMP/sanitized" --target tests/kernels/cuda/all -- --quiet &&
    ctest --test-dir "$TMP/sanitized/tests/kernels/cuda" -j "$(nproc)" --output-on-failure
}

# `hearth convert`, `hearth quantize` and `hearth export` killed at 50 moments each: the same command goes on from what is
# on record, and the files are the same to the byte. In CI: at 3.
killed() {
  HEARTH_KILLS=${KILLS:-50} "$BUILD/tests/command_tests" "--source-file=*/killed_test.cpp" | grep -E "MESSAGE|ERROR|Status"
  return "${PIPESTATUS[0]}"
}

# Every file with nothing but what it includes. In CI: the files of late.
by_itself() {
  tests/house/by_itself.sh --all
}

# The kernels for every GPU, without a spill. In CI: for the oldest and the newest.
every_gpu() {
  cmake -S . -B "$TMP/every-gpu" -G Ninja -DHEARTH_CUDA=ON -DHEARTH_WERROR=ON -DCMAKE_CXX_FLAGS_RELEASE=-O0 >/dev/null &&
    cmake --build "$TMP/every-gpu" --target kernels_cuda -- --quiet
}

# The same text from 20 seeds, wherever experts are. In CI: one seed, fewer places.
reproducible() {
  HEARTH_SEEDS=${SEEDS:-20} "$BUILD/tests/reproducible_test" | grep -E "MESSAGE|ERROR|Status"
  return "${PIPESTATUS[0]}"
}

# Every table of CPU kernels answers a quarter of the demo's questions as well as the scalar one. In CI: a twelfth.
many_questions() {
  HEARTH_MANY_QUESTIONS=1 "$BUILD/tests/demo_accuracy_test" "--test-case=*every table*" | grep -E "MESSAGE|ERROR|Status|of [0-9]"
  return "${PIPESTATUS[0]}"
}

# A machine with a GPU's driver and without a CUDA compiler, played by a stand-in for nvidia-smi: NVIDIA's compiler is
# fetched (105 MB), and builds the program and what tests/device_check.sh carries to a GPU, for an H200 alone. In CI:
# what is fetched and when (cuda_toolkit_test).
fetched_compiler() {
  local build=$TMP/fetched PATH=$TMP/bin:/usr/bin:/bin
  mkdir -p "$TMP/bin"
  cat >"$TMP/bin/nvidia-smi" <<'STANDIN'
#!/bin/sh
case "$*" in *compute_cap*) echo 9.0 ;; *) echo "580.65.06, NVIDIA H200" ;; esac
STANDIN
  chmod +x "$TMP/bin/nvidia-smi"
  cmake -DTO="$build/cuda-toolkit" -DTOOLKITS=/nowhere -P cmake/cuda_toolkit.cmake &&
    cmake -S . -B "$build" -G Ninja -DCMAKE_CUDA_ARCHITECTURES=90-real >"$TMP/said" 2>&1 || { cat "$TMP/said"; return 1; }
  grep "^HEARTH_NVCC.*$build/cuda-toolkit" "$build/CMakeCache.txt" &&
    cmake --build "$build" --target hearth device_programs -- --quiet >"$TMP/said" 2>&1 || { cat "$TMP/said"; return 1; }
  tests/device_check.sh --pack "$TMP/pack" --build-dir "$build"
}

tests="shortened killed jinja_fuzz http_fuzz calls_fuzz api_fuzz soak line_editor sanitized_command sanitized_kernels by_itself every_gpu reproducible many_questions"
tests="$tests hub_fuzz pull_kills fetched_compiler grammar_fuzz schema_documents schema_answers"
failed=0
for name in ${*:-$tests}; do
  case " $tests " in
    *" $name "*) ;;
    *) echo "unknown test $name: there are $tests"; exit 2 ;;
  esac
  echo "== $name"
  "$name" || failed=1
done
exit $failed
