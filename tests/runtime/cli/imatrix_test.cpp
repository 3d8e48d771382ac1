// hearth imatrix, and what convert and quantize make of its file.
#include <doctest/doctest.h>

#include "convert/convert.h"
#include "quant/gguf.h"
#include "quant/importance_file.h"
#include "tests/runtime/cli/hearth.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

struct Gathering {
  Gathering() {
    std::string words;
    for (int i = 0; i < 60; ++i) words += "The capital of France is Paris. 12 + " + std::to_string(i) + " = ?\n";
    write_text(text, words);
  }
  ProcessResult imatrix(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"imatrix", demo_model(), "-c", "64"});
    return run_hearth(arguments);
  }

  TempDir dir;
  std::string text = dir / "text.txt", output = dir / "i.gguf";
};

}  // namespace

TEST_CASE("importance is gathered, gone on with and used") {
  const Gathering place;
  const ProcessResult first = place.imatrix({"-f", place.text, "-o", place.output, "--chunks", "2"});
  CHECK_MESSAGE(first.exit_code == 0, first.err);
  CHECK(first.out == "");
  CHECK_MESSAGE(contains(first.err, place.output + ": importance of "), first.err);
  CHECK_MESSAGE(contains(first.err, " tensors from 2 chunks of 64 tokens; the model's perplexity"), first.err);
  {
    const ImportanceFile file = ImportanceFile::open(place.output);
    CHECK(file.entries.at("blk.0.attn_output.weight").counts[0] == 128);
    CHECK(file.datasets == std::vector<std::string>{place.text});
  }
  const ProcessResult second =
      place.imatrix({"-f", place.text, "-o", place.output, "--in", place.output, "--skip", "2", "--chunks", "2"});
  CHECK_MESSAGE(contains(second.err, "from 4 chunks of 64 tokens"), second.err);
  CHECK(ImportanceFile::open(place.output).entries.at("blk.0.attn_output.weight").counts[0] == 256);
  // Put together, without a text.
  const std::string both = place.dir / "both.gguf";
  const ProcessResult added = place.imatrix({"--in", place.output, "--in", place.output, "-o", both});
  CHECK_MESSAGE(contains(added.err, "from 8 chunks"), added.err);
  CHECK(ImportanceFile::open(both).entries.at("blk.0.attn_output.weight").counts[0] == 512);
  CHECK(ImportanceFile::open(both).datasets.size() == 1);

  const std::string weighed = place.dir / "weighed.gguf", plain = place.dir / "plain.gguf",
                    converted = place.dir / "converted.gguf";
  const std::vector<std::string> recipe = {"--recipe", "q4_0", "--tensor", "ffn_.*exps=iq2_xxs"};
  const auto make = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), recipe.begin(), recipe.end());
    const ProcessResult made = run_hearth(arguments);
    CHECK_MESSAGE(made.exit_code == 0, made.err);
    return made;
  };
  make({"quantize", demo_model(), plain});
  make({"quantize", demo_model(), weighed, "--imatrix", both});
  make({"convert", demo_checkpoint(), converted, "--imatrix", both});
  const GgufFile a = GgufFile::open(weighed), b = GgufFile::open(plain), c = GgufFile::open(converted);
  CHECK(a.metadata().string("quantize.imatrix.file") == both);
  CHECK(a.metadata().unsigned_integer("quantize.imatrix.chunks_count") == 8);
  CHECK(!b.metadata().string("quantize.imatrix.file"));
  for (const Tensor& tensor : a.tensors()) {
    CAPTURE(tensor.name);
    const auto same = [&](const GgufFile& other) {
      return std::equal(tensor.data, tensor.data + tensor.bytes(), other.tensor(tensor.name).data);
    };
    CHECK(same(c));
    const bool quantized = tensor.format->block_elems > 1 && tensor.name != "token_embd.weight";
    CHECK(same(b) != quantized);
  }
  CHECK(run_hearth({"verify", weighed}).exit_code == 0);
  // Encoded anew without it, the next file says nothing of importance.
  const std::string next = place.dir / "next.gguf";
  make({"quantize", weighed, next});
  CHECK(!GgufFile::open(next).metadata().string("quantize.imatrix.file"));
}

TEST_CASE("importance: what cannot be done is refused, and nothing is left") {
  const Gathering place;
  check_refused(place.imatrix({}), 2, {"--file", "--in"});
  check_refused(place.imatrix({"-f", place.dir / "none.txt"}), 1, {"none.txt"});
  write_text(place.output, "here already");
  check_refused(place.imatrix({"-f", place.text, "-o", place.output}), 2, {"i.gguf", "exists already", "--force"});
  check_refused(place.imatrix({"-f", place.text, "-o", demo_model(), "--force"}), 2, {"is the model"});
  check_refused(place.imatrix({"-f", place.text, "-o", place.dir / "none/i.gguf"}), 1, {"none/i.gguf"});
  const std::string output = place.dir / "new.gguf";
  check_refused(place.imatrix({"-f", place.text, "-o", output, "--in", place.output}), 1,
                {"i.gguf", "expected importance"});
  check_refused(place.imatrix({"-f", place.text, "-o", output, "--in", demo_model()}), 1,
                {"expected importance", "found general.type model"});
  check_refused(place.imatrix({"-f", place.text, "-o", output, "--skip", "9999"}), 2, {"9999 chunks", "fewer than"});
  write_text(place.text, "one");
  check_refused(place.imatrix({"-f", place.text, "-o", output}), 2, {"expected at least 4"});
  CHECK(!fs::exists(output));
  for (const std::string& wrong : {demo_model(), place.text}) {
    check_refused(run_hearth({"quantize", demo_model(), output, "--imatrix", wrong}), 1,
                  {wrong, "expected importance"});
  }
  const float value[] = {1};
  const std::vector<ImportanceSums> narrow = {{"blk.0.attn_output.weight", value, value}};
  write_importance(place.dir / "narrow.gguf", narrow, {}, 1, 512);
  for (const std::string& from : {demo_model(), demo_checkpoint()}) {
    const std::string command = from == demo_model() ? "quantize" : "convert";
    check_refused(run_hearth({command, from, output, "--imatrix", place.dir / "narrow.gguf"}), 1,
                  {"narrow.gguf", "another model", "blk.0.attn_output.weight", "found 1"});
  }
  CHECK(!fs::exists(output));
}

TEST_CASE("importance: what was gathered until Ctrl-C is kept") {
  const Gathering place;
  std::string words;
  for (int i = 0; i < 20000; ++i) words += "The capital of France is Paris. 12 + 7 = 19.\n";
  write_text(place.text, words);
  ProcessOptions options;
  options.interrupt_when = [](const std::string&, const std::string& err) { return contains(err, "chunk 2 of "); };
  const ProcessResult result = run_hearth(
      {"imatrix", demo_model(), "-f", place.text, "-o", place.output, "-c", "64", "--save-every", "1"}, options);
  CHECK(result.exit_code == 130);
  CHECK_MESSAGE(contains(result.err, "goes on"), result.err);
  CHECK(ImportanceFile::open(place.output).entries.size() > 20);
}
