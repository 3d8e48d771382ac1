// What the page asks the server, and what it makes of its answers.

import {parseMetrics} from './metrics.js';

// message: one line for people.  status: of HTTP; 0: nobody answered.  code: the server's own word, or ''.
export class ServerError extends Error {
  constructor(message, status = 0, code = '') {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const kNobody = 'The server does not answer. Is it running?';

export class Server {
  // keys: {get(), set(key)}, where the key is kept
  constructor(keys) {
    this.keys = keys;
  }

  // {ready, progress}. By /metrics, which is there from the beginning: /health answers 503 while the model loads, and
  // browsers write that into their consoles as an error.
  async status() {
    const samples = parseMetrics(await this.metrics());
    return {ready: samples.get('hearth_ready') === 1, progress: samples.get('hearth_loading_progress') ?? 0};
  }

  async properties() {
    return (await this.ask('props')).json();
  }

  async metrics() {
    return (await this.ask('metrics')).text();
  }

  // The response whose body is the stream.
  chat(body, signal) {
    return this.ask('v1/chat/completions', {
      method: 'POST',
      headers: {'Content-Type': 'application/json'},
      body: JSON.stringify(body),
      signal,
    });
  }

  async ask(path, options = {}) {
    const response = await this.fetch(path, options);
    if (!response.ok) throw await refusalOf(response);
    return response;
  }

  async fetch(path, options = {}) {
    const key = this.keys.get();
    const headers = {...options.headers, ...(key && {Authorization: `Bearer ${key}`})};
    try {
      return await fetch(new URL(path, document.baseURI), {...options, headers, cache: 'no-store'});
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      if (error.message.includes('ISO-8859-1')) throw new ServerError('A key has only plain characters.', 401);
      throw new ServerError(kNobody);
    }
  }
}

async function refusalOf(response) {
  const text = await response.text().catch(() => '');
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // No JSON: somebody between here and the server answered.
  }
  const message = typeof error.message === 'string' ? error.message : `The server answered ${response.status}.`;
  return new ServerError(message, response.status, String(error.code ?? ''));
}
