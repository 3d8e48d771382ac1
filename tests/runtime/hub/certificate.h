// A certificate that nobody has signed but itself, and a server's side of TLS with it.
#pragma once

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

namespace hearth::test {

class Certificate {
 public:
  // For the given names, as "IP:127.0.0.1,DNS:localhost"; good for an hour.
  explicit Certificate(const std::string& names)
      : key_(EVP_RSA_gen(2048), EVP_PKEY_free), certificate_(X509_new(), X509_free) {
    X509* const x509 = certificate_.get();
    X509_set_version(x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), -60);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, key_.get());
    const auto* const name = reinterpret_cast<const unsigned char*>("small hub");
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC, name, -1, -1, 0);
    X509_set_issuer_name(x509, X509_get_subject_name(x509));
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
    if (!extension || X509_add_ext(x509, extension, -1) != 1 || X509_sign(x509, key_.get(), EVP_sha256()) == 0)
      std::abort();
    X509_EXTENSION_free(extension);
  }

  // Where a client finds whom to trust.
  void write_to(const std::string& path) const {
    FILE* const file = std::fopen(path.c_str(), "w");
    if (!file || PEM_write_X509(file, certificate_.get()) != 1 || std::fclose(file) != 0) std::abort();
  }

  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> server() const {
    std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
    if (SSL_CTX_use_certificate(context.get(), certificate_.get()) != 1 ||
        SSL_CTX_use_PrivateKey(context.get(), key_.get()) != 1)
      std::abort();
    return context;
  }

 private:
  std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key_;
  std::unique_ptr<X509, void (*)(X509*)> certificate_;
};

}  // namespace hearth::test
