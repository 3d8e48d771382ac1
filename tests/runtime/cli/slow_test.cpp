// What runs, but slowly, says so in one line; broken weights are refused where a check was asked for, and end in one
// clear error where it was not.
#include <doctest/doctest.h>

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>

#include "kernels/cpu/backend.h"
#include "quant/gguf.h"
#include "quant/gguf_keys.h"
#include "runtime/support/system_memory.h"
#include "tests/runtime/cli/hearth.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("more threads than cores run, and one line says that it is slower") {
  const int cores = default_threads();
  const auto run = [](int n_threads) {
    return run_hearth({"run", demo_model(), "-p", "Hello", "-n", "4", "--temp", "0", "-t", std::to_string(n_threads)});
  };
  const auto usual = run(cores);  // its one line is that -n cut it short
  CHECK(std::count(usual.err.begin(), usual.err.end(), '\n') == 1);
  for (const int n_threads : {cores + 1, 64 * cores}) {
    const auto many = run(n_threads);
    INFO(many.err);
    CHECK(many.exit_code == 0);
    CHECK(many.out == usual.out);
    CHECK(many.err.starts_with("hearth: " + std::to_string(n_threads) + " threads on " + std::to_string(cores)));
    CHECK(std::count(many.err.begin(), many.err.end(), '\n') == 2);
  }
}

TEST_CASE("numbers of threads that are none") {
  for (const char* wrong : {"-1", "1025", "two", "1.5", "", "99999999999999999999"}) {
    CAPTURE(std::string(wrong));
    check_refused(run_hearth({"run", demo_model(), "-p", "x", "--threads", wrong}), 2,
                  {"--threads", "0 to 1024", wrong});
    check_refused(run_hearth({"convert", demo_checkpoint(), shared_folder() / "never", "--threads", wrong}), 2,
                  {"--threads", "0 to 1024", wrong});
  }
}

namespace {

constexpr int64_t kDim = 256, kInter = 65536;  // the demo's width, and wide experts
constexpr uint64_t kExpertBytes = 3 * kDim * kInter * sizeof(float);

// A model of one layer whose file is holes but for its header: zeros that take no space on the disk. Experts of 201 MB,
// one of them used per token.
class SparseModel {
 public:
  explicit SparseModel(const std::string& path, int64_t n_experts) : path_(path) {
    const GgufFile demo = GgufFile::open(demo_model());
    GgufMetadata metadata = demo.metadata();  // the vocabulary, and everything that is not set here
    metadata.erase(key::kHearthChecksums);
    const auto set = [&](const char* name, int64_t value) { metadata.set(name, GgufValue::of_u32(uint32_t(value))); };
    set(key::kBlockCount, 1);
    set(key::kLeadingDenseBlockCount, 0);
    set(key::kExpertFeedForwardLength, kInter);
    set(key::kExpertCount, n_experts);
    set(key::kExpertUsedCount, 1);
    set(key::kExpertSharedCount, 0);
    set(key::kExpertGroupCount, 1);
    set(key::kExpertGroupUsedCount, 1);
    std::vector<Tensor> tensors;
    for (const Tensor& t : demo.tensors()) {
      const bool feeds_forward = t.name.starts_with("blk.0.ffn_") && t.name != name::in_layer(0, name::kFfnNorm);
      if (!feeds_forward && (!t.name.starts_with("blk.") || t.name.starts_with("blk.0."))) tensors.push_back(t);
    }
    const auto add = [&](const char* role, const Shape& shape) {
      tensors.push_back({name::in_layer(0, role), &format_of(FormatId::f32), shape, nullptr});
    };
    add(name::kFfnGateInp, Shape(n_experts, kDim));
    add(name::kFfnGateExps, Shape(n_experts, kInter, kDim));
    add(name::kFfnUpExps, Shape(n_experts, kInter, kDim));
    add(name::kFfnDownExps, Shape(n_experts, kDim, kInter));
    write(metadata, tensors);
  }

