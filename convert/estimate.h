// What making a file will take, before it is made.
#pragma once

#include <cstdint>

#include "convert/row_maker.h"

namespace hearth {

struct MakingEstimate {
  int n_threads = 1;
  uint64_t memory_bytes = 0;  // at most, what the program holds already included
  uint64_t source_bytes = 0, file_bytes = 0;
  double encode_bytes_per_second = 0;  // of the file, by all threads
  double disk_bytes_per_second = 0;    // of the sources' disk; 0: too little to be measured
  // Least: encoding and the disk, which reads the sources, writes the file and reads it back, never wait for each
  // other. Most: they always do, and both are a fifth slower than they were while measured.
  double least_seconds = 0, most_seconds = 0;
};

// Encodes some rows for each kind of tensor, and reads some of the sources from their disk: a second at most, whatever
// the size. Where the file will be is taken to be as fast. Throws Error as encoding does.
MakingEstimate estimate_making(const FileToMake& file, int n_threads);

}  // namespace hearth
