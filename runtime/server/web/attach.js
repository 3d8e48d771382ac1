// Files of text that go with a message.

import {bytes} from './numbers.js';

export const kMostBytes = 4 << 20;  // of a file: more than any context holds

// {name, text}. Throws one line for what is no text or too large.
export async function readTextFile(file) {
  if (file.size > kMostBytes)
    throw new Error(`${file.name}: expected at most ${bytes(kMostBytes)}, found ${bytes(file.size)}.`);
  const buffer = await file.arrayBuffer().catch(() => {
    throw new Error(`${file.name}: could not be read.`);
  });
  let text;
  try {
    text = new TextDecoder('utf-8', {fatal: true}).decode(buffer);
  } catch {
    throw new Error(`${file.name}: expected text in UTF-8, found other bytes.`);
  }
  if (text.includes('\0')) throw new Error(`${file.name}: expected text, found a file with zero bytes.`);
  return {name: file.name.slice(0, 200), text};
}
