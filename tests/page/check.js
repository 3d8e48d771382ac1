// The least of a test framework: cases are run one after another, and what failed is told.

const cases = [];

export function test(name, run) {
  cases.push({name, run});
}

export function check(condition, words = '') {
  if (!condition) throw new Error(`expected otherwise: ${words}`);
}

export function equal(found, expected) {
  const [a, b] = [found, expected].map((value) => JSON.stringify(value));
  if (a !== b) throw new Error(`expected ${b?.slice(0, 2000)}\n  found    ${a?.slice(0, 2000)}`);
}

// What it throws says so.
export async function refused(run, words) {
  try {
    await run();
  } catch (error) {
    if (error.message.includes(words) && !error.message.includes('\n')) return;
    throw new Error(`expected "${words}" in one line, found "${error.message}"`);
  }
  throw new Error(`expected a refusal: ${words}`);
}

// {n: how many there were, failed: [{name, error}], slow: ["name: 301 ms"]}
export async function runAll() {
  const failed = [], slow = [];
  for (const {name, run} of cases) {
    const began = performance.now();
    try {
      await run();
    } catch (error) {
      failed.push({name, error: `${error.message}\n${error.stack ?? ''}`});
    }
    const took = Math.round(performance.now() - began);
    if (took > 300) slow.push(`${name}: ${took} ms`);
  }
  return {n: cases.length, failed, slow};
}
