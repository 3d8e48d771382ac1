// Which form of attention a step takes: the one that costs fewer multiply-adds, weighed by how fast a table says that
// it does them (Ops::absorbed_speed).
#include <doctest/doctest.h>

#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// A table that counts its calls. What is faster depends on what it attends with.
struct Counted {
  static inline int n_absorbed = 0, n_naive = 0;
  static inline double speed_of_bf16 = 1;
  static inline bool weights_seen = true;

  static const Ops& table() {
    static const Ops counted = [] {
      Ops ops = cpu_ops("scalar");
      ops.absorbed_attend = [](const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope,
                               const Weight& k_b, const Weight& v_b, const LatentCache& cache, const Positions& at,
                               float scale, Heads<float> q_c, Heads<float> o_c, Heads<float> o) {
        ++n_absorbed;
        cpu_ops("scalar").absorbed_attend(exec, q_nope, q_rope, k_b, v_b, cache, at, scale, q_c, o_c, o);
      };
      ops.mha_attend = [](const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                          const Weight& v_b, const LatentCache& cache, const Positions& at, float scale,
                          Heads<float> o) {
        ++n_naive;
        cpu_ops("scalar").mha_attend(exec, q_nope, q_rope, k_b, v_b, cache, at, scale, o);
      };
      ops.absorbed_speed = [](const Weight& k_b, const Weight& v_b, FormatId cache) {
        const TinyShape s;
        weights_seen = weights_seen && k_b.n == s.kv_lora && k_b.k == s.nope && v_b.n == s.v && v_b.k == s.kv_lora;
        return cache == FormatId::bf16 ? speed_of_bf16 : 1.0;
      };
      return ops;
    }();
    return counted;
  }
};

// How many layers attend in each form when so many tokens are read at once.
struct Forms {
  int absorbed, naive;
  bool operator==(const Forms&) const = default;
};
Forms forms_of(const Ops& ops, const TinyModel& tiny, FormatId cache_format, int n_tokens) {
  Model model(tiny.file(), {.ops = &ops, .n_threads = 1, .cache_format = cache_format});
  Counted::n_absorbed = Counted::n_naive = 0;
  all_logits(model, some_tokens(n_tokens, tiny.shape.vocab));
  return {Counted::n_absorbed, Counted::n_naive};
}

}  // namespace

TEST_CASE("attention form: by multiply-adds, as many of which a table does in the same time as it says") {
  const TinyModel tiny;
  // Per head with r = 32, dn = 16, dr = 8, dv = 24, at a context of T tokens: naive 1280 T + 48 T^2, absorbed
  // 1280 T + 72 T^2.
  Ops plain = Counted::table();
  plain.absorbed_speed = nullptr;
  const Forms naive = {0, 3}, absorbed = {3, 0};
  CHECK(forms_of(plain, tiny, FormatId::bf16, 20) == naive);
  CHECK(forms_of(plain, tiny, FormatId::bf16, 1) == absorbed);

  Counted::weights_seen = true;
  Counted::speed_of_bf16 = 1.3;  // 1280 + 960 times this is more than 1280 + 1440
  CHECK(forms_of(Counted::table(), tiny, FormatId::bf16, 20) == absorbed);
  CHECK(forms_of(Counted::table(), tiny, FormatId::f32, 20) == naive);
  Counted::speed_of_bf16 = 1.2;
  CHECK(forms_of(Counted::table(), tiny, FormatId::bf16, 20) == naive);
  CHECK(forms_of(Counted::table(), tiny, FormatId::bf16, 1) == absorbed);  // at any speed
  CHECK(Counted::weights_seen);
}
