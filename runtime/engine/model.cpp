#include "runtime/engine/model.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <exception>
#include <numeric>

#include "kernels/watch.h"
#include "runtime/model/forward.h"
#include "runtime/model/read_config.h"
#include "runtime/model/weights.h"
#include "runtime/model/yarn.h"
#include "runtime/offload/expert_cache.h"
#include "runtime/offload/host_ubatch.h"
#include "runtime/offload/hybrid.h"
#include "runtime/offload/local_experts.h"
#include "runtime/offload/placement.h"
#include "runtime/offload/read_ahead.h"
#include "runtime/support/seconds_since.h"
#include "runtime/support/system_memory.h"

namespace hearth {
namespace {

ModelOptions with_defaults(ModelOptions options, const ModelConfig& config, const std::string& path) {
  assert(options.ops != nullptr);
  require(options.n_threads >= 1, ErrorKind::usage, "threads: expected at least 1, found {}", options.n_threads);
  require(options.ubatch >= 0, ErrorKind::usage, "ubatch: expected at least 1, found {}", options.ubatch);
  require(options.n_ctx >= 0, ErrorKind::usage, "context: expected at least 1, found {}", options.n_ctx);
  require(options.n_ctx <= config.context_length, ErrorKind::resource,
          "{}: a context of {} tokens is too long: the model's limit is {}", path, options.n_ctx,
          config.context_length);
  if (options.n_ctx == 0) options.n_ctx = config.default_context();
  if (!options.device) options.device = &host_device();
  require(options.n_sequences >= 1, ErrorKind::usage, "sequences: expected at least 1, found {}", options.n_sequences);
  options.ubatch = std::min(options.ubatch, options.n_ctx);
  options.reproducible = options.reproducible && options.device->memory().total > 0;
  assert(!options.inputs || options.device->memory().total == 0);
  if (options.inputs) options.attention = AttentionForm::absorbed;
  return options;
}

ScratchLimits limits_of(const ModelConfig& config, const ModelOptions& options) {
  ScratchLimits limits = scratch_limits(config, options.ubatch, options.n_ctx, options.n_threads);
  limits.multiprocessors = options.device->multiprocessors();
  limits.alike = options.reproducible;
  return limits;
}

// The table of angles in the backend's memory.
class RopeMemory {
 public:
  RopeMemory(const ModelConfig& config, Device& device, int64_t n_ctx) {
    const std::vector<float> angles = rope_angles(config, n_ctx);
    buffer_ = Buffer(device, angles.size() * sizeof(float), "the table of rotary angles");
    device.move(angles.data(), buffer_.data(), angles.size() * sizeof(float));
    table_ = {reinterpret_cast<const float*>(buffer_.data()), n_ctx, config.qk_rope_head_dim};
  }
  const RopeTable& table() const { return table_; }
  size_t bytes() const { return buffer_.bytes(); }

 private:
  Buffer buffer_;
  RopeTable table_;
};

// Which pages of the latent cache the sequences of a step have, in the backend's memory.
class PageTables {
 public:
  PageTables(Device& device, int64_t n_sequences, int64_t n_ctx)
      : device_(device),
        stride_(LatentPool::pages_for(n_ctx)),
        there_(size_t(n_sequences * stride_), -1),
        buffer_(device, there_.size() * sizeof(int32_t), "the tables of pages") {}

  // Sends what has changed since a step had another sequence, or other pages, in that place.
  void set(int64_t place, std::span<const int32_t> pages) {
    int32_t* there = there_.data() + place * stride_;
    const auto first = std::ranges::mismatch(pages, std::span(there, pages.size())).in1 - pages.begin();
    if (first == std::ssize(pages)) return;
    std::ranges::copy(pages.subspan(size_t(first)), there + first);
    device_.move(there + first, buffer_.data() + size_t(place * stride_ + first) * sizeof(int32_t),
                 (pages.size() - size_t(first)) * sizeof(int32_t));
  }
  const int32_t* data() const { return reinterpret_cast<const int32_t*>(buffer_.data()); }
  int64_t stride() const { return stride_; }
  size_t bytes() const { return buffer_.bytes(); }

