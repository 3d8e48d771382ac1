#include "runtime/model/kv_layout.h"

#include <array>
#include <cstring>
#include <utility>

#include "quant/gguf_keys.h"
#include "runtime/support/size_text.h"

namespace hearth {
namespace {

constexpr std::array kLayouts = {KvLayout::split, KvLayout::unsplit, KvLayout::both};
constexpr std::array kNames = {"split", "unsplit", "both"};

const char* tensors_of(KvLayout layout) {
  switch (layout) {
    case KvLayout::split:
      return "attn_k_b and attn_v_b";
    case KvLayout::unsplit:
      return "attn_kv_b in one piece";
    case KvLayout::both:
      break;
  }
  return "attn_k_b and attn_v_b, and attn_kv_b, which is not used";
}

bool has(const GgufFile& file, int64_t layer, const char* role) {
  return file.find_tensor(name::in_layer(int(layer), role)) != nullptr;
}

// Layers of each layout, and of all: a layer that has none of the tensors does not count.
std::pair<std::array<int64_t, kLayouts.size()>, int64_t> counts(const GgufFile& file, int64_t n_layers) {
  std::array<int64_t, kLayouts.size()> count{};
  int64_t all = 0;
  for (int64_t i = 0; i < n_layers; ++i) {
    const bool any = has(file, i, name::kAttnKB) || has(file, i, name::kAttnVB) || has(file, i, name::kAttnKvB);
    if (!any) continue;
    ++count[size_t(kv_layout(file, i))];
    ++all;
  }
  return {count, all};
}

}  // namespace

KvLayout kv_layout(const GgufFile& file, int64_t layer) {
  if (!has(file, layer, name::kAttnKvB)) return KvLayout::split;
  const bool two = has(file, layer, name::kAttnKB) && has(file, layer, name::kAttnVB);
  return two ? KvLayout::both : KvLayout::unsplit;
}

std::string kv_layout_text(const GgufFile& file, int64_t n_layers) {
  const auto [count, all] = counts(file, n_layers);
  std::string text;
  for (const KvLayout layout : kLayouts) {
    const int64_t n = count[size_t(layout)];
    if (n > 0 && n == all) return tensors_of(layout);
    if (n > 0) text += fmt::format("{}{} in {} of {} layers", text.empty() ? "" : "; ", tensors_of(layout), n, all);
  }
  return text;
}

std::string kv_layout_name(const GgufFile& file, int64_t n_layers) {
  const auto [count, all] = counts(file, n_layers);
  for (const KvLayout layout : kLayouts) {
    if (all > 0 && count[size_t(layout)] == all) return kNames[size_t(layout)];
  }
  return all > 0 ? "mixed" : "none";
}

std::string kv_layout_note(const GgufFile& file, const ModelConfig& c) {
  uint64_t bytes = 0;
  const Format* to = nullptr;
  for (int64_t i = 0; i < c.n_layers; ++i) {
    if (kv_layout(file, i) != KvLayout::unsplit) continue;
    to = &transposed_format(*file.tensor(name::in_layer(int(i), name::kAttnKvB)).format);
    bytes += to->bytes(c.qk_nope_head_dim) * uint64_t(c.n_heads * c.kv_lora_rank);
  }
  if (!to) return "";
  return fmt::format(
      "attn_kv_b is in one piece, as in files from before April 2025: its keys are transposed into memory ({} of {}), "
      "its values are used as they lie",
      binary_size_text(bytes), to->name);
}

const Format& transposed_format(const Format& kv_b) {
  const bool plain = kv_b.id == FormatId::f32 || kv_b.id == FormatId::bf16;
  return plain ? kv_b : format_of(FormatId::f16);
}

std::vector<std::byte> transposed_keys(const Tensor& kv_b, const ModelConfig& c) {
  const int64_t H = c.n_heads, dn = c.qk_nope_head_dim, dv = c.v_head_dim, r = c.kv_lora_rank;
  const Format& format = transposed_format(*kv_b.format);
  const size_t row_bytes = format.bytes(dn);
  std::vector<std::byte> transposed(row_bytes * size_t(H * r));
  std::vector<float> head(size_t(dn * r)), row(static_cast<size_t>(dn));
  std::byte* out = transposed.data();
  for (int64_t h = 0; h < H; ++h) {
    const std::byte* rows = kv_b.data + size_t(h * (dn + dv)) * kv_b.row_bytes();
    for (int64_t i = 0; i < dn; ++i) kv_b.format->decode(rows + size_t(i) * kv_b.row_bytes(), head.data() + i * r, r);
    for (int64_t j = 0; j < r; ++j, out += row_bytes) {
      for (int64_t i = 0; i < dn; ++i) row[size_t(i)] = head[size_t(i * r + j)];
      format.encode(row.data(), nullptr, out, dn);
    }
  }
  return transposed;
}

std::vector<std::byte> packed_values(const Tensor& kv_b, const ModelConfig& c) {
  const int64_t H = c.n_heads, dn = c.qk_nope_head_dim, dv = c.v_head_dim;
  const size_t head_bytes = size_t(dv) * kv_b.row_bytes();
  std::vector<std::byte> packed(size_t(H) * head_bytes);
  for (int64_t h = 0; h < H; ++h) {
    std::memcpy(packed.data() + size_t(h) * head_bytes, kv_b.data + size_t(h * (dn + dv) + dn) * kv_b.row_bytes(),
                head_bytes);
  }
  return packed;
}

}  // namespace hearth
