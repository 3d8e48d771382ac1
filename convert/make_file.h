// Makes a GGUF file whose tensors are planned: their rows are read, encoded and written in slabs by all threads; what
// is finished is brought to the disk, read back and put on record meanwhile; at the end the file gets its name. A run
// that was killed is gone on with: only what is not on record is made again. The bytes do not depend on any of that.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "convert/row_maker.h"

namespace hearth {

struct ConvertProgress {
  std::string earlier;                       // what an earlier run left, and what becomes of it; empty: nothing
  std::string tensor;                        // the tensor being made; "verifying" at the end
  uint64_t bytes_done = 0, bytes_total = 0;  // of the output file's tensor data; done: what an earlier run did included
  uint64_t source_bytes = 0;                 // read from the source so far
  uint64_t bytes_verified = 0;               // read back from the disk so far
  uint64_t bytes_recorded = 0;               // of tensors that a later run need not make again
};

// Returns notes: what the user should know of the weights. `progress` is called now and then from this thread; when it
// returns false, Error(interrupted) is thrown. Beside the file that is not finished yet, PATH.partial, lies its
// journal, PATH.partial.journal (journal.h); after an error both stay if anything is on record, unless the weights
// themselves are at fault. Who wants to begin anew removes the partial file. Throws Error.
std::vector<std::string> make_file(const FileToMake& file, int n_threads,
                                   const std::function<bool(const ConvertProgress&)>& progress);

}  // namespace hearth
