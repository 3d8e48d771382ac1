// How fast memory, bus and disk deliver, measured.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/model/buffer.h"

namespace hearth {

// Bytes per second that n_threads can read of the host's memory, looked at for so many seconds. Throws Error(resource):
// no memory for the buffer.
class ReadBandwidth {
 public:
  explicit ReadBandwidth(int n_threads, size_t bytes = size_t(512) << 20);
  // By the wall's clock it is what this machine gives at the moment; by the time that the threads were on a processor,
  // what it would give to them alone: others that want the processors do not count.
  enum class Time { wall, processor };
  double measure(double seconds = 0.12, Time time = Time::wall) const;

 private:
  int n_threads_;
  std::vector<uint64_t> buffer_;
};

// Bytes per second, read and written, of copies inside the memory of a backend that has its own: what its kernels can
// hope for. Throws Error(resource): no memory for the buffers.
class CopyBandwidth {
 public:
  explicit CopyBandwidth(Device& device, size_t bytes = size_t(256) << 20);
  double measure() const;

 private:
  Device& device_;
  Buffer from_, to_;
};

// Bytes per second from pageable memory of the host's, as a mapped file is, into that of a backend of its own. Throws
// Error(resource): no memory for the buffers.
double upload_bandwidth(Device& device, size_t bytes = size_t(256) << 20);

// Bytes per second of reading a file past the page cache, by a few threads, for about `seconds`; 0: not known, as the
// file system keeps its files in memory or does not offer it, or the file begins with less than 16 MiB of data.
double disk_bandwidth(const std::string& path, double seconds = 0.3);

}  // namespace hearth
