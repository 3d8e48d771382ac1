#include "convert/make_file.h"

#include <algorithm>
#include <set>
#include <utility>

#include "convert/journal.h"
#include "convert/slab_pipeline.h"
#include "convert/verifier.h"
#include "quant/checksum.h"
#include "quant/error.h"
#include "quant/gguf_keys.h"
#include "quant/output_file.h"

namespace hearth {
namespace {

// What the encoders of these formats make of some weights: other encoders make something else.
uint64_t encoders_checksum(const std::vector<GgufTensorPlan>& tensors) {
  constexpr int64_t kWeights = 1024;
  std::vector<float> weights;
  for (uint32_t i = 0, random = 1; i < kWeights; ++i, random = random * 1664525 + 1013904223) {
    weights.push_back(float(int32_t(random)) * 0x1p-36f);
  }
  std::set<FormatId> seen;
  Checksum sum;
  for (const GgufTensorPlan& tensor : tensors) {
    if (!tensor.format->encode || !seen.insert(tensor.format->id).second) continue;
    std::vector<std::byte> blocks(tensor.format->bytes(kWeights));
    tensor.format->encode(weights.data(), nullptr, blocks.data(), kWeights);
    sum.add(blocks);
  }
  return sum.value();
}

Conditions conditions_of(const FileToMake& file) {
  Checksum sources;
  const auto add = [&](const std::string& text) {
    sources.add(std::as_bytes(std::span(text.c_str(), text.size() + 1)));
  };
  for (const MappedFile* source : file.sources) add(source->identity());
  add(file.settings);
  return {encoders_checksum(file.tensors), gguf_header_checksum(file.metadata, file.tensors), sources.value()};
}

uint64_t bytes_of(const FileToMake& file, const FinishedTensors& finished) {
  uint64_t bytes = 0;
  for (const auto& entry : finished) bytes += file.tensors[entry.first].bytes();
  return bytes;
}

std::string gigabytes(uint64_t bytes) {
  return fmt::format("{:.{}f} GB", double(bytes) / 1e9, bytes < 10'000'000'000 ? 3 : 1);
}

// One run: what is known of an earlier one, what is left to do, and the parts that do it.
class Making {
 public:
  Making(const FileToMake& file, const std::function<bool(const ConvertProgress&)>& callback)
      : file_(file),
        callback_(callback),
        partial_(link_target(file.path) + ".partial"),
        journal_(partial_ + ".journal", conditions_of(file), file.tensors.size()),
        writer_(file.path, file.metadata, file.tensors, kGgufAlignment,
                [this](bool same_size) { return look_for_earlier(same_size); }) {
    for (const GgufTensorPlan& tensor : file.tensors) state_.bytes_total += tensor.bytes();
    state_.bytes_done = bytes_of(file, journal_.finished());
    journal_.finished().empty() ? journal_.begin() : journal_.go_on();
  }

  void run(int n_threads) {
    std::vector<size_t> left;
    for (size_t i = 0; i < file_.tensors.size(); ++i) {
      if (!journal_.finished().contains(i)) left.push_back(i);
    }
    if (file_.arrivals) left = file_.arrivals->begin(left);
    Verifier verifier(file_.tensors, writer_, journal_, [this](size_t tensor) {
      if (file_.arrivals) file_.arrivals->recorded(tensor);
    });
    const auto report = [&] {
      verifier.check();
      state_.bytes_verified = verifier.bytes_verified();
      state_.bytes_recorded = verifier.bytes_recorded();
      if (callback_ && !callback_(state_)) fail(ErrorKind::interrupted, "interrupted");
    };
    report();
    make_tensors(left, n_threads, verifier, report);
    state_.tensor = "verifying";
    verifier.finish(report);
    report();
  }

  std::vector<std::string> finish() {
    std::vector<uint64_t> checksums;
    std::vector<std::string> clamped;
    for (const auto& [tensor, finished] : journal_.finished()) {
      checksums.push_back(finished.checksum);
      if (finished.n_clamped == 0) continue;
      clamped.push_back(fmt::format("{} of {}", finished.n_clamped, file_.tensors[tensor].name));
    }
    writer_.patch(key::kHearthChecksums, GgufValue::of_u64s(checksums));
    writer_.sync();
    check_header(checksums);
    writer_.finish();
    journal_.remove();
    if (clamped.empty()) return {};
    const size_t shown = std::min<size_t>(clamped.size(), 5);
    return {fmt::format("weights too large for F16 became its largest number, 65504: {}{} (bf16 and f32 hold them)",
                        fmt::join(clamped.begin(), clamped.begin() + std::ptrdiff_t(shown), ", "),
                        clamped.size() > shown ? fmt::format(" and of {} other tensors", clamped.size() - shown) : "")};
  }

  // What is on record stays, unless the weights are at fault: then no later run can go on either.
  [[noreturn]] void give_up(const Error& error) {
    const bool at_fault = error.kind == ErrorKind::format || error.kind == ErrorKind::model;
    const size_t n = journal_.finished().size();
    writer_.leave_partial(n > 0 && !at_fault);
    if (at_fault && file_.arrivals) file_.arrivals->drop();
    if (n == 0 || at_fault) {
      journal_.remove();
      if (file_.arrivals && !at_fault)
        fail(error.kind, "{}; the same command goes on: {}", error.what(), file_.arrivals->kept());
      fail(error.kind, "{}{}", error.what(), error.kind == ErrorKind::interrupted ? ": no file was written" : "");
    }
    fail(error.kind, "{}; the same command goes on: {} of {} tensors are kept in {}", error.what(), n,
         file_.tensors.size(), partial_);
  }

 private:
  std::vector<size_t> look_for_earlier(bool same_size) {
    std::string difference = journal_.read();
    if (difference.empty() && !same_size && !journal_.finished().empty()) difference = "its size is another one";
    if (!same_size) journal_.forget();
    if (!difference.empty()) state_.earlier = fmt::format("{}: beginning anew: {}", partial_, difference);
    const FinishedTensors& finished = journal_.finished();
    std::vector<size_t> arrived;
    for (const auto& entry : finished) arrived.push_back(entry.first);
    if (arrived.empty()) return arrived;
    size_t first = 0;  // that is not finished
    while (finished.contains(first)) ++first;
    uint64_t total = 0;
    for (const GgufTensorPlan& tensor : file_.tensors) total += tensor.bytes();
    state_.earlier = fmt::format("{}: going on from tensor {} of {} ({} of {} are done)", partial_,
                                 std::min(first + 1, file_.tensors.size()), file_.tensors.size(),
                                 gigabytes(bytes_of(file_, finished)), gigabytes(total));
    return arrived;
  }

  void make_tensors(const std::vector<size_t>& tensors, int n_threads, Verifier& verifier,
                    const std::function<void()>& report) {
    SlabPipeline pipeline(file_, tensors, n_threads, writer_);
    Checksum sum;
    size_t made = 0;  // bytes of the tensor
    while (const Slab* slab = pipeline.next(report)) {
      sum.add(slab->blocks);
      writer_.written(slab->tensor, made, slab->blocks.size());
      made += slab->blocks.size();
      state_.tensor = file_.tensors[slab->tensor].name;
      state_.bytes_done += slab->blocks.size();
      state_.source_bytes += slab->maker->source_bytes(slab->first_row, slab->n_rows);
      if (slab->last) {
        slab->maker->release();  // before it may come on record, and its sources go
        verifier.add(slab->tensor, {sum.value(), slab->maker->n_clamped()});
        sum.reset();
        made = 0;
      }
      report();
    }
  }

  // Opens the written file like any other and compares it with the plan.
  void check_header(const std::vector<uint64_t>& checksums) const {
    const GgufFile file = GgufFile::open(writer_.partial_path());
    const std::vector<Tensor>& tensors = file.tensors();
    const std::vector<uint64_t>* found = file.metadata().u64s(key::kHearthChecksums);
    require(tensors.size() == checksums.size() && found && *found == checksums, ErrorKind::file,
            "{}: expected {} tensors with their checksums, read back {} others", file.path(), checksums.size(),
            tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      const Tensor& tensor = tensors[i];
      const GgufTensorPlan& meant = file_.tensors[i];
      require(tensor.name == meant.name && tensor.format == meant.format && tensor.shape == meant.shape,
              ErrorKind::file, "{}: expected tensor {} {} {}, read back {} {} {}", file.path(), meant.name,
              meant.format->name, meant.shape.text(), tensor.name, tensor.format->name, tensor.shape.text());
    }
  }

  const FileToMake& file_;
  const std::function<bool(const ConvertProgress&)>& callback_;
  std::string partial_;
  ConvertProgress state_;
  Journal journal_;
  GgufWriter writer_;
};

}  // namespace

std::vector<std::string> make_file(const FileToMake& file, int n_threads,
                                   const std::function<bool(const ConvertProgress&)>& callback) {
  Making making(file, callback);
  try {
    making.run(n_threads);
    return making.finish();
  } catch (const Error& error) {
    making.give_up(error);
  }
}

}  // namespace hearth
