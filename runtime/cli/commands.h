// The subcommands of `hearth`. Each file registers its own options and does its own printing; what they compute comes
// from the libraries below as data.
#pragma once

namespace CLI {
class App;
}

namespace hearth::cli {

void add_convert(CLI::App& app);
void add_quantize(CLI::App& app);
void add_export(CLI::App& app);
void add_imatrix(CLI::App& app);
void add_pull(CLI::App& app);
void add_chat(CLI::App& app);
void add_run(CLI::App& app);
void add_serve(CLI::App& app);
void add_inspect(CLI::App& app);
void add_verify(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_logits(CLI::App& app);
void add_perplexity(CLI::App& app);
void add_bench(CLI::App& app);
void add_plan(CLI::App& app);
void add_schema(CLI::App& app);

}  // namespace hearth::cli
