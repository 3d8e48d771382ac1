import {addNode, newConversation} from '../conversations.js';
import {Storage} from '../storage.js';
import {check, equal, refused, test} from './check.js';

function talk(text = 'Hi') {
  const conversation = newConversation();
  addNode(conversation, null, {role: 'user', content: text});
  return conversation;
}

test('what is kept is there again; the youngest stands first', async () => {
  const storage = new Storage(() => {}, 'one');
  const old = talk('old'), young = talk('young');
  young.changed += 1000;
  await storage.put(old);
  await storage.put(young);
  equal((await storage.list()).map(({title}) => title), ['young', 'old']);
  equal(await storage.get(old.id), old);
  equal((await storage.all()).length, 2);
  await storage.remove([old.id]);
  equal(await storage.get(old.id), undefined);
  equal((await storage.list()).length, 1);
});

test('two tabs: nothing is lost, each hears of the other, and what one deleted stays deleted', async () => {
  let heard;
  const next = () => new Promise((resolve) => { heard = resolve; });
  const one = new Storage(() => {}, 'two'), other = new Storage((id) => heard(id), 'two');
  const conversation = talk();
  let told = next();
  await one.put(conversation);
  equal(await told, conversation.id);
  const copy = await other.get(conversation.id);
  addNode(conversation, conversation.leaf, {role: 'assistant', content: 'here'});
  addNode(copy, copy.leaf, {role: 'assistant', content: 'there'});
  await one.put(conversation);
  const whole = await other.put(copy);
  equal(Object.values(whole.nodes).map(({content}) => content).sort(), ['Hi', 'here', 'there']);
  equal(Object.keys((await one.get(conversation.id)).nodes).length, 3);
  await one.remove([conversation.id]);
  await refused(() => other.put(copy), 'deleted in another tab');
  equal(await one.get(conversation.id), undefined);
});

test('a browser that keeps nothing says so', async () => {
  const storage = new Storage(() => {}, 'three');
  storage.database = {transaction() { throw new DOMException('no', 'InvalidStateError'); }};
  await refused(() => storage.list(), 'does not keep conversations');
  check(true);
});
