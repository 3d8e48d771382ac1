// Markdown within a line: text into a tree of plain objects, {kind, text} or {kind, children}.
//
// Kinds: text, code, math (its source, without the marks around it), break, em, strong, strike, link (href, children).
// HTML is text like any other. In time linear in the text: what searches ahead has a limit, and nesting ends at
// kDeepest.

export const kDeepest = 24;
const kFarthest = 2000;  // characters that an address, a title or a formula in a line may have
// "(address)" or "(address "title")", behind "]". One parenthesis within another may be part of the address.
const kTarget = new RegExp([
  String.raw`^\(\s{0,4}`,
  String.raw`(?:<([^<>\n]*)>|([^\s()]*(?:\([^\s()]*\)[^\s()]*)*))`,
  String.raw`(?:\s{1,4}(?:"[^"]*"|'[^']*'))?\s{0,4}\)`,
].join(''));
const kPunctuation = /[!-/:-@[-`{-~]/;

// The address, as the browser has it, if it is one that may be followed: absolute, http or https, without a name in
// front of the host, which serves to look like another one.
export function safeAddress(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  return (url.protocol === 'http:' || url.protocol === 'https:') && !url.username && !url.password ? url.href : null;
}

export function parseInline(text) {
  return new InlineParser(text).parse();
}

class InlineParser {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.nodes = [];  // of the whole text; delimiters and brackets among them until they have found their partners
    this.plain = '';
    this.brackets = [];  // indices into nodes
    this.ticks = null;   // where runs of backticks are, by length
  }

  parse() {
    while (this.at < this.text.length) this.step();
    this.flush();
    return finish(emphasize(this.nodes));
  }

  flush() {
    if (this.plain) this.nodes.push({kind: 'text', text: this.plain, depth: 0});
    this.plain = '';
  }

  push(node) {
    this.flush();
    this.nodes.push({depth: 0, ...node});
  }

  take(length) {
    this.plain += this.text.substr(this.at, length);
    this.at += length;
  }

  step() {
    const special = /[\\`$*_~[\]!<\nh]/g;
    special.lastIndex = this.at;
    const found = special.exec(this.text);
    const next = found ? found.index : this.text.length;
    if (next > this.at) return this.take(next - this.at);
    switch (this.text[this.at]) {
      case '\\': return this.backslash();
      case '`': return this.code();
      case '$': return this.dollar();
      case '*': case '_': case '~': return this.delimiter();
      case '!': return this.text[this.at + 1] === '[' ? this.openBracket(2) : this.take(1);
      case '[': return this.openBracket(1);
      case ']': return this.closeBracket();
      case '<': return this.angle();
      case 'h': return this.bareAddress();
      default:
        this.plain = this.plain.trimEnd();
        this.push({kind: 'break'});
        this.at++;
        while (this.text[this.at] === ' ') this.at++;
    }
  }

  backslash() {
    const next = this.text[this.at + 1];
    if (next === '(' && this.math('\\(', '\\)', false)) return;
    if (next === '[' && this.math('\\[', '\\]', true)) return;
    if (next !== undefined && kPunctuation.test(next)) {
      this.plain += next;
      this.at += 2;
    } else {
      this.take(1);
    }
  }

  math(open, close, display) {
    const from = this.at + open.length;
    const end = this.text.slice(from, from + kFarthest).indexOf(close);
    if (end < 1) return false;
    this.push({kind: 'math', text: this.text.slice(from, from + end).trim(), display});
    this.at = from + end + close.length;
    return true;
  }

  // $x$ is a formula where no blank is inside the marks and no digit behind them: prices are none.
  dollar() {
    if (this.text[this.at + 1] === '$') return this.math('$$', '$$', true) || this.take(2);
    const ahead = this.text.slice(this.at, this.at + kFarthest);
    const found = /^\$(?![\s$])[^$\n]*[^\s$\\]\$(?!\d)/.exec(ahead) ?? /^\$[^\s$\\]\$(?!\d)/.exec(ahead);
    if (!found) return this.take(1);
    this.push({kind: 'math', text: found[0].slice(1, -1), display: false});
    this.at += found[0].length;
  }

  code() {
    this.ticks ??= runsOfTicks(this.text);
    let length = 1;
    while (this.text[this.at + length] === '`') length++;
    const runs = this.ticks.get(length) ?? [];
    while (runs.length && runs[runs.length - 1] <= this.at) runs.pop();  // sorted from the last to the first
    const end = runs[runs.length - 1];
    if (end === undefined) return this.take(length);
    let inside = this.text.slice(this.at + length, end).replace(/\n/g, ' ');
    if (/^ .* $/.test(inside) && inside.trim()) inside = inside.slice(1, -1);
    this.push({kind: 'code', text: inside});
    this.at = end + length;
  }

  delimiter() {
    const mark = this.text[this.at];
    let length = 1;
    while (this.text[this.at + length] === mark) length++;
    if (mark === '~' && length !== 2) return this.take(length);
    const before = this.text[this.at - 1] ?? ' ', after = this.text[this.at + length] ?? ' ';
    const left = flanks(before, after), right = flanks(after, before);
    const word = mark === '_';  // an underscore inside a word is part of it
    this.push({
      kind: 'delimiter', mark, length,
      opens: left && (!word || !right || kPunctuation.test(before)),
      closes: right && (!word || !left || kPunctuation.test(after)),
    });
    this.at += length;
  }

  openBracket(length) {
    this.push({kind: 'bracket', text: this.text.substr(this.at, length), active: true});
    this.brackets.push(this.nodes.length - 1);
    this.at += length;
  }

  // [words](address "title") and ![words](address): a picture is a link to it, as the page loads nothing from
  // elsewhere.
  closeBracket() {
    this.flush();
    const index = this.brackets.pop();
    const bracket = this.nodes[index];
    const target = bracket?.active ? this.target() : null;
    if (!target) return this.take(1);
    const children = finish(emphasize(this.nodes.splice(index).slice(1)));
    const image = bracket.text === '![';
    if (image) children.unshift({kind: 'text', text: 'Picture: '});
    const href = safeAddress(target.address);
    if (href) {
      this.push({kind: 'link', href, children, depth: 1 + depthOf(children)});
    } else {  // what may not be followed is shown as it was written, behind its words
      for (const child of children) this.nodes.push(child);
      this.plain += ` (${target.address})`;
    }
    if (!image) for (const other of this.brackets) this.nodes[other].active = false;  // no link within a link
    this.at = target.end;
  }

  target() {
    const from = this.at + 1;
    const ahead = this.text.slice(from, from + kFarthest);
    const found = kTarget.exec(ahead);
    if (!found) return null;
    return {address: found[1] ?? found[2], end: from + found[0].length};
  }

  angle() {
    const found = /^<(https?:\/\/[^\s<>]+)>/i.exec(this.text.slice(this.at, this.at + kFarthest));
    const href = found && safeAddress(found[1]);
    if (!href) return this.take(1);
    this.push({kind: 'link', href, children: [{kind: 'text', text: found[1]}], depth: 1});
    this.at += found[0].length;
  }

  bareAddress() {
    const before = this.text[this.at - 1];
    const found = (before === undefined || !/[\p{L}\p{N}]/u.test(before)) &&
        /^https?:\/\/[^\s<>"'`*\]|\\]+/.exec(this.text.slice(this.at, this.at + kFarthest));
    const shown = found && withoutEnd(found[0]);
    const href = found && safeAddress(shown);
    if (!href) return this.take(1);
    this.push({kind: 'link', href, children: [{kind: 'text', text: shown}], depth: 1});
    this.at += shown.length;
  }
}

