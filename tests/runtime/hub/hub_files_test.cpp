// What lies on the disk: the cache's layout, files that are fetched in part, checksums.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <fstream>

#include "runtime/hub/cache.h"
#include "runtime/hub/digest.h"
#include "runtime/hub/partial_blob.h"
#include "tests/runtime/hub/puller.h"
#include "tests/support/process.h"

using namespace hearth;
using namespace hearth::test;
using hub::HubFile;
using hub::PartialBlob;
using hub::RepositoryCache;

namespace {

std::span<const std::byte> as_bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string digest_of_text(const std::string& text, bool sha256) {
  TempDir folder;
  const std::string path = folder / "file";
  std::ofstream(path, std::ios::binary) << text;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const std::string digest = hub::digest_of(fd, text.size(), sha256, path, [] {});
  close(fd);
  return digest;
}

// A setting that is gone afterwards.
struct Setting {
  Setting(const char* name, const std::string& value) : name(name) {
    if (const char* old = getenv(name)) before = old;
    if (value.empty())
      unsetenv(name);
    else
      setenv(name, value.c_str(), 1);
  }
  ~Setting() {
    if (before.empty())
      unsetenv(name);
    else
      setenv(name, before.c_str(), 1);
  }
  const char* name;
  std::string before;
};

}  // namespace

