// What the user has chosen, for all conversations of this browser: one object in localStorage, and the key in a place
// of its own, so that looking at one does not show the other.

const kSettings = 'hearth.settings', kKey = 'hearth.key';

// Numbers that a request may carry, with their limits; empty: as the server has it.
export const kSampling = [
  {name: 'temperature', label: 'Temperature', low: 0, high: 100, step: 0.05},
  {name: 'top_p', label: 'Top-p', low: 0, high: 1, step: 0.01},
  {name: 'top_k', label: 'Top-k', low: 0, high: 1e6, step: 1},
  {name: 'min_p', label: 'Min-p', low: 0, high: 1, step: 0.01},
  {name: 'repeat_penalty', label: 'Repeat penalty', low: 0.01, high: 100, step: 0.01},
  {name: 'presence_penalty', label: 'Presence penalty', low: -2, high: 2, step: 0.1},
  {name: 'frequency_penalty', label: 'Frequency penalty', low: -2, high: 2, step: 0.1},
  {name: 'max_tokens', label: 'Most tokens', low: 1, high: 1e9, step: 1},
  {name: 'seed', label: 'Seed', low: 0, high: Number.MAX_SAFE_INTEGER, step: 1},
];

const kDefaults = {theme: 'auto', system: '', think: null, tools: '', sampling: {}};

// Browsers may be told to let pages keep nothing: then it is kept as long as the page is open.
function browserStorage() {
  try {
    return localStorage;
  } catch {
    return {getItem: () => null, setItem() {}, removeItem() {}};
  }
}

export class Settings {
  constructor(storage = browserStorage()) {
    this.storage = storage;
    this.values = {...kDefaults};
    this.read();
  }

  read() {
    let stored = {};
    try {
      stored = JSON.parse(this.storage.getItem(kSettings)) ?? {};
    } catch {
      // Not ours, or no storage: the defaults are good.
    }
    for (const [name, value] of Object.entries(kDefaults))
      if (typeof stored[name] === typeof value || name === 'think') this.values[name] = stored[name] ?? value;
    const numbers = Object.entries(this.values.sampling ?? {}).filter(([name, value]) => accepts(name, value));
    this.values.sampling = Object.fromEntries(numbers);
    if (!['auto', 'light', 'dark'].includes(this.values.theme)) this.values.theme = 'auto';
    if (typeof this.values.think !== 'boolean') this.values.think = null;
  }

  // "", or one line where the browser does not keep them; they count all the same.
  set(changes) {
    Object.assign(this.values, changes);
    try {
      this.storage.setItem(kSettings, JSON.stringify(this.values));
      return '';
    } catch (error) {
      return error.name === 'QuotaExceededError' ? 'The browser has no room left for settings.'
          : `The browser does not keep settings: ${error.message}`;
    }
  }

  // Of requests.
  request() {
    const {sampling, think, tools} = this.values;
    const body = {...sampling};
    if (think !== null) body.enable_thinking = think;
    if (tools.trim()) body.tools = parseTools(tools);
    return body;
  }
}

function accepts(name, value) {
  const field = kSampling.find((one) => one.name === name);
  return Boolean(field) && Number.isFinite(value) && value >= field.low && value <= field.high;
}

// A list of functions, {"type": "function", "function": {...}} or the inside. Throws what is wrong in one line.
export function parseTools(text) {
  let tools;
  try {
    tools = JSON.parse(text);
  } catch (error) {
    throw new Error(`Functions: expected JSON: ${error.message}`);
  }
  if (!Array.isArray(tools)) throw new Error('Functions: expected a list of functions, [{"name": ...}, ...].');
  return tools.map((tool, i) => {
    const inside = tool?.function ?? tool;
    if (typeof inside?.name !== 'string') throw new Error(`Functions: expected a name in number ${i + 1}, found none.`);
    return {type: 'function', function: inside};
  });
}

export class Keys {
  constructor(storage = browserStorage()) {
    this.storage = storage;
    this.key = '';
    try {
      this.key = storage.getItem(kKey) ?? '';
    } catch {
      // No storage: the key is asked for each time.
    }
  }
  get() {
    return this.key;
  }
  set(key) {
    this.key = key;
    try {
      if (key) this.storage.setItem(kKey, key);
      else this.storage.removeItem(kKey);
    } catch {
      // As above.
    }
  }
}
