// Markdown as elements: parsed objects (markdown.js) become nodes whose every text is a text node.

import {announce, copyText, element, icon} from './dom.js';
import {parseMarkdown} from './markdown.js';

const kNames = {em: 'em', strong: 'strong', strike: 's', code: 'code'};

function inlineNode(node) {
  switch (node.kind) {
    case 'text': return document.createTextNode(node.text);
    case 'break': return element('br');
    case 'code': return element('code', {dir: 'auto'}, node.text);
    case 'math': return element(node.display ? 'span.math.display' : 'span.math', {}, node.text);
    case 'link':
      return element('a', {href: node.href, title: node.href, target: '_blank', rel: 'noopener noreferrer nofollow'},
                     inlineNodes(node.children));
    default: return element(kNames[node.kind], {}, inlineNodes(node.children));
  }
}

const inlineNodes = (nodes) => nodes.map(inlineNode);

function blockNode(block) {
  switch (block.kind) {
    case 'paragraph': return element('p', {dir: 'auto'}, inlineNodes(block.inline));
    // Headings of an answer are below those of the page, so that a screen reader's list of them is in order.
    case 'heading':
      return element(`div.heading.level-${block.level}`,
                     {role: 'heading', 'aria-level': Math.min(block.level + 2, 6), dir: 'auto'},
                     inlineNodes(block.inline));
    case 'rule': return element('hr');
    case 'math': return element('p.math.display', {}, block.text);
    case 'code': return codeNode(block);
    case 'quote': return element('blockquote', {}, block.blocks.map(blockNode));
    case 'list': return listNode(block);
    case 'table': return tableNode(block);
  }
}

function listNode(list) {
  const items = list.items.map((blocks) => {
    // An item of one paragraph is its words.
    const [first, ...rest] = blocks;
    const begin = first?.kind === 'paragraph' ? [element('span', {dir: 'auto'}, inlineNodes(first.inline))]
                                              : first ? [blockNode(first)] : [];
    return element('li', {}, begin, rest.map(blockNode));
  });
  return list.ordered ? element('ol', {start: list.first === 1 ? null : list.first}, items) : element('ul', {}, items);
}

function tableNode(table) {
  const row = (cells, name) => element('tr', {}, cells.map((cell, i) =>
      element(`${name}.${table.columns[i]}`, name === 'th' ? {scope: 'col'} : {}, inlineNodes(cell))));
  return element('div.table', {role: 'region', 'aria-label': 'Table', tabindex: 0},
                 element('table', {}, element('thead', {}, row(table.head, 'th')),
                         element('tbody', {}, table.rows.map((cells) => row(cells, 'td')))));
}

export function codeNode({language = '', text}) {
  const code = element('code', {}, text);
  const words = element('span', {}, 'Copy');
  const name = language || 'text';
  const copy = async () => {
    try {
      await copyText(code.textContent);
      words.textContent = 'Copied';
      announce('Code copied');
    } catch (error) {
      words.textContent = 'Not copied';
      announce(error.message);
    }
    setTimeout(() => { words.textContent = 'Copy'; }, 2000);
  };
  const button = element('button.quiet.small', {type: 'button', 'aria-label': `Copy code, ${name}`, onclick: copy},
                         icon('copy'), words);
  return element('div.code', {}, element('div.code-head', {}, element('span.language', {}, name), button),
                 element('pre', {tabindex: 0, role: 'region', 'aria-label': `Code, ${name}`}, code));
}

// All of a text at once.
export function renderMarkdown(text) {
  return parseMarkdown(text).map(blockNode);
}

// A text that grows. What stands before the last two blocks is settled: it is neither parsed nor made again, so that a
// long answer costs no more at its end than at its beginning. `finish` looks at all of it once more, as a mark that
// closes late may change blocks that were settled.
export class GrowingMarkdown {
  constructor(container) {
    this.container = container;
    this.begin();
  }

  begin() {
    this.settled = 0;       // characters
    this.nodes = [];        // of the blocks behind, with what they were made of
    this.replaced = false;  // by `finish`: what goes on begins anew
  }

  update(text) {
    if (this.replaced) {
      this.container.replaceChildren();
      this.begin();
    }
    const blocks = parseMarkdown(text.slice(this.settled));
    blocks.forEach((block, i) => this.put(i, block));
    for (const {node} of this.nodes.splice(blocks.length)) node.remove();
    if (blocks.length <= 2) return;
    this.nodes.splice(0, blocks.length - 2);
    this.settled += blocks[blocks.length - 2].start;
  }

  put(i, block) {
    const old = this.nodes[i];
    const key = JSON.stringify({...block, start: 0, line: 0});
    if (old?.key === key) return;
    if (block.kind === 'code' && old?.kind === 'code' && old.language === block.language) {
      // The same box with more in it: where the reader has scrolled to, and what he selected, stays.
      const code = old.node.querySelector('code');
      if (block.text.startsWith(old.text))
        code.append(block.text.slice(old.text.length));
      else
        code.textContent = block.text;
      Object.assign(old, {key, text: block.text});
      return;
    }
    const node = blockNode(block);
    if (old)
      old.node.replaceWith(node);
    else
      this.container.append(node);
    this.nodes[i] = {key, node, kind: block.kind, language: block.language, text: block.text};
  }

  finish(text) {
    const whole = element('div', {}, renderMarkdown(text));
    whole.normalize();
    this.container.normalize();
    const same = whole.childNodes.length === this.container.childNodes.length &&
        [...whole.childNodes].every((node, i) => node.isEqualNode(this.container.childNodes[i]));
    if (same) return;
    this.container.replaceChildren(...whole.childNodes);
    this.replaced = true;
  }
}
