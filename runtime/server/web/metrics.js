// /metrics (the text format of Prometheus) as gauges.

// "hearth_requests{state=\"running\"}" -> number
export function parseMetrics(text) {
  const samples = new Map();
  for (const line of text.split('\n')) {
    const space = line.lastIndexOf(' ');
    if (space > 0 && !line.startsWith('#')) samples.set(line.slice(0, space), Number(line.slice(space + 1)));
  }
  return samples;
}

const share = (part, whole) => (whole > 0 ? part / whole : null);

// Shares are from 0 to 1, or null where there is nothing yet to be a share of.
export function gaugesOf(samples) {
  const get = (name) => samples.get(`hearth_${name}`) ?? 0;
  const used = get('cache_pages{state="used"}'), free = get('cache_pages{state="free"}');
  return {
    running: get('requests{state="running"}'),
    mostRunning: get('requests_limit{state="running"}'),
    waiting: get('requests{state="waiting"}'),
    prefixReuse: share(get('prefix_hit_tokens_total'), get('prompt_tokens_total')),
    expertHits: share(get('expert_cache_hits_total'), get('experts_chosen_total')),
    cacheUsed: share(used, used + free),
    cachePositions: (used + free) * get('cache_page_positions'),
    prefillSpeed: get('prefill_tokens_per_second'),
    decodeSpeed: get('decode_tokens_per_second'),
  };
}
