#include "runtime/cli/export_sizes.h"

#include <fmt/format.h>

#include <vector>

#include "quant/gguf_keys.h"
#include "runtime/model/mtp.h"

namespace hearth::cli {

namespace {

constexpr int64_t kBlock = 128;  // rows and columns of FP8's blocks; weights of INT4's groups

enum class Where { copied, divided, experts };

// A matrix of a checkpoint, as often as a layer has it.
struct Matrix {
  const char* name;
  Where where = Where::copied;
  int64_t rows = 0, cols = 0, count = 1;
  bool by_rows = true;        // divided: outputs are; else inputs
  bool others_below = false;  // loaded as one with a matrix whose rows follow
};

// Matrices that are quantized all or none.
using Group = std::vector<Matrix>;

Group mlp(const char* gate, const char* down, Where where, int64_t d, int64_t width, int64_t count = 1) {
  return {{gate, where, width, d, count, true, true},
          {gate, where, width, d, count, true, false},
          {down, where, d, width, count, false, false}};
}

std::vector<Group> attention(const ModelConfig& c) {
  const int64_t d = c.dim, queries = c.n_heads * c.qk_head_dim();
  const Matrix kv_a{"kv_a_proj_with_mqa", Where::copied, c.cache_width(), d};
  std::vector<Group> groups;
  if (c.q_lora_rank > 0) {
    groups.push_back({{"q_a_proj", Where::copied, c.q_lora_rank, d, 1, true, true}, kv_a});
    groups.push_back({{"q_b_proj", Where::divided, queries, c.q_lora_rank}});
  } else {
    groups.push_back({kv_a});
    groups.push_back({{"q_proj", Where::divided, queries, d}});
  }
  groups.push_back({{"kv_b_proj", Where::divided, c.n_heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank}});
  groups.push_back({{"o_proj", Where::divided, d, c.n_heads * c.v_head_dim, 1, false}});
  return groups;
}

std::vector<Group> ffn(const ModelConfig& c, bool moe) {
  if (!moe) return {mlp("gate_proj", "down_proj", Where::divided, c.dim, c.inter_dim)};
  std::vector<Group> groups = {
      mlp("gate_proj of experts", "down_proj of experts", Where::experts, c.dim, c.moe_inter_dim, c.n_routed_experts)};
  if (c.n_shared_experts > 0) {
    groups.push_back(mlp("gate_proj of shared experts", "down_proj of shared experts", Where::divided, c.dim,
                         c.n_shared_experts * c.moe_inter_dim));
  }
  return groups;
}

bool fits(const Matrix& m, ExportFormat format) {
  const bool rows_fit = format != ExportFormat::kFp8 || !m.others_below || m.rows % kBlock == 0;
  return rows_fit && m.cols % kBlock == 0;
}

bool is_quantized(const Group& group, ExportFormat format) {
  if (format == ExportFormat::kBf16) return false;
  if (format == ExportFormat::kInt4 && group.front().where != Where::experts) return false;
  for (const Matrix& m : group) {
    if (!fits(m, format)) return false;
  }
  return true;
}

uint64_t blocks(int64_t n) {
  return uint64_t((n + kBlock - 1) / kBlock);
}

// X.weight with X.weight_scale_inv; X.weight_packed with X.weight_scale (F16) and X.weight_shape (two I64).
uint64_t bytes_of(const Matrix& m, ExportFormat format) {
  const auto n = uint64_t(m.rows * m.cols);
  switch (format) {
    case ExportFormat::kBf16:
      break;
    case ExportFormat::kFp8:
      return n + 4 * blocks(m.rows) * blocks(m.cols);
    case ExportFormat::kInt4:
      return n / 2 + 2 * uint64_t(m.rows) * blocks(m.cols) + 16;
  }
  return 2 * n;
}

void add(const std::vector<Group>& groups, ExportFormat format, ExportSizes& sizes) {
  for (const Group& group : groups) {
    const ExportFormat as = is_quantized(group, format) ? format : ExportFormat::kBf16;
    for (const Matrix& m : group) {
      uint64_t& place = m.where == Where::copied    ? sizes.copied
                        : m.where == Where::divided ? sizes.divided
                                                    : sizes.experts;
      place += uint64_t(m.count) * bytes_of(m, as);
    }
  }
}

// Norms and routers in BF16, a router's bias in F32.
uint64_t small_bytes(const ModelConfig& c, bool moe) {
  const int64_t norms = 2 * c.dim + c.q_lora_rank + c.kv_lora_rank;
  const bool bias = c.routing.group_score == Routing::GroupScore::top2_sum;
  return uint64_t(2 * norms + (moe ? 2 * c.n_routed_experts * c.dim + (bias ? 4 * c.n_routed_experts : 0) : 0));
}

std::string no_parts(const Matrix& m, int64_t n, bool quantized) {
  const int64_t whole = m.by_rows ? m.rows : m.cols;
  if (whole % n != 0) return fmt::format("{}: {} is no multiple of {}", m.name, whole, n);
  if (!quantized || whole / n % kBlock == 0) return "";
  return fmt::format("{}: {} / {} = {} is no multiple of {}", m.name, whole, n, whole / n, kBlock);
}

}  // namespace

InFile what_is_in(const GgufFile& file, const ModelConfig& config) {
  InFile in;
  in.tied = !file.find_tensor(name::kOutput);
  while (is_mtp_layer(file, config.n_layers + in.n_mtp_layers)) {
    for (const char* copy : {name::kNextnEmbedTokens, name::kNextnSharedHeadHead}) {
      if (file.find_tensor(name::in_layer(int(config.n_layers + in.n_mtp_layers), copy))) ++in.n_mtp_copies;
    }
    ++in.n_mtp_layers;
  }
  return in;
}

ExportSizes export_sizes(const ModelConfig& c, const InFile& in, ExportFormat format) {
  ExportSizes sizes;
  const auto vocabulary = uint64_t(2 * c.vocab_size * c.dim);
  sizes.divided = in.tied ? vocabulary : 2 * vocabulary;
  sizes.copied = uint64_t(2 * c.dim);
  for (int64_t layer = 0; layer < c.n_layers; ++layer) {
    add(attention(c), format, sizes);
    add(ffn(c, c.is_moe(layer)), format, sizes);
    sizes.copied += small_bytes(c, c.is_moe(layer));
  }
  ExportSizes layer;  // for MTP: with eh_proj and three norms
  add(attention(c), format, layer);
  add(ffn(c, true), format, layer);
  layer.copied += small_bytes(c, true) + uint64_t(2 * (2 * c.dim * c.dim + 3 * c.dim));
  sizes.mtp = uint64_t(in.n_mtp_layers) * layer.total() + uint64_t(in.n_mtp_copies) * vocabulary;
  return sizes;
}

std::string why_not_divided(const ModelConfig& c, ExportFormat format, int64_t n, ExpertsBy experts) {
  if (n == 1) return "";
  if (c.n_heads % n != 0) return fmt::format("{} heads are no multiple of {}", c.n_heads, n);
  std::vector<Group> groups = attention(c);
  if (c.n_dense_layers > 0) groups.push_back(ffn(c, false).front());
  if (c.n_moe_layers() > 0) {
    for (const Group& group : ffn(c, true)) groups.push_back(group);
  }
  for (const Group& group : groups) {
    if (group.front().where == Where::experts && experts == ExpertsBy::number) {
      if (c.n_routed_experts % n != 0) return fmt::format("{} experts are no multiple of {}", c.n_routed_experts, n);
      continue;
    }
    for (const Matrix& m : group) {
      if (m.where == Where::copied) continue;
      // INT4's groups run along rows: parts of outputs may be of any height.
      const bool in_blocks = is_quantized(group, format) && (format == ExportFormat::kFp8 || !m.by_rows);
      if (std::string why = no_parts(m, n, in_blocks); !why.empty()) return why;
    }
  }
  return "";
}

}  // namespace hearth::cli
