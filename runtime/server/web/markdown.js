// Markdown's blocks: text into a list of plain objects, each with the offset at which it starts.
//
// Kinds: paragraph, heading (level), code (language, text, closed), math (its source), quote, list (ordered, first,
// items), table (columns, rows), rule. It is what models write: fenced code alone is code (four blanks are not), a line
// of dashes is a rule and no heading, and HTML is text. In time linear in the text, times kDeepest at most.

import {parseInline} from './inline.js';

const kDeepest = 12;        // quotes and lists within each other
const kMostColumns = 64;    // of a table; wider ones are text

export function parseMarkdown(text) {
  const lines = text.split('\n');
  const starts = [];
  for (let i = 0, at = 0; i < lines.length; at += lines[i++].length + 1) starts.push(at);
  const blocks = new BlockParser(lines.map((line) => line.replace(/\t/g, '    ').replace(/\r$/, '')), 0).parse();
  for (const block of blocks) block.start = starts[block.line];
  return blocks;
}

const isBlank = (line) => /^ *$/.test(line);
const indentOf = (line) => line.length - line.trimStart().length;

class BlockParser {
  constructor(lines, depth) {
    this.lines = lines;
    this.depth = depth;
    this.at = 0;
    this.blocks = [];
  }

  parse() {
    while (this.at < this.lines.length) {
      if (isBlank(this.lines[this.at])) {
        this.at++;
        continue;
      }
      const line = this.at;
      const block = this.block();
      this.blocks.push({...block, line});
    }
    return this.blocks;
  }

  block() {
    const line = this.lines[this.at];
    return this.fence(line) ?? this.heading(line) ?? this.rule(line) ?? this.math(line) ?? this.quote(line) ??
        this.list(line) ?? this.table() ?? this.paragraph();
  }

  fence(line) {
    const open = fenceOf(line);
    if (!open) return null;
    const text = [];
    let closed = false;
    for (this.at++; this.at < this.lines.length && !closed; this.at++) {
      closed = closesFence(this.lines[this.at], open);
      if (!closed) text.push(this.lines[this.at].replace(new RegExp(`^ {0,${open.indent}}`), ''));
    }
    return {kind: 'code', language: open.language, text: text.join('\n'), closed};
  }