  uint64_t bytes() const { return bytes_; }
  bool is_sparse() const {
    struct stat info {};
    return bytes_ > 0 && stat(path_.c_str(), &info) == 0 && uint64_t(info.st_blocks) * 512 < bytes_ / 100;
  }

 private:
  // Our writer claims the disk space of the whole file, so it writes a file of small tensors with the same names; their
  // shapes and offsets are replaced in its header, and the file is made as long as they say.
  void write(const GgufMetadata& metadata, const std::vector<Tensor>& tensors) {
    std::vector<GgufTensorPlan> small;
    for (const Tensor& t : tensors) {
      Shape shape = t.shape;
      std::fill_n(shape.dim.begin(), shape.rank, 1);
      small.push_back({t.name, t.format, shape});
    }
    {
      GgufWriter writer(path_, metadata, small);
      for (size_t i = 0; i < small.size(); ++i) writer.write(i, 0, std::vector<std::byte>(small[i].bytes()));
      writer.finish();
    }
    std::string header;
    {
      const GgufFile file = GgufFile::open(path_);
      const auto bytes = file.parts()[0]->bytes();
      header.assign(reinterpret_cast<const char*>(bytes.data()), size_t(file.tensors()[0].data - bytes.data()));
    }
    uint64_t offset = 0;
    for (const Tensor& t : tensors) {
      std::string name(sizeof(uint64_t), '\0');  // as in the file: its length first
      put(name, 0, t.name.size());
      name += t.name;
      size_t at = header.find(name);
      REQUIRE(at != std::string::npos);
      at += name.size() + sizeof(uint32_t);  // the rank stays
      for (int i = t.shape.rank; i-- > 0; at += 8) put(header, at, uint64_t(t.shape.dim[size_t(i)]));
      put(header, at + 4, offset);
      offset += (t.bytes() + 63) / 64 * 64;
    }
    bytes_ = header.size() + offset;
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << header;
    if (truncate(path_.c_str(), off_t(bytes_)) != 0) bytes_ = 0;  // longer than this file system's files can be
  }

  static void put(std::string& text, size_t at, uint64_t value) { std::memcpy(text.data() + at, &value, sizeof value); }

  std::string path_;
  uint64_t bytes_ = 0;
};

}  // namespace

TEST_CASE("a model larger than memory runs from its file, and one line says what to expect" *
          doctest::test_suite("may skip")) {
  TempDir dir;
  const uint64_t usable = usable_memory();
  REQUIRE(usable > 0);
  const int64_t n_experts = int64_t(2 * usable / kExpertBytes) + 2;
  if (n_experts > 16384) {
    MESSAGE("SKIP: this machine has too much memory for the largest model of this test");
    return;
  }
  const SparseModel model(dir / "huge.gguf", n_experts);
  if (!model.is_sparse()) {
    MESSAGE("SKIP: the folder of temporary files has no room for a file of holes twice as large as the memory");
    return;
  }
  CHECK(model.bytes() > 2 * usable);
  const auto result = run_hearth({"logits", dir / "huge.gguf", "--tokens", "5", "--output", dir / "logits"});
  INFO(result.err);
  CHECK(result.exit_code == 0);
  CHECK(fs::file_size(dir / "logits") == 1280 * 4);
  CHECK(result.err.starts_with("hearth: " + (dir / "huge.gguf") + ": "));
  CHECK(contains(result.err, " do not fit into "));
  CHECK(contains(result.err, " tok/s for each GB/s that the disk reads\n"));
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 2);  // and what was written
  // Loading looked at the header only, and one token at one expert.
  CHECK(result.peak_bytes < 4 * kExpertBytes);
  MESSAGE(fmt::format("a file of {:.1f} GB, resident at most {:.2f} GB; {}", double(model.bytes()) / 1e9,
                      double(result.peak_bytes) / 1e9, result.err));
}

