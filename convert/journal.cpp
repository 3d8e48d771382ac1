#include "convert/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "quant/checksum.h"
#include "quant/error.h"

namespace hearth {
namespace {

constexpr char kMagic[] = {'H', 'E', 'A', 'R', 'T', 'H', 'J', '1'};
constexpr int64_t kTakenBack = -1;  // as n_clamped

struct Header {
  char magic[8];
  Conditions conditions;
};
struct Record {
  uint64_t tensor;
  FinishedTensor finished;
  uint64_t seal;
};
static_assert(sizeof(Header) == 32 && sizeof(Record) == 32);

uint64_t seal_of(const Record& record, const Conditions& conditions) {
  Checksum sum;
  sum.add(std::as_bytes(std::span(&conditions, 1)));
  sum.add(std::as_bytes(std::span(&record, 1)).first(offsetof(Record, seal)));
  return sum.value();
}

void append_record(std::string& records, size_t tensor, const FinishedTensor& finished, const Conditions& conditions) {
  Record record{tensor, finished, 0};
  record.seal = seal_of(record, conditions);
  records.append(reinterpret_cast<const char*>(&record), sizeof record);
}

}  // namespace

FinishedTensors parse_journal(std::span<const std::byte> bytes, const Conditions& conditions, size_t n_tensors) {
  FinishedTensors finished;
  for (size_t at = sizeof(Header); at + sizeof(Record) <= bytes.size(); at += sizeof(Record)) {
    Record record;
    std::memcpy(&record, bytes.data() + at, sizeof record);
    if (record.seal != seal_of(record, conditions) || record.tensor >= n_tensors) continue;
    if (record.finished.n_clamped == kTakenBack) {
      finished.erase(record.tensor);
    } else {
      finished[record.tensor] = record.finished;
    }
  }
  return finished;
}

std::string journal_difference(std::span<const std::byte> bytes, const Conditions& conditions) {
  if (bytes.empty()) return "";
  Header header;
  if (bytes.size() < sizeof header) return "its journal is damaged";
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return "its journal is damaged";
  if (header.conditions.plan != conditions.plan) return "it was to become another file: other model, recipe or version";
  if (header.conditions.sources != conditions.sources) return "the weights' files have changed since";
  if (header.conditions.program != conditions.program) return "another version of this program began it";
  return "";
}

Journal::Journal(std::string path, const Conditions& conditions, size_t n_tensors)
    : path_(std::move(path)), conditions_(conditions), n_tensors_(n_tensors) {}

Journal::~Journal() {
  if (fd_ < 0) return;
  close(fd_);
  if (finished_.empty()) remove();
}

std::string Journal::read() {
  std::ifstream file(path_, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  finished_ = parse_journal(bytes, conditions_, n_tensors_);
  return finished_.empty() ? journal_difference(bytes, conditions_) : "";
}

// A record that a killed process wrote half is cut off; a damaged header is written anew.
void Journal::open(bool empty) {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  const off_t size = fd_ < 0 ? -1 : lseek(fd_, 0, SEEK_END);
  const off_t whole = empty ? 0 : size / off_t(sizeof(Record)) * off_t(sizeof(Record));
  Header header{{}, conditions_};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  const bool written = size >= 0 && ftruncate(fd_, whole) == 0 && lseek(fd_, 0, SEEK_SET) == 0 &&
                       write_all(fd_, std::as_bytes(std::span(&header, 1))) && lseek(fd_, 0, SEEK_END) >= 0;
  require(written, ErrorKind::file, "{}: cannot write: {}", path_, std::generic_category().message(errno));
}

void Journal::begin() {
  finished_.clear();
  open(true);
}

void Journal::go_on() {
  open(false);
}

void Journal::append(const std::string& records) {
  const bool written = write_all(fd_, std::as_bytes(std::span(records))) && fdatasync(fd_) == 0;
  require(written, ErrorKind::file, "{}: cannot write: {}", path_, std::generic_category().message(errno));
}

void Journal::add(const FinishedTensors& finished) {
  std::string records;
  for (const auto& [tensor, one] : finished) append_record(records, tensor, one, conditions_);
  append(records);
  for (const auto& [tensor, one] : finished) finished_[tensor] = one;
}

void Journal::take_back(size_t tensor) {
  std::string record;
  append_record(record, tensor, {0, kTakenBack}, conditions_);
  append(record);
  finished_.erase(tensor);
}

void Journal::remove() {
  unlink(path_.c_str());
}

}  // namespace hearth
