// The parts of config.json that have a file of their own.
#pragma once

#include <string>
#include <vector>

#include "convert/hf_config.h"
#include "convert/json_file.h"

namespace hearth {

// Default values of the model's class in transformers, for keys that config.json leaves out. V2's and V3's classes
// differ. The defaults taken are kept for a note.
class ClassDefaults {
 public:
  ClassDefaults(const JsonFields& json, bool is_v3) : json_(json), is_v3_(is_v3) {}

  int64_t integer(const char* key, int64_t v2, int64_t v3, int64_t low, int64_t high);
  double number(const char* key, double v2, double v3);
  bool boolean(const char* key, bool v2, bool v3);
  std::string string(const char* key, const char* v2, const char* v3);
  void take(const std::string& key, const std::string& value) { taken_.push_back(key + " " + value); }
  std::string note() const;  // empty: nothing was taken

 private:
  // Throws Error(model) for null: it is no value of these keys, and programs differ in what they make of it.
  bool absent(const char* key) const;

  const JsonFields& json_;
  bool is_v3_;
  std::vector<std::string> taken_;
};

// rope_scaling (null: plain), or transformers 5's rope_parameters, which also holds rope_theta.
void read_rope(const JsonFields& json, ClassDefaults& defaults, HfConfig& c);

// Reads how weights are quantized: FP8, compressed-tensors (pack-quantized, int-quantized, float-quantized), GPTQ or
// AWQ; other ways are refused by name. (Which tensors are quantized is known from their names and types, and whether
// FP8 scales are for blocks, rows or tensors from the scales' shapes.)
void read_quantization(const JsonFields& json, HfConfig& c);

// Refuses keys that change the forward and are not implemented, by their names; adds a note on other keys that are not
// read.
void check_other_keys(const JsonFields& json, HfConfig& c);

}  // namespace hearth
