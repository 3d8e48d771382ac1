// The reader of journals: it takes whatever it is given, and finds only tensors that there are.
#include "convert/journal.h"

#include <unistd.h>

#include "tests/fuzz/target.h"
#include "tests/support/paths.h"
#include "tests/support/text_file.h"

namespace hearth::test {

namespace {

constexpr Conditions kFuzzed = {1, 2, 3};
constexpr size_t kTensors = 8;

}  // namespace

bool fuzz_one(std::span<const std::byte> input) {
  const FinishedTensors found = parse_journal(input, kFuzzed, kTensors);
  for (const auto& [tensor, finished] : found) {
    expect(tensor < kTensors, "only tensors of the plan");
    expect(finished.n_clamped != -1, "nothing that was taken back");
  }
  expect(found.size() <= input.size() / 32, "a record for each");
  journal_difference(input, kFuzzed);
  return !found.empty();
}

std::vector<std::string> fuzz_seeds() {
  const TempDir dir;
  const std::string path = dir / "journal";
  std::vector<std::string> seeds;
  Journal journal(path, kFuzzed, kTensors);
  journal.begin();
  journal.add({{0, {10, 0}}, {7, {17, 3}}});
  seeds.push_back(read_text(path));
  journal.take_back(0);
  journal.add({{1, {11, 0}}});
  seeds.push_back(read_text(path));
  return seeds;
}

}  // namespace hearth::test
