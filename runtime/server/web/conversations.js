// A conversation is a tree: whoever edits a message or has an answer made anew begins a branch beside the old one, and
// nothing is lost. Pure functions over plain objects, which are also what is stored and exported:
//
//   conversation {id, title, created, changed, system, leaf, nodes: {id: node}}
//   node {id, parent, role: user | assistant | tool, content, created, changed, ...}
//     user       files: [{name, text}]
//     assistant  thoughts, thought_ms, calls: [{id, name, arguments}], finish, error, usage, timings, model
//     tool       call_id: of the call that it answers
//   Times are milliseconds since 1970. `leaf` is the last message of the branch that is shown; a parent of null is the
//   beginning.

export function newId() {
  return [...crypto.getRandomValues(new Uint32Array(4))].map((n) => n.toString(36).padStart(7, '0')).join('');
}

export function newConversation(system = '') {
  const now = Date.now();
  return {id: newId(), title: '', created: now, changed: now, system, leaf: null, nodes: {}};
}

// Adds a message behind `parent`, and shows its branch.
export function addNode(conversation, parent, fields) {
  const now = Math.max(Date.now(), conversation.changed + 1);  // later than all others: branches are in order
  const node = {id: newId(), parent, created: now, changed: now, content: '', ...fields};
  conversation.nodes[node.id] = node;
  conversation.leaf = node.id;
  conversation.changed = now;
  if (!conversation.title && node.role === 'user') conversation.title = titleOf(node);
  return node;
}

export function touch(conversation, node) {
  node.changed = conversation.changed = Math.max(Date.now(), node.changed + 1);
}

function titleOf(node) {
  const words = (node.content.trim() || node.files?.[0]?.name || '').replace(/\s+/g, ' ');
  return words.length > 60 ? `${words.slice(0, 59).trimEnd()}…` : words;
}

// The messages from the beginning to `leaf`.
export function pathTo(conversation, leaf = conversation.leaf) {
  const path = [];
  for (let node = conversation.nodes[leaf]; node; node = conversation.nodes[node.parent]) path.push(node);
  return path.reverse();
}

function childrenOf(conversation, parent) {
  return Object.values(conversation.nodes)
      .filter((node) => node.parent === parent)
      .sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
}

// A message and those that stand in its place on other branches, the oldest first.
export const siblingsOf = (conversation, node) => childrenOf(conversation, node.parent);

// Shows the branch through a message, down to the youngest message behind it.
export function showBranch(conversation, node) {
  for (let next = node; next; [next] = childrenOf(conversation, next.id).slice(-1)) conversation.leaf = next.id;
}

// What the model is given: OpenAI's messages up to `leaf`, files in front of the words about them.
export function messagesFor(conversation, leaf) {
  const messages = conversation.system.trim() ? [{role: 'system', content: conversation.system}] : [];
  for (const node of pathTo(conversation, leaf)) messages.push(messageOf(node));
  return messages;
}

function messageOf(node) {
  if (node.role === 'tool') return {role: 'tool', tool_call_id: node.call_id, content: node.content};
  if (node.role === 'user') {
    const parts = [...(node.files ?? []).map(fileText), node.content];
    return {role: 'user', content: parts.join('\n\n')};
  }
  const message = {role: 'assistant', content: node.content};
  if (node.thoughts) message.reasoning_content = node.thoughts;
  if (node.calls?.length)
    message.tool_calls = node.calls.map(({id, name, arguments: text}) =>
        ({id, type: 'function', function: {name, arguments: text || '{}'}}));
  return message;
}

// With a fence that the file's own do not close.
function fileText({name, text}) {
  const longest = (text.match(/`+/g) ?? []).reduce((most, run) => Math.max(most, run.length), 2);
  const fence = '`'.repeat(longest + 1);
  return `${name}:\n${fence}\n${text}${text.endsWith('\n') ? '' : '\n'}${fence}`;
}

// Two states of one conversation, as two tabs may have them: all messages of both, each as it was changed last; the
// rest from `mine`.
export function merged(mine, theirs) {
  const nodes = {...theirs.nodes};
  for (const node of Object.values(mine.nodes))
    if (!nodes[node.id] || nodes[node.id].changed <= node.changed) nodes[node.id] = node;
  return {...mine, nodes, changed: Math.max(mine.changed, theirs.changed)};
}
