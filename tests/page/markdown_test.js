import {GrowingMarkdown, renderMarkdown} from '../render.js';
import {parseInline, safeAddress} from '../inline.js';
import {check, equal, test} from './check.js';

// Elements as a short text: (p one (em two)).
function shortly(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.data;
  const name = node.classList[0] === 'heading' ? `h${node.className.slice(-1)}` : node.classList[0] || node.localName;
  return `(${name}${[...node.childNodes].map((child) => ` ${shortly(child)}`).join('')})`;
}

function shown(text) {
  return renderMarkdown(text).map(shortly).join('');
}

const inline = (text) => shown(text).slice(3, -1);

test('emphasis', () => {
  equal(inline('a *b* **c** ***d*** ~~e~~ _f_ __g__'),
        'a  (em b)   (strong c)   (em (strong d))   (s e)   (em f)   (strong g)');
  equal(inline('snake_case_name and 2 * 3 * 4 and a*b'), 'snake_case_name and 2 * 3 * 4 and a*b');
  equal(inline('**bold *and* more**'), '(strong bold  (em and)  more)');
  equal(inline('*a **b*'), '*a * (em b)');
  equal(inline('**a*'), '* (em a)');
  equal(inline('\\*not\\* \\_this\\_'), '*not* _this_');
  equal(inline('*one* _two_ **three** *four* end'), '(em one)   (em two)   (strong three)   (em four)  end');
  equal(inline('a **b `*` c** d'), 'a  (strong b  (code *)  c)  d');
});

test('code within a line', () => {
  equal(inline('a `b` c'), 'a  (code b)  c');
  equal(inline('`` a`b ``'), '(code a`b)');
  equal(inline('`not closed'), '`not closed');
  equal(inline('``two` one`'), '``two (code  one)');
  equal(inline('`<b>` `*x*`'), '(code <b>)   (code *x*)');
});

test('links go to http and https alone', () => {
  equal(inline('[a](https://x.org/y "t")'), '(a a)');
  equal(inline('see https://x.org/a_b_c.'), 'see  (a https://x.org/a_b_c) .');
  equal(inline('(https://x.org/w_(y))'), '( (a https://x.org/w_(y)) )');
  equal(inline('<https://x.org>'), '(a https://x.org)');
  equal(inline('[a](/b) [c](javascript:d)'), 'a (/b) c (javascript:d)');
  equal(inline('![cat](https://x.org/cat.png)'), '(a Picture:  cat)');
  equal(inline('[a *b*](https://x.org)'), '(a a  (em b))');
  equal(inline('[a](https://x.org) and [not a link] and ]('), '(a a)  and [not a link] and ](');
  equal(inline('xhttps://x.org'), 'xhttps://x.org');
  equal(safeAddress('http://a@b.org'), null);
  equal(safeAddress('//x.org'), null);
  equal(safeAddress('HTTPS://X.org'), 'https://x.org/');
  equal(renderMarkdown('[a](https://x.org)')[0].firstChild.rel, 'noopener noreferrer nofollow');
});

test('formulas are text, and nothing in them is anything else', () => {
  equal(inline('\\(a_1 * b_2 * c\\)'), '(math a_1 * b_2 * c)');
  equal(inline('so $x_1^2$ is'), 'so  (math x_1^2)  is');
  equal(inline('it costs $5 and $6'), 'it costs $5 and $6');
  equal(inline('$a$'), '(math a)');
  equal(shown('$$\na_1 * b\n$$\nnext'), '(math a_1 * b)(p next)');
  equal(shown('\\[\nx\n\\]'), '(math x)');
  equal(inline('\\[ x \\] there'), '(math x)  there');
});

test('headings, rules, paragraphs', () => {
  equal(shown('# A\ntext\n## B ##\n#no'), '(h1 A)(p text)(h2 B)(p #no)');
  equal(shown('a\n---\nb'), '(p a)(hr)(p b)');
  equal(shown('one\ntwo\n\nthree'), '(p one (br) two)(p three)');
  equal(shown('a\r\n\r\nb'), '(p a)(p b)');
});

test('blocks of code', () => {
  const code = (text) => [...document.createElement('div').appendChild(wrap(text)).querySelectorAll('pre')].map((pre) => pre.textContent);
  equal(code('```js\na < b\n```'), ['a < b']);
  equal(code('~~~\na\n```\n~~~'), ['a\n```']);
  equal(code('```\nnot closed\n\nyet'), ['not closed\n\nyet']);
  equal(code('- x\n  ```\n  in\n    list\n  ```\n- y'), ['in\n  list']);
  equal(code('````\n```\n````'), ['```']);
  equal(wrap('```python x=1\n```').querySelector('.language').textContent, 'python');
  equal(wrap('```\n```').querySelector('button').getAttribute('aria-label'), 'Copy code, text');
});

function wrap(text) {
  const made = document.createElement('div');
  made.append(...renderMarkdown(text));
  return made;
}

