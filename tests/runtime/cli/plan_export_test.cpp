// hearth plan --export: models of true size on machines that are not here.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/runtime/cli/hearth.h"
#include "tests/runtime/offload/shape_file.h"
#include "tests/support/convert.h"

using namespace hearth;
using namespace hearth::test;
using nlohmann::json;

namespace {

std::string shape_of(const TrueShape& shape, const std::string& name) {
  const std::string file = shared_folder() / ("export-" + name + ".gguf");
  ShapeFile(shape, "q4_k_m").write(file);
  return file;
}

json exported_plan(const std::string& file, std::vector<std::string> more = {}) {
  std::vector<std::string> all = {"plan", file, "--export", "--json"};
  all.insert(all.end(), more.begin(), more.end());
  const auto result = run_hearth(all);
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  return json::parse(result.out);
}

// Bytes of a safetensors file's tensors.
uint64_t tensor_bytes(const fs::path& file) {
  uint64_t header = 0;
  std::ifstream(file, std::ios::binary).read(reinterpret_cast<char*>(&header), sizeof header);
  return fs::file_size(file) - header - sizeof header;
}

}  // namespace

TEST_CASE("plan --export: the demo's checkpoints weigh what they weigh") {
  TempDir dir;
  for (const char* name : {"checkpoint", "checkpoint-v3"}) {
    const fs::path checkpoint = source_dir() / "demo" / name;
    convert(checkpoint, dir / "demo.gguf", "f16");
    const json forms = exported_plan(dir / "demo.gguf")["forms"];
    const bool fp8 = std::string(name) == "checkpoint-v3";  // which has blocks of FP8 itself
    CHECK(forms[fp8 ? "fp8" : "bf16"]["bytes"] == tensor_bytes(checkpoint / "model.safetensors"));
    CHECK((forms["bf16"]["mtp_bytes"] > 0) == fp8);
    fs::remove(dir / "demo.gguf");
  }
}

TEST_CASE("plan --export: what hearth export writes weighs as much, in every form") {
  TempDir dir;
  for (const char* name : {"lite", "v2", "v3_plain"}) {
    const std::string model = dir / (std::string(name) + ".gguf");
    convert(source_dir() / "tests/golden/models" / name, model, "bf16");
    const json forms = exported_plan(model)["forms"];
    for (const char* form : {"bf16", "fp8", "int4"}) {
      const fs::path folder = dir.path() / form;
      const auto result = run_hearth({"export", model, folder.string(), "--format", form, "--force"});
      REQUIRE_MESSAGE(result.exit_code == 0, result.err);
      uint64_t bytes = 0;
      for (const auto& entry : fs::directory_iterator(folder))
        if (entry.path().extension() == ".safetensors") bytes += tensor_bytes(entry.path());
      CHECK_MESSAGE(forms[form]["bytes"] == bytes, name, " ", form);
      fs::remove_all(folder);
    }
  }
  convert(demo_checkpoint(), dir / "demo.gguf", "bf16");  // whose matrices are large enough to be quantized
  const json forms = exported_plan(dir / "demo.gguf")["forms"];
  REQUIRE(run_hearth({"export", dir / "demo.gguf", dir / "int4", "--format", "int4"}).exit_code == 0);
  CHECK(forms["int4"]["bytes"] == tensor_bytes(dir.path() / "int4" / "model-00001-of-00001.safetensors"));
  CHECK(forms["int4"]["bytes"] < forms["bf16"]["bytes"]);
}

TEST_CASE("plan --export: V2-Lite, V2 and V3 on GPUs") {
  const json v3 = exported_plan(shape_of(TrueShape::v3(), "v3"), {"--ctx", "32k"});
  const json& fp8 = v3["forms"]["fp8"];
  CHECK(v3["cache_bytes_per_token"] == 70272);
  CHECK(v3["forms"]["bf16"]["bytes"].get<double>() == doctest::Approx(2 * 671.026e9).epsilon(0.0001));
  CHECK(fp8["bytes"].get<double>() == doctest::Approx(673e9).epsilon(0.002));
  CHECK(fp8["tensor_parallel"]["8"]["card_gb"] == 141);  // 8 H200, as its makers advise; not 8 H100
  CHECK(fp8["tensor_parallel"]["16"]["card_gb"] == 80);  // 2 x 8 H100
  CHECK(fp8["tensor_parallel"]["4"]["card_gb"].is_null());
  CHECK(fp8["tensor_parallel"]["16"]["expert_parallel"] == false);
  CHECK(fp8["data_parallel"]["8"]["bytes"] > fp8["tensor_parallel"]["8"]["bytes"]);

  // Parts of FP8's matrices must be of whole blocks.
  const json lite = exported_plan(shape_of(TrueShape::lite(), "lite"));
  const json& tensors = lite["forms"]["fp8"]["tensor_parallel"];
  CHECK(tensors["1"]["expert_parallel"] == false);
  CHECK(tensors["2"]["expert_parallel"] == true);  // 1408 / 2 = 704
  CHECK(!tensors["2"].contains("why_not"));
  CHECK(tensors["4"]["why_not"] == "gate_proj of shared experts: 2816 / 4 = 704 is no multiple of 128");
  CHECK(lite["forms"]["bf16"]["tensor_parallel"]["16"]["expert_parallel"] == false);
  CHECK(lite["forms"]["int4"]["tensor_parallel"]["2"]["expert_parallel"] == true);
  TrueShape odd = TrueShape::lite();
  odd.n_heads = 20;
  odd.n_experts = 60;
  const json forms = exported_plan(shape_of(odd, "odd"))["forms"];
  CHECK(forms["bf16"]["tensor_parallel"]["8"]["why_not"] == "20 heads are no multiple of 8");
  CHECK(forms["bf16"]["data_parallel"]["8"]["why_not"] == "60 experts are no multiple of 8");
  CHECK(!forms["bf16"]["data_parallel"]["4"].contains("why_not"));
}

TEST_CASE("plan --export: the table, and a context that a card has no room for") {
  const std::string v2 = shape_of(TrueShape::v2(), "v2");
  const auto result = run_hearth({"plan", v2, "--export"});
  CHECK(result.exit_code == 0);
  for (const char* part : {"471 GB", "237 GB", "30.3 GB* on  48 GB", "8.9 (8.0: weights only)", "69120 bytes per token",
                           "fp8 on 16: gate_proj of shared experts: 3072 / 16 = 192 is no multiple of 128", "2 GPUs"}) {
    CHECK_MESSAGE(result.out.find(part) != std::string::npos, part);
  }
  CHECK(exported_plan(v2, {"--ctx", "160k"})["forms"]["fp8"]["tensor_parallel"]["8"]["card_gb"] == 80);
  CHECK(exported_plan(v2, {"--ctx", "4k"})["forms"]["fp8"]["tensor_parallel"]["8"]["card_gb"] == 48);
  for (const char* option : {"--vram", "--parallel"}) {
    const auto refused = run_hearth({"plan", v2, "--export", option, "1"});
    check_refused(refused, 2, {"plan --export is about other machines", option});
  }
  check_refused(run_hearth({"plan", "--export", "--simulate", "trace"}), 2, {"other machines: --simulate has no part"});
}
