// One message of a conversation, drawn by `update`. An answer that grows keeps its view, and only what is new is drawn.

import {count, duration, percent, readingText, speed, tokens} from './numbers.js';
import {announce, copyText, element, icon, iconButton} from './dom.js';
import {siblingsOf} from './conversations.js';
import {codeNode, GrowingMarkdown} from './render.js';

const kWho = {user: 'You', assistant: 'Model', tool: 'Result'};

// act: {edit, again, goOn, showBranch, giveResults}, each of a message
export class MessageView {
  constructor(conversation, node, act, {last}) {
    Object.assign(this, {conversation, node, act, last});
    this.body = element('div.body');
    this.foot = element('div.foot');
    this.element = element(`article.message.${node.role}`, {'aria-label': kWho[node.role], 'data-id': node.id},
                           element('h2.visually-hidden', {}, kWho[node.role]), this.body, this.foot);
    if (node.role === 'assistant') this.makeAnswer();
    else this.makeWords();
  }

  makeWords() {
    const {node} = this;
    for (const {name, text} of node.files ?? []) {
      const summary = element('summary', {}, icon('file'), `${name}, ${count(text.length)} characters`);
      this.body.append(element('details.file', {}, summary, codeNode({language: name, text})));
    }
    if (node.role === 'tool') this.body.append(folded('tool', 'Result of the call', codeNode({text: node.content})));
    else if (node.content) this.body.append(element('div.words', {dir: 'auto'}, node.content));
  }

  makeAnswer() {
    this.thoughts = folded('thought', '', element('div.prose'));
    this.thoughts.classList.add('thoughts');
    this.thoughtText = new GrowingMarkdown(this.thoughts.querySelector('.prose'));
    this.thoughtSummary = this.thoughts.querySelector('summary span');
    // What is folded is drawn when it is opened.
    this.thoughts.addEventListener('toggle', () => this.drawThoughts(!this.answering));
    this.prose = element('div.prose');
    this.text = new GrowingMarkdown(this.prose);
    this.calls = element('div.calls');
    this.state = element('p.state');
    this.body.append(this.thoughts, this.prose, this.calls, this.state);
  }

  // answering: while it grows, else null
  update(answering) {
    this.answering = answering;
    if (this.node.role === 'assistant') this.drawAnswer();
    this.element.setAttribute('aria-busy', answering ? 'true' : 'false');
    this.drawFoot();
  }

  // Only where something is different: a button may have the focus.
  drawFoot() {
    const {node, answering, last} = this;
    const siblings = siblingsOf(this.conversation, node).map(({id}) => id);
    const key = answering ? '' : JSON.stringify([siblings, last, canGoOn(node), figures(node)]);
    if (key === this.footKey) return;
    this.footKey = key;
    this.foot.replaceChildren(...(answering ? [] : this.footParts()));
  }

  drawAnswer() {
    const {node, answering} = this;
    this.thoughts.hidden = !node.thoughts;
    const seconds = duration((node.thought_ms ?? 0) / 1000);
    const thinking = answering?.phase === 'thinking';
    setText(this.thoughtSummary, thinking ? `Thinking, ${seconds}` : `Thought for ${seconds}`);
    this.drawThoughts(!answering);
    draw(this.text, node.content, !answering);
    this.drawCalls();
    this.drawState();
  }

  drawThoughts(whole) {
    if (this.node.thoughts && this.thoughts.open) draw(this.thoughtText, this.node.thoughts, whole);
  }

  drawCalls() {
    const calls = this.node.calls ?? [];
    const shown = JSON.stringify([calls, Boolean(this.answering)]);
    if (shown === this.shownCalls) return;
    this.shownCalls = shown;
    const open = [...this.calls.querySelectorAll('details')].map((one) => one.open);
    this.calls.replaceChildren(...calls.map((call, i) => {
      const made = folded('tool', `Calls ${call.name}`, codeNode({language: 'json', text: pretty(call.arguments)}));
      made.open = open[i] ?? false;
      return made;
    }));
    if (calls.length && this.last && !this.answering && !this.node.error) this.calls.append(this.resultForm(calls));
  }

