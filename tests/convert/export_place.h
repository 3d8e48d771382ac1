// A model to be exported, in folders of its own, and what came of it.
#pragma once

#include "convert/checkpoint.h"
#include "convert/export/export.h"
#include "quant/gguf_keys.h"
#include "tests/convert/tiny_checkpoint.h"
#include "tests/support/convert.h"
#include "tests/support/refusal.h"

namespace hearth::test {

inline TinyCheckpoint make_blocky_v3(bool fp8) {
  TinyCheckpoint checkpoint = tiny_v3(false);
  checkpoint.tensors.clear();
  checkpoint.config.update(Json{{"q_lora_rank", 128}, {"intermediate_size", 384}, {"moe_intermediate_size", 128}});
  if (fp8) checkpoint.config["quantization_config"] = tiny_v3(true).config["quantization_config"];
  checkpoint.config["_name_or_path"] = "tiny";
  checkpoint.add_all_tensors(fp8);
  return checkpoint;
}

// V3's kind whose matrices all fit blocks of 128, with partial ones below: what FP8 and INT4 hold.
inline const TinyCheckpoint& blocky_v3(bool fp8) {
  static const TinyCheckpoint made[] = {make_blocky_v3(false), make_blocky_v3(true)};
  return made[fp8];
}

// Name -> type and shape, and bytes: of a checkpoint as it lies in its folder.
inline std::map<std::string, TinyTensor> tensors_in(const fs::path& folder) {
  std::map<std::string, TinyTensor> found;
  const Checkpoint checkpoint = Checkpoint::open(folder.string());
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const auto* bytes = reinterpret_cast<const char*>(tensor.bytes.data());
    const std::vector<int64_t> shape(tensor.shape.dim.begin(), tensor.shape.dim.begin() + tensor.shape.rank);
    found[name] = {tensor.dtype->name, shape, std::string(bytes, tensor.bytes.size())};
  }
  return found;
}

inline bool same_tensor(const TinyTensor& a, const TinyTensor& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.bytes == b.bytes;
}

struct ExportPlace {
  TempDir dir;
  ExportOptions options;

  ExportPlace() { options.n_threads = 2; }
  explicit ExportPlace(const TinyCheckpoint& tiny) : ExportPlace() {
    tiny.write(checkpoint(), 1);
    options.source = checkpoint();
    options.output = dir / "out";
  }
  std::string checkpoint() const { return dir / "checkpoint"; }
  std::string converted(const fs::path& folder, const std::string& recipe, const std::string& name = "model") const {
    const std::string file = dir / (name + ".gguf");
    fs::remove(file);
    convert(folder, file, recipe);
    return file;
  }
  // Exports what `source` names into a new folder.
  fs::path exported(const std::string& source, ExportFormat format, const std::string& name = "out") {
    fs::remove_all(dir / name);
    options.source = source;
    options.output = dir / name;
    options.format = format;
    notes = export_model(options).notes;
    return options.output;
  }
  std::string refused() {
    return refusal([&] { export_model(options); });
  }
  bool noted(std::string_view part) const {
    return std::ranges::any_of(notes, [&](const std::string& note) { return contains(note, part); });
  }
  std::vector<std::string> notes;
};

// A GGUF file written anew with other tensors; `change` gets them by name, with their bytes.
struct GgufPart {
  const Format* format;
  Shape shape;
  std::string bytes;
};
using GgufParts = std::vector<std::pair<std::string, GgufPart>>;

inline void rewrite_gguf(const std::string& from, const std::string& to,
                         const std::function<void(GgufParts&, GgufMetadata&)>& change) {
  const GgufFile file = GgufFile::open(from);
  GgufMetadata metadata = file.metadata();
  for (const char* key : {key::kHearthChecksums, key::kHearthChecksumNames, key::kHearthAppendix}) metadata.erase(key);
  GgufParts parts;
  for (const Tensor& t : file.tensors())
    parts.push_back({t.name, {t.format, t.shape, std::string(reinterpret_cast<const char*>(t.data), t.bytes())}});
  change(parts, metadata);
  std::vector<GgufTensorPlan> plans;
  for (const auto& [name, part] : parts) plans.push_back({name, part.format, part.shape});
  GgufWriter writer(to, metadata, plans);
  for (size_t i = 0; i < parts.size(); ++i) writer.write(i, 0, std::as_bytes(std::span(parts[i].second.bytes)));
  writer.finish();
}

inline void drop_tensor(GgufParts& parts, const std::string& name) {
  std::erase_if(parts, [&](const auto& part) { return part.first == name; });
}

}  // namespace hearth::test
