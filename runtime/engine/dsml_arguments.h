// The arguments of a call in V3.2's format, as a form that an answer is bound to.
#pragma once

#include <memory>
#include <string>

namespace hearth {

namespace grammar {
class Grammar;
}

// A <｜DSML｜parameter> and a line end for each property of the schema, in its order: those that are required, and any
// of the others. A string of any content stands there as it is, as do the strings of an enum; all else is JSON.
// Properties that the schema does not name are not written. Throws grammar::Refusal for what cannot be honoured:
// besides what grammar::compile_schema refuses, all that speaks of several properties at once.
std::shared_ptr<const grammar::Grammar> compile_dsml_arguments(const std::string& schema);

}  // namespace hearth
