// What an instruction set brings to the products y = x W^T: for each format two kernels over a few weight rows, and the
// form in which they want activations stored. matmul.cpp and ffn.cpp cut the operations into such pieces and are the
// same for every instruction set.
//
// (Plain structs without member functions: an inline function compiled in a kernel's folder must not be the copy that
// the linker keeps for files built without its instructions.)
#pragma once

#include "kernels/cpu/tile.h"
#include "kernels/ops.h"

namespace hearth {

// How a kernel wants its activations.
enum class Input : uint8_t {
  f32,   // floats as they are
  x8,    // one X8 for every 256
  bf16,  // rounded to bfloat16, in the order of bf16_place, zero to the next multiple of 64
};
constexpr int kInputs = 3;

// The order of each 64 bfloat16 activations: 0, 4, 8 .., then 1, 5, 9 .., then 2, 6 .., then 3, 7 ... In this order
// weights are unpacked from bytes without moving any across lanes.
constexpr int bf16_place(int i) {
  return i % 4 * 16 + i / 4;
}  // of activation i

// 256 activations in 8 bits, x = scale * q, zeros past the row's end, with sums of q that kernels need. Weights stored
// with an offset are multiplied as stored, and their sums start at -offset * sum; for weights with a minimum,
// minimum * sum is subtracted. An engine's quantize() stores those sums that its kernels read.
struct alignas(64) X8 {
  int8_t q[256];            // -127 .. 127
  int32_t minus_sum16[16];  // minus the sum of each 16
  int32_t minus_sum32[8];
  int16_t pair_sum16[16][2];  // of each 16 the sums of the first two and of the last two of every four
  float sum32[8];
  int16_t small_sum16[16];
  int16_t small_sum32[8];
  float scale;
  int32_t minus_sum;  // of all
};
static_assert(sizeof(X8) == 512);

// Few tokens: y[t * y_stride + i] = W row i . x[t] for n_tokens 1, 2 or 4, straight from the stored blocks. Bound:
// bytes.
struct RowsCall {
  const uint8_t* w;  // the first row
  size_t row_bytes;
  int64_t n_rows, k;
  const void* const* x;  // [n_tokens]: rows of activations
  float* y;
  int64_t y_stride;
  const uint8_t* next;  // weights that will be read after these rows, for prefetching (stream.h); may be null
};

// Many tokens: out[t * out_stride + i] = W row i . x[t]. Blocks of weights are decoded once for all tokens. Bound: the
// multipliers.
constexpr int kPanelTokens = 512;  // an expert's tokens of a ubatch (docs/placement.md), mostly
struct PanelCall {
  const uint8_t* w;
  size_t row_bytes;
  int64_t n_rows, k;
  const void* const* x;
  int64_t n_tokens;  // 1 <= n_tokens <= kPanelTokens
  float* out;
  int64_t out_stride;
  const uint8_t* next = nullptr;  // as in RowsCall
};

// Other ways, with the same activations as `panels`, by kernels that are the same for all formats with a `decode`.
struct TilePanels {
  DecodeTile* decode = nullptr;
  TileForm form = {};
  int64_t block_elems = 0, block_bytes = 0;
  using Multiply = void(const PanelCall& call, const TilePanels& format);
  Multiply* exact = nullptr;                 // weights as `panels` has them; null: there is none
  Multiply* rounded = nullptr;               // weights are rounded to 8 bits
  int64_t exact_from = 0, rounded_from = 0;  // numbers of tokens from which each is faster than what stands before it
};

struct FormatEngine {
  FormatId id;
  Input rows_input, panels_input;
  void (*rows[3])(const RowsCall& call);  // for 1, 2 and 4 tokens
  void (*panels)(const PanelCall& call);  // null: only tiles
  int64_t panels_from;                    // number of tokens from which `panels` is faster than `rows`
  TilePanels tiles = {};
};

// The rows that one file defines.
struct FormatRows {
  const FormatEngine* first;
  int n;
};

struct Engine {
  FormatRows formats[6];  // the first row found for a format counts
  // x [n], n <= 256 -> one X8.
  void (*quantize)(const float* x, int64_t n, X8* out);
  // x [n] -> n rounded up to 64 bfloat16 (Input::bf16); null where no kernel uses them.
  void (*round)(const float* x, int64_t n, uint16_t* out);
  // gate = silu(gate) * up, n values.
  void (*silu_product)(float* gate, const float* up, int64_t n);
};

// The format's row, which exists (require_all_formats); `exact`: the first whose kernels round no weights.
const FormatEngine& row_of(const Engine& engine, FormatId id, bool exact = false);

// Throws Error(resource) naming the first format of all_formats() (quant/format.h) that has no row. Called before an
// engine is used.
void require_all_formats(const Engine& engine);

}  // namespace hearth
