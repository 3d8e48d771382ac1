// Encryption: who the hub is, is verified, and nothing leads out of https.
#include <doctest/doctest.h>

#include "tests/runtime/hub/certificate.h"
#include "tests/runtime/hub/puller.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Whom clients trust meanwhile.
struct Trusted {
  explicit Trusted(const Certificate& certificate) {
    certificate.write_to(folder / "authorities.pem");
    setenv("CURL_CA_BUNDLE", (folder / "authorities.pem").c_str(), 1);
  }
  ~Trusted() { unsetenv("CURL_CA_BUNDLE"); }
  TempDir folder;
};

}  // namespace

TEST_CASE("a hub with a certificate is believed, one without is not") {
  const Certificate certificate("IP:127.0.0.1,DNS:localhost");
  const auto context = certificate.server();
  Puller puller(context.get());
  puller.add_checkpoint();
  puller.options.fetch.token = "hf_secret";
  // Nobody vouches for it.
  const std::string why = puller.refused();
  CHECK(contains(why, "lab/Tiny-Chat at main: 127.0.0.1: SSL certificate problem"));
  CHECK(puller.hub.requests().empty());

  const Trusted trusted(certificate);
  puller.pull();
  CHECK(puller.is_whole("model-00001-of-00002.safetensors"));
  CHECK(puller.hub.requests_of("/blob/").size() == 2);
}

TEST_CASE("a certificate of another name is none") {
  const Certificate certificate("DNS:example.org");
  const auto context = certificate.server();
  const Trusted trusted(certificate);
  Puller puller(context.get());
  puller.add_checkpoint();
  CHECK(contains(puller.refused(), "127.0.0.1: SSL"));
  CHECK(puller.hub.requests().empty());
}

TEST_CASE("a redirect out of encryption is not followed") {
  const Certificate certificate("IP:127.0.0.1,DNS:localhost");
  const auto context = certificate.server();
  const Trusted trusted(certificate);
  Puller puller(context.get());
  puller.hub.add("tiny.gguf", some_bytes(1000, 30));
  SmallHub plain;
  puller.hub.meddle = [&](const HubRequest&, HubReply& reply) {
    if (reply.status == 302) reply.headers["Location"] = plain.content_server() + "/blob/x";
  };
  CHECK(contains(puller.refused(), "tiny.gguf: the hub redirects from https to http, at localhost"));
  CHECK(plain.requests().empty());
}