test('lists', () => {
  equal(shown('- a\n- b'), '(ul (li (span a)) (li (span b)))');
  equal(shown('1. a\n   - b\n   - c\n2. d'), '(ol (li (span a) (ul (li (span b)) (li (span c)))) (li (span d)))');
  equal(shown('1. a\n\n2. b\n\ntext'), '(ol (li (span a)) (li (span b)))(p text)');
  equal(shown('* a\n    * b'), '(ul (li (span a) (ul (li (span b)))))');
  equal(shown('- a\n\n  more\n- b'), '(ul (li (span a) (p more)) (li (span b)))');
  equal(shown('In\n1999. it'), '(p In (br) 1999. it)');
  equal(wrap('3. c\n4. d').querySelector('ol').start, 3);
  equal(shown('- a\n+ b'), '(ul (li (span a)))(ul (li (span b)))');
});

test('quotes and tables', () => {
  equal(shown('> a\n> - b'), '(blockquote (p a) (ul (li (span b))))');
  equal(shown('| a | b |\n|:-|-:|\n| 1 | `2` |\n| x \\| y |'),
        '(table (table (thead (tr (start a) (end b))) (tbody (tr (start 1) (end (code 2))) (tr (start x | y)))))');
  equal(shown('a | b\nno table'), '(p a | b (br) no table)');
  equal(shown('| a | b |\n|---|'), '(p | a | b | (br) |---|)');
});

test('HTML is text', () => {
  equal(shown('<b>x</b><br>\n<!-- y --> &lt;'), '(p <b>x</b><br> (br) <!-- y --> &lt;)');
});

const kLong = `Intro with **bold** and \`code\`.

# Title

1. one
   - two
2. three

\`\`\`js
let a = 1;

let b = 2;
\`\`\`

| a | b |
|---|---|
| 1 | 2 |

> quote
> more

$$
x_1

$$ and \\(y\\)

- [link](https://example.org)
- *em*
--
#hash
***
end`;

test('a text that grows is drawn as it would be whole, however it is cut', () => {
  for (const step of [1, 2, 3, 7, 50]) {
    const box = document.createElement('div');
    const growing = new GrowingMarkdown(box);
    for (let i = 0; i <= kLong.length; i += step) growing.update(kLong.slice(0, i));
    growing.update(kLong);
    growing.finish(kLong);
    equal([...box.childNodes].map(shortly).join(''), shown(kLong));
  }
});

test('an answer that was finished goes on', () => {
  const box = document.createElement('div');
  const growing = new GrowingMarkdown(box);
  const begun = '$$\n# x\n> q\n- a\n- b\n\ntext\n\n';  // blocks that a late mark changes
  for (let i = 0; i <= begun.length; ++i) growing.update(begun.slice(0, i));
  growing.finish(begun);
  const whole = `${begun}more\n\n- end`;
  for (let i = begun.length; i <= whole.length; ++i) growing.update(whole.slice(0, i));
  equal([...box.childNodes].map(shortly).join(''), shown(whole));
  const late = '$$\n# x\n> q\n- a\n# y\nb\n$$';
  const other = new GrowingMarkdown(box);
  box.replaceChildren();
  for (let i = 0; i <= late.length; ++i) other.update(late.slice(0, i));
  other.finish(late);
  equal([...box.childNodes].map(shortly).join(''), shown(late));
  for (const more of ['\n', '\nand', '\nand on']) other.update(late + more);
  equal([...box.childNodes].map(shortly).join(''), shown(`${late}\nand on`));
});

test('what is settled stays: its elements are not made again', () => {
  const box = document.createElement('div');
  const growing = new GrowingMarkdown(box);
  growing.update('first\n\nsecond\n\nthird');
  const first = box.firstChild;
  growing.update('first\n\nsecond\n\nthird and more\n\nfourth');
  growing.finish('first\n\nsecond\n\nthird and more\n\nfourth');
  check(box.firstChild === first);
  equal(box.children.length, 4);
  const code = new GrowingMarkdown(box);
  box.replaceChildren();
  code.update('```js\none');
  const pre = box.querySelector('pre');
  code.update('```js\none\ntwo');
  check(box.querySelector('pre') === pre && pre.textContent === 'one\ntwo');
});

test('a long answer costs no more at its end than at its beginning', () => {
  const part = 'Some *words* in a paragraph that is neither short nor long.\n\n';
  const half = (from, to) => {
    const growing = new GrowingMarkdown(document.createElement('div'));
    growing.update(part.repeat(from));
    const began = performance.now();
    for (let i = from; i < to; ++i) growing.update(part.repeat(i));
    return performance.now() - began;
  };
  const first = half(1, 400), limit = 5 * first + 300;
  let second = half(400, 800);
  for (let i = 0; i < 4 && second >= limit; ++i) second = Math.min(second, half(400, 800));
  check(second < limit, `${first} ms, then ${second} ms`);
});

test('parsed text keeps every character', () => {
  const all = (nodes) => nodes.map((node) => node.text ?? (node.kind === 'break' ? '\n' : all(node.children))).join('');
  for (const text of ['a * b _ c ** d', '[x [y] z](', '`` ` ```', '!! ![', '~~~ ~~ ~', '***a** b*'.slice(0, 4), '<a <b>'])
    equal(all(parseInline(text)), text);
});
