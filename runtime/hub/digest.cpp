#include "runtime/hub/digest.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <system_error>
#include <vector>

#include "quant/error.h"

namespace hearth::hub {

std::string digest_of(int fd, uint64_t size, bool sha256, const std::string& name, const std::function<void()>& tick) {
  constexpr size_t kPiece = 1 << 20;
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  bool good = context && EVP_DigestInit_ex(context.get(), sha256 ? EVP_sha256() : EVP_sha1(), nullptr) == 1;
  if (!sha256) {
    const std::string head = fmt::format("blob {}", size);
    good = good && EVP_DigestUpdate(context.get(), head.c_str(), head.size() + 1) == 1;  // with the null byte
  }
  std::vector<unsigned char> piece(kPiece);
  for (uint64_t at = 0; good && at < size;) {
    tick();
    const ssize_t n = pread(fd, piece.data(), std::min<uint64_t>(kPiece, size - at), off_t(at));
    if (n < 0 && errno == EINTR) continue;
    require(n >= 0, ErrorKind::file, "{}: cannot be read: {}", name, std::generic_category().message(errno));
    require(n > 0, ErrorKind::file, "{}: expected {} bytes, found {}: it was shortened", name, size, at);
    good = EVP_DigestUpdate(context.get(), piece.data(), size_t(n)) == 1;
    at += uint64_t(n);
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  good = good && EVP_DigestFinal_ex(context.get(), digest, &length) == 1;
  require(good, ErrorKind::resource, "{}: this machine's OpenSSL computes no {}", name, sha256 ? "SHA-256" : "SHA-1");
  std::string text;
  for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

}  // namespace hearth::hub
