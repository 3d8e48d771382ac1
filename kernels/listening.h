// A table of operations that computes what another one does, and tells what every matrix is multiplied by: for
// statistics over the inputs of a model's weights. Where inputs arise inside of an operation (ffn, moe_ffn,
// absorbed_attend), it is taken apart into smaller ones of the other table. mha_attend, the naive form of attention,
// tells nothing: a model that is listened to is to attend in the absorbed form. Of the host's memory only.
#pragma once

#include <vector>

#include "kernels/ops.h"

namespace hearth {

class InputListener {
 public:
  virtual ~InputListener() = default;
  // Matrix `matrix` of w (0 where it is one) is multiplied by the rows x [T,k].
  virtual void hear(const Weight& w, int64_t matrix, Mat<const float> x) = 0;
  // The rows c_kv [T,r], as `norm` [r] leaves them, are what keys and values of all heads are made from.
  virtual void hear_latent(const float* norm, Mat<const float> c_kv) = 0;
};

class Listening {
 public:
  // Both must outlive it.
  Listening(const Ops& ops, InputListener& listener);
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

  // To be used on a thread where a Scope of this object lives.
  const Ops& table() const { return table_; }

  class Scope {
   public:
    explicit Scope(Listening* listening);  // null: does nothing
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Listening* before_;
  };

 private:
  struct Operations;  // what stands in the table

  // What was computed after the step was stopped (kernels/watch.h) is no input of anything, and is not told.
  void tell(const Weight& w, int64_t matrix, Mat<const float> x);
  void tell_heads(const Weight& w, Heads<const float> x);
  // One gated FFN: matrix `i` of each weight. x [T,d] -> y [T,d].
  void gated(const Exec& exec, const FfnWeights& w, int64_t i, Mat<const float> x, Mat<float> y);

  const Ops& ops_;
  InputListener& listener_;
  Ops table_;
  std::vector<float> gate_, up_, rows_, sums_;  // between the parts of an operation
  std::vector<int64_t> chosen_;                 // places in ids [T,K]
};

}  // namespace hearth
