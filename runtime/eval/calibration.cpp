#include "runtime/eval/calibration.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <ctime>

#include "quant/error.h"
#include "runtime/eval/bandwidth.h"

namespace hearth {
namespace {

int64_t now_in_seconds() {
  return int64_t(std::time(nullptr));
}

std::string disk_name(const std::string& path) {
  struct stat info;
  if (path.empty() || stat(path.c_str(), &info) != 0) return "";
  return fmt::format("disk {}:{}", major(info.st_dev), minor(info.st_dev));
}

// A GPU whose memory is taken cannot be measured now, which is no reason not to plan.
double measured_or_unknown(const std::function<double()>& measure) {
  try {
    return measure();
  } catch (const Error&) {
    return 0;
  }
}

class Calibration {
 public:
  explicit Calibration(const CalibrationInput& input) : in_(input), kept_(read_kept(input.machine)) {}

  MeasuredBandwidths bandwidths() {
    Machine m;
    constexpr int kTimes = 4, kTimesAgain = 2;
    const bool known = kept_.contains("ram") && !in_.again;
    m.ram_bandwidth = figure("ram", "memory", [&] { return read_bandwidth(kTimes); });
    if (known) m.ram_bandwidth = raise("ram", read_bandwidth(kTimesAgain));
    if (Device* const gpu = in_.gpu_device) {
      const size_t bytes = in_.bytes / 2;
      m.vram_bandwidth = figure("vram " + in_.machine.gpu, "the GPU's memory", [&] {
        return measured_or_unknown([&] { return CopyBandwidth(*gpu, bytes).measure(); });
      });
      m.pcie_bandwidth = figure("pcie " + in_.machine.gpu, "copies to the GPU",
                                [&] { return measured_or_unknown([&] { return upload_bandwidth(*gpu, bytes); }); });
    }
    if (const std::string disk = disk_name(in_.model); !disk.empty()) {
      m.disk_bandwidth = figure(disk, "the disk", [&] { return disk_bandwidth(in_.model); });
    }
    if (changed_) keep(in_.machine, kept_);
    m.ram_bandwidth = std::max(m.ram_bandwidth, seen(decode_figure(in_.model_key, "")));
    if (in_.gpu_device)
      m.vram_bandwidth = std::max(m.vram_bandwidth, seen(decode_figure(in_.model_key, in_.machine.gpu)));
    return {m, since_};
  }

 private:
  // The best of some looks counts: others use the machine too.
  double read_bandwidth(int times) const {
    const ReadBandwidth reads(in_.machine.n_threads, ram_bytes());
    double best = 0;
    for (int i = 0; i < times; ++i) best = std::max(best, reads.measure(in_.seconds, ReadBandwidth::Time::processor));
    return best;
  }
  size_t ram_bytes() const {
    constexpr size_t kLeast = size_t(1) << 20;  // for each thread
    return std::max(in_.bytes, size_t(in_.machine.n_threads) * kLeast);
  }

  // One that is not known is not kept, and asked for again the next time.
  double figure(const std::string& name, std::string_view what, const std::function<double()>& measure) {
    if (const auto it = kept_.find(name); it != kept_.end() && !in_.again) {
      since_ = std::min(since_, it->second.at);
      return it->second.value;
    }
    if (in_.progress) in_.progress(what);
    const double value = measure();
    if (value > 0) set(name, value);
    return value;
  }
  double raise(const std::string& name, double value) {
    if (value > kept_[name].value) set(name, value);
    return kept_[name].value;
  }
  void set(const std::string& name, double value) {
    kept_[name] = {value, now_in_seconds()};
    changed_ = true;
  }
  double seen(const std::string& name) const {
    const auto it = kept_.find(name);
    return it == kept_.end() ? 0 : it->second.value;
  }

  const CalibrationInput& in_;
  KeptFigures kept_;
  int64_t since_ = now_in_seconds();
  bool changed_ = false;
};

}  // namespace

MeasuredBandwidths measured_bandwidths(const CalibrationInput& input) {
  return Calibration(input).bandwidths();
}

}  // namespace hearth
