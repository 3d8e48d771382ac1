// The names that requests may hold, in three lists: honoured, harmless, refused.
//
//   honoured   what the reader of the endpoint reads
//   harmless   accepted and without effect: it is about accounts, storage and routing elsewhere, or asks for nothing
//              that shows in the answer. Clients send these as a matter of course
//   refused    would change the answer, and is not there: never ignored. A value that asks for nothing passes
//
// A name that is on no list is ignored too. OpenAI's own service refuses such names; but those who serve its protocol
// do not, so clients add what some other server knows, and send new names of the protocol to old servers. What is known
// to change an answer is on the third list, and belongs there when it becomes known.
#pragma once

#include <span>
#include <string_view>

#include "runtime/server/api_fields.h"

namespace hearth::server {

enum class Treatment { honoured, harmless, refused };

struct Parameter {
  std::string_view name;
  Treatment treatment;
  std::string_view neutral = {};  // refused: values that pass, as a JSON list
  std::string_view why = {};      // refused: what a person is told
};

enum class Endpoint { chat, completions, infill, responses, messages };

// In the order in which they count: the endpoint's own, then those of all.
std::span<const std::span<const Parameter>> parameters_of(Endpoint endpoint);

// Throws ApiError(400) for the first field that is refused.
void check_parameters(const Fields& body, Endpoint endpoint);

}  // namespace hearth::server
