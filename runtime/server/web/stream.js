// Server-sent events (WHATWG HTML, 9.2) out of pieces of text, however they are cut.

const kLongest = 16 << 20;  // characters of an event: a server that sends more is not one of ours

export class EventParser {
  constructor() {
    this.rest = '';
    this.data = null;
    this.cut = false;  // the piece before ended with \r, and a \n may belong to it
  }

  // The data of the events that are complete with this piece. Comments and names are passed over.
  push(piece) {
    const events = [];
    let text = this.rest + piece;
    if (this.cut && piece.startsWith('\n') && !this.rest) text = text.slice(1);
    if (piece) this.cut = false;
    let from = 0;
    for (;;) {
      const found = /\r\n|\n|\r/g;
      found.lastIndex = from;
      const end = found.exec(text);
      if (!end) break;
      this.line(text.slice(from, end.index), events);
      from = end.index + end[0].length;
      if (end[0] === '\r' && from === text.length) this.cut = true;
    }
    this.rest = text.slice(from);
    if (this.rest.length + (this.data?.length ?? 0) > kLongest) throw new Error('the server sent an event without end');
    return events;
  }

  line(line, events) {
    if (line === '') {
      if (this.data !== null) events.push(this.data);
      this.data = null;
    } else if (line.startsWith('data:')) {
      const value = line.slice(line[5] === ' ' ? 6 : 5);
      this.data = this.data === null ? value : `${this.data}\n${value}`;
    }
  }
}

// The events of a response, as they come.
export async function* eventsOf(response) {
  const parser = new EventParser();
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const {done, value} = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, {stream: true}));
    }
  } finally {
    reader.cancel().catch(() => {});  // whoever stops listening has the server stop
  }
}
