// Which files are fetched where nobody names them, and by which patterns they are named.
#include <doctest/doctest.h>

#include "runtime/hub/selection.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::hub;

namespace {

std::vector<HubFile> files_named(const std::vector<std::string>& names) {
  std::vector<HubFile> files;
  for (const std::string& name : names) files.push_back({name, 10 + files.size(), std::string(40, 'a')});
  return files;
}

std::vector<std::string> names_of(const Selection& selection) {
  std::vector<std::string> names;
  for (const HubFile& file : selection.files) names.push_back(file.path);
  return names;
}

using Names = std::vector<std::string>;

const Names kCheckpoint = {".gitattributes",
                           "README.md",
                           "config.json",
                           "modeling_deepseek.py",
                           "tokenizer.json",
                           "model-00001-of-00002.safetensors",
                           "chat_template.jinja",
                           "inference/model.json",
                           "model-00002-of-00002.safetensors",
                           "pytorch_model.bin",
                           "original/consolidated.safetensors"};
const Names kQuantized = {"README.md",
                          "tiny-Q4_K_M.gguf",
                          "tiny-Q8_0.gguf",
                          "BF16/tiny-00001-of-00002.gguf",
                          "BF16/tiny-00002-of-00002.gguf",
                          "mmproj-F16.gguf",
                          "tiny.imatrix.gguf"};

}  // namespace

TEST_CASE("patterns are Python's fnmatch") {
  CHECK(matches("*.gguf", "a.gguf"));
  CHECK(matches("*.gguf", "folder/a.gguf"));
  CHECK(!matches("*.gguf", "a.gguf.txt"));
  CHECK(!matches("*.GGUF", "a.gguf"));
  CHECK(matches("folder/", "folder/deeper/a.gguf"));
  CHECK(!matches("folder/", "folder2/a.gguf"));
  CHECK(matches("?[ab][!ab].x", "zac.x"));
  CHECK(!matches("?[ab][!ab].x", "zab.x"));
  CHECK(matches("a\\b*", "a\\bc"));
  CHECK(matches("*", ".hidden"));
}

TEST_CASE("of a checkpoint, what the converter reads") {
  const Selection chosen = select_files(files_named(kCheckpoint), {}, {}, "lab/Tiny");
  CHECK(names_of(chosen) == Names{"config.json", "tokenizer.json", "model-00001-of-00002.safetensors",
                                  "chat_template.jinja", "model-00002-of-00002.safetensors"});
  CHECK(chosen.content == Content::checkpoint);
  CHECK(names_of(select_files(files_named({"config.json", "weights.safetensors", "adapter_model.safetensors"}), {}, {},
                              "x")) == Names{"config.json", "weights.safetensors"});
  CHECK(names_of(select_files(files_named({"config.json", "model.safetensors", "consolidated.safetensors"}), {}, {},
                              "x")) == Names{"config.json", "model.safetensors"});
}

TEST_CASE("patterns decide, where they are given") {
  const auto chosen = [](const Names& include, const Names& exclude) {
    return select_files(files_named(kCheckpoint), include, exclude, "lab/Tiny");
  };
  CHECK(names_of(chosen({"*.md", "inference/"}, {})) == Names{"README.md", "inference/model.json"});
  CHECK(chosen({"*.md"}, {}).content == Content::other);
  CHECK(chosen({"original/*", "config.json"}, {}).content == Content::other);
  CHECK(names_of(chosen({"*.safetensors"}, {"original/*"})) ==
        Names{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"});
  CHECK(names_of(chosen({}, {"*-00002-of-*", "*.jinja"})) ==
        Names{"config.json", "tokenizer.json", "model-00001-of-00002.safetensors"});
  CHECK(chosen({"*"}, {}).content == Content::checkpoint);
  CHECK(test::contains(test::refusal([&] { chosen({"*.gguf"}, {}); }),
                       "lab/Tiny: none of its 11 files is meant by --include"));
}

TEST_CASE("one model of several has to be chosen") {
  const Selection several = select_files(files_named(kQuantized), {}, {}, "lab/Tiny");
  CHECK(several.files.empty());
  REQUIRE(several.choices.size() == 3);
  CHECK(several.choices[0].pattern == "tiny-Q4_K_M.gguf");
  CHECK(several.choices[2].pattern == "BF16/tiny-*-of-00002.gguf");
  CHECK(several.choices[2].n_files == 2);
  CHECK(several.choices[2].bytes == 13 + 14);
  for (const Choice& choice : several.choices) {
    const Selection one = select_files(files_named(kQuantized), {choice.pattern}, {}, "lab/Tiny");
    CHECK(one.files.size() == choice.n_files);
    CHECK(one.content == Content::gguf);
  }
  CHECK(select_files(files_named(kQuantized), {several.choices[2].pattern}, {}, "x").first_gguf ==
        "BF16/tiny-00001-of-00002.gguf");
  // Some of them left out, one is left.
  CHECK(names_of(select_files(files_named(kQuantized), {}, {"BF16/", "*Q8*"}, "x")) == Names{"tiny-Q4_K_M.gguf"});

  Names both = kCheckpoint;
  both.push_back("tiny.gguf");
  const Selection mixed = select_files(files_named(both), {}, {}, "lab/Tiny");
  REQUIRE(mixed.choices.size() == 2);
  CHECK(mixed.choices[0].pattern == "tiny.gguf");
  CHECK(mixed.choices[1].n_files == 5);
}

TEST_CASE("a single GGUF file is the model, whatever its name") {
  const Selection one = select_files(files_named({"README.md", "odd [1]*.gguf", "config.json"}), {}, {}, "lab/Tiny");
  CHECK(names_of(one) == Names{"odd [1]*.gguf"});
  CHECK(one.first_gguf == "odd [1]*.gguf");
}

TEST_CASE("a repository with neither") {
  const auto why = [](const Names& names) {
    return test::refusal([&] { select_files(files_named(names), {}, {}, "lab/Tiny"); });
  };
  CHECK(test::contains(why({"README.md"}),
                       "expected *.safetensors or *.gguf, found neither among its 1 files; --include"));
  CHECK(test::contains(why({"pytorch_model.bin"}), "only PyTorch's .bin"));
  CHECK(test::contains(why({}), "among its 0 files"));
  CHECK(test::contains(test::refusal([] { select_files(files_named({"a.gguf"}), {}, {"*"}, "lab/Tiny"); }),
                       "found neither"));
}
