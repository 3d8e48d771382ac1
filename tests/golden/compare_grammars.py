#!/usr/bin/env python3
"""What llguidance (PyPI) takes for the schemas and documents of make_schemas.py, beside build/tests/schema_bench.

    compare_grammars.py TOKENIZER.json CASES.jsonl          needs llguidance

Prints the times of compiling and of masks as schema_bench does, single-threaded, and the documents that it stops.
"""
import json
import sys
import time

import llguidance


def show(what, times):
    times.sort()
    at = lambda p: times[int(p * (len(times) - 1))]
    print(f"{what:8} n {len(times):7}  average {sum(times) / len(times):8.1f}  p50 {at(.5):8.1f}  p90 {at(.9):8.1f}"
          f"  p99 {at(.99):8.1f}  max {times[-1]:9.1f} us")


def main():
    text = open(sys.argv[1], encoding="utf-8").read()
    tokenizer = llguidance.LLTokenizer(text, n_vocab=129280)
    words = (tokenizer.vocab_size + 31) // 32
    mask = bytearray(4 * words)
    import ctypes
    address = ctypes.addressof(ctypes.c_char.from_buffer(mask))
    compiles, masks, refused, stopped = [], [], 0, 0
    for line in open(sys.argv[2], encoding="utf-8"):
        case = json.loads(line)
        begin = time.perf_counter()
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(case["schema"]))
            matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0)
            failed = matcher.is_error()
        except ValueError:
            failed = True
        compiles.append((time.perf_counter() - begin) * 1e6)
        if failed:
            refused += 1
            continue
        # A value that ends at the end of the text: its last mask is asked for, too.
        for token in tokenizer.tokenize_str(json.dumps(case["data"], ensure_ascii=False)) + [tokenizer.eos_token]:
            begin = time.perf_counter()
            matcher.unsafe_compute_mask_ptr(address, len(mask))
            masks.append((time.perf_counter() - begin) * 1e6)
            if not mask[token // 8] >> token % 8 & 1 or not matcher.consume_token(token):
                stopped += 1
                break
    show("compile", compiles)
    show("mask", masks)
    print(f"{refused} refused, {stopped} documents stopped")


if __name__ == "__main__":
    main()
