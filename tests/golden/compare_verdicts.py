#!/usr/bin/env python3
"""Random schemas and documents, valid ones and such as a change made invalid: the verdicts of build/tests/
generate_documents --judge beside those of Python's jsonschema, and of llguidance and xgrammar where they are installed.

    compare_verdicts.py PROGRAM N [SEED]         needs jsonschema; llguidance and xgrammar (PyPI) are optional

Ends with 1 where hearth and jsonschema disagree. The disagreements of the others are counted by what explains them.
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
try:
    import xgrammar
    import xgrammar.testing
except ImportError:
    xgrammar = None


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


def written_otherwise(text):
    """What in a text the others do not know, though JSON has it."""
    if "\\u" in text:
        return "with \\u escapes, which it has for control characters only"
    if "{" in text:
        return "with members, which it wants in the order of the schema"
    if any(c.isdigit() for c in text):
        return "with numbers written in another form: 1.0 for 1, or with an exponent"
    return None


def explained_of_llguidance(schema, text, accepted):
    if accepted:
        return "invalid documents that it accepts"
    return "valid documents that it rejects, " + (written_otherwise(text) or "others: " + text[:60])


# Which keywords xgrammar looks at, once it has found of which type the values are.
XGRAMMAR_KEYWORDS = {
    "object": ["properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties", "maxProperties"],
    "array": ["items", "prefixItems", "minItems", "maxItems"],
    "string": ["minLength", "maxLength", "pattern"],
    "integer": ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
    "number": ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
}


def as_xgrammar_reads(schema):
    """The schema that says what xgrammar makes of this one, found by trying: one keyword decides, and those beside it count for
    nothing; several schemas of allOf are any value, oneOf is anyOf, properties and items want an object and an array, patterns
    are of whole strings."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    for word in ("const", "enum"):
        if word in schema:
            return {word: schema[word]}
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return {"anyOf": [as_xgrammar_reads(s) for s in schema[word]]}
    if "allOf" in schema:
        return as_xgrammar_reads(schema["allOf"][0]) if len(schema["allOf"]) == 1 else {}
    types = schema.get("type")
    if types is None:
        if "properties" in schema or "additionalProperties" in schema:
            types = "object"
        elif "items" in schema or "prefixItems" in schema:
            types = "array"
        else:
            return {}
    if isinstance(types, list):
        return {"anyOf": [as_xgrammar_reads(schema | {"type": t}) for t in types]}
    read = {"type": types}
    for word in XGRAMMAR_KEYWORDS.get(types, []):
        if word not in schema or (word in ("patternProperties", "propertyNames") and "properties" in schema):
            continue
        value = schema[word]
        if word in ("properties", "patternProperties"):
            value = {k: as_xgrammar_reads(s) for k, s in value.items()}
        elif word in ("items", "additionalProperties"):
            value = as_xgrammar_reads(value)
        elif word == "prefixItems":
            value = [as_xgrammar_reads(s) for s in value]
        elif word == "pattern":
            value = "^(?:" + value.removeprefix("^").removesuffix("$") + ")$"
        read[word] = value
    if types == "integer" and len(read.keys() & set(XGRAMMAR_KEYWORDS["number"])) > 0:
        read.pop("multipleOf", None)
    if types == "array" and "minContains" in schema:  # without `contains`, too
        read["minItems"] = max(read.get("minItems", 0), schema["minContains"])
    if types == "object" and "required" in read:  # of names that `properties` has; for others any member will do
        known = [name for name in read["required"] if name in schema.get("properties", {})]
        if len(known) < len(read["required"]) and "properties" in schema:
            read["minProperties"] = max(read.get("minProperties", 0), 1)
        read["required"] = known
    if "properties" in read and "patternProperties" in schema:  # together they count for nothing
        for word in ("properties", "additionalProperties", "required"):
            read.pop(word, None)
    elif "patternProperties" in read:
        read.setdefault("additionalProperties", False)
    elif "propertyNames" in read and read.get("additionalProperties") is False:
        read.pop("additionalProperties")
    return read


def explained_of_xgrammar(schema, text, accepted):
    what = "invalid documents that it accepts, " if accepted else "valid documents that it rejects, "
    read = as_xgrammar_reads(schema)
    if isinstance(read, dict):
        read = read | {"$defs": {k: as_xgrammar_reads(s) for k, s in schema.get("$defs", {}).items()}}
    if not accepted and "\\" in text and ("minLength" in json.dumps(schema) or "maxLength" in json.dumps(schema)):
        return what + "with escapes in strings of bounded length, which it has without"
    if not accepted and ", " in text and ("enum" in json.dumps(schema) or "const" in json.dumps(schema)):
        return what + "with an enum's or const's lists and objects, which it wants without blanks"
    if verdict_of(read, text) == accepted:
        return what + "by the keywords that it looks at (as_xgrammar_reads)"
    return what + ((not accepted and written_otherwise(text)) or f"others: {json.dumps(schema)[:2000]} {text[:600]}")


class LlGuidance:
    """Reading bytes: a vocabulary of 256 of them."""

    name = "llguidance"
    explained = staticmethod(explained_of_llguidance)

    def __init__(self):
        tokens = [bytes([i]) for i in range(256)] + [b"<end>"]
        self.tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes(tokens)))

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


class XGrammar:
    name = "xgrammar"
    explained = staticmethod(explained_of_xgrammar)

    def verdicts(self, schema, texts):
        try:
            grammar = xgrammar.Grammar.from_json_schema(json.dumps(schema), any_whitespace=True, strict_mode=False)
        except Exception:  # RuntimeError of several kinds
            return None
        return [xgrammar.testing._is_grammar_accept_string(grammar, text) for text in texts]


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
    peers = ([LlGuidance()] if llguidance else []) + ([XGrammar()] if xgrammar else [])
    counts, theirs, wrong = collections.Counter(), collections.Counter(), 0
    for (schema, *texts), own in zip(lines, judged):
        if own.startswith("refused"):
            counts["refused"] += len(texts)
            continue
        found = {peer.name: peer.verdicts(schema, texts) for peer in peers}
        for name, verdicts in found.items():
            theirs[f"{name}: schemas {'that it refuses and hearth does not' if verdicts is None else 'judged'}"] += 1
        for i, text in enumerate(texts):
            right = verdict_of(schema, text)
            if right is None:
                continue
            accepted = own[i] == "1"
            counts["valid" if right else "invalid"] += 1
            if accepted != right:
                wrong += 1
                print("hearth", "accepts" if accepted else "rejects", json.dumps(schema), text)
            for peer in peers:
                verdicts = found[peer.name]
                if verdicts and verdicts[i] != right:
                    theirs[f"{peer.name}: {peer.explained(schema, text, verdicts[i])}"] += 1
    print(f"{n} schemas, documents:", ", ".join(f"{c} {k}" for k, c in counts.items()), f"- {wrong} wrong")
    for what, count in sorted(theirs.items()):
        print(f"  {count:6} {what}")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
