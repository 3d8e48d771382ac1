#include "convert/recipe.h"

#include <doctest/doctest.h>

#include <set>

#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

std::string choice(const char* recipe, Role role, int64_t cols, int64_t layer = -1, int64_t n_layers = 27) {
  OutputTensor tensor;
  tensor.role = role;
  tensor.layer = layer;
  tensor.shape = Shape(2, cols);
  return choose_format(find_recipe(recipe), tensor, n_layers).format->name;
}

}  // namespace

TEST_CASE("the recipes of the command's help exist, others are refused with that list") {
  const std::vector<std::string> expected = {"f32",    "f16",   "bf16",    "q8_0",  "q6_k",   "q5_k_m",
                                             "q4_k_m", "q4_0",  "q3_k_m",  "q2_k",  "iq4_xs", "iq4_m",
                                             "iq3_m",  "iq2_m", "iq2_xxs", "iq1_s", "fp8",    "int4"};
  CHECK(recipe_names() == expected);
  CHECK(contains(refusal([] { find_recipe("q4"); }), "unknown recipe q4: expected one of f32 f16 bf16 q8_0"));
  CHECK(refusal([] { find_recipe("q4"); }).ends_with(" keep"));
}

TEST_CASE("vectors and the router are F32 in every recipe") {
  for (const std::string& name : recipe_names()) CHECK(choice(name.c_str(), Role::vector, 2048) == "F32");
}

TEST_CASE("whatever the width, a format that fits is found, and one that is no coarser") {
  for (const std::string& name : recipe_names()) {
    for (int role = 0; role < kRoles; ++role) {
      for (const int64_t cols : {1, 31, 32, 96, 128, 192, 256, 320, 1408, 2048, 10944}) {
        CAPTURE(name);
        CAPTURE(role);
        CAPTURE(cols);
        OutputTensor tensor;
        tensor.role = Role(role);
        tensor.layer = 5;
        tensor.shape = Shape(4, cols);
        const ChosenFormat chosen = choose_format(find_recipe(name), tensor, 27);
        CHECK(chosen.format->fits(cols));
        CHECK((chosen.format == chosen.wanted) == chosen.wanted->fits(cols));
        CHECK(chosen.format->bits_per_weight() >= chosen.wanted->bits_per_weight());
      }
    }
  }
}

// Rows of 1408 are V2-Lite's experts, 128 every model's attn_k_b.
TEST_CASE("fallbacks where a row is no multiple of the block") {
  CHECK(choice("q4_k_m", Role::expert_in, 2048, 5) == "Q4_K");
  CHECK(choice("q4_k_m", Role::expert_down, 1408, 5) == "Q8_0");  // Q6_K in a layer that gets more
  CHECK(choice("q4_k_m", Role::expert_down, 1408, 6) == "Q5_0");
  CHECK(choice("q5_k_m", Role::expert_down, 1408, 6) == "Q5_1");
  CHECK(choice("q3_k_m", Role::expert_down, 1408, 6) == "IQ4_NL");
  CHECK(choice("q2_k", Role::expert_down, 1408, 6) == "IQ4_NL");
  CHECK(choice("iq4_xs", Role::expert_down, 1408, 6) == "IQ4_NL");
  CHECK(choice("fp8", Role::expert_down, 1408, 6) == "F8_E4M3");
  CHECK(choice("int4", Role::expert_down, 1408, 6) == "I4_G128");
  CHECK(choice("fp8", Role::expert_down, 96, 6) == "Q8_0");
  CHECK(choice("int4", Role::expert_down, 96, 6) == "Q4_0");
  CHECK(choice("q8_0", Role::expert_down, 80, 6) == "F16");
  CHECK(choice("q4_k_m", Role::expert_down, 80, 6) == "F16");
  CHECK(choice("bf16", Role::expert_down, 77, 6) == "BF16");
}

TEST_CASE("better formats go to the first and last eighth of the layers and every third between") {
  std::set<int64_t> better;
  for (int64_t layer = 0; layer < 27; ++layer) {
    if (choice("q4_k_m", Role::expert_down, 1536, layer, 27) == "Q6_K") better.insert(layer);
  }
  CHECK(better == std::set<int64_t>{0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26});
  CHECK(choice("q4_k_m", Role::expert_down, 1536, -1) == "Q4_K");  // of no layer
}

TEST_CASE("what every key and value passes through, and the head, keep more") {
  for (const char* recipe : {"q6_k", "q5_k_m", "q4_k_m", "q4_0", "q3_k_m", "q2_k", "iq4_xs", "int4"}) {
    CAPTURE(recipe);
    CHECK(choice(recipe, Role::latent, 512, 3) == "Q8_0");
    CHECK(choice(recipe, Role::latent, 128, 3) == "Q8_0");
    CHECK(choice(recipe, Role::head, 2048) == "Q6_K");
  }
  CHECK(choice("fp8", Role::head, 7168) == "BF16");
  CHECK(choice("fp8", Role::latent, 128, 3) == "F8_E4M3");
}

TEST_CASE("recipes are found in any case") {
  CHECK(&find_recipe("Q4_K_M") == &find_recipe("q4_k_m"));
  CHECK(&find_recipe("Bf16") == &find_recipe("bf16"));
}
