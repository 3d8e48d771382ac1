// Checksums as hubs give them: SHA-256 (FIPS 180-4) of large files, git's blob names of small ones. By OpenSSL.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace hearth::hub {

// Of the first `size` bytes of an open file, in small hexadecimal letters: SHA-256 where `sha256`, else the SHA-1 of
// "blob SIZE", a null byte and the content, as git names it. `tick` is called between pieces of a megabyte, and may
// throw. Throws Error(file) naming `name`: cannot be read, is shorter.
std::string digest_of(int fd, uint64_t size, bool sha256, const std::string& name, const std::function<void()>& tick);

}  // namespace hearth::hub