  heading(line) {
    const found = /^ {0,3}(#{1,6})(?: (.*)|$)/.exec(line);
    if (!found) return null;
    this.at++;
    return {kind: 'heading', level: found[1].length, inline: parseInline((found[2] ?? '').trim().replace(/ #+$/, ''))};
  }

  rule(line) {
    if (!isRule(line)) return null;
    this.at++;
    return {kind: 'rule'};
  }

  // A formula on lines of its own, between $$ and $$ or \[ and \].
  math(line) {
    const found = /^ *(\$\$|\\\[)/.exec(line);
    if (!found) return null;
    const close = found[1] === '$$' ? '$$' : '\\]';
    let from = found[0].length;
    for (let i = this.at; i < this.lines.length && !(i > this.at && isBlank(this.lines[i])); i++, from = 0) {
      const end = this.lines[i].indexOf(close, from);
      if (end < 0) continue;
      if (!isBlank(this.lines[i].slice(end + 2))) return null;  // text follows: it is within a paragraph
      const text = this.lines.slice(this.at, i + 1).join('\n').trim().slice(2, -2).trim();
      this.at = i + 1;
      return {kind: 'math', text};
    }
    return null;
  }

  quote(line) {
    if (this.depth >= kDeepest || !/^ {0,3}>/.test(line)) return null;
    const inside = [];
    for (; this.at < this.lines.length && /^ {0,3}>/.test(this.lines[this.at]); this.at++)
      inside.push(this.lines[this.at].replace(/^ {0,3}> ?/, ''));
    return {kind: 'quote', blocks: new BlockParser(inside, this.depth + 1).parse()};
  }

  list(line) {
    const first = this.depth < kDeepest ? markerOf(line) : null;
    if (!first) return null;
    const items = [];
    for (let marker = first; marker; marker = this.nextMarker(first)) items.push(this.item(marker));
    return {kind: 'list', ordered: first.number !== null, first: first.number, items};
  }

  // Of the next item of the same list, perhaps behind blank lines.
  nextMarker(first) {
    let i = this.at;
    while (i < this.lines.length && isBlank(this.lines[i])) i++;
    const marker = i < this.lines.length ? markerOf(this.lines[i]) : null;
    if (!marker || marker.kind !== first.kind || isRule(this.lines[i])) return null;
    this.at = i;
    return marker;
  }

  // Lines below belong to the item where they are indented by two beyond its mark: models indent by two, three or four.
  item(marker) {
    const least = marker.indent + 2;
    const inside = [this.lines[this.at++].slice(marker.width)];
    for (; this.at < this.lines.length; this.at++) {
      const line = this.lines[this.at];
      if (isBlank(line)) {
        if (!this.goesOn(least)) break;
        inside.push('');
      } else if (indentOf(line) >= least) {
        inside.push(line.slice(Math.min(indentOf(line), marker.width)));
      } else if (isBlank(this.lines[this.at - 1]) || beginsBlock(line) || markerOf(line)) {
        break;
      } else {
        inside.push(line.trimStart());  // the paragraph goes on, not indented
      }
    }
    return new BlockParser(inside, this.depth + 1).parse();
  }

  // Whether something that belongs to the item follows blank lines. They are skipped together.
  goesOn(least) {
    let i = this.at;
    while (i + 1 < this.lines.length && isBlank(this.lines[i + 1])) i++;
    if (i + 1 >= this.lines.length || indentOf(this.lines[i + 1]) < least) return false;
    this.at = i;
    return true;
  }

  table() {
    const columns = this.at + 1 < this.lines.length ? columnsOf(this.lines[this.at + 1]) : null;
    if (!columns || !this.lines[this.at].includes('|')) return null;
    const head = cellsOf(this.lines[this.at]);
    if (head.length !== columns.length) return null;
    const rows = [];
    for (this.at += 2; this.at < this.lines.length; this.at++) {
      const line = this.lines[this.at];
      if (isBlank(line) || !line.includes('|')) break;
      rows.push(cellsOf(line).slice(0, columns.length).map(parseInline));
    }
    return {kind: 'table', columns, head: head.map(parseInline), rows};
  }

  paragraph() {
    const text = [this.lines[this.at++].trim()];
    for (; this.at < this.lines.length; this.at++) {
      const line = this.lines[this.at];
      if (isBlank(line) || beginsBlock(line)) break;
      text.push(line.trimStart());
    }
    return {kind: 'paragraph', inline: parseInline(text.join('\n').trimEnd())};
  }
}

function fenceOf(line) {
  const found = /^( *)(`{3,}|~{3,})/.exec(line);
  const rest = found && line.slice(found[0].length);
  if (!found || (found[2][0] === '`' && rest.includes('`'))) return null;
  return {indent: found[1].length, mark: found[2][0], length: found[2].length, language: rest.trim().split(' ', 1)[0]};
}

function closesFence(line, open) {
  const text = line.trim();
  return text.length >= open.length && text === open.mark.repeat(text.length) && indentOf(line) < open.indent + 4;
}

function isRule(line) {
  const marks = line.replace(/ /g, '');
  return marks.length >= 3 && '-*_'.includes(marks[0]) && marks === marks[0].repeat(marks.length);
}

// A mark of a list: how far it is indented, where its text begins, its number or null, and what a mark of the same list
// is like.
function markerOf(line) {
  const found = /^( *)(?:([-*+])|(\d{1,9})([.)]))( {1,4}(?=\S)| +|$)/.exec(line);
  if (!found || isRule(line)) return null;
  const number = found[3] === undefined ? null : Number(found[3]);
  return {indent: found[1].length, width: found[0].length, number, kind: found[2] ?? found[4]};
}

// What ends a paragraph. A number other than 1 does not: sentences wrap in front of years.
function beginsBlock(line) {
  const marker = markerOf(line);
  return Boolean(fenceOf(line)) || /^ {0,3}(?:#{1,6}(?: |$)|>)/.test(line) || isRule(line) ||
      /^ *(?:\$\$|\\\[)/.test(line) || Boolean(marker && (marker.number === null || marker.number === 1));
}

// "| a | b \| c |" -> ["a", "b | c"]
function cellsOf(line) {
  const cells = [''];
  const text = line.trim();
  for (let i = text.startsWith('|') ? 1 : 0; i < text.length; i++) {
    if (text[i] === '\\' && text[i + 1] === '|')
      cells[cells.length - 1] += text[++i];
    else if (text[i] === '|')
      cells.push('');
    else
      cells[cells.length - 1] += text[i];
  }
  if (cells.length > 1 && cells[cells.length - 1].trim() === '') cells.pop();
  return cells.map((cell) => cell.trim());
}

// "|:--|--:|" -> ["start", "end"]; null: no such line.
function columnsOf(line) {
  if (!line.includes('-') || !/^[|:\- ]+$/.test(line) || !(line.includes('|') || line.includes(':'))) return null;
  const cells = cellsOf(line);
  if (cells.length > kMostColumns || !cells.every((cell) => /^:?-+:?$/.test(cell))) return null;
  return cells.map((cell) => {
    if (!cell.endsWith(':')) return 'start';
    return cell.startsWith(':') ? 'center' : 'end';
  });
}
