#!/usr/bin/env python3
"""Answers of a model that are bound to random schemas, at a high temperature, cut anywhere: Python's jsonschema judges.

    answers_by_schema.py HEARTH MODEL GENERATE_DOCUMENTS N [SEED]       needs jsonschema (PyPI or Debian)

Starts `HEARTH serve MODEL` and asks for N answers with response_format json_schema, temperature 1.5 and a random
max_tokens. An answer with finish_reason "stop" must satisfy its schema; one with "length" must have all its tokens and be
the beginning of a document that satisfies it (GENERATE_DOCUMENTS goes on with it). A refusal must name its place.
"""
import collections
import concurrent.futures
import json
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

try:
    import jsonschema
    import validate_documents as generator
except ImportError:
    print("SKIP: jsonschema is not installed (tests/runtime/server/clients.txt)")
    sys.exit(77)

EXACT = lambda text: json.loads(text, parse_float=generator.number)
QUESTIONS = ["Anna is 12 years old and lives in Rome.", "What is 12 + 7?", "As JSON: name Ben and age 5", "Hello!", "Count from 3 to 9."]


def serve(hearth, model):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen([hearth, "serve", model, "--port", str(port), "--parallel", "4"], stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read()
            return server, port
        except OSError:
            time.sleep(0.1)
    server.kill()
    sys.exit(f"{hearth} serve {model} does not answer")


def ask(port, schema, max_tokens, seed):
    """(finish_reason, text, tokens), or ("refused", message, 0)."""
    body = {"messages": [{"role": "user", "content": QUESTIONS[seed % len(QUESTIONS)]}], "temperature": 1.5, "seed": seed,
            "max_tokens": max_tokens, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    try:
        answer = json.load(urllib.request.urlopen(request))
    except urllib.error.HTTPError as e:
        error = json.load(e)["error"]
        return ("refused" if e.code == 400 else f"status {e.code}"), error["message"], 0
    choice = answer["choices"][0]
    return choice["finish_reason"], choice["message"]["content"], answer["usage"]["completion_tokens"]


def satisfies(schema, text):
    """None: the judge goes round without end."""
    try:
        return jsonschema.Draft202012Validator(EXACT(json.dumps(schema))).is_valid(EXACT(text))
    except ValueError:
        return False
    except BaseException as e:
        if "RecursionError" not in repr(e) + str(e):
            raise
        return None


def main():
    hearth, model, generate, n = *sys.argv[1:4], int(sys.argv[4])
    r = random.Random(int(sys.argv[5]) if len(sys.argv) > 5 else 1)
    schemas = [s if isinstance(s, dict) else {"allOf": [s]} for s in (generator.schema(r) for _ in range(n))]
    most = [r.choice([r.randint(1, 20), r.randint(20, 300)]) for _ in range(n)]
    server, port = serve(hearth, model)
    counts, wrong, cut = collections.Counter(), 0, []

    def fault(*what):
        nonlocal wrong
        wrong += 1
        print(*what)

    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = pool.map(ask, [port] * n, schemas, most, range(n))
            for schema, max_tokens, (reason, text, tokens) in zip(schemas, most, answers):
                counts[reason] += 1
                if reason == "stop":
                    good = satisfies(schema, text)
                    if good is None:
                        counts["unjudged"] += 1
                    elif not good:
                        fault("invalid:", json.dumps(schema), text)
                elif reason == "length":
                    if tokens != max_tokens:
                        fault(f"cut after {tokens} of {max_tokens} tokens:", json.dumps(schema), text)
                    cut.append((schema, text))
                elif reason != "refused" or not text.startswith("response_format.json_schema.schema: "):
                    fault(reason, json.dumps(schema), text)
    finally:
        server.terminate()
        server.wait()
    lines = "".join(json.dumps([schema, text]) + "\n" for schema, text in cut)
    completed = subprocess.run([generate, "--complete"], input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout
    for (schema, text), line in zip(cut, completed.decode().split("\n")):
        document = json.loads(line)
        if not document:
            fault("no document begins like that:", json.dumps(schema), repr(text))
        elif not document[0].startswith(text) or satisfies(schema, document[0]) is False:
            fault("completed, but invalid:", json.dumps(schema), repr(text), document[0])
    print(f"{n} schemas:", ", ".join(f"{count} {kind}" for kind, count in counts.most_common()), f"- {wrong} wrong")
    return wrong > 0 or counts["stop"] == 0 or counts["length"] == 0


if __name__ == "__main__":
    sys.exit(main())
