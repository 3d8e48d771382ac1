// What the server knows of its model, and what it says while there is none yet.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/chat/chat_template.h"
#include "runtime/engine/answer_form.h"
#include "runtime/engine/generation.h"
#include "runtime/engine/sampler.h"
#include "runtime/tokenizer/tokenizer.h"

namespace hearth::server {

struct ServedModel {
  std::string id;                         // what clients call it; a request may call it anything
  std::vector<std::string> aliases = {};  // under which /v1/models/{id} knows it too
  std::string path;                       // the file; clients see its name alone
  std::string version;                    // of the program: "hearth-0.1.0"
  int64_t created = 0;                    // seconds since 1970
  int64_t n_ctx = 0;                      // positions that one conversation may have
  int64_t n_vocab = 0;                    // rows of the logits
  const Tokenizer* tokenizer = nullptr;   // outlive this, as the template does
  const ChatTemplate* chat = nullptr;     // null: a base model, which continues texts
  std::string chat_template = {};         // its text, for /props
  SamplerOptions sampling = {};           // where a request says nothing; its seed is not used
  // For people; 0: not known.
  int64_t n_ctx_trained = 0, n_params = 0;
  uint64_t file_bytes = 0;
  std::string gpu = {};                                      // what it is; empty: nothing runs on one
  uint64_t gpu_bytes = 0, memory_bytes = 0, disk_bytes = 0;  // of weights, by where they lie
};

class CallMemory;

// A model and the engine that runs it, which outlives the Api and every exchange.
struct Serving {
  std::shared_ptr<const ServedModel> model;
  Generator* generator = nullptr;
  // LoadingState::ready makes them: what remembers calls, and what binds answers to forms.
  std::shared_ptr<CallMemory> memory = nullptr;
  std::shared_ptr<const AnswerForms> forms = nullptr;
};

// Whether there is a model yet. From any thread.
class LoadingState {
 public:
  void progress(double share);  // 0 to 1
  void ready(Serving serving);  // once, with both
  double progress() const { return progress_; }
  Serving serving() const;  // of null pointers until it is ready

 private:
  std::atomic<double> progress_ = 0;
  mutable std::mutex mutex_;
  Serving serving_;
};

}  // namespace hearth::server
