// What can be done with conversations: no elements here, the views draw what this has.

import {Answering} from './answering.js';
import {addNode, messagesFor, newConversation, pathTo, showBranch, touch} from './conversations.js';
import {StorageError} from './storage.js';

const kBetweenSaves = 1000;  // milliseconds, while an answer comes

export class Chat extends EventTarget {
  // Events: `shown` (another conversation, or another branch of it), `grown` (an answer that is shown), `list` (of
  // titles), `ended` (detail: an answering), `keeping` (detail: whether something is not written yet), `trouble`
  // (detail: one line, or '' when it is over)
  constructor({server, connection, storage, settings}) {
    super();
    Object.assign(this, {server, connection, storage, settings});
    this.conversation = newConversation(settings.values.system);
    this.answerings = new Map();  // by the message that grows
    this.saves = new Map();       // by conversation: {saving, again, timer}
    this.titles = [];
    this.removed = new Set();
    this.trouble = '';
  }

  say(name, detail) {
    this.dispatchEvent(new CustomEvent(name, {detail}));
  }

  // --- Which conversation is shown.

  startNew() {
    this.conversation = newConversation(this.settings.values.system);
    this.say('shown');
    this.say('list');
  }

  // False: there is no such conversation (any more).
  async open(id) {
    const live = this.answering({id})?.conversation;
    const found = live ?? await this.attempt(() => this.storage.get(id));
    if (!found) return false;
    this.conversation = found;
    this.say('shown');
    this.say('list');
    return true;
  }

  async refreshList() {
    this.titles = await this.attempt(() => this.storage.list()) ?? this.titles;
    this.say('list');
  }

  // What another tab wrote. What this tab is answering is put together when it is kept.
  async changedElsewhere(id) {
    await this.refreshList();
    if (id !== this.conversation.id || this.isAnswering()) return;
    const found = await this.attempt(() => this.storage.get(id));
    if (id !== this.conversation.id || this.isAnswering()) return;
    if (!found) return this.startNew();
    for (const [id, node] of Object.entries(found.nodes)) {
      const shown = this.conversation.nodes[id];  // the same object where nothing has changed, so that its view stays
      if (shown?.changed === node.changed) found.nodes[id] = shown;
    }
    const leaf = found.nodes[this.conversation.leaf] ? this.conversation.leaf : found.leaf;
    const followed = pathTo(found).some((node) => node.id === leaf);  // the other tab went on from what is shown here
    this.conversation = {...found, leaf: followed ? found.leaf : leaf};
    this.say('shown');
  }

  isAnswering(conversation = this.conversation) {
    return this.answering(conversation) !== null;
  }

  answering({id} = this.conversation) {
    return [...this.answerings.values()].find(({conversation}) => conversation.id === id) ?? null;
  }

  // --- What is said.

  send(content, files = []) {
    const fields = {role: 'user', content, ...(files.length && {files})};
    const node = addNode(this.conversation, this.conversation.leaf, fields);
    return this.answer(node);
  }

  // An edited question begins a branch and is answered; an edited answer is another answer beside the model's.
  edit(node, content) {
    const fields = {role: node.role, content, ...(node.files && {files: node.files})};
    if (node.role === 'assistant') Object.assign(fields, {finish: 'edited', thoughts: node.thoughts});
    const edited = addNode(this.conversation, node.parent, fields);
    if (node.role === 'user') return this.answer(edited);
    this.shownAndKept();
  }

  again(node) {
    return this.answer(this.conversation.nodes[node.parent]);
  }

  // results: of each call of `node`
  giveResults(node, results) {
    let parent = node;
    node.calls.forEach((call, i) => {
      parent = addNode(this.conversation, parent.id, {role: 'tool', call_id: call.id, content: results[i]});
    });
    return this.answer(parent);
  }

  goOn(node) {
    return this.run(node, {messages: messagesFor(this.conversation, node.id), continue_final_message: true});
  }

  answer(behind) {
    const messages = messagesFor(this.conversation, behind.id);
    const node = addNode(this.conversation, behind.id, {role: 'assistant', thoughts: '', finish: null, error: ''});
    return this.run(node, {messages});
  }

