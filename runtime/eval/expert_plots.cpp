#include "runtime/eval/expert_plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "runtime/eval/svg.h"
#include "runtime/support/size_text.h"

namespace hearth {
namespace {

using Anchor = Svg::Anchor;

// Okabe and Ito's colours, which are told apart with any kind of colour vision, and dashes besides.
constexpr std::string_view kLineStyle = R"(  polyline { stroke-width: 2; stroke-linejoin: round; }
  polyline.p0 { stroke: #999999; stroke-dasharray: 2 3; } polyline.p1 { stroke: #d55e00; stroke-dasharray: 7 4; }
  polyline.p2 { stroke: #cc79a7; stroke-dasharray: 9 3 2 3; } polyline.p3 { stroke: #0072b2; stroke-width: 3; }
  polyline.p4 { stroke: #009e73; stroke-width: 1.5; stroke-dasharray: 4 2; }
  circle.p0 { fill: #999999; } circle.p1 { fill: #d55e00; } circle.p2 { fill: #cc79a7; } circle.p3 { fill: #0072b2; }
  circle.p4 { fill: #009e73; } .budget { stroke: #24292f; stroke-dasharray: 1 4; }
)";
constexpr std::string_view kDarkLineStyle = R"( polyline.p3 { stroke: #56b4e9; } circle.p3 { fill: #56b4e9; }
    .budget { stroke: #e6edf3; }
)";

// Viridis at even steps (van der Walt and Smith 2015): even to the eye, in grey and with any kind of colour vision.
constexpr std::array<std::array<int, 3>, 9> kViridis = {{{68, 1, 84},
                                                         {71, 44, 122},
                                                         {59, 81, 139},
                                                         {44, 113, 142},
                                                         {33, 144, 141},
                                                         {39, 173, 129},
                                                         {92, 200, 99},
                                                         {170, 220, 50},
                                                         {253, 231, 37}}};

std::string viridis(double value) {
  const double at = std::clamp(value, 0.0, 1.0) * double(kViridis.size() - 1);
  const size_t below = std::min(size_t(at), kViridis.size() - 2);
  std::array<int, 3> rgb{};
  for (size_t i = 0; i < 3; ++i)
    rgb[i] = int(std::lround(std::lerp(kViridis[below][i], kViridis[below + 1][i], at - double(below))));
  return fmt::format("#{:02x}{:02x}{:02x}", rgb[0], rgb[1], rgb[2]);
}

// Of an expert, its use over the average expert's, from 1/8 (and less) to 8 (and more) by doublings.
double heat(double relative) {
  constexpr double kDoublings = 3;
  return relative > 0 ? (std::log2(relative) + kDoublings) / (2 * kDoublings) : 0;
}

void draw_scale(Svg& svg, double x, double y) {
  constexpr int kSteps = 48;
  constexpr double kWidth = 192, kHeight = 12;
  for (int i = 0; i < kSteps; ++i)
    svg.rect(x + kWidth * i / kSteps, y, kWidth / kSteps + 0.5, kHeight, "", viridis((i + 0.5) / kSteps));
  const char* const labels[] = {"1/8 or less", "1/2", "2", "8 or more"};
  for (int i = 0; i < 4; ++i) svg.text(x + kWidth * i / 3, y + kHeight + 13, labels[i], "small", Anchor::middle);
}

}  // namespace

std::string plot_hit_rates(const Simulation& simulation, const std::string& of) {
  constexpr double kLeft = 64, kTop = 64, kWidth = 520, kHeight = 340;
  Svg svg(kLeft + kWidth + 150, kTop + kHeight + 60, "Hit rate against cache size: " + of, kLineStyle, kDarkLineStyle);
  const auto x = [&](double share) { return kLeft + kWidth * share; };
  const auto y = [&](double rate) { return kTop + kHeight * (1 - rate); };
  svg.text(kLeft, 26, "Experts found in the GPU's memory", "heading");
  svg.text(kLeft, 46, of, "text");
  for (int percent = 0; percent <= 100; percent += 20) {
    const double at = percent / 100.0;
    svg.line(kLeft, y(at), kLeft + kWidth, y(at), percent == 0 ? "axis" : "grid");
    svg.text(kLeft - 8, y(at) + 4, fmt::format("{} %", percent), "small", Anchor::end);
    svg.line(x(at), kTop + kHeight, x(at), kTop + kHeight + 5, "axis");
    svg.text(x(at), kTop + kHeight + 19, fmt::format("{} %", percent), "small", Anchor::middle);
  }
  svg.text(kLeft + kWidth / 2, kTop + kHeight + 42,
           fmt::format("size of the cache, of all experts ({})", binary_size_text(simulation.all_expert_bytes)), "text",
           Anchor::middle);
  svg.text(18, kTop + kHeight / 2, "hit rate", "text", Anchor::middle, -90);
  if (simulation.vram_share) {
    svg.line(x(*simulation.vram_share), kTop, x(*simulation.vram_share), kTop + kHeight, "budget");
    svg.text(x(*simulation.vram_share), kTop - 4, "this GPU", "small",
             *simulation.vram_share < 0.1 ? Anchor::start : Anchor::middle);
  }
  const size_t n_policies = simulation.sizes.empty() ? 0 : simulation.sizes.front().policies.size();
  for (size_t p = 0; p < n_policies; ++p) {
    const std::string css = fmt::format("p{}", p);
    std::vector<std::pair<double, double>> points;
    for (const SimulatedSize& size : simulation.sizes) points.push_back({x(size.share), y(size.policies[p].hit_rate)});
    svg.polyline(points, css);
    for (const SimulatedSize& size : simulation.sizes) {
      const SimulatedPolicy& policy = size.policies[p];
      svg.circle(x(size.share), y(policy.hit_rate), 3, css,
                 fmt::format("{}: {:.1f} % found with {:.0f} % of the experts ({})", policy.name, 100 * policy.hit_rate,
                             100 * size.share, binary_size_text(size.bytes)));
    }
    const double row = kTop + 12 + 24 * double(p);
    svg.polyline(std::array{std::pair{kLeft + kWidth + 20, row}, std::pair{kLeft + kWidth + 56, row}}, css);
    svg.text(kLeft + kWidth + 64, row + 4, simulation.sizes.front().policies[p].name, "text");
  }
  return svg.finish();
}

std::string plot_heat_map(const ExpertStats& stats) {
  const double total = std::accumulate(stats.counts.begin(), stats.counts.end(), 0.0);
  const double average = total / double(std::max<size_t>(stats.counts.size(), 1));
  const double cell = std::clamp(960.0 / double(stats.n_experts), 4.0, 28.0);
  const double row = std::clamp(cell, 9.0, 18.0), left = 64, top = 96;
  const double width = cell * double(stats.n_experts), height = row * double(stats.n_layers);
  Svg svg(left + std::max(width, 420.0) + 32, top + height + 48, "Use of experts by layer");
  svg.text(left, 26, "Use of experts, relative to the average one", "heading");
  svg.text(left, 46,
           fmt::format("{} layers of {} experts, {:.0f} tokens", stats.n_layers, stats.n_experts, stats.tokens),
           "text");
  draw_scale(svg, left, 58);
  for (int64_t layer = 0; layer < stats.n_layers; ++layer) {
    const double y = top + row * double(layer);
    if (layer % 5 == 0 || stats.n_layers < 12)
      svg.text(left - 8, y + row / 2 + 4, fmt::format("{}", layer), "small", Anchor::end);
    for (int64_t e = 0; e < stats.n_experts; ++e) {
      const double count = double(stats.counts[size_t(layer * stats.n_experts + e)]);
      const double share = stats.tokens > 0 ? count / stats.tokens : 0;
      const double relative = average > 0 ? count / average : 0;
      svg.rect(
          left + cell * double(e), y, cell, row, "", viridis(heat(relative)),
          fmt::format("layer {}, expert {}: {:.2f} % of tokens, {:.2f} x average", layer, e, 100 * share, relative));
    }
  }
  const int64_t step = stats.n_experts <= 16 ? 1 : stats.n_experts <= 64 ? 8 : 20;
  for (int64_t e = 0; e < stats.n_experts; e += step)
    svg.text(left + cell * (double(e) + 0.5), top + height + 15, fmt::format("{}", e), "small", Anchor::middle);
  svg.text(left + width / 2, top + height + 36, "expert", "text", Anchor::middle);
  svg.text(18, top + height / 2, "MoE layer", "text", Anchor::middle, -90);
  return svg.finish();
}

ExpertShares expert_shares(const ExpertStats& stats, size_t n_named) {
  std::vector<size_t> order(stats.counts.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::ranges::stable_sort(order, std::ranges::greater{}, [&](size_t i) { return stats.counts[i]; });
  double total = 0, sum = 0;
  for (const float count : stats.counts) total += double(count);
  ExpertShares shares;
  const auto named = [&](size_t i) {
    const int64_t at = int64_t(i);
    return ExpertShares::Expert{at / stats.n_experts, at % stats.n_experts,
                                stats.tokens > 0 ? double(stats.counts[i]) / stats.tokens : 0};
  };
  for (size_t i = 0; i < order.size(); ++i) {
    sum += double(stats.counts[order[i]]);
    const double busiest = double(i + 1) / double(order.size()), of_use = total > 0 ? sum / total : 0;
    if (busiest <= 0.1) shares.top_10 = of_use;
    if (busiest <= 0.3) shares.top_30 = of_use;
    shares.never += stats.counts[order[i]] == 0;
  }
  for (size_t i = 0; i < std::min(n_named, order.size()); ++i) {
    shares.most.push_back(named(order[i]));
    shares.least.push_back(named(order[order.size() - 1 - i]));
  }
  return shares;
}

}  // namespace hearth
