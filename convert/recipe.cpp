#include "convert/recipe.h"

#include "quant/error.h"

namespace hearth {

namespace {

constexpr RecipeFormats operator|(FormatId usual, FormatId better) {
  return {usual, better};
}

using enum FormatId;

constexpr Recipe uniform(const char* name, int file_type, FormatId id) {
  const RecipeFormats f = id | id, vec = f32 | f32;
  return {name, file_type, {vec, f, f, f, f, f, f, f, f, f, f, f, f}};
}

// The `_m` recipes spend bits where they buy most. The latent matrices are 1 % of a file and shape every key and value:
// always Q8_0. Shared experts run for every token: one step better. The down projections lose most when rounded: half
// of them are one or two steps better. The head decides between near-equal logits: Q6_K. FP8 keeps what DeepSeek's own
// FP8 checkpoints keep in BF16, so that such a checkpoint passes through without loss.
constexpr Recipe kRecipes[] = {
    uniform("f32", 0, f32),
    uniform("f16", 1, f16),
    uniform("bf16", 32, bf16),
    uniform("q8_0", 7, q8_0),
    {"q6_k",
     18,
     {
         f32 | f32,    // vector
         q6_k | q6_k,  // embedding
         q6_k | q6_k,  // head
         q6_k | q6_k,  // query
         q8_0 | q8_0,  // latent
         q6_k | q6_k,  // attn_output
         q6_k | q6_k,  // dense_in
         q6_k | q6_k,  // dense_down
         q6_k | q6_k,  // expert_in
         q6_k | q6_k,  // expert_down
         q6_k | q6_k,  // shared_in
         q6_k | q6_k,  // shared_down
         q8_0 | q8_0,  // mtp_proj
     }},
    {"q5_k_m",
     17,
     {
         f32 | f32,    // vector
         q5_k | q5_k,  // embedding
         q6_k | q6_k,  // head
         q5_k | q5_k,  // query
         q8_0 | q8_0,  // latent
         q5_k | q5_k,  // attn_output
         q5_k | q5_k,  // dense_in
         q5_k | q6_k,  // dense_down
         q5_k | q5_k,  // expert_in
         q5_k | q6_k,  // expert_down
         q6_k | q6_k,  // shared_in
         q6_k | q6_k,  // shared_down
         q8_0 | q8_0,  // mtp_proj
     }},
    {"q4_k_m",
     15,
     {
         f32 | f32,    // vector
         q4_k | q4_k,  // embedding
         q6_k | q6_k,  // head
         q4_k | q5_k,  // query
         q8_0 | q8_0,  // latent
         q4_k | q5_k,  // attn_output
         q4_k | q4_k,  // dense_in
         q4_k | q6_k,  // dense_down
         q4_k | q4_k,  // expert_in
         q4_k | q6_k,  // expert_down
         q5_k | q5_k,  // shared_in
         q6_k | q6_k,  // shared_down
         q8_0 | q8_0,  // mtp_proj
     }},
    {"q4_0",
     2,
     {
         f32 | f32,    // vector
         q4_0 | q4_0,  // embedding
         q6_k | q6_k,  // head
         q4_0 | q4_0,  // query
         q8_0 | q8_0,  // latent
         q4_0 | q4_0,  // attn_output
         q4_0 | q4_0,  // dense_in
         q4_0 | q4_0,  // dense_down
         q4_0 | q4_0,  // expert_in
         q4_0 | q4_0,  // expert_down
         q4_0 | q4_0,  // shared_in
         q4_0 | q4_0,  // shared_down
         q8_0 | q8_0,  // mtp_proj
     }},
    {"q3_k_m",
     12,
     {
         f32 | f32,    // vector
         q4_k | q4_k,  // embedding
         q6_k | q6_k,  // head
         q4_k | q4_k,  // query
         q8_0 | q8_0,  // latent
         q4_k | q5_k,  // attn_output
         q3_k | q3_k,  // dense_in
         q4_k | q5_k,  // dense_down
         q3_k | q3_k,  // expert_in
         q3_k | q4_k,  // expert_down
         q4_k | q4_k,  // shared_in
         q5_k | q5_k,  // shared_down
         q8_0 | q8_0,  // mtp_proj
     }},
    {"q2_k",
     10,
     {
         f32 | f32,    // vector
         q4_k | q4_k,  // embedding
         q6_k | q6_k,  // head
         q4_k | q4_k,  // query
         q8_0 | q8_0,  // latent
         q4_k | q4_k,  // attn_output
         q3_k | q3_k,  // dense_in
         q3_k | q4_k,  // dense_down
         q2_k | q2_k,  // expert_in
         q2_k | q3_k,  // expert_down
         q4_k | q4_k,  // shared_in
         q4_k | q4_k,  // shared_down
         q8_0 | q8_0,  // mtp_proj
     }},
    {"iq4_xs",
     30,
     {
         f32 | f32,        // vector
         iq4_xs | iq4_xs,  // embedding
         q6_k | q6_k,      // head
         iq4_xs | iq4_xs,  // query
         q8_0 | q8_0,      // latent
         iq4_xs | q5_k,    // attn_output
         iq4_xs | iq4_xs,  // dense_in
         iq4_xs | q5_k,    // dense_down
         iq4_xs | iq4_xs,  // expert_in
         iq4_xs | iq4_xs,  // expert_down
         q5_k | q5_k,      // shared_in
         q5_k | q5_k,      // shared_down
         q8_0 | q8_0,      // mtp_proj
     }},
    // Mixes for models of which the routed experts are nearly all: these get the file's bits, all else enough.
    {"iq4_m",
     30,
     {
         f32 | f32,        // vector
         q4_k | q4_k,      // embedding
         q6_k | q6_k,      // head
         q5_k | q5_k,      // query
         q8_0 | q8_0,      // latent
         q5_k | q5_k,      // attn_output
         q4_k | q4_k,      // dense_in
         q5_k | q6_k,      // dense_down
         iq4_xs | iq4_xs,  // expert_in
         iq4_xs | q5_k,    // expert_down
         q5_k | q5_k,      // shared_in
         q6_k | q6_k,      // shared_down
         q8_0 | q8_0,      // mtp_proj
     }},
    {"iq3_m",
     27,
     {
         f32 | f32,        // vector
         q4_k | q4_k,      // embedding
         q6_k | q6_k,      // head
         q5_k | q5_k,      // query
         q8_0 | q8_0,      // latent
         q5_k | q5_k,      // attn_output
         q4_k | q4_k,      // dense_in
         q5_k | q6_k,      // dense_down
         iq3_xxs | iq3_s,  // expert_in
         iq3_s | iq4_xs,   // expert_down
         q5_k | q5_k,      // shared_in
         q6_k | q6_k,      // shared_down
         q8_0 | q8_0,      // mtp_proj
     }},
    {"iq2_m",
     29,
     {
         f32 | f32,          // vector
         q4_k | q4_k,        // embedding
         q6_k | q6_k,        // head
         q5_k | q5_k,        // query
         q8_0 | q8_0,        // latent
         q5_k | q5_k,        // attn_output
         q4_k | q4_k,        // dense_in
         q5_k | q6_k,        // dense_down
         iq2_xs | iq2_s,     // expert_in
         iq3_xxs | iq3_xxs,  // expert_down
         q5_k | q5_k,        // shared_in
         q6_k | q6_k,        // shared_down
         q8_0 | q8_0,        // mtp_proj
     }},
    {"iq2_xxs",
     19,
     {
         f32 | f32,          // vector
         q4_k | q4_k,        // embedding
         q6_k | q6_k,        // head
         q5_k | q5_k,        // query
         q8_0 | q8_0,        // latent
         q5_k | q5_k,        // attn_output
         q4_k | q4_k,        // dense_in
         q5_k | q6_k,        // dense_down
         iq2_xxs | iq2_xxs,  // expert_in
         iq2_xs | iq2_xs,    // expert_down
         q5_k | q5_k,        // shared_in
         q6_k | q6_k,        // shared_down
         q8_0 | q8_0,        // mtp_proj
     }},
    {"iq1_s",
     24,
     {
         f32 | f32,        // vector
         q4_k | q4_k,      // embedding
         q6_k | q6_k,      // head
         q5_k | q5_k,      // query
         q8_0 | q8_0,      // latent
         q5_k | q5_k,      // attn_output
         q4_k | q4_k,      // dense_in
         q5_k | q6_k,      // dense_down
         iq1_s | iq1_s,    // expert_in
         iq1_m | iq2_xxs,  // expert_down
         q5_k | q5_k,      // shared_in
         q6_k | q6_k,      // shared_down
         q8_0 | q8_0,      // mtp_proj
     }},
    {"fp8",
     -1,
     {
         f32 | f32,          // vector
         bf16 | bf16,        // embedding
         bf16 | bf16,        // head
         f8_e4m3 | f8_e4m3,  // query
         f8_e4m3 | f8_e4m3,  // latent
         f8_e4m3 | f8_e4m3,  // attn_output
         f8_e4m3 | f8_e4m3,  // dense_in
         f8_e4m3 | f8_e4m3,  // dense_down
         f8_e4m3 | f8_e4m3,  // expert_in
         f8_e4m3 | f8_e4m3,  // expert_down
         f8_e4m3 | f8_e4m3,  // shared_in
         f8_e4m3 | f8_e4m3,  // shared_down
         bf16 | bf16,        // mtp_proj
     }},
    {"int4",
     -1,
     {
         f32 | f32,          // vector
         q6_k | q6_k,        // embedding
         q6_k | q6_k,        // head
         i4_g128 | i4_g128,  // query
         q8_0 | q8_0,        // latent
         i4_g128 | i4_g128,  // attn_output
         i4_g128 | i4_g128,  // dense_in
         i4_g128 | i4_g128,  // dense_down
         i4_g128 | i4_g128,  // expert_in
         i4_g128 | i4_g128,  // expert_down
         i4_g128 | i4_g128,  // shared_in
         i4_g128 | i4_g128,  // shared_down
         q8_0 | q8_0,        // mtp_proj
     }},
};

// For rows that are not a multiple of the block: a format with a smaller block (at last with none) that is no less
// accurate, at the price of some size. (Width 1408, V2-Lite's experts, is a multiple of 128 and not of 256.)
constexpr struct {
  FormatId id, fallback;
} kFallbacks[] = {
    {q2_k, iq4_nl},    {q3_k, iq4_nl},  {q4_k, q5_0},      {q5_k, q5_1},     {q6_k, q8_0},
    {iq4_xs, iq4_nl},  {f8_e4m3, q8_0}, {i4_g128, q4_0},   {q4_0, f16},      {q4_1, f16},
    {q5_0, f16},       {q5_1, f16},     {q8_0, f16},       {iq4_nl, f16},    {tq2_0, q4_0},
    {iq1_s, iq4_nl},   {iq1_m, iq4_nl}, {iq2_xxs, iq4_nl}, {iq2_xs, iq4_nl}, {iq2_s, iq4_nl},
    {iq3_xxs, iq4_nl}, {iq3_s, iq4_nl}, {tq1_0, q4_0},     {mxfp4, f16},     {nvfp4, q4_0},
};

FormatId fallback_of(FormatId id) {
  for (const auto& row : kFallbacks) {
    if (row.id == id) return row.fallback;
  }
  return f32;  // fits every row
}

// The first and the last eighth of the layers, and every third of the others.
bool deserves_better(int64_t layer, int64_t n_layers) {
  const int64_t eighth = n_layers / 8;
  return layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2;
}

}  // namespace

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const Recipe& recipe : kRecipes) names.push_back(recipe.name);
  return names;
}

const Recipe& find_recipe(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
  for (const Recipe& recipe : kRecipes) {
    if (lower == recipe.name) return recipe;
  }
  fail(ErrorKind::usage, "unknown recipe {}: expected one of {} keep", name, fmt::join(recipe_names(), " "));
}

ChosenFormat fitting_format(const Format& wanted, int64_t row) {
  const Format* format = &wanted;
  while (!format->fits(row)) format = &format_of(fallback_of(format->id));
  return {format, &wanted};
}

ChosenFormat choose_format(const Recipe& recipe, const OutputTensor& tensor, int64_t n_layers) {
  const RecipeFormats& formats = recipe.formats[int(tensor.role)];
  const bool better = tensor.layer >= 0 && deserves_better(tensor.layer, n_layers);
  return fitting_format(format_of(better ? formats.better : formats.usual), tensor.shape.cols());
}

}  // namespace hearth