 private:
  Device& device_;
  int64_t stride_;
  std::vector<int32_t> there_;  // what the backend has
  Buffer buffer_;
};

// Of a file all of whose formats are computed here.
ModelConfig runnable_config(const GgufFile& file) {
  ModelConfig config = read_config(file);
  const std::string refusal = not_computed(file, config);
  require(refusal.empty(), ErrorKind::model, "{}: {}", file.path(), refusal);
  return config;
}

// Where everything will be: asked before anything is loaded. Are these sizes that the backend knows, and if it has a
// memory of its own, what fits there? And how many tokens are run at once, where nobody says.
Plan place(const GgufFile& file, const ModelSizes& sizes, ModelOptions& options) try {
  const ModelConfig& c = sizes.config;
  const std::string refusal = options.ops->refuses(limits_of(c, options));
  require(refusal.empty(), ErrorKind::resource, "{}: {}", options.ops->name, refusal);
  const Device::Memory memory = options.device->memory();
  PlacementInput input;
  input.machine.ram = options.ram;
  if (input.machine.ram == 0) input.machine.ram = usable_memory();
  if (input.machine.ram == 0) input.machine.ram = uint64_t(1) << 62;  // the system does not say
  input.n_ctx = options.n_ctx;
  input.n_sequences = options.n_sequences;
  input.cache_format = options.cache_format;
  input.ubatch = options.ubatch;
  input.n_threads = options.n_threads;
  input.cpu_scratch = scratch_of(options.host_ops ? *options.host_ops : *options.ops, host_device());
  if (memory.total == 0) {
    if (options.ubatch == kAutomaticUbatch) options.ubatch = host_ubatch(sizes, input);
    return {};
  }
  input.machine.vram = options.vram ? std::min<uint64_t>(options.vram, memory.free) : memory.free;
  input.gpu_scratch = scratch_of(*options.ops, *options.device);
  input.use = options.expert_use;
  input.resident_experts = options.resident_experts;
  input.staging_slots = options.n_staging;
  input.whole = !options.host_ops;
  input.split = bool(options.routed);
  input.reproducible = options.reproducible;
  Plan plan = plan_placement(sizes, input);
  options.ubatch = plan.ubatch;
  return plan;
} catch (const Error& error) {
  throw Error(error.kind, fmt::format("{}: {}", file.path(), error.what()));
}

// Adds its lifetime to a sum.
class TimeAdder {
 public:
  explicit TimeAdder(double& sum) : sum_(sum) {}
  ~TimeAdder() { sum_ += seconds_since(start_); }

 private:
  double& sum_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Passes on to whoever watches a call of run what the kernels' watch asks, and keeps what he throws until the kernels
// are done.
class RunWatch {
 public:
  RunWatch(const std::function<bool(const RunProgress&)>& told, int64_t total) : told_(told), at_{0, total, 0} {}

  // A slice of n tokens is in its layer i of n_layers.
  void at_layer(int64_t i, int64_t n_layers, int64_t n) {
    at_.share = (double(at_.done) + double(n) * double(i) / double(n_layers)) / double(at_.total);
  }
  void slice_done(int64_t n) {
    at_.done += n;
    at_.share = double(at_.done) / double(at_.total);
  }
  bool goes_on() { return watch_.ask(); }
  void rethrow() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  static bool ask(void* context) {
    auto& self = *static_cast<RunWatch*>(context);
    try {
      return !self.told_ || self.told_(self.at_);
    } catch (...) {
      self.thrown_ = std::current_exception();
      return false;
    }
  }