// Full stops and the like behind an address are the sentence's, as is a parenthesis that the address did not open.
function withoutEnd(address) {
  let end = address.length;
  let open = 0;
  for (const c of address) open += c === '(' ? 1 : c === ')' ? -1 : 0;
  for (;; end--) {
    const last = address[end - 1];
    if (last === ')' && open < 0)
      open++;
    else if (!'.,;:!?*_~'.includes(last))
      return address.slice(0, end);
  }
}

function runsOfTicks(text) {
  const runs = new Map();
  for (const {0: run, index} of text.matchAll(/`+/g)) {
    if (!runs.has(run.length)) runs.set(run.length, []);
    runs.get(run.length).push(index);
  }
  for (const positions of runs.values()) positions.reverse();
  return runs;
}

// CommonMark's left-flanking, for a run between these two characters.
function flanks(before, after) {
  if (/\s/.test(after)) return false;
  return !/[\p{P}\p{S}]/u.test(after) || /[\s\p{P}\p{S}]/u.test(before);
}

const depthOf = (nodes) => nodes.reduce((most, node) => Math.max(most, node.depth ?? 0), 0);

// Pairs of delimiters become em, strong and strike (CommonMark 0.31, appendix): each closer looks back for its opener,
// and what was looked through in vain is not looked through again. Where they nest too deeply the rest stays text.
function emphasize(nodes) {
  const out = [];
  const bottoms = new Map();
  let deep = false;
  for (const node of nodes) {
    out.push(node);
    if (!deep && node.kind === 'delimiter' && node.closes) deep = !close(out, bottoms);
  }
  return out;
}

// False: too deep.
function close(out, bottoms) {
  for (;;) {
    const closer = out[out.length - 1];
    if (closer?.kind !== 'delimiter' || !closer.length) return true;
    const key = `${closer.mark}${closer.opens}${closer.length % 3}`;
    const bottom = bottoms.get(key) ?? 0;
    let at = out.length - 2;
    while (at >= bottom && !opens(out[at], closer)) at--;
    if (at < bottom) {
      bottoms.set(key, out.length - 1);
      return true;
    }
    if (!wrap(out, at, closer)) return false;
    for (const [other, index] of bottoms) bottoms.set(other, Math.min(index, at));
  }
}

function opens(node, closer) {
  if (node.kind !== 'delimiter' || node.mark !== closer.mark || !node.opens || !node.length) return false;
  const both = (node.closes || closer.opens) && (node.length + closer.length) % 3 === 0;
  return !both || (node.length % 3 === 0 && closer.length % 3 === 0);
}

function wrap(out, at, closer) {
  const opener = out[at];
  const strong = opener.length >= 2 && closer.length >= 2;
  const children = out.slice(at + 1, -1);
  const depth = 1 + depthOf(children);
  if (depth > kDeepest) return false;
  out.length = at + 1;
  opener.length -= strong ? 2 : 1;
  closer.length -= strong ? 2 : 1;
  if (!opener.length) out.pop();
  out.push({kind: closer.mark === '~' ? 'strike' : strong ? 'strong' : 'em', children: finish(children), depth});
  if (closer.length) out.push(closer);
  return true;
}

// What found no partner is text; texts that stand together are one.
function finish(nodes) {
  const out = [];
  for (const node of nodes) {
    const text = node.kind === 'delimiter' ? node.mark.repeat(node.length) : node.text;
    if (node.kind !== 'delimiter' && node.kind !== 'bracket' && node.kind !== 'text') {
      out.push(node);
    } else if (text) {
      const last = out[out.length - 1];
      if (last?.kind === 'text')
        out[out.length - 1] = {kind: 'text', text: last.text + text, depth: 0};
      else
        out.push({kind: 'text', text, depth: 0});
    }
  }
  return out;
}
