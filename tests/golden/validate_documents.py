#!/usr/bin/env python3
"""Random schemas, documents that build/tests/generate_documents makes of them, and Python's jsonschema as the judge.

    validate_documents.py PROGRAM N [SEED]       needs jsonschema (PyPI or Debian's python3-jsonschema)

Every document must satisfy its schema, and documents that hypothesis-like mutations make invalid are no part of this:
false accepts of single documents are the official suite's business. Prints how many schemas were refused, and why.
"""
import collections
import decimal
import fractions
import json
import random
import subprocess
import sys

import jsonschema

NAMES = ["a", "b", "c", "ab", "kind"]


def value(r, depth=0):
    kind = r.randrange(8 if depth < 2 else 6)
    if kind < 2:
        return r.choice([0, 1, 2, 10, -1, 1.5, 0.25, 100])
    if kind < 4:
        return r.choice(["", "a", "b", "ab", "abc", "\u00e9", "x y"])
    if kind < 6:
        return r.choice([True, False, None])
    if kind == 6:
        return [value(r, depth + 1) for _ in range(r.randrange(3))]
    return {name: value(r, depth + 1) for name in r.sample(NAMES, r.randrange(3))}


def schema(r, depth=0, defs=True):
    if depth > 3 or r.random() < 0.08:
        return r.choice([True, {}, {"type": "string"}, {"type": "integer"}, {"const": value(r, 2)}])
    s = {}
    sub = lambda: schema(r, depth + 1 + r.randrange(2), defs)
    pool = [
        ("type", lambda: r.choice(["string", "integer", "number", "object", "array", "boolean", "null"]), 5),
        ("type", lambda: r.sample(["string", "integer", "number", "object", "array", "boolean", "null"], 3), 2),
        ("enum", lambda: [value(r, 1) for _ in range(r.randint(1, 4))], 2), ("const", lambda: value(r, 1), 1),
        ("minimum", lambda: r.choice([0, 1, -2.5, 10]), 2), ("maximum", lambda: r.choice([100, 3, 2.75, 0]), 2),
        ("exclusiveMinimum", lambda: r.choice([0, -1, 0.1]), 1), ("exclusiveMaximum", lambda: r.choice([5, 100, 0.5]), 1),
        ("multipleOf", lambda: r.choice([2, 3, 0.5, 0.25, 10]), 1),
        ("minLength", lambda: r.randrange(4), 1), ("maxLength", lambda: r.randrange(6), 1),
        ("pattern", lambda: r.choice(["^a", "b$", "^[a-c]+$", "x", "^.{2,3}$", "^(ab|c)*$", "[0-9]"]), 2),
        ("properties", lambda: {n: sub() for n in r.sample(NAMES, r.randint(1, 3))}, 5),
        ("required", lambda: r.sample(NAMES, r.randint(1, 2)), 3), ("additionalProperties", lambda: r.choice([False, sub()]), 3),
        ("patternProperties", lambda: {r.choice(["^a", "b", "^[a-z]$"]): sub()}, 1),
        ("propertyNames", lambda: r.choice([{"maxLength": 2}, {"enum": NAMES}, {"pattern": "^[a-c]"}]), 1),
        ("minProperties", lambda: r.randrange(3), 1), ("maxProperties", lambda: r.randint(1, 3), 1),
        ("items", sub, 4), ("prefixItems", lambda: [sub() for _ in range(r.randint(1, 2))], 2),
        ("minItems", lambda: r.randrange(3), 1), ("maxItems", lambda: r.randint(1, 4), 2), ("contains", sub, 1),
        ("minContains", lambda: r.randrange(3), 1), ("maxContains", lambda: r.randint(1, 2), 1),
        ("anyOf", lambda: [sub() for _ in range(r.randint(1, 3))], 2), ("allOf", lambda: [sub() for _ in range(r.randint(1, 2))], 2),
        ("oneOf", lambda: [sub() for _ in range(r.randint(1, 3))], 2), ("not", sub, 1), ("if", sub, 1), ("then", sub, 1), ("else", sub, 1),
        ("dependentRequired", lambda: {r.choice(NAMES): r.sample(NAMES, 1)}, 1), ("dependentSchemas", lambda: {r.choice(NAMES): sub()}, 1),
        ("$ref", lambda: r.choice(["#", "#/$defs/x", "#/$defs/y"]), 1 if defs and depth else 0),
    ]
    for _ in range(r.randint(1, 4)):
        name, make, _ = r.choices(pool, [weight for *_, weight in pool])[0]
        s[name] = make()
    if depth == 0 and defs:
        s["$defs"] = {"x": schema(r, 1), "y": schema(r, 2)}
    return s


def number(text):
    """Exactly: 0.3 is a multiple of 0.1, and 1e2 an integer."""
    exact = fractions.Fraction(decimal.Decimal(text) or 0)
    return int(exact) if exact.denominator == 1 else exact


def main():
    program, n = sys.argv[1], int(sys.argv[2])
    seed = sys.argv[3] if len(sys.argv) > 3 else "1"
    r = random.Random(int(seed))
    schemas = [schema(r) for _ in range(n)]
    text = "".join(json.dumps(s) + "\n" for s in schemas)
    lines = subprocess.run([program, seed], input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
    counts, reasons, wrong = collections.Counter(), collections.Counter(), 0
    exact = lambda t: json.loads(t, parse_float=number)
    for line in lines.decode().rstrip("\n").split("\n"):
        found = json.loads(line)
        s = schemas[found["schema"]]
        kind = next(k for k in found if k != "schema")
        counts[kind] += 1
        if kind == "refused":
            reasons[found[kind].split(": ", 1)[1]] += 1
        if kind == "dead end":
            wrong += 1
            print("dead end:", json.dumps(s), "after", repr(found[kind][-100:]))
        if kind != "document":
            continue
        try:
            validator = jsonschema.Draft202012Validator(exact(json.dumps(s)))
            error = next(validator.iter_errors(exact(found[kind])), None)
        except BaseException as e:
            if "RecursionError" not in repr(e) + str(e):
                raise
            counts["unjudged"] += 1  # {"anyOf": [{}, {"$ref": "#"}]}: the judge goes round without end
            continue
        if error is not None:
            wrong += 1
            print("invalid:", json.dumps(s), found[kind], "|", str(error).splitlines()[0])
    print(f"{n} schemas:", ", ".join(f"{count} {kind}" for kind, count in counts.most_common()), f"- {wrong} wrong")
    for why, count in reasons.most_common(8):
        print(f"  {count} x {why}")
    return wrong > 0 or counts["document"] < n


if __name__ == "__main__":
    sys.exit(main())