  const std::function<bool(const RunProgress&)>& told_;
  RunProgress at_;
  std::exception_ptr thrown_;
  Watch watch_{ask, this};
};

bool exceeds_memory(const GgufFile& file) {
  const uint64_t usable = usable_memory();
  return usable > 0 && file.file_bytes() > usable;
}

}  // namespace

struct Model::Impl {
  GgufFile file;
  ModelConfig config;
  ModelOptions options;
  std::unique_ptr<Listening> listening;  // where somebody listens
  const Ops& ops;
  Device& device;
  ModelSizes sizes;
  Plan plan;
  Weights weights;
  ActivationMemory activations;
  Buffer scratch;
  Exec exec;
  RopeMemory rope;
  std::shared_ptr<LatentPool> latents;
  PageTables tables;
  ReadAhead read_ahead;
  LocalExperts local_experts;
  std::unique_ptr<ExpertPool> pool;  // these three where experts are on both sides
  std::unique_ptr<ExpertCache> cache;
  std::unique_ptr<Hybrid> hybrid;
  std::vector<Segment> segments;  // of the step at hand
  double running_seconds = 0;

  Impl(GgufFile&& f, const ModelOptions& o)
      : file(std::move(f)),
        config(runnable_config(file)),
        options(with_defaults(o, config, file.path())),
        listening(options.inputs ? std::make_unique<Listening>(*options.ops, *options.inputs) : nullptr),
        ops(listening ? listening->table() : *options.ops),
        device(*options.device),
        sizes(model_sizes(file)),
        plan(place(file, sizes, options)),
        weights(load_weights(file, config, device, plan.layers.empty() || plan.all_on_gpu, options.loading)),
        activations(config, device, options.ubatch),
        scratch(device, ops.scratch_bytes(limits_of(config, options)), "the operations' scratch memory"),
        exec{options.n_threads, {scratch.data(), scratch.bytes()}, device.queue(), options.reproducible},
        rope(config, device, options.n_ctx),
        latents(std::make_shared<LatentPool>(config, device, options.cache_format,
                                             options.n_sequences * LatentPool::pages_for(options.n_ctx))),
        tables(device, options.n_sequences, options.n_ctx),
        read_ahead(file, options.read_ahead.value_or(exceeds_memory(file))),
        local_experts(ops, exec, read_ahead, options.routed, device.memory().total == 0) {
    if (!plan.layers.empty() && !plan.all_on_gpu) {
      pool = std::make_unique<ExpertPool>(device, weights.layers, sizes, plan);
      cache = std::make_unique<ExpertCache>(*pool, device, sizes, plan, options.expert_policy, options.expert_use,
                                            options.expert_use_tokens);
      cache->fill(options.loading);
      hybrid = std::make_unique<Hybrid>(
          config, Hybrid::Sides{device, ops, exec, *options.host_ops, options.n_threads}, limits_of(config, options),
          *pool, *cache, read_ahead,
          HybridOptions{options.prefill, options.prefill_rates, options.routed, options.reproducible});
    }
    finish();
    // In memory now, as far as it will be.
    for (const auto& part : file.parts()) part->remember_content(file.parts().size());
  }

