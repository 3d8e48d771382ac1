// How a model is to be run.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "kernels/device.h"
#include "kernels/listening.h"
#include "kernels/ops.h"
#include "runtime/model/routed_experts.h"
#include "runtime/model/step.h"
#include "runtime/offload/expert_use.h"
#include "runtime/offload/prefill_share.h"

namespace hearth {

struct ModelOptions {
  const Ops* ops = nullptr;
  Device* device = nullptr;  // where they run; null: the host
  int n_threads = 1;
  int64_t n_ctx = 0;                                   // 0: the model's limit, at most 32768 by default
  int64_t n_sequences = 1;                             // with a whole context each, and at most so many in a step
  FormatId cache_format = FormatId::bf16;              // or f32
  int64_t ubatch = 512;                                // tokens run at once in prefill; or kAutomaticUbatch
  AttentionForm attention = AttentionForm::automatic;  // forced in tests
  // The operations of the CPU, for experts that do not fit into the memory of `device`; null: the whole model is to be
  // there.
  const Ops* host_ops = nullptr;
  // Budgets of the two memories in bytes; 0: what is free. How many experts are to be on the GPU: as many as fit, or
  // for tests and experiments exactly so many; and how often each is expected to be used, [MoE layers][E], empty:
  // equally.
  uint64_t vram = 0, ram = 0;
  std::optional<int64_t> resident_experts = {};
  std::vector<float> expert_use = {};
  double expert_use_tokens = 0;                         // of how many tokens that is
  ExpertPolicy expert_policy = ExpertPolicy::adaptive;  // what is kept there while the model runs
  // What a prompt's step does with experts that are not there. It is decided by the rates of host and copies, which the
  // loading of experts and the first layers show, unless they are given. Slots for experts that are copied for one
  // step; -1: as the plan thinks best.
  PrefillPolicy prefill = PrefillPolicy::automatic;
  PrefillRates prefill_rates = {};
  int64_t n_staging = -1;
  RoutingListener routed = {};
  // Whether experts are asked of the disk before they are computed: where the file does not fit into memory, or as
  // said.
  std::optional<bool> read_ahead = {};
  // Whether experts give the same wherever they are and however a prompt's got there (Exec::alike), so that the same
  // seed gives the same text. Only beside a GPU.
  bool reproducible = false;
  // Told what every matrix is multiplied by, but the embedding and the router. Attention is absorbed then, and the
  // model runs on the host.
  InputListener* inputs = nullptr;
  // Whether a step that comes again is recorded and repeated, where the device can do that.
  bool record_steps = true;
  // Told the bytes of weights that the backend has taken, of how many. What it throws ends the loading.
  std::function<void(uint64_t done, uint64_t total)> loading = {};
};

}  // namespace hearth
