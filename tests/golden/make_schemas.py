#!/usr/bin/env python3
"""Schemas such as people write for tools and data, each with a document that satisfies it, one {"schema", "data"} a line.

    make_schemas.py N [SEED] > CASES.jsonl       for tests/bench/schema_bench.cpp and tests/golden/compare_grammars.py

Members of documents stand in the order of `properties`, which other implementations ask for.
"""
import json
import random
import string
import sys

WORDS = """account active address amount author body branch build category city code color comment config count country
created currency data date description email enabled end error event file filter format group height host id image index
items key kind label lang level limit line link list location max message method min mode model name note number offset
option order owner path phone port price priority project quantity query rate reason region role score size source start
state status step street summary tag target text time title token total type unit updated url user value version width
zip""".split()
PATTERNS = [  # with a text that matches
    ("^[a-z]+$", lambda r: "".join(r.choices(string.ascii_lowercase, k=r.randint(1, 12)))),
    ("^[A-Z]{2,4}-[0-9]+$", lambda r: f"AB-{r.randint(0, 999)}"),
    (r"^\d{4}-\d{2}-\d{2}$", lambda r: f"20{r.randint(10, 30)}-0{r.randint(1, 9)}-1{r.randint(0, 9)}"),
    ("^#[0-9a-fA-F]{6}$", lambda r: f"#{r.randint(0, 0xFFFFFF):06x}"),
    ("^[a-zA-Z0-9_.+-]+@[a-zA-Z0-9-]+[.][a-zA-Z0-9-.]+$", lambda r: f"user{r.randint(1, 99)}@example.org"),
    ("^https?://", lambda r: f"https://example.org/{r.choice(WORDS)}"),
    ("^[^/]{1,40}$", lambda r: " ".join(r.choices(WORDS, k=3))),
    ("^v?[0-9]+[.][0-9]+([.][0-9]+)?$", lambda r: f"v{r.randint(0, 9)}.{r.randint(0, 20)}"),
]


def prose(r, n=12):
    return " ".join(r.choices(WORDS, k=r.randint(1, n))).capitalize() + r.choice([".", "", "!", " (see: \"x\")", " \u00fc\u4e2d"])


def text(r):
    kind = r.random()
    if kind < 0.4:
        return {"type": "string", "description": prose(r)}, lambda: prose(r, 20)
    if kind < 0.65:
        values = r.sample(WORDS, r.randint(1, 8))
        return ({"enum": values} if r.random() < 0.5 else {"type": "string", "enum": values}), lambda: r.choice(values)
    if kind < 0.8:
        pattern, make = r.choice(PATTERNS)
        return {"type": "string", "pattern": pattern}, lambda: make(r)
    if kind < 0.95:
        most = r.choice([16, 50, 100, 255, 1000])
        schema = {"type": "string", "maxLength": most}
        if r.random() < 0.6:
            schema["minLength"] = 1
        return schema, lambda: prose(r, 20)[:most]
    return {"const": r.choice(WORDS)}, None


def number(r):
    kind = r.random()
    if kind < 0.4:
        return {"type": "integer"}, lambda: r.randint(-1000, 100000)
    if kind < 0.7:
        least, most = r.choice([(0, None), (1, None), (0, 100), (1, 10), (0, 65535), (-90, 90)])
        schema = {"type": "integer", "minimum": least} | ({"maximum": most} if most else {})
        return schema, lambda: r.randint(least, most or 5000)
    if kind < 0.9:
        return {"type": "number"}, lambda: r.choice([r.randint(0, 99), round(r.uniform(-100, 100), 3)])
    return {"type": "number", "minimum": 0, "maximum": 1}, lambda: round(r.uniform(0, 1), 2)


def scalar(r):
    kind = r.random()
    if kind < 0.6:
        schema, make = text(r)
        return schema, make or (lambda: schema["const"])
    if kind < 0.85:
        return number(r)
    if kind < 0.97:
        return {"type": "boolean"}, lambda: r.random() < 0.5
    return {"type": "null"}, lambda: None


def array(r, depth, defs):
    schema, make = any_schema(r, depth + 1, defs)
    most = r.choice([None, None, 3, 10])
    own = {"type": "array", "items": schema}
    if r.random() < 0.3:
        own["minItems"] = 1
    if most:
        own["maxItems"] = most
    return own, lambda: [make() for _ in range(r.randint(1, most or 4))]


def obj(r, depth, defs):
    names = r.sample(WORDS, r.randint(1, 10 if depth == 0 else 5))
    parts = {name: any_schema(r, depth + 1, defs) for name in names}
    own = {"type": "object", "properties": {name: schema for name, (schema, _) in parts.items()}}
    required = [name for name in names if r.random() < 0.6]
    if required:
        own["required"] = required
    if r.random() < 0.5:
        own["additionalProperties"] = False
    make = lambda: {n: m() for n, (_, m) in parts.items() if n in required or r.random() < 0.7}
    return own, make


def any_schema(r, depth, defs):
    kind = r.random()
    if depth < 4 and kind < 0.18:
        return obj(r, depth, defs)
    if depth < 4 and kind < 0.32:
        return array(r, depth, defs)
    if depth < 4 and kind < 0.38:
        alternatives = [scalar(r), obj(r, depth + 1, defs)]
        return {"anyOf": [schema for schema, _ in alternatives]}, lambda: r.choice(alternatives)[1]()
    if kind < 0.44 and defs is not None:
        name = r.choice(WORDS)
        if name not in defs:
            defs[name] = scalar(r)
        make = defs[name][1]
        return {"$ref": f"#/$defs/{name}"}, lambda: make()
    if kind < 0.47:
        schema, make = scalar(r)
        return {"anyOf": [schema, {"type": "null"}]}, lambda: r.choice([make(), None])
    return scalar(r)


def case(r):
    defs = {}
    schema, make = obj(r, 0, defs)
    if defs:
        schema["$defs"] = {name: own for name, (own, _) in defs.items()}
    return {"schema": schema, "data": make()}


if __name__ == "__main__":
    generator = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    for _ in range(int(sys.argv[1])):
        print(json.dumps(case(generator), ensure_ascii=False))