TEST_CASE("checksums of the standards and of git") {
  CHECK(digest_of_text("abc", true) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-4
  CHECK(digest_of_text("", true) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(digest_of_text("", false) == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");  // git hash-object /dev/null
  CHECK(digest_of_text("hello\n", false) ==
        "ce013625030ba8dba906f756967f9e9ca394464a");  // echo hello | git hash-object
  const std::string large = some_bytes(3'000'001, 5);
  CHECK(digest_of_text(large, true) == sha256_of(large));
}

TEST_CASE("a checksum of a file that was shortened, or is no longer wanted") {
  TempDir folder;
  std::ofstream(folder / "file") << "four";
  const int fd = open((folder / "file").c_str(), O_RDONLY | O_CLOEXEC);
  CHECK(contains(refusal([&] { hub::digest_of(fd, 5, true, "file", [] {}); }), "file: expected 5 bytes, found 4"));
  CHECK(refusal([&] { hub::digest_of(fd, 4, true, "file", [] { fail(ErrorKind::interrupted, "enough"); }); }) ==
        "enough");
  close(fd);
}

TEST_CASE("a file in pieces goes on where it stopped") {
  TempDir folder;
  const std::string path = folder / "blob.incomplete", content = some_bytes(20'000'000, 6);
  {
    PartialBlob blob(path, content.size());
    REQUIRE(blob.n_pieces() == 3);
    CHECK(blob.n_bytes() == 0);
    blob.append(1, as_bytes_of(content.substr(blob.begin_of(1), 1000)));
    blob.append(2, as_bytes_of(content.substr(blob.begin_of(2))));
  }
  {
    PartialBlob blob(path, content.size());
    CHECK(blob.count_of(0) == 0);
    CHECK(blob.count_of(1) == 1000);
    CHECK(blob.has_all_of(2));
    CHECK(!blob.is_whole());
    blob.append(0, as_bytes_of(content.substr(0, blob.end_of(0))));
    blob.append(1, as_bytes_of(content.substr(blob.begin_of(1) + 1000, blob.end_of(1) - blob.begin_of(1) - 1000)));
    CHECK(blob.is_whole());
    blob.shorten();
  }
  PartialBlob blob(path, content.size());  // shortened, and killed before it was renamed
  CHECK(blob.is_whole());
  blob.rename_to(folder / "blob");
  CHECK(bytes_of(folder / "blob") == content);
  CHECK(!fs::exists(path));
}

TEST_CASE("what is no file in pieces of this size begins anew") {
  TempDir folder;
  const std::string path = folder / "blob.incomplete";
  const auto begins_anew = [&](uint64_t size) {
    PartialBlob blob(path, size);
    return blob.n_bytes() == 0;
  };
  {
    PartialBlob blob(path, 100);
    blob.append(0, as_bytes_of("some"));
  }
  const std::string good = bytes_of(path);
  REQUIRE(!begins_anew(100));
  CHECK(begins_anew(101));
  // Any byte of the trailer, and of the counts one that makes them too large.
  for (size_t back = 1; back <= 33; ++back) {
    std::string bad = good;
    bad[bad.size() - back] ^= char(0x80);
    std::ofstream(path, std::ios::binary) << bad;
    CHECK_MESSAGE(begins_anew(100), back);
  }
  for (const size_t length : {size_t(0), size_t(50), good.size() - 1}) {
    std::ofstream(path, std::ios::binary) << good.substr(0, length);
    CHECK_MESSAGE(begins_anew(100), length);
  }
  std::ofstream(path, std::ios::binary) << good + "x";
  CHECK(begins_anew(100));
}

TEST_CASE("a full disk is found before anything is fetched") {
  TempDir folder;
  const std::string path = folder / "blob.incomplete";
  CHECK(in_child([&] {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    return contains(refusal([&] { PartialBlob blob(path, 5000); }),
                    "blob.incomplete: cannot set 5040 bytes aside: File");
  }));
  CHECK(!fs::exists(path));
  CHECK(contains(refusal([&] { PartialBlob blob(folder / "no/where", 5); }), "cannot create"));
  fs::create_symlink("elsewhere", path);
  CHECK(contains(refusal([&] { PartialBlob blob(path, 5); }), "cannot create"));
  fs::remove(path);
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  CHECK(contains(refusal([&] { PartialBlob blob(path, 5); }), "expected a regular file"));
}

TEST_CASE("the cache is laid out as huggingface_hub's") {
  TempDir folder;
  const RepositoryCache cache(folder.path().string(), "lab/Tiny");
  const std::string root = folder / "models--lab--Tiny", commit(40, 'c');
  const HubFile top{"a.json", 3, std::string(40, 'a')}, deep{"x/y/b.gguf", 3, std::string(64, 'b')};
  cache.make_folders();
  for (const HubFile& file : {top, deep}) {
    CHECK(!cache.has(file));
    std::ofstream(cache.blob(file)) << "abc";
    CHECK(cache.has(file));
    cache.link(commit, file);
    cache.link(commit, file);  // once more
  }
  CHECK(fs::read_symlink(root + "/snapshots/" + commit + "/a.json") == "../../blobs/" + top.oid);
  CHECK(fs::read_symlink(root + "/snapshots/" + commit + "/x/y/b.gguf") == "../../../../blobs/" + deep.oid);
  CHECK(bytes_of(root + "/snapshots/" + commit + "/x/y/b.gguf") == "abc");
  std::ofstream(cache.blob(top)) << "longer";
  CHECK(!cache.has(top));

  // A link that leads elsewhere is replaced.
  fs::remove(root + "/snapshots/" + commit + "/a.json");
  fs::create_symlink("nowhere", root + "/snapshots/" + commit + "/a.json");
  cache.link(commit, top);
  CHECK(fs::read_symlink(root + "/snapshots/" + commit + "/a.json") == "../../blobs/" + top.oid);

  cache.write_ref("main", commit);
  cache.write_ref("refs/pr/1", commit);
  cache.write_ref(commit, commit);
  CHECK(bytes_of(root + "/refs/main") == commit);
  CHECK(bytes_of(root + "/refs/refs/pr/1") == commit);
  CHECK(!fs::exists(root + "/refs/" + commit));
  CHECK(RepositoryCache("x", "gpt2").snapshot("c") == "x/models--gpt2/snapshots/c");

  fs::create_directories(root + "/snapshots/" + commit + "/taken");
  CHECK(contains(refusal([&] { cache.link(commit, {"taken", 3, top.oid}); }), "taken: cannot link"));
  CHECK(contains(refusal([&] { cache.link(commit, {"a.json/b", 3, top.oid}); }), "cannot create"));
  CHECK(contains(refusal([&] { cache.write_ref("main/x", commit); }), "cannot create"));
}

TEST_CASE("one process fetches a blob at a time") {
  TempDir folder;
  const RepositoryCache cache(folder.path().string(), "lab/Tiny");
  cache.make_folders();
  const HubFile file{"a.gguf", 3, std::string(64, 'b')};
  {
    const hub::BlobLock lock = cache.lock(file);
    CHECK(fs::exists(folder / (".locks/models--lab--Tiny/" + file.oid + ".lock")));
    CHECK(refusal([&] { cache.lock(file); }) == "a.gguf: another process is fetching it");
  }
  CHECK(refusal([&] { cache.lock(file); }) == "");
  fs::remove_all(folder / ".locks");
  CHECK(contains(refusal([&] { cache.lock(file); }), "cannot create"));
}

TEST_CASE("where the cache is, and the token") {
  TempDir folder;
  const Setting hub_cache("HF_HUB_CACHE", "/a"), home("HF_HOME", folder.path().string()),
      token("HF_TOKEN", " hf_abc\n");
  CHECK(hub::cache_folder() == "/a");
  CHECK(hub::hub_token() == "hf_abc");
  const Setting no_hub_cache("HF_HUB_CACHE", ""), no_token("HF_TOKEN", ""), no_path("HF_TOKEN_PATH", "");
  CHECK(hub::cache_folder() == folder / "hub");
  CHECK(hub::hub_token() == "");
  std::ofstream(folder / "token") << "hf_stored\n";
  CHECK(hub::hub_token() == "hf_stored");
  std::ofstream(folder / "other") << "hf_other";
  {
    const Setting path("HF_TOKEN_PATH", folder / "other");
    CHECK(hub::hub_token() == "hf_other");
  }
  {
    const Setting bad("HF_TOKEN", "secret\r\nX-Evil: 1");
    const std::string why = refusal([] { hub::hub_token(); });
    CHECK(contains(why, "HF_TOKEN: expected a token"));
    CHECK(!contains(why, "secret"));
  }
  const Setting no_home("HF_HOME", ""), cache("XDG_CACHE_HOME", "/x"), user("HOME", "/home/me");
  CHECK(hub::cache_folder() == "/x/huggingface/hub");
  const Setting no_cache("XDG_CACHE_HOME", "");
  CHECK(hub::cache_folder() == "/home/me/.cache/huggingface/hub");
  const Setting no_user("HOME", "");
  CHECK(contains(refusal([] { hub::cache_folder(); }), "set HF_HUB_CACHE, HF_HOME or HOME"));
  CHECK(hub::hub_token() == "");
}

TEST_CASE("the endpoint") {
  {
    const Setting none("HF_ENDPOINT", "");
    CHECK(hub::hub_endpoint() == "https://huggingface.co");
  }
  const Setting mirror("HF_ENDPOINT", "https://mirror.org/hf/");
  CHECK(hub::hub_endpoint() == "https://mirror.org/hf");
  for (const char* bad : {"mirror", "ftp://mirror.org", "https://me:pw@mirror.org", "https://mirror.org?x"}) {
    const Setting wrong("HF_ENDPOINT", bad);
    CHECK_MESSAGE(contains(refusal([] { hub::hub_endpoint(); }), "HF_ENDPOINT: expected the address of a hub"), bad);
  }
}

TEST_CASE("free space is that of the folder, or of the nearest that is there") {
  TempDir folder;
  const uint64_t here = hub::free_bytes(folder.path().string());
  CHECK(here > 0);
  CHECK(hub::free_bytes(folder / "not/yet/there") > 0);
}
