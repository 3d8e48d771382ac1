// Files of conversations, written and read. What is read may be anything: only what is known is taken over, each of its
// type, and what is none of ours is refused in one line.

import {newId} from './conversations.js';

const kFormat = 'hearth-conversations';
export const kMostImported = 64 << 20;  // bytes of a file

export class BadFile extends Error {}

export function exported(conversations) {
  return JSON.stringify({format: kFormat, version: 1, exported: new Date().toISOString(), conversations}, null, 1);
}

export function imported(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new BadFile('Expected a file that this page exported, found no JSON.');
  }
  if (file?.format !== kFormat || !Array.isArray(file.conversations))
    throw new BadFile(`Expected a file that this page exported ("format": "${kFormat}"), found another one.`);
  if (file.version !== 1)
    throw new BadFile(`Expected a file of version 1, found version ${quoted(file.version ?? null)}.`);
  return file.conversations.map(checkedConversation);
}

const quoted = (value) => JSON.stringify(value).slice(0, 40);
const text = (value) => (typeof value === 'string' ? value : '');
const time = (value) => (Number.isFinite(value) && value > 0 ? value : Date.now());
const isId = (value) => typeof value === 'string' && /^[\w-]{1,64}$/.test(value) && value !== '__proto__';

export function checkedConversation(value, number) {
  const which = `Conversation ${number + 1}`;
  if (!value || typeof value.nodes !== 'object' || value.nodes === null || Array.isArray(value.nodes))
    throw new BadFile(`${which}: expected messages, found none.`);
  const nodes = {};
  for (const [id, node] of Object.entries(value.nodes)) {
    if (!isId(id) || node?.id !== id || !['user', 'assistant', 'tool'].includes(node.role))
      throw new BadFile(`${which}: expected a message with an id and a role, found ${quoted(id)}.`);
    nodes[id] = checkedNode(node);
  }
  for (const node of Object.values(nodes))
    if (node.parent !== null && !Object.hasOwn(nodes, node.parent))
      throw new BadFile(`${which}: message ${node.id} answers one that is not there.`);
  refuseCircles(nodes, which);
  const leaf = isId(value.leaf) && Object.hasOwn(nodes, value.leaf) ? value.leaf : Object.keys(nodes).pop() ?? null;
  return {
    id: isId(value.id) ? value.id : newId(), title: text(value.title).slice(0, 200), created: time(value.created),
    changed: time(value.changed), system: text(value.system), leaf, nodes,
  };
}

// Every message is reached from a beginning. One walk over all of them.
function refuseCircles(nodes, which) {
  const known = new Set();
  for (const start of Object.values(nodes)) {
    const way = [];
    let node = start;
    for (; node && !known.has(node.id); node = nodes[node.parent]) {
      known.add(node.id);
      way.push(node.id);
    }
    if (node && way.includes(node.id)) throw new BadFile(`${which}: messages answer each other in a circle.`);
  }
}

function checkedNode(node) {
  const out = {
    id: node.id, parent: isId(node.parent) ? node.parent : null, role: node.role, content: text(node.content),
    created: time(node.created), changed: time(node.changed),
  };
  if (node.role === 'user' && Array.isArray(node.files))
    out.files = node.files.map((file) => ({name: text(file?.name).slice(0, 200), text: text(file?.text)}));
  if (node.role === 'tool') out.call_id = text(node.call_id);
  if (node.role !== 'assistant') return out;
  out.thoughts = text(node.thoughts);
  out.thought_ms = Number.isFinite(node.thought_ms) ? node.thought_ms : 0;
  if (Array.isArray(node.calls))
    out.calls = node.calls.map(checkedCall);
  out.finish = text(node.finish) || 'stopped';
  out.error = text(node.error);
  out.model = text(node.model);
  for (const key of ['usage', 'timings']) out[key] = numbersOf(node[key]);
  return out;
}

function checkedCall(call) {
  return {id: text(call?.id), name: text(call?.name), arguments: text(call?.arguments)};
}

// {name: number}, nothing else.
function numbersOf(value) {
  const entries = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  return Object.fromEntries(entries.filter(([, number]) => Number.isFinite(number)));
}
