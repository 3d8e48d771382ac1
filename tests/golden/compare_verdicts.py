#!/usr/bin/env python3
"""Random schemas and documents, valid ones and such as a change made invalid: the verdicts of build/tests/
generate_documents --judge beside those of Python's jsonschema, and of llguidance where it is installed.

    compare_verdicts.py PROGRAM N [SEED]         needs jsonschema; llguidance (PyPI) is optional

Ends with 1 where hearth and jsonschema disagree. llguidance's disagreements are counted by what explains them.
"""
import collections
import json
import random
import subprocess
import sys

import jsonschema
import validate_documents as generator

try:
    import llguidance
except ImportError:
    llguidance = None


def changed(r, value):
    """The value with something else somewhere."""
    if isinstance(value, list) and value and r.random() < 0.7:
        i = r.randrange(len(value))
        return value[:i] + r.choice([[changed(r, value[i])], [], [value[i], value[i]]]) + value[i + 1:]
    if isinstance(value, dict) and value and r.random() < 0.8:
        name = r.choice(list(value))
        kind = r.randrange(3)
        if kind == 0:
            return value | {name: changed(r, value[name])}
        if kind == 1:
            return {n: v for n, v in value.items() if n != name}
        return value | {r.choice(generator.NAMES): generator.value(r)}
    if isinstance(value, str) and r.random() < 0.5:
        return value + r.choice("abx0") if r.random() < 0.5 else value[1:]
    if isinstance(value, (int, float)) and not isinstance(value, bool) and r.random() < 0.6 and abs(value) < 1e15:
        return value + r.choice([1, -1, 0.5, 10])
    return generator.value(r)


def verdict_of(schema, text):
    try:
        return jsonschema.Draft202012Validator(schema).is_valid(json.loads(text, parse_float=generator.number))
    except BaseException as e:
        if "RecursionError" not in repr(e) + str(e):
            raise
        return None


def explained(text, accepted):
    if accepted:
        return "invalid documents that it accepts"
    why = "others: "
    if "\\u" in text:
        why = "with \\u escapes, which it has for control characters only"
    elif "{" in text:
        why = "with members, which it wants in the order of the schema"
    elif any(c.isdigit() for c in text):
        why = "with numbers written in another form: 1.0 for 1, or with an exponent"
    else:
        why += text[:60]
    return "valid documents that it rejects, " + why


class Peer:
    """llguidance, reading bytes: a vocabulary of 256 of them."""

    def __init__(self):
        tokens = [bytes([i]) for i in range(256)] + [b"<end>"]
        self.tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes(tokens))) if hasattr(
            llguidance, "TokenizerWrapper") else None

    def verdicts(self, schema, texts):
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
        except ValueError:
            return None
        found = []
        for text in texts:
            matcher = llguidance.LLMatcher(self.tokenizer, grammar, log_level=0)
            if matcher.is_error():
                return None
            found.append(matcher.try_consume_tokens(list(text.encode())) == len(text.encode()) and matcher.is_accepting())
        return found


class Bytes:
    eos_token_id = 256
    bos_token_id = None

    def __init__(self, tokens):
        self.tokens = tokens
        self.special_token_ids = [256]

    def __call__(self, text):
        return list(text.encode() if isinstance(text, str) else text)


def main():
    program, n = sys.argv[1], int(sys.argv[2])
    r = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    schemas = [generator.schema(r) for _ in range(n)]
    source = "".join(json.dumps(s) + "\n" for s in schemas)
    made = subprocess.run([program, "5"], input=source.encode(), stdout=subprocess.PIPE, check=True).stdout
    documents = collections.defaultdict(list)
    for line in made.decode().rstrip("\n").split("\n"):
        found = json.loads(line)
        if "document" in found and len(found["document"]) < 400:
            documents[found["schema"]].append(json.loads(found["document"]))
    lines = []
    for i in range(n):
        values = documents[i] + [changed(r, v) for v in documents[i] for _ in range(3)] + [generator.value(r) for _ in range(4)]
        texts = [json.dumps(v) for v in values]
        lines.append([schemas[i]] + [text for text in texts if "Infinity" not in text])
    judged = subprocess.run([program, "--judge"], input="".join(json.dumps(line) + "\n" for line in lines).encode(),
                            stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")
    peer = Peer() if llguidance else None
    counts, peers, wrong = collections.Counter(), collections.Counter(), 0
    for (schema, *texts), own in zip(lines, judged):
        if own.startswith("refused"):
            counts["refused"] += len(texts)
            continue
        others = peer.verdicts(schema, texts) if peer and peer.tokenizer else None
        if peer and others is None:
            peers["schemas that it refuses and hearth does not"] += 1
        for i, text in enumerate(texts):
            right = verdict_of(schema, text)
            if right is None:
                continue
            accepted = own[i] == "1"
            counts["valid" if right else "invalid"] += 1
            if accepted != right:
                wrong += 1
                print("hearth", "accepts" if accepted else "rejects", json.dumps(schema), text)
            if others and others[i] != right:
                peers[explained(text, others[i])] += 1
    print(f"{n} schemas, documents:", ", ".join(f"{c} {k}" for k, c in counts.items()), f"- {wrong} wrong")
    for what, count in peers.most_common():
        print(f"  llguidance: {count} {what}")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
