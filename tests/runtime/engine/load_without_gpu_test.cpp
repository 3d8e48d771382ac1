// Opening a model where there is no GPU: the emulation without a driver.
#include <doctest/doctest.h>

#include "runtime/model/kv_layout.h"
#include "tests/emulation/settings.h"
#include "tests/runtime/engine/loadable.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Before anybody opens the GPU, which happens once.
const bool no_driver = [] {
  emulation::settings().driver = 0;
  return true;
}();

const std::string kWhyNot = "no GPU can be used: no NVIDIA driver is installed";

}  // namespace

TEST_CASE("no GPU: the CPU, silently where it was left open, and said where it was named") {
  const Loadable file;
  for (const DeviceChoice device : {DeviceChoice::automatic, DeviceChoice::gpu}) {
    Told told;
    const LoadedModel loaded = load_model(file.options(device), told.listener());
    CHECK(!runs_on_gpu(*loaded.model));
    CHECK(loaded.gpu_text() == "none: " + kWhyNot);
    CHECK(some_answer(loaded).size() == 4);
    if (device == DeviceChoice::automatic) CHECK(told.notes.empty());
    if (device == DeviceChoice::gpu)
      CHECK(told.notes == std::vector<std::string>{"--device emulated: " + kWhyNot + "; running on the CPU"});
  }
}

TEST_CASE("no GPU: an error under strict, where it was named") {
  const Loadable file;
  LoadOptions options = file.options(DeviceChoice::gpu);
  options.strict = true;
  CHECK(load_refusal(ErrorKind::resource, options) == "--device emulated: " + kWhyNot);
  options.device = DeviceChoice::automatic;
  Told told;
  CHECK(load_model(options, told.listener()).why_not_gpu == kWhyNot);
  CHECK(told.notes.empty());
}

TEST_CASE("no GPU: a budget for it is refused with the reason") {
  const Loadable file;
  LoadOptions options = file.options();
  options.vram = uint64_t(1) << 30;
  CHECK(load_refusal(ErrorKind::usage, options) == "--vram: the model runs on the CPU alone; gpu: none: " + kWhyNot);
  options.device = DeviceChoice::gpu;
  CHECK(load_refusal(ErrorKind::usage, options, {"--device emulated: " + kWhyNot + "; running on the CPU"}) ==
        "--vram: the model runs on the CPU alone; gpu: none: " + kWhyNot);
}

TEST_CASE("no GPU: what the file's layout costs in memory is said") {
  const Loadable file;
  TinyModel old;
  old.make_old_layout();
  const GgufMetadata vocabulary = whole_vocabulary();
  for (const auto& [key, value] : vocabulary.entries()) old.metadata.set(key, value);
  old.save(file.path);
  Told told;
  const LoadedModel loaded = load_model(file.options(DeviceChoice::cpu), told.listener());
  CHECK(told.notes ==
        std::vector<std::string>{file.path + ": " + kv_layout_note(loaded.model->file(), loaded.model->config())});
  CHECK(some_answer(loaded).size() == 4);
}
