"""Compares our tokenizer with Hugging Face `tokenizers` on random texts, and on every code point in several company.

    python crosscheck_tokenizer.py TOKENIZE_LINES [DATA] [--texts N] [--seed S]

TOKENIZE_LINES: the test program of that name (build/tests/tokenize_lines). DATA: a folder with the published vocabularies
(deepseek-v3/tokenizer.json, deepseek-llm.gguf, deepseek-coder.gguf); without it the small ones beside this script are used.
Prints the first differences and exits 1 if there are any."""

import argparse
import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

from make_tokenizer_cases import BOS, EMOJI, EOS, NUMBERS, SCRIPTS, SPECIAL_TEXTS, USER, WHITESPACE, WORDS, Encoder, from_gguf

HERE = Path(__file__).parent / "tokenizers"
CHARACTERS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def vocabularies(data):
    """path, Hugging Face encoder"""
    for name in ("deepseek-llm", "deepseek-coder", "deepseek-v3"):
        path = data / f"{name}.gguf" if data else HERE / f"{name}-small.gguf"
        if data and name == "deepseek-v3":
            path = data / "deepseek-v3"
            yield path, Encoder(json.loads((path / "tokenizer.json").read_text()))
        else:
            yield path, Encoder(from_gguf(path)[1], by_looks=False)


def every_code_point():
    """Each code point beside those on which splits depend, a hundred to a text to save time."""
    companies = ["{}", " {}a{}", "1{}2.{} ", "中  {}\u0301{}é{}"]
    for start in range(0, len(CHARACTERS), 100):
        for company in companies:
            yield "\n".join(company.replace("{}", c) for c in CHARACTERS[start:start + 100])


def pools():
    snippets = WHITESPACE + WORDS + NUMBERS + SCRIPTS + EMOJI + SPECIAL_TEXTS + [BOS, EOS, USER]
    blocks = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE00), (0x1C80, 0x2100),
              (0x2000, 0x2070), (0x2100, 0x2C00), (0x3000, 0x3100), (0x4E00, 0x9FB0), (0xA600, 0xAC00), (0xAC00, 0xD800),
              (0xFB00, 0x10000), (0x10400, 0x10D00), (0x1D400, 0x1D800), (0x1F300, 0x1FB00), (0, 0x110000)]
    yield from ([chr(c) for c in range(*block) if not 0xD800 <= c < 0xE000] for block in blocks)
    yield from ([" "], [" ", "\t", "\u00a0", "\u3000", "\u180e", "\u0085", "\u2028"], ["\n", "\r", "\r\n"], list("0123456789"),
                list("abcdeft"), list("AEIOSTN"), list(".,;:!?'\"()[]{}-_/\\"), snippets)


def random_texts(count, seed):
    generator = random.Random(seed)
    choices = list(pools())
    for _ in range(count):
        text = ""
        length = generator.choice([3, 10, 30, 100, 300])
        some = generator.sample(choices, generator.randint(1, 6))
        while len(text) < length:
            text += "".join(generator.choices(generator.choice(some), k=generator.choice([1, 1, 2, 3, 8])))
        yield text


def random_bytes(count, seed):
    generator = random.Random(seed + 1)
    parts = [bytes([b]) for b in range(256)] + ["中".encode(), "😀".encode(), b"word ", b"\xe4\xb8", b"\xf0\x9f", b"\n"]
    for _ in range(count):
        yield b"".join(generator.choices(parts, k=generator.randint(1, 60)))


def ours(program, path, texts, special):
    lines = "\n".join(text.hex() for text in texts) + "\n"
    done = subprocess.run([program, path] + ["--special"] * special, input=lines, capture_output=True, text=True, check=True)
    results = [[int(i) for i in line.split()] for line in done.stdout.split("\n")[:-1]]
    assert len(results) == len(texts)
    return results


def compare(program, path, encode, texts, special):
    """Some thousand at a time, to save memory. -> texts, ids, differences"""
    n_texts = n_ids = wrong = 0
    while chunk := list(itertools.islice(texts, 4000)):
        for data, ids in zip(chunk, ours(program, path, chunk, special)):
            text = data.decode("utf-8", errors="replace")
            expected = encode(text, special)
            n_texts, n_ids = n_texts + 1, n_ids + len(ids)
            if ids == expected:
                continue
            wrong += 1
            if wrong <= 5:
                at = next((i for i, (a, b) in enumerate(zip(ids, expected)) if a != b), min(len(ids), len(expected)))
                print(f"  {text[:80]!r}: at {at} ours {ids[at:at + 8]}, theirs {expected[at:at + 8]}")
    return n_texts, n_ids, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    differences = 0
    for path, encode in vocabularies(arguments.data):
        for special in (False, True):
            random_ones = (text.encode() for text in random_texts(arguments.texts, arguments.seed))
            texts = itertools.chain(random_ones, random_bytes(arguments.texts // 4, arguments.seed),
                                    [] if special else (text.encode() for text in every_code_point()))
            n_texts, n_ids, wrong = compare(arguments.program, path, encode, texts, special)
            print(f"{path.name}, special {special}: {n_texts} texts, {n_ids} ids, {wrong} differ", flush=True)
            differences += wrong
    sys.exit(differences > 0)


if __name__ == "__main__":
    main()
