// The one vocabulary of GGUF: metadata keys and tensor names, as the converter writes and the runtime reads them.
// The names are those of llama.cpp-family programs; `hearth.*` is ours.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

namespace hearth {

namespace key {

// The file.
inline constexpr const char* kArchitecture = "general.architecture";  // string; ours is kDeepseek2
inline constexpr const char* kName = "general.name";
inline constexpr const char* kType = "general.type";                                 // string: "model"
inline constexpr const char* kFileType = "general.file_type";                        // u32, what most tensors are
inline constexpr const char* kQuantizationVersion = "general.quantization_version";  // u32: 2
inline constexpr const char* kAlignment = "general.alignment";                       // u32, power of two; absent: 32
inline constexpr const char* kSplitNo = "split.no";                                  // u16, from 0
inline constexpr const char* kSplitCount = "split.count";                            // u16
inline constexpr const char* kSplitTensorsCount = "split.tensors.count";             // i32, of all parts

// How to sample by default: from the checkpoint's generation_config.json. Each may be absent.
inline constexpr const char* kSamplingTemp = "general.sampling.temp";                     // f32; 0: greedy
inline constexpr const char* kSamplingTopK = "general.sampling.top_k";                    // i32; 0: all
inline constexpr const char* kSamplingTopP = "general.sampling.top_p";                    // f32
inline constexpr const char* kSamplingMinP = "general.sampling.min_p";                    // f32
inline constexpr const char* kSamplingPenaltyRepeat = "general.sampling.penalty_repeat";  // f32; 1: off
inline constexpr const char* kSamplingPenaltyLastN = "general.sampling.penalty_last_n";   // i32, tokens; -1: all

inline constexpr const char* kDeepseek2 = "deepseek2";  // the architecture of V2, V2-Lite, Coder-V2, V2.5, V3, R1

// Sizes.
// u32. In our files without the MTP layers; in those of others with kNextnPredictLayers among them
// (runtime/model/read_config.h).
inline constexpr const char* kBlockCount = "deepseek2.block_count";
inline constexpr const char* kContextLength = "deepseek2.context_length";
inline constexpr const char* kEmbeddingLength = "deepseek2.embedding_length";
inline constexpr const char* kFeedForwardLength = "deepseek2.feed_forward_length";  // of the dense layers
inline constexpr const char* kVocabSize = "deepseek2.vocab_size";
// u32, MTP layers that others count in kBlockCount. Our files had it until kHearthMtpLayerCount, and did not count
// them.
inline constexpr const char* kNextnPredictLayers = "deepseek2.nextn_predict_layers";

// Attention. key_length and value_length are 576 and 512 (latent) in current files, 192 and 128 in old ones; the heads'
// own widths are in the _mla keys where those exist.
inline constexpr const char* kHeadCount = "deepseek2.attention.head_count";
inline constexpr const char* kHeadCountKv = "deepseek2.attention.head_count_kv";  // 1; in old files = head_count
inline constexpr const char* kQLoraRank = "deepseek2.attention.q_lora_rank";      // absent or 0: plain queries
inline constexpr const char* kKvLoraRank = "deepseek2.attention.kv_lora_rank";
inline constexpr const char* kKeyLength = "deepseek2.attention.key_length";
inline constexpr const char* kValueLength = "deepseek2.attention.value_length";
inline constexpr const char* kKeyLengthMla = "deepseek2.attention.key_length_mla";      // nope + rope: 192
inline constexpr const char* kValueLengthMla = "deepseek2.attention.value_length_mla";  // 128
inline constexpr const char* kRmsEpsilon = "deepseek2.attention.layer_norm_rms_epsilon";

// Rotary positions.
inline constexpr const char* kRopeDimensionCount = "deepseek2.rope.dimension_count";
inline constexpr const char* kRopeFreqBase = "deepseek2.rope.freq_base";
inline constexpr const char* kRopeScalingType = "deepseek2.rope.scaling.type";  // string: "yarn"
inline constexpr const char* kRopeScalingFactor = "deepseek2.rope.scaling.factor";
inline constexpr const char* kRopeScalingOriginalContext = "deepseek2.rope.scaling.original_context_length";
inline constexpr const char* kYarnLogMultiplier = "deepseek2.rope.scaling.yarn_log_multiplier";  // 0.1 mscale_all_dim
inline constexpr const char* kYarnBetaFast = "deepseek2.rope.scaling.yarn_beta_fast";            // absent: 32
inline constexpr const char* kYarnBetaSlow = "deepseek2.rope.scaling.yarn_beta_slow";            // absent: 1

// Experts.
inline constexpr const char* kLeadingDenseBlockCount = "deepseek2.leading_dense_block_count";
inline constexpr const char* kExpertCount = "deepseek2.expert_count";
inline constexpr const char* kExpertUsedCount = "deepseek2.expert_used_count";
inline constexpr const char* kExpertSharedCount = "deepseek2.expert_shared_count";
inline constexpr const char* kExpertSharedFeedForwardLength =
    "deepseek2.expert_shared_feed_forward_length";  // of all shared experts; rare
inline constexpr const char* kExpertFeedForwardLength = "deepseek2.expert_feed_forward_length";
inline constexpr const char* kExpertGroupCount = "deepseek2.expert_group_count";  // absent in old files
inline constexpr const char* kExpertGroupUsedCount = "deepseek2.expert_group_used_count";
inline constexpr const char* kExpertWeightsScale = "deepseek2.expert_weights_scale";
inline constexpr const char* kExpertWeightsNorm = "deepseek2.expert_weights_norm";  // bool; V2: absent
inline constexpr const char* kExpertGatingFunc = "deepseek2.expert_gating_func";    // u32, GatingFunc; absent: softmax

// Vocabulary.
inline constexpr const char* kTokenizerModel = "tokenizer.ggml.model";     // string: "gpt2", byte-level BPE
inline constexpr const char* kTokenizerPre = "tokenizer.ggml.pre";         // "deepseek-llm", -coder or -v3
inline constexpr const char* kTokens = "tokenizer.ggml.tokens";            // strings, by id
inline constexpr const char* kTokenTypes = "tokenizer.ggml.token_type";    // i32s, TokenType, by id
inline constexpr const char* kMerges = "tokenizer.ggml.merges";            // strings "left right", by rank
inline constexpr const char* kBosTokenId = "tokenizer.ggml.bos_token_id";  // u32
inline constexpr const char* kEosTokenId = "tokenizer.ggml.eos_token_id";
inline constexpr const char* kEotTokenId = "tokenizer.ggml.eot_token_id";  // these two end a text as EOS does
inline constexpr const char* kEomTokenId = "tokenizer.ggml.eom_token_id";
inline constexpr const char* kPaddingTokenId = "tokenizer.ggml.padding_token_id";
inline constexpr const char* kAddBosToken = "tokenizer.ggml.add_bos_token";  // bool
inline constexpr const char* kAddEosToken = "tokenizer.ggml.add_eos_token";
inline constexpr const char* kChatTemplate = "tokenizer.chat_template";  // string, Jinja

// Files of importance (importance_file.h): their kType is kImatrix. What a quantized file tells of the one it was made
// by.
inline constexpr const char* kImatrix = "imatrix";
inline constexpr const char* kImatrixDatasets = "imatrix.datasets";                       // strings
inline constexpr const char* kImatrixChunkCount = "imatrix.chunk_count";                  // u32
inline constexpr const char* kImatrixChunkSize = "imatrix.chunk_size";                    // u32, tokens
inline constexpr const char* kQuantizeImatrixFile = "quantize.imatrix.file";              // string
inline constexpr const char* kQuantizeImatrixDataset = "quantize.imatrix.dataset";        // string
inline constexpr const char* kQuantizeImatrixEntries = "quantize.imatrix.entries_count";  // u32
inline constexpr const char* kQuantizeImatrixChunks = "quantize.imatrix.chunks_count";    // u32

// Ours.
inline constexpr const char* kHearthPrefix = "hearth.";
inline constexpr const char* kHearthVersion = "hearth.version";  // string, the program that wrote the file
inline constexpr const char* kHearthSource = "hearth.source";    // string, the checkpoint's name
inline constexpr const char* kHearthRecipe = "hearth.recipe";    // string, "q4_k_m"
// u32, MTP layers in the appendix, numbered from kBlockCount on. Absent: none, or an older file of ours.
inline constexpr const char* kHearthMtpLayerCount = "hearth.mtp_layer_count";
inline constexpr const char* kHearthChecksums = "hearth.checksums";  // u64s: XXH3-64 of each tensor, in file order
// strings "blk.0.attn_q.weight Q4_K", by the order of kHearthChecksums: what each is of. Absent in older files.
inline constexpr const char* kHearthChecksumNames = "hearth.checksum_names";
inline constexpr const char* kHearthAppendix = "hearth.appendix";  // u64, where in the file it begins (gguf.h)

}  // namespace key

// Values of key::kExpertGatingFunc that this family uses.
enum class GatingFunc : uint32_t { softmax = 1, sigmoid = 2 };

// Values of key::kTokenTypes.
enum class TokenType : int32_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

// Tensor names. Shapes are ours (row-major); letters as in docs: d width, H heads, Q and r query and kv latent ranks,
// dn, dr, dv head parts, E experts, I and M dense and expert FFN widths, S shared experts, V vocabulary.
namespace name {

inline constexpr const char* kTokenEmbd = "token_embd.weight";    // [V, d]
inline constexpr const char* kOutputNorm = "output_norm.weight";  // [d]
inline constexpr const char* kOutput = "output.weight";           // [V, d]; absent: tied to the embedding

// The rest belong to a layer: in_layer(3, kAttnNorm) is "blk.3.attn_norm.weight".
inline constexpr const char* kAttnNorm = "attn_norm.weight";              // [d]
inline constexpr const char* kAttnQ = "attn_q.weight";                    // [H (dn + dr), d], without a query latent
inline constexpr const char* kAttnQA = "attn_q_a.weight";                 // [Q, d]
inline constexpr const char* kAttnQANorm = "attn_q_a_norm.weight";        // [Q]
inline constexpr const char* kAttnQB = "attn_q_b.weight";                 // [H (dn + dr), Q]
inline constexpr const char* kAttnKvAMqa = "attn_kv_a_mqa.weight";        // [r + dr, d]
inline constexpr const char* kAttnKvANorm = "attn_kv_a_norm.weight";      // [r]
inline constexpr const char* kAttnKB = "attn_k_b.weight";                 // [H, r, dn], W^UK of each head transposed
inline constexpr const char* kAttnVB = "attn_v_b.weight";                 // [H, dv, r], W^UV of each head
inline constexpr const char* kAttnKvB = "attn_kv_b.weight";               // [H (dn + dv), r], both unsplit: old files
inline constexpr const char* kAttnOutput = "attn_output.weight";          // [d, H dv]
inline constexpr const char* kFfnNorm = "ffn_norm.weight";                // [d]
inline constexpr const char* kFfnGate = "ffn_gate.weight";                // [I, d]
inline constexpr const char* kFfnUp = "ffn_up.weight";                    // [I, d]
inline constexpr const char* kFfnDown = "ffn_down.weight";                // [d, I]
inline constexpr const char* kFfnGateInp = "ffn_gate_inp.weight";         // [E, d], the router
inline constexpr const char* kExpProbsB = "exp_probs_b.bias";             // [E], added when experts are chosen (V3)
inline constexpr const char* kFfnGateExps = "ffn_gate_exps.weight";       // [E, M, d]
inline constexpr const char* kFfnUpExps = "ffn_up_exps.weight";           // [E, M, d]
inline constexpr const char* kFfnDownExps = "ffn_down_exps.weight";       // [E, d, M]
inline constexpr const char* kFfnGateUpExps = "ffn_gate_up_exps.weight";  // [E, 2 M, d], gate rows then up rows
inline constexpr const char* kFfnGateShexp = "ffn_gate_shexp.weight";     // [S M, d]
inline constexpr const char* kFfnUpShexp = "ffn_up_shexp.weight";         // [S M, d]
inline constexpr const char* kFfnDownShexp = "ffn_down_shexp.weight";     // [d, S M]

// Multi-token prediction: a layer of the kind above, numbered from block_count, with these besides.
inline constexpr const char* kNextnEhProj = "nextn.eh_proj.weight";                   // [d, 2 d], embedding half first
inline constexpr const char* kNextnEnorm = "nextn.enorm.weight";                      // [d]
inline constexpr const char* kNextnHnorm = "nextn.hnorm.weight";                      // [d]
inline constexpr const char* kNextnEmbedTokens = "nextn.embed_tokens.weight";         // [V, d]
inline constexpr const char* kNextnSharedHeadNorm = "nextn.shared_head_norm.weight";  // [d]
inline constexpr const char* kNextnSharedHeadHead = "nextn.shared_head_head.weight";  // [V, d]

inline std::string in_layer(int layer, const char* role) {
  return fmt::format("blk.{}.{}", layer, role);
}

}  // namespace name

}  // namespace hearth
