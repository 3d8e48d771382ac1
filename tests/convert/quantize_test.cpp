#include "convert/quantize.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "quant/gguf_keys.h"
#include "tests/convert/tiny_checkpoint.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/support/convert.h"
#include "tests/support/refusal.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// A checkpoint and its file by a recipe that loses nothing.
struct Requantizing {
  explicit Requantizing(const TinyCheckpoint& tiny, const std::string& recipe = "f32") {
    tiny.write(dir.path() / "checkpoint", 1);
    fs::create_directory(dir.path() / "out");
    options.input = converted(recipe);
    options.output = dir / "out/model.gguf";
    options.n_threads = 2;
  }
  std::string converted(const std::string& recipe) const {
    const std::string output = dir / (recipe + ".gguf");
    convert(dir.path() / "checkpoint", output, recipe);
    return output;
  }
  std::string quantized(const std::string& recipe) {
    options.recipe = recipe;
    options.overwrite = true;
    quantize_file(options);
    return read_text(options.output);
  }
  std::string refused() const {
    return refusal([&] { quantize_file(options); });
  }
  bool nothing_left() const { return fs::is_empty(dir.path() / "out"); }

  TempDir dir;
  QuantizeOptions options;
};

}  // namespace

TEST_CASE("quantizing a file that lost nothing gives the bytes of converting the checkpoint") {
  for (const bool v3 : {false, true}) {  // with an MTP layer
    Requantizing place(v3 ? tiny_v3(false) : tiny_lite());
    for (const std::string recipe : {"q8_0", "q4_k_m", "q2_k", "int4", "bf16"}) {
      CAPTURE(recipe);
      const bool same = place.quantized(recipe) == read_text(place.converted(recipe));
      CHECK(same);
    }
  }
}

TEST_CASE("what is in the recipe's format already is copied") {
  Requantizing place(tiny_v3(false), "q4_k_m");
  const bool same = place.quantized("q4_k_m") == read_text(place.options.input);
  CHECK(same);
}

TEST_CASE("a plan says what will be written, and what it is not good for") {
  Requantizing place(tiny_lite(), "q2_k");
  place.options.recipe = "q8_0";
  const ConvertReport plan = plan_quantization(place.options), made = quantize_file(place.options);
  CHECK(plan.file_bytes == fs::file_size(place.options.output));
  CHECK(plan.file_bytes == made.file_bytes);
  CHECK(plan.tensors.size() == GgufFile::open(place.options.output).tensors().size());
  REQUIRE(!plan.notes.empty());
  CHECK(plan.notes.back().find("tensors had fewer bits than they get: they take more room and are no better") !=
        std::string::npos);
  const GgufFile file = GgufFile::open(place.options.output);
  CHECK(file.metadata().string(key::kHearthRecipe) == "q8_0");
  CHECK(file.metadata().unsigned_integer(key::kFileType) == 7);
  CHECK(file.metadata().string(key::kHearthSource) == "checkpoint");
}

TEST_CASE("from a format to F32: the weights that it decodes to") {
  Requantizing place(tiny_lite(), "q4_k_m");
  place.quantized("f32");
  const GgufFile before = GgufFile::open(place.options.input), after = GgufFile::open(place.options.output);
  for (const Tensor& tensor : before.tensors()) {
    CAPTURE(tensor.name);
    std::vector<float> expected(size_t(tensor.shape.cols()));
    const Tensor& wide = after.tensor(tensor.name);
    REQUIRE(wide.format->id == FormatId::f32);
    for (int64_t row = 0; row < tensor.shape.rows(); ++row) {
      tensor.format->decode(tensor.data + size_t(row) * tensor.row_bytes(), expected.data(), tensor.shape.cols());
      REQUIRE(std::memcmp(wide.data + size_t(row) * wide.row_bytes(), expected.data(), wide.row_bytes()) == 0);
    }
  }
}

TEST_CASE("keep: every tensor has the bytes that it had, but for those that a rule names") {
  Requantizing place(tiny_v3(false), "q4_k_m");
  const std::string kept = place.quantized("keep");
  std::string expected = read_text(place.options.input);
  CHECK(GgufFile::open(place.options.output).metadata().string(key::kHearthRecipe) == "keep");
  CHECK(GgufFile::open(place.options.output).metadata().unsigned_integer(key::kFileType) == 15);
  const GgufFile before = GgufFile::open(place.options.input);
  for (const bool ruled : {false, true}) {
    if (ruled) place.options.tensor_rules = {"_up_exps=bf16"};
    place.quantized("keep");
    const GgufFile after = GgufFile::open(place.options.output);
    for (const Tensor& tensor : before.tensors()) {
      CAPTURE(tensor.name);
      const Tensor& now = after.tensor(tensor.name);
      if (ruled && contains(tensor.name, "_up_exps")) {
        CHECK(now.format->id == FormatId::bf16);
      } else {
        REQUIRE(now.format == tensor.format);
        CHECK(std::memcmp(now.data, tensor.data, tensor.bytes()) == 0);
      }
    }
  }
}

