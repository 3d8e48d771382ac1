// One answer while it comes: a message of a conversation (conversations.js) that grows, and what is to be told of it
// meanwhile.

import {readingProgress} from './numbers.js';
import {ServerError} from './server.js';
import {eventsOf} from './stream.js';

const kBroken = 'The connection ended in the middle of the answer.';
const kPatience = 3;  // times that a request is sent again to a server that says it is loading after all

export class Answering {
  // changed(): something is to be drawn or kept
  constructor({conversation, node, server, connection, changed}) {
    Object.assign(this, {conversation, node, server, connection, changed});
    this.abort = new AbortController();
    this.phase = 'waiting';  // for the server; 'queued', 'reading', 'thinking', 'answering'
    this.reading = null;     // readingProgress
    this.speed = 0;          // tokens per second, 0: not known yet
    this.tokens = 0;
    this.firstToken = 0;
  }

  stop() {
    this.abort.abort();
  }

  // Until the end, whichever it is: the message says which by `finish` and `error`. Throws nothing.
  async run(body) {
    const {node} = this;
    node.finish = null;
    node.error = '';
    try {
      for await (const data of eventsOf(await this.response(body))) {
        if (data === '[DONE]') return;
        this.take(JSON.parse(data));
        this.changed();
      }
      throw new ServerError(kBroken);
    } catch (error) {
      this.fail(error);
    } finally {
      this.endThoughts();
      node.finish ??= 'stopped';
      node.finish = node.error ? 'error' : node.finish;
    }
  }

  fail(error) {
    if (error.name === 'AbortError') return;
    this.connection.failed(error);
    this.node.error = error instanceof ServerError ? error.message
        : error instanceof TypeError ? kBroken : `The server's answer was not understood: ${error.message}`;
  }

  async response(body) {
    for (let attempt = 0;; ++attempt) {
      await this.connection.whenReady(this.abort.signal);
      this.become('queued');
      try {
        return await this.server.chat(body, this.abort.signal);
      } catch (error) {
        const again = error.code === 'model_loading' || error.status === 401;
        if (!again || attempt === kPatience) throw error;
        this.become('waiting');
        this.connection.failed(error);
      }
    }
  }

  become(phase) {
    if (phase === this.phase) return;
    this.phase = phase;
    this.changed();
  }

  take(event) {
    const {node} = this;
    if (event.error) throw new ServerError(event.error.message ?? 'The server broke the answer off.', 500);
    node.model = event.model ?? node.model;
    if (event.usage) this.count(event.usage);
    if (event.prompt_progress) {
      this.phase = 'reading';
      this.reading = readingProgress(event.prompt_progress);
    }
    if (event.timings) node.timings = event.timings;
    const [choice] = event.choices ?? [];
    if (!choice) return;
    this.delta(choice.delta ?? {});
    if (choice.finish_reason) node.finish = choice.finish_reason;
  }

  delta({reasoning_content: thoughts, content, tool_calls: calls}) {
    const {node} = this;
    if (thoughts) {
      this.phase = 'thinking';
      this.thinkingSince ??= Date.now() - (node.thought_ms ?? 0);
      node.thoughts = (node.thoughts ?? '') + thoughts;
      node.thought_ms = Date.now() - this.thinkingSince;
    }
    if (content || calls) {
      this.endThoughts();
      this.phase = 'answering';
    }
    if (content) node.content += content;
    for (const call of calls ?? []) {
      node.calls ??= [];
      const one = node.calls[call.index] ??= {id: '', name: '', arguments: ''};
      one.id = call.id ?? one.id;
      one.name = call.function?.name ?? one.name;
      one.arguments += call.function?.arguments ?? '';
    }
  }

  endThoughts() {
    if (this.thinkingSince !== undefined) this.node.thought_ms = Date.now() - this.thinkingSince;
    this.thinkingSince = undefined;
  }

  count(usage) {
    const {prompt_tokens: prompt, completion_tokens: said, prompt_tokens_details: details} = usage;
    this.node.usage = {prompt, said, cached: details?.cached_tokens ?? 0};
    const now = performance.now();
    if (said > 0 && this.firstToken === 0) [this.firstToken, this.tokensThen] = [now, said];
    if (now - this.firstToken > 300) this.speed = 1000 * (said - this.tokensThen) / (now - this.firstToken);
  }
}