  // What the functions returned is the user's to say: the page runs none.
  resultForm(calls) {
    const fields = calls.map((call, i) => {
      const id = `result-${this.node.id}-${i}`;
      const field = element('textarea', {id, rows: 2, required: true});
      return [element('label', {for: id}, `What ${call.name} returned`), field];
    });
    const form = element('form.results', {}, fields, element('button.primary', {type: 'submit'}, 'Send results'));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.act.giveResults(this.node, [...form.querySelectorAll('textarea')].map((area) => area.value));
    });
    return form;
  }

  drawState() {
    const {node, answering, state} = this;
    const text = answering ? doing(answering) : ending(node);
    state.hidden = !text;
    state.classList.toggle('bad', Boolean(node.error));
    if (node.error && !answering) state.setAttribute('role', 'alert');
    else state.removeAttribute('role');
    if (answering?.phase === 'reading' && answering.reading) {
      this.bar ??= element('progress', {max: 1, 'aria-label': 'Reading of the prompt'});
      this.bar.value = answering.reading.share;
      if (this.bar.parentNode !== state) state.replaceChildren(element('span'), this.bar);
      setText(state.firstChild, text);
    } else {
      setText(state, text);
    }
  }

  footParts() {
    const {node, act} = this;
    const parts = [this.branches()];
    const add = (name, label, run) => parts.push(iconButton(name, label, run));
    if (node.role !== 'tool') {
      add('copy', 'Copy message', () => this.copy());
      add('edit', 'Edit message', () => this.edit());
    }
    if (node.role === 'assistant') {
      add('again', 'Answer again', () => act.again(node));
      if (this.last && canGoOn(node)) add('onward', 'Continue the answer', () => act.goOn(node));
      parts.push(element('span.figures.faint', {}, figures(node)));
    }
    return parts.filter(Boolean);
  }

  branches() {
    const all = siblingsOf(this.conversation, this.node);
    if (all.length < 2) return null;
    const at = all.findIndex((one) => one.id === this.node.id);
    const to = (other, name, label) =>
        iconButton(name, label, () => this.act.showBranch(other, name), {disabled: !other});
    const words = {'aria-label': `Branch ${at + 1} of ${all.length}`, role: 'img'};
    return element('span.branches', {role: 'group', 'aria-label': 'Branches'},
                   to(all[at - 1], 'left', 'Branch before'), element('span', words, `${at + 1} / ${all.length}`),
                   to(all[at + 1], 'right', 'Branch behind'));
  }

  async copy() {
    try {
      await copyText(this.node.content);
      announce('Message copied');
    } catch (error) {
      announce(error.message);
    }
  }

  edit() {
    if (this.element.querySelector('form.editor')) return;
    const area = element('textarea', {'aria-label': 'Edited message', rows: 3});
    area.value = this.node.content;
    const close = () => {
      form.remove();
      this.body.hidden = this.foot.hidden = false;
      this.foot.querySelector('[aria-label="Edit message"]')?.focus();
    };
    const verb = this.node.role === 'user' ? 'Send' : 'Keep';
    const buttons = element('div.bar', {}, element('button', {type: 'button', onclick: close}, 'Cancel'),
                            element('button.primary', {type: 'submit'}, verb));
    const form = element('form.editor', {}, area, buttons);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (area.value.trim() || this.node.files) this.act.edit(this.node, area.value);
    });
    form.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') {
        event.preventDefault();
        close();
      } else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && event.target === area &&
                 this.node.role === 'user') {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    this.body.hidden = this.foot.hidden = true;
    this.body.after(form);
    area.style.height = `${Math.min(area.scrollHeight + 4, 400)}px`;
    area.focus();
  }
}

function draw(growing, text, whole) {
  if (growing.drawn === text && growing.whole === whole) return;
  growing.update(text);
  if (whole) growing.finish(text);
  Object.assign(growing, {drawn: text, whole});
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function folded(name, words, ...inside) {
  return element('details', {}, element('summary', {}, icon(name), element('span', {}, words)), inside);
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text || '{}'), null, 2);
  } catch {
    return text;  // cut short
  }
}

export function doing(answering) {
  switch (answering.phase) {
    case 'waiting': return 'Waiting for the model';
    case 'queued': return 'Waiting for its turn';
    case 'reading': return readingText(answering.reading);
    default: return '';
  }
}

function ending(node) {
  if (node.error) return node.error;
  if (node.finish === 'length') return 'Cut short: the limit of tokens, or the end of the context, was reached.';
  if (node.finish === 'stopped') return 'Stopped.';
  return '';
}

const canGoOn = (node) => ['length', 'stopped', 'error', 'edited', null].includes(node.finish ?? null) &&
    Boolean(node.content || node.thoughts) && !node.calls?.length;

// "42 tokens, 23.4 tok/s; read 120 at 210 tok/s, 80 reused"
function figures({timings, usage}) {
  if (!timings?.predicted_n) return usage?.said ? tokens(usage.said) : '';
  const said = `${tokens(timings.predicted_n)}, ${speed(timings.predicted_per_second)}`;
  const all = timings.prompt_n + timings.cache_n;
  const reused = timings.cache_n > 0 ? `, ${percent(timings.cache_n / all)} reused` : '';
  return `${said}; prompt ${count(all)}${reused}`;
}
