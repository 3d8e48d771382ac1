import {checkedConversation, exported, imported} from '../checked.js';
import {addNode, newConversation} from '../conversations.js';
import {check, equal, refused, test} from './check.js';

function talk() {
  const conversation = newConversation('system');
  const question = addNode(conversation, null, {role: 'user', content: 'Hi', files: [{name: 'a', text: 'b'}]});
  const answer = addNode(conversation, question.id, {
    role: 'assistant', content: 'x', thoughts: 'y', thought_ms: 5, calls: [{id: 'i', name: 'f', arguments: '{}'}],
    finish: 'tool_calls', error: '', model: 'm', usage: {prompt: 3}, timings: {predicted_n: 4}});
  addNode(conversation, answer.id, {role: 'tool', content: '3', call_id: 'i'});
  return conversation;
}

const file = (conversation) => JSON.stringify({format: 'hearth-conversations', version: 1, conversations: [conversation]});

test('what was exported is imported as it was', () => {
  const all = [talk(), newConversation()];
  const sorted = (value) => JSON.stringify(value, (key, one) =>
      (one && one.constructor === Object ? Object.fromEntries(Object.entries(one).sort()) : one));
  equal(sorted(imported(exported(all))), sorted(all));
});

test('files that are none are refused in one line', async () => {
  for (const [text, words] of [
    ['', 'found no JSON'], ['[]', 'found another one'], ['null', 'found another one'],
    ['{"format":"hearth-conversations","conversations":{}}', 'found another one'],
    ['{"format":"hearth-conversations","version":2,"conversations":[]}', 'found version 2'],
    [file(null), 'expected messages'], [file({nodes: []}), 'expected messages'], [file({nodes: 3}), 'expected messages'],
    [file({nodes: {a: {id: 'b', role: 'user'}}}), 'an id and a role'],
    [file({nodes: {a: {id: 'a', role: 'root'}}}), 'an id and a role'],
    ['{"format":"hearth-conversations","version":1,"conversations":[{"nodes":{"__proto__":{"id":"__proto__","role":"user"}}}]}', 'an id and a role'],
    [file({nodes: {a: {id: 'a', role: 'user', parent: 'gone'}}}), 'not there'],
    [file({nodes: {a: {id: 'a', role: 'user', parent: 'a'}}}), 'circle'],
    [file({nodes: {a: {id: 'a', role: 'user', parent: 'b'}, b: {id: 'b', role: 'user', parent: 'a'}, c: {id: 'c', role: 'user', parent: 'b'}}}), 'circle'],
  ])
    await refused(() => imported(text), words);
});

test('only what is known is taken over, each of its type', () => {
  const odd = checkedConversation({
    id: '<b>', title: 7, created: 'x', changed: -1, leaf: 'nobody', system: {}, onload: 'evil',
    nodes: {a: {id: 'a', role: 'assistant', content: ['x'], parent: null, evil: 1, usage: {prompt: '5', said: 2}, calls: [null], thought_ms: 'x'}},
  }, 0);
  check(!('onload' in odd) && odd.id !== '<b>' && odd.leaf === 'a' && odd.title === '' && odd.system === '');
  const node = odd.nodes.a;
  check(!('evil' in node) && node.content === '' && node.thought_ms === 0);
  equal(node.usage, {said: 2});
  equal(node.calls, [{id: '', name: '', arguments: ''}]);
  check(odd.created > 1e12 && odd.changed > 1e12);
});

test('a long conversation is looked at in time', () => {
  const nodes = {};
  for (let i = 0; i < 20000; ++i) nodes[`n${i}`] = {id: `n${i}`, role: 'user', content: 'x', parent: i ? `n${i - 1}` : null};
  let best = Infinity;  // of a few: the machine may have been busy with something else
  for (let i = 0; i < 5 && best >= 2000; ++i) {
    const began = performance.now();
    checkedConversation({nodes}, 0);
    best = Math.min(best, performance.now() - began);
  }
  check(best < 2000, `${best} ms`);
});