  stop() {
    this.answering()?.stop();
  }

  async run(node, body) {
    const {conversation} = this;
    let settings = {};
    try {
      settings = this.settings.request();
    } catch (error) {
      Object.assign(node, {finish: 'error', error: error.message});
      return this.shownAndKept();
    }
    const answering = new Answering({
      conversation, node, server: this.server, connection: this.connection,
      changed: () => {
        touch(conversation, node);
        this.say('grown', answering);
        this.saveSoon(conversation);
      },
    });
    this.answerings.set(node.id, answering);
    this.shownAndKept();
    await answering.run({
      ...settings, ...body, stream: true, return_progress: true,
      stream_options: {include_usage: true, continuous_usage_stats: true},
    });
    this.answerings.delete(node.id);
    touch(conversation, node);
    this.say('ended', answering);
    this.shownAndKept(conversation);
  }

  showBranch(node) {
    showBranch(this.conversation, node);
    this.shownAndKept();
  }

  setSystem(text) {
    this.conversation.system = text;
    if (this.conversation.leaf) this.save(this.conversation);
  }

  // --- What is kept.

  shownAndKept(conversation = this.conversation) {
    if (conversation.id === this.conversation.id) this.say('shown');
    return this.save(conversation);
  }

  saveSoon(conversation) {
    const state = this.saveState(conversation);
    state.timer ??= setTimeout(() => this.save(conversation), kBetweenSaves);
  }

  saveState({id}) {
    if (!this.saves.has(id)) this.saves.set(id, {saving: null, again: false, timer: null});
    return this.saves.get(id);
  }

  // One at a time for each conversation; the last state is always written.
  save(conversation) {
    if (this.removed.has(conversation.id)) return Promise.resolve();
    const state = this.saveState(conversation);
    clearTimeout(state.timer);
    state.timer = null;
    if (state.saving) {
      state.again = true;
      return state.saving;
    }
    this.say('keeping', true);
    state.saving = this.write(conversation).finally(() => {
      state.saving = null;
      if (state.again) {
        state.again = false;
        return this.save(conversation);
      }
      this.say('keeping', [...this.saves.values()].some(({saving, timer}) => saving || timer));
    });
    return state.saving;
  }

  async write(conversation) {
    const before = Object.keys(conversation.nodes).length;
    const whole = await this.attemptToKeep(() => this.storage.put(conversation));
    if (!whole) return;
    Object.assign(conversation.nodes, whole.nodes);
    if (Object.keys(conversation.nodes).length !== before && conversation === this.conversation) this.say('shown');
    this.refreshList();
  }

  async rename(id, title) {
    const shown = id === this.conversation.id;
    const conversation = shown ? this.conversation : await this.attempt(() => this.storage.get(id));
    if (!conversation) return;
    conversation.title = title;
    conversation.changed = Math.max(Date.now(), conversation.changed);
    await this.shownAndKept(conversation);
  }

  async remove(ids) {
    for (const id of ids) this.removed.add(id);
    for (const answering of this.answerings.values())
      if (ids.includes(answering.conversation.id)) answering.stop();
    await this.attemptToKeep(async () => {
      await this.storage.remove(ids);
      return true;
    });
    if (ids.includes(this.conversation.id)) this.startNew();
    await this.refreshList();
  }

  async keepAll(conversations) {
    for (const conversation of conversations) {
      this.removed.delete(conversation.id);
      if (!await this.attemptToKeep(() => this.storage.put(conversation, {anew: true}))) return false;
    }
    await this.refreshList();
    return true;
  }

  // Undefined, and trouble is told, where the storage fails. It is over when something has been written.
  async attempt(act) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.setTrouble(error.message);
    }
  }

  async attemptToKeep(act) {
    const kept = await this.attempt(act);
    if (kept !== undefined) this.setTrouble('');
    return kept;
  }

  setTrouble(text) {
    if (text !== this.trouble) this.say('trouble', this.trouble = text);
  }
}