namespace {

// The demo model with one weight replaced by bytes.
std::string broken_demo(const TempDir& dir, const char* tensor, size_t offset, const std::string& bytes) {
  const std::string path = dir / "broken.gguf";
  fs::copy_file(demo_model(), path, fs::copy_options::overwrite_existing);
  size_t at;
  {
    const GgufFile file = GgufFile::open(path);
    at = size_t(file.tensor(tensor).data - file.parts()[0]->bytes().data()) + offset;
  }
  std::fstream(path, std::ios::binary | std::ios::in | std::ios::out).seekp(std::streamoff(at)) << bytes;
  return path;
}

}  // namespace

TEST_CASE("a weight that is not a number: --check and verify name it, running ends in one clear error") {
  TempDir dir;
  const std::string nan("\xc0\x7f", 2);  // in BF16
  const std::string path = broken_demo(dir, "blk.1.attn_output.weight", 2 * (256 * 3 + 17), nan);
  const std::vector<std::string> named = {path, "blk.1.attn_output.weight [256, 256]", "expected finite weights",
                                          "found nan in row 3, column 17"};
  for (const char* command : {"run", "chat", "bench"}) {
    std::vector<std::string> arguments{command, path, "--check"};
    if (std::string(command) == "run") arguments.insert(arguments.end(), {"-p", "x"});
    check_refused(run_hearth(arguments), 1, named);
  }
  const auto verified = run_hearth({"verify", path});
  CHECK(verified.exit_code == 1);
  CHECK(contains(verified.out + verified.err, "expected checksum"));
  CHECK(contains(verified.out + verified.err, "found nan in row 3, column 17"));

  for (const char* temperature : {"0", "0.8"})
    check_refused(run_hearth({"run", path, "-p", "Hello", "-n", "4", "--temp", temperature}), 1,
                  {"the model's output is not a number", "hearth verify"});
  std::ofstream(dir / "text") << "one two three four five six seven eight nine ten eleven twelve";
  check_refused(run_hearth({"perplexity", path, "--file", dir / "text"}), 1, {"not finite"});
}

TEST_CASE("--check of a sound file is silent") {
  const auto checked = run_hearth({"run", demo_model(), "-p", "Hello", "-n", "4", "--temp", "0", "--check"});
  CHECK(checked.exit_code == 0);
  CHECK(std::count(checked.err.begin(), checked.err.end(), '\n') == 1);  // that -n cut it short
  CHECK(checked.out == run_hearth({"run", demo_model(), "-p", "Hello", "-n", "4", "--temp", "0"}).out);
}

// It waits for its second line while the file changes, as a person's chat would.
TEST_CASE("a model that is written to while it is in use: one clear error, and no answer from what is there now") {
  const TempDir dir;
  const std::string path = dir / "model.gguf";
  for (const bool shortened : {false, true}) {
    CAPTURE(shortened);
    bool caught = false;
    for (int seed = 3; seed < 13 && !caught; ++seed) {
      fs::copy_file(demo_model(), path, fs::copy_options::overwrite_existing);
      bool done = false;
      const auto change_when = [&](const std::string& out, const std::string&) {
        if (!done && contains(out, "2")) {  // in the middle of the answer
          done = true;
          if (shortened) {
            fs::resize_file(path, 1 << 20);
          } else {
            std::ofstream(path, std::ios::app) << "x";
          }
        }
        return false;
      };
      const auto result = run_hearth({"run", path, "--chat", "-p", "Count from 1 to 100.", "--temp", "1.5", "-n",
                                      "2000", "--top-k", "40", "--isa", "scalar", "--seed", std::to_string(seed)},
                                     {.interrupt_when = change_when});
      INFO(result.out);
      INFO(result.err);
      if (!done || result.exit_code == 0) continue;  // it had said all before the file was changed
      caught = true;
      CHECK(result.exit_code == 1);
      CHECK(contains(result.err, path + ": "));
      CHECK(contains(result.err, " while it was in use"));
    }
    CHECK(caught);
  }
}
