import {EventParser, eventsOf} from '../stream.js';
import {equal, refused, test} from './check.js';

const kStream = 'data: {"a":1}\n\n: ping\n\nevent: x\ndata: one\ndata: two\r\n\r\ndata:no blank\r\rid: 3\ndata: \n\ndata: é\n\nrest';
const kEvents = ['{"a":1}', 'one\ntwo', 'no blank', '', 'é'];

test('events, however they are cut', () => {
  for (let a = 0; a <= kStream.length; ++a)
    for (let b = a; b <= kStream.length; b += 3) {
      const parser = new EventParser();
      const found = [kStream.slice(0, a), kStream.slice(a, b), kStream.slice(b)].flatMap((piece) => parser.push(piece));
      equal(found, kEvents);
    }
});

test('characters of several bytes are whole', async () => {
  const bytes = new TextEncoder().encode(kStream);
  const body = new ReadableStream({
    start(controller) {
      for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
      controller.close();
    },
  });
  const found = [];
  for await (const data of eventsOf(new Response(body))) found.push(data);
  equal(found, kEvents);
});

test('an event without end is refused', async () => {
  const parser = new EventParser();
  await refused(() => { for (;;) parser.push('data: ' + 'x'.repeat(4 << 20)); }, 'without end');
});