  ~Impl() { device.forget_steps(this); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void check_files() const;
  void check(const NextTokens& next) const;
  Step next_step(std::span<const NextTokens> segments);
  void queue(const Step& step, RunWatch& watch) const;
  // Decoding: the same operations at every length and for all sequences. (Not with expanded keys and values, which only
  // tests want: their number is the length's.)
  bool decodes(std::span<const Segment> segments) const {
    return options.attention != AttentionForm::naive &&
           std::ranges::all_of(segments, [](const Segment& segment) { return segment.n == 1; });
  }
  bool go(std::span<const NextTokens> segments, std::span<const WantedRow> wanted, bool finishes, RunWatch& watch);
  void finish() const;
};

void Model::Impl::check_files() const {
  for (const auto& part : file.parts()) {
    require(!part->changed(), ErrorKind::file, "{}: was changed while it was in use: expected {} bytes as they were",
            part->path(), part->size());
  }
}

void Model::Impl::check(const NextTokens& next) const {
  require(!next.tokens.empty(), ErrorKind::usage, "no tokens to run");
  for (const Token token : next.tokens) {
    require(token >= 0 && token < config.vocab_size, ErrorKind::usage, "token {}: expected 0 to {}", token,
            config.vocab_size - 1);
  }
  const KvCache& cache = *next.cache;
  require(cache.length() + int64_t(next.tokens.size()) <= cache.capacity(), ErrorKind::resource,
          "the context is full: {} tokens after {} do not fit into {}", next.tokens.size(), cache.length(),
          cache.capacity());
}

// At most a ubatch of tokens, whose pages are reserved: sends to the backend which they are and where they stand.
Step Model::Impl::next_step(std::span<const NextTokens> next) {
  segments.clear();
  std::vector<int32_t> tokens, positions, sequences;
  for (const NextTokens& s : next) {
    const int64_t n = int64_t(s.tokens.size()), first = s.cache->length();
    const int32_t place = int32_t(segments.size());
    tables.set(place, s.cache->pages());
    segments.push_back({int64_t(tokens.size()), n, first});
    tokens.insert(tokens.end(), s.tokens.begin(), s.tokens.end());
    for (int64_t i = 0; i < n; ++i) positions.push_back(int32_t(first + i));
    sequences.insert(sequences.end(), size_t(n), place);
  }
  const Activations act = activations.step(int64_t(tokens.size()));
  const size_t bytes = tokens.size() * sizeof(int32_t);
  device.move(tokens.data(), act.tokens, bytes);
  device.move(positions.data(), act.positions, bytes);
  device.move(sequences.data(), act.sequences, bytes);
  const int64_t longest = std::ranges::max(segments, {}, &Segment::end).end();
  RoutedExperts& experts = hybrid ? static_cast<RoutedExperts&>(*hybrid) : local_experts;
  return {.config = config,
          .ops = ops,
          .exec = exec,
          .device = device,
          .rope = rope.table(),
          .experts = experts,
          .attention = options.attention,
          .act = act,
          .at = {.ids = act.positions,
                 .sequences = act.sequences,
                 .pages = tables.data(),
                 .page_stride = tables.stride(),
                 .together = segments.size() == 1,
                 .bound = decodes(segments) ? options.n_ctx : longest},
          .segments = segments};
}

// A slice of a prompt may be left between layers; the operations of a step that decodes may be recorded, and are queued
// to the end.
void Model::Impl::queue(const Step& step, RunWatch& watch) const {
  const int64_t n = step.n_tokens();
  const bool decoding = decodes(step.segments);
  step.experts.begin({n, decoding, step.segments.front().position});
  const auto pass = [&] {
    forward(step, weights, *latents, [&](int64_t layer) {
      watch.at_layer(layer, config.n_layers, n);
      return watch.goes_on() || decoding;
    });
  };
  if (decoding && options.record_steps) {
    run_recorded(device, {this, n}, pass);
  } else {
    pass();
  }
}

// One step; false: stopped, and no cache is longer than before. `finishes`: waits for the backend.
bool Model::Impl::go(std::span<const NextTokens> next, std::span<const WantedRow> wanted, bool finishes,
                     RunWatch& watch) {
  for (const NextTokens& s : next) s.cache->reserve(int64_t(s.tokens.size()));
  const Listening::Scope scope(listening.get());
  const Step step = next_step(next);
  queue(step, watch);
  head(step, weights, wanted);
  if (finishes) finish();
  if (watch_stopped()) {
    watch.rethrow();
    return false;
  }
  for (const NextTokens& s : next) s.cache->advance(int64_t(s.tokens.size()));
  watch.slice_done(step.n_tokens());
  return true;
}

void Model::Impl::finish() const {
  std::string failure = device.finish();
  if (hybrid && failure.empty()) failure = hybrid->take_failure();
  require(failure.empty(), ErrorKind::resource, "{}: {}", ops.name, failure);
}

Model::Model(GgufFile file, const ModelOptions& options) : impl_(std::make_unique<Impl>(std::move(file), options)) {}
Model::~Model() = default;

const GgufFile& Model::file() const {
  return impl_->file;
}
const ModelConfig& Model::config() const {
  return impl_->config;
}
const ModelOptions& Model::options() const {
  return impl_->options;
}
const Weights& Model::weights() const {
  return impl_->weights;
}
uint64_t Model::active_bytes() const {
  return impl_->weights.active_bytes;
}

size_t Model::cache_bytes() const {
  return impl_->latents->bytes();
}

uint64_t Model::read_expert_bytes() const {
  const Hybrid* hybrid = impl_->hybrid.get();
  return hybrid ? hybrid->counts().host_bytes + hybrid->counts().gpu_bytes : impl_->local_experts.bytes_read();
}

uint64_t Model::step_bytes() const {
  return impl_->sizes.decode_bytes;
}

uint64_t Model::copied_bytes() const {
  return impl_->weights.memory.bytes() + (impl_->pool ? impl_->pool->bytes() : 0);
}

bool Model::works() const {
  return impl_->device.finish().empty();
}

const Plan& Model::plan() const {
  return impl_->plan;
}

const Hybrid* Model::hybrid() const {
  return impl_->hybrid.get();
}

double Model::running_seconds() const {
  return impl_->running_seconds;
}

const ExpertCache* Model::expert_cache() const {
  return impl_->cache.get();
}

KvCache Model::new_cache() const {
  return KvCache(impl_->latents, impl_->options.n_ctx);
}

LatentPool& Model::pool() const {
  return *impl_->latents;
}

void Model::leave_out(std::span<const Token> tokens) {
  std::vector<uint32_t> bits(size_t(bit_words(impl_->config.vocab_size)));
  for (const Token token : tokens)
    if (size_t(token) / 32 < bits.size()) bits[size_t(token) / 32] |= uint32_t(1) << (token % 32);
  impl_->device.move(bits.data(), impl_->activations.step(0).left_out, bits.size() * sizeof(uint32_t));
}

bool runs_on_gpu(const Model& model) {
  return model.options().device->memory().total > 0;
}

size_t Model::working_bytes() const {
  size_t bytes = impl_->activations.bytes() + impl_->scratch.bytes() + impl_->rope.bytes() + impl_->tables.bytes();
  for (const auto& owned : impl_->weights.owned) bytes += owned.size();
  if (impl_->hybrid) bytes += impl_->hybrid->gpu_bytes() + impl_->hybrid->host_bytes();
  return bytes;
}

bool Model::run(std::span<const Token> tokens, KvCache& cache, std::span<float> logits, bool all_logits,
                const std::function<bool(const RunProgress&)>& told) {
  Impl& m = *impl_;
  const int64_t T = int64_t(tokens.size()), V = m.config.vocab_size;
  m.check_files();
  m.check({tokens, &cache});
  const TimeAdder stopwatch(m.running_seconds);
  assert(logits.empty() || int64_t(logits.size()) == (all_logits ? T * V : V));

  RunWatch watch(told, T);
  for (int64_t done = 0; done < T;) {
    const int64_t n = std::min(m.options.ubatch, T - done);
    const bool last = done + n == T;
    std::vector<WantedRow> wanted;
    if (!logits.empty()) {
      for (int64_t i = all_logits ? 0 : last ? n - 1 : n; i < n; ++i) {
        wanted.push_back({i, logits.data() + (all_logits ? (done + i) * V : 0)});
      }
    }
    const NextTokens next = {tokens.subspan(size_t(done), size_t(n)), &cache};
    if (!m.go({&next, 1}, wanted, told || last, watch)) return false;
    done += n;
  }
  return true;
}

bool Model::step(std::span<const NextTokens> segments, const std::function<bool(const RunProgress&)>& told) {
  Impl& m = *impl_;
  m.check_files();
  require(!segments.empty() && int64_t(segments.size()) <= m.options.n_sequences, ErrorKind::usage,
          "a step of {} sequences: expected 1 to {}", segments.size(), m.options.n_sequences);
  std::vector<WantedRow> wanted;
  int64_t T = 0;
  for (const NextTokens& next : segments) {
    m.check(next);
    T += int64_t(next.tokens.size());
    assert(int64_t(next.best.size()) <= std::min(kMostLargest, m.config.vocab_size));
    if (!next.logits.empty() || !next.best.empty()) wanted.push_back({T - 1, next.logits.data(), next.best});
  }
  require(T <= m.options.ubatch, ErrorKind::usage, "a step of {} tokens: expected at most {}", T, m.options.ubatch);
  const TimeAdder stopwatch(m.running_seconds);
  RunWatch watch(told, T);
  return m.go(segments, wanted, true, watch);
}

}  // namespace hearth
