// What a model may write to harm whoever reads it (hostile.json), as elements: only those that this page makes, only
// links that may be followed, every tag a text, in bounded time.
import {GrowingMarkdown} from '../render.js';
import {parseMarkdown} from '../markdown.js';
import {faults} from './harmless.js';
import {check, equal, test} from './check.js';

const answers = await (await fetch('/tests/hostile.json')).json();

test('there are fifty of them', () => equal(answers.length, 50));

for (const {name, text, repeat = 1, shows = []} of answers) {
  test(`hostile: ${name}`, () => {
    const whole = text.repeat(repeat);
    const began = performance.now();
    const box = document.createElement('div');
    document.body.append(box);
    const growing = new GrowingMarkdown(box);
    for (let i = 1; i < 12; ++i) {
      growing.update(whole.slice(0, Math.ceil(i / 12 * whole.length)));
      if (i % 4 === 0) equal(faults(box), []);
    }
    growing.update(whole);
    growing.finish(whole);
    const took = performance.now() - began;
    const found = faults(box);
    const told = box.textContent;
    box.remove();
    equal(found, []);
    for (const part of shows) check(told.includes(part), `shows ${part}: ${told.slice(0, 300)}`);
    check(took < 5000, `${took} ms`);
  });
}

// One character more or less changes much for such parsers: hostile texts are long here, and twice as long.
test('time grows as the text does', () => {
  for (const piece of ['[', '![', '](', '*', '_a_', '`', '`` ', '$', '\\(', '<', '|', '|\n', '> ', '- ', '1. ', '* a ', '~~', '**a*',
                       'http', 'https://', '(((', ' \n', '\t', '```a', '# ', '#', '\\', '[a](b ', '*a _b ', '![](', '  - a\n']) {
    const time = (n) => {
      const text = piece.repeat(n);
      const began = performance.now();
      parseMarkdown(text);
      return performance.now() - began;
    };
    time(1000);
    const short = time(10000), limit = 12 * short + 300;
    let long = Infinity;  // the best of a few: the machine may have been busy with something else
    for (let i = 0; i < 5 && long >= limit; ++i) long = Math.min(long, time(40000));
    check(long < limit, `${JSON.stringify(piece)}: ${short} ms, four times as long: ${long} ms`);
  }
});
