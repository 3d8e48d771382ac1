import {addNode, merged, messagesFor, newConversation, pathTo, showBranch, siblingsOf, touch} from '../conversations.js';
import {check, equal, test} from './check.js';

function talk() {
  const conversation = newConversation('Be short.');
  const question = addNode(conversation, null, {role: 'user', content: 'Hi'});
  const answer = addNode(conversation, question.id, {role: 'assistant', content: 'Hello'});
  return {conversation, question, answer};
}

const said = (conversation) => pathTo(conversation).map(({content}) => content);

test('branches', () => {
  const {conversation, question, answer} = talk();
  const more = addNode(conversation, answer.id, {role: 'user', content: 'More'});
  const other = addNode(conversation, question.id, {role: 'assistant', content: 'Good day'});
  equal(said(conversation), ['Hi', 'Good day']);
  equal(siblingsOf(conversation, answer).map(({id}) => id), [answer.id, other.id]);
  showBranch(conversation, answer);
  equal(said(conversation), ['Hi', 'Hello', 'More']);
  equal(conversation.leaf, more.id);
  const edited = addNode(conversation, null, {role: 'user', content: 'Hey'});
  equal(said(conversation), ['Hey']);
  equal(siblingsOf(conversation, edited).length, 2);
  showBranch(conversation, question);
  equal(said(conversation), ['Hi', 'Good day']);
});

test('titles', () => {
  equal(talk().conversation.title, 'Hi');
  const long = newConversation();
  addNode(long, null, {role: 'user', content: 'word\n'.repeat(30)});
  check(long.title.length <= 60 && long.title.endsWith('…') && !long.title.includes('\n'));
  const file = newConversation();
  addNode(file, null, {role: 'user', content: '', files: [{name: 'a.txt', text: ''}]});
  equal(file.title, 'a.txt');
});

test('what the model is given', () => {
  const {conversation, question, answer} = talk();
  question.files = [{name: 'a.md', text: 'x\n```\ny'}];
  Object.assign(answer, {thoughts: 'so', calls: [{id: 'c1', name: 'f', arguments: ''}]});
  addNode(conversation, answer.id, {role: 'tool', call_id: 'c1', content: '3'});
  equal(messagesFor(conversation, conversation.leaf), [
    {role: 'system', content: 'Be short.'},
    {role: 'user', content: 'a.md:\n````\nx\n```\ny\n````\n\nHi'},
    {role: 'assistant', content: 'Hello', reasoning_content: 'so',
     tool_calls: [{id: 'c1', type: 'function', function: {name: 'f', arguments: '{}'}}]},
    {role: 'tool', tool_call_id: 'c1', content: '3'},
  ]);
  conversation.system = ' ';
  equal(messagesFor(conversation, question.id).length, 1);
});

test('two tabs: every message of both, each as it was changed last', () => {
  const {conversation, question, answer} = talk();
  const other = structuredClone(conversation);
  addNode(conversation, answer.id, {role: 'user', content: 'from here'});
  addNode(other, answer.id, {role: 'user', content: 'from there'});
  other.nodes[answer.id].content = 'Hello, longer';
  touch(other, other.nodes[answer.id]);
  const both = merged(conversation, other);
  equal(Object.keys(both.nodes).length, 4);
  equal(both.nodes[answer.id].content, 'Hello, longer');
  equal(both.leaf, conversation.leaf);
  check(both.nodes[question.id] === question, 'the same object');
});
