import {bytes, count, duration, percent, readingProgress, readingText, speed, tokens} from '../numbers.js';
import {gaugesOf, parseMetrics} from '../metrics.js';
import {Keys, parseTools, Settings} from '../settings.js';
import {kMostBytes, readTextFile} from '../attach.js';
import {check, equal, refused, test} from './check.js';

test('numbers for people', () => {
  equal([0, 999, 1500, 1e6, 7.15e9, 4.06e11, 2e15].map(bytes), ['0 B', '999 B', '1.5 kB', '1.0 MB', '7.2 GB', '406 GB', '2000 TB']);
  equal([0.04, 9.9, 12, 59.7, 200, 7500].map(duration), ['0.0 s', '9.9 s', '12 s', '1 min 0 s', '3 min 20 s', '2 h 5 min']);
  equal([count(1234567), tokens(1), tokens(1200), speed(23.44), speed(812), percent(0.914)],
        ['1,234,567', '1 token', '1,200 tokens', '23.4 tok/s', '812 tok/s', '91 %']);
});

test('how long reading takes', () => {
  const half = readingProgress({total: 1000, cache: 200, processed: 600, time_ms: 4000});
  equal(half, {share: 0.6, left: 4, total: 1000, processed: 600, cached: 200});
  equal(readingText(half), 'Reading: 600 of 1,000 tokens, 4.0 s left');
  equal(readingProgress({total: 1000, cache: 200, processed: 200, time_ms: 0}).left, null);
  equal(readingText(readingProgress({total: 10, cache: 0, processed: 10, time_ms: 900})), 'Reading: 10 of 10 tokens');
  equal(readingProgress({total: 0, cache: 0, processed: 0, time_ms: 0}).share, 1);
});

test('metrics', () => {
  const text = '# HELP x y\nhearth_prompt_tokens_total 200\nhearth_prefix_hit_tokens_total 50\nhearth_requests{state="running"} 2\n' +
      'hearth_cache_pages{state="used"} 1\nhearth_cache_pages{state="free"} 3\nhearth_cache_page_positions 64\n';
  const gauges = gaugesOf(parseMetrics(text));
  equal([gauges.prefixReuse, gauges.expertHits, gauges.running, gauges.cacheUsed, gauges.cachePositions], [0.25, null, 2, 0.25, 256]);
  equal(gaugesOf(parseMetrics('')).prefixReuse, null);
});

const storageOf = (values) => ({
  getItem: (name) => values[name] ?? null,
  setItem: (name, value) => { values[name] = value; },
  removeItem: (name) => { delete values[name]; },
});

test('settings', async () => {
  const kept = {};
  const settings = new Settings(storageOf(kept));
  equal(settings.request(), {});
  settings.set({sampling: {temperature: 0.5}, think: false, tools: '[{"name":"f"}]'});
  equal(new Settings(storageOf(kept)).request(),
        {temperature: 0.5, enable_thinking: false, tools: [{type: 'function', function: {name: 'f'}}]});
  for (const odd of ['{', '[]', 'null', '{"theme":"x","sampling":{"temperature":"a","evil":1,"top_p":7},"think":"yes","tools":3}'])
    equal(new Settings(storageOf({'hearth.settings': odd})).request(), {});
  await refused(() => parseTools('{'), 'expected JSON');
  await refused(() => parseTools('{}'), 'a list of functions');
  await refused(() => parseTools('[{}]'), 'a name in number 1');
  const full = new Settings({getItem: () => null, setItem() { throw new DOMException('full', 'QuotaExceededError'); }});
  equal(full.set({sampling: {top_k: 1}}), 'The browser has no room left for settings.');
  equal(full.request(), {top_k: 1});
  const keys = new Keys(storageOf(kept));
  keys.set('secret');
  equal(new Keys(storageOf(kept)).get(), 'secret');
  check(!kept['hearth.settings'].includes('secret'));
  keys.set('');
  check(!('hearth.key' in kept));
});

test('files that are attached are text', async () => {
  equal(await readTextFile(new File(['hé'], 'a.txt')), {name: 'a.txt', text: 'hé'});
  await refused(() => readTextFile(new File([new Uint8Array([0xff, 0xfe, 1])], 'a.bin')), 'expected text in UTF-8');
  await refused(() => readTextFile(new File(['a\0b'], 'b.bin')), 'zero bytes');
  await refused(() => readTextFile({name: 'big.txt', size: kMostBytes + 1}), 'expected at most 4.2 MB');
});
