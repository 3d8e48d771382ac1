// Tells what a file is that is not GGUF, in words that help its owner further.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace hearth {

// "a zip or PyTorch archive", "a web page", ...; else what the bytes begin with.
std::string what_bytes_are(std::span<const std::byte> bytes);

// Throws Error(file) where `path` is a folder: of a checkpoint, of GGUF files, or another.
void refuse_folder(const std::string& path);

// Throws Error(format) where `path` is named like a piece of a GGUF file that was cut by size (x.gguf.part1of2,
// x.gguf.partaa, x.gguf-split-a, x.gguf.001): says how the pieces that lie beside it are joined, and which are missing.
void refuse_piece(const std::string& path);

}  // namespace hearth
