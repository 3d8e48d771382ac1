// Both forms of importance files: what is read lies in the file, and has counts that fit its values.
#include <cmath>
#include <cstring>

#include "quant/error.h"
#include "quant/importance_file.h"
#include "tests/fuzz/target.h"
#include "tests/support/paths.h"
#include "tests/support/text_file.h"

namespace hearth::test {

bool fuzz_one(std::span<const std::byte> input) {
  try {
    const ImportanceContents contents = parse_importance(input, "fuzz");
    expect(!contents.entries.empty(), "importance is of something");
    for (const auto& [name, entry] : contents.entries) {
      expect(entry.n_values > 0 && entry.values >= input.data() &&
                 entry.values + size_t(entry.n_values) * sizeof(float) <= input.data() + input.size(),
             "values lie in the file");
      expect(entry.counts.empty() || entry.n_values % int64_t(entry.counts.size()) == 0, "each matrix has its columns");
      for (const float count : entry.counts) expect(std::isfinite(count) && count >= 0, "a count is a number");
    }
    experts_seen(contents).text();
    return true;
  } catch (const Error& error) {
    expect(error.kind == ErrorKind::format, "bytes are refused as a format error");
    expect(std::string_view(error.what()).find('\n') == std::string_view::npos, "an error is one line");
    return false;
  }
}

std::vector<std::string> fuzz_seeds() {
  const TempDir dir;
  const std::vector<float> sums = {1, 2, 3, 4, 5, 6}, counts = {10, 0};
  write_importance(dir / "i.gguf", std::vector<ImportanceSums>{{"blk.1.ffn_down_exps.weight", sums, counts}}, {"t"}, 2,
                   512);
  std::string dat;
  const auto number = [&](int32_t x) { dat.append(reinterpret_cast<const char*>(&x), sizeof x); };
  number(1), number(3);
  dat += "a.b";
  number(2), number(2), number(0x3f800000), number(0x40000000);
  const std::string short_dat = dat;
  number(5), number(1);
  return {read_text(dir / "i.gguf"), short_dat, dat + "t"};
}

}  // namespace hearth::test
