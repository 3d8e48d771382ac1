#include "runtime/hub/verdict.h"

#include "quant/error.h"
#include "runtime/hub/one_line.h"

namespace hearth::hub {
namespace {

// What a status means here; "": the hub's own words must do.
std::string meaning(int status, const std::string& code, bool with_token) {
  if (code == "GatedRepo" || status == 403)
    return with_token ? "the token opens other doors, not this one: ask for access on the repository's page"
                      : "access is granted on the repository's page, to who brings a token: set HF_TOKEN";
  switch (status) {
    case 401:
      return with_token ? "the token is not accepted, or there is no such repository"
                        : "there is no such repository, or it wants a token: set HF_TOKEN";
    case 404:
      if (code == "RepoNotFound") return "there is no such repository";
      if (code == "RevisionNotFound") return "there is no such revision";
      return code == "EntryNotFound" ? "there is no such file" : "there is no such thing";
    case 416:
      return "the file is shorter than the hub's list says";
    case 429:
      return "too many requests";
    default:
      return "";
  }
}

}  // namespace

Verdict judge(const HttpHead& head, const std::string& host, bool with_token, std::time_t now) {
  constexpr size_t kMostWords = 160;
  Verdict verdict;
  verdict.why = fmt::format("{} answers {}", host, head.status);
  std::string why = meaning(head.status, head.header("x-error-code"), with_token);
  if (why.empty()) why = one_line(head.header("x-error-message"), kMostWords);
  if (!why.empty()) verdict.why += ": " + why;
  switch (head.status) {
    case 408:
    case 425:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
      verdict.again = true;
      verdict.seconds = seconds_to_wait(head, now);
      break;
    default:
      break;
  }
  return verdict;
}

}  // namespace hearth::hub