TEST_CASE("interleaved rows are taken apart") {
  Requantizing place(tiny_lite(), "bf16");
  const GgufFile before = GgufFile::open(place.options.input);
  std::string text = read_text(place.options.input);
  int n_interleaved = 0;
  for (const Tensor& tensor : before.tensors()) {
    const size_t rows = size_t(tensor.shape.rows()), cols = size_t(tensor.shape.cols());
    if (tensor.format->id != FormatId::bf16 || (tensor.shape.rank == 3 ? size_t(tensor.shape.dim[1]) : rows) % 16 != 0)
      continue;
    const auto* plain = reinterpret_cast<const uint16_t*>(tensor.data);
    std::vector<uint16_t> weights(rows * cols);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < cols; ++c)
        weights[r / 16 * 16 * cols + c / 2 * 32 + r % 16 * 2 + c % 2] = plain[r * cols + c];
    }
    std::memcpy(text.data() + (tensor.data - before.parts().front()->bytes().data()), weights.data(), tensor.bytes());
    text = with_type(text, tensor.name, 230);
    ++n_interleaved;
  }
  REQUIRE(n_interleaved >= 10);
  place.options.input = place.dir / "r16.gguf";
  write_text(place.options.input, text);

  place.options.n_threads = 3;
  place.quantized("keep");
  const GgufFile after = GgufFile::open(place.options.output);
  CHECK(!after.metadata().find(key::kFileType));
  for (const Tensor& tensor : before.tensors()) {
    CAPTURE(tensor.name);
    REQUIRE(after.tensor(tensor.name).format == tensor.format);
    CHECK(std::memcmp(after.tensor(tensor.name).data, tensor.data, tensor.bytes()) == 0);
  }
  const std::string by_recipe = place.quantized("q4_k_m");
  place.options.input = before.path();
  const bool same = by_recipe == place.quantized("q4_k_m");
  CHECK(same);
}

TEST_CASE("what cannot be quantized is refused, and nothing is left") {
  Requantizing place(tiny_lite());
  const QuantizeOptions good = place.options;
  const auto check = [&](const std::vector<std::string>& parts) {
    const std::string said = place.refused();
    for (const std::string& part : parts) CHECK_MESSAGE(contains(said, part), said);
    CHECK(place.nothing_left());
    place.options = good;
  };
  place.options.input = place.dir / "missing.gguf";
  check({"missing.gguf"});
  place.options.recipe = "q1_magic";
  check({"q1_magic", "q4_k_m"});
  place.options.output = place.options.input;
  check({"f32.gguf", "cannot be the output"});
  place.options.output = place.converted("q8_0");
  check({"q8_0.gguf", "exists already"});
  place.options.progress = [](const ConvertProgress&) { return false; };
  check({"interrupted"});

  std::string text = read_text(good.input);
  write_text(place.dir / "foreign.gguf", text.replace(text.find("deepseek2"), 9, "deepseek3"));
  place.options.input = place.dir / "foreign.gguf";
  check({"foreign.gguf", "expected a model of the architecture deepseek2, found deepseek3"});

  const GgufFile file = GgufFile::open(good.input);
  const Tensor& tensor = file.tensor("token_embd.weight");
  text = read_text(good.input);
  const float nan = NAN;
  const ptrdiff_t at = tensor.data - file.parts().front()->bytes().data();
  std::memcpy(text.data() + at + ptrdiff_t(tensor.row_bytes()) + 8, &nan, 4);
  write_text(place.dir / "nan.gguf", text);
  place.options.input = place.dir / "nan.gguf";
  check({"nan.gguf: tensor token_embd.weight: expected finite weights, found nan in row 1, column 2"});

  text = read_text(place.converted("f16"));
  const std::string entry = std::string("attn_output.weight") + std::string(1, 2) + std::string(3, 0);  // name, rank
  const size_t type = text.find(entry) + entry.size() + 2 * 8;
  REQUIRE(text[type] == 1);
  text[type] = 25;  // of the same size
  write_text(place.dir / "other.gguf", text);
  place.options.input = place.dir / "other.gguf";
  check({"other.gguf: 1 tensor in formats that are not computed here: 1 I16; the first is blk."});
}
