"""Renders published chat templates with Jinja2 and with our interpreter, and compares byte for byte.

    python compare_templates.py RENDER_TEMPLATE FOLDER...

RENDER_TEMPLATE is the program build/tests/render_template. The folders hold templates as *.jinja, or as the
chat_template of tokenizer_config.json files. Each is rendered for the conversations below, as Hugging Face would
(hf_jinja.py). Where Jinja2 raises, ours must fail too. Besides, no character that a message brought may be in a piece
of the template's own. Prints a table; exits with 1 if anything differs.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import hf_jinja

MARK = "\u27e6"  # in every text that somebody typed; in no template

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def system(text="You are a helpful assistant. \u27e6"):
    return {"role": "system", "content": text}


def user(text="Hello there \u27e6!"):
    return {"role": "user", "content": text}


def answer(text="Hi, how can I help \u27e6?", **more):
    return {"role": "assistant", "content": text, **more}


def call(name, arguments, id="call00001"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(text, id="call00001", name="get_weather"):
    return {"role": "tool", "tool_call_id": id, "name": name, "content": text}


def tool(name, description, properties, required):
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


WEATHER = tool(
    "get_weather",
    "The weather of a city \u27e6: \"now\" & later <b>\n",
    {
        "city": {"type": "string", "description": "The city, e.g. M\u00fcnchen \u27e6"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": "integer", "minimum": 0},
    },
    ["city"],
)
SEARCH = tool(
    "search",
    "Searches \u27e6",
    {
        "queries": {"type": "array", "items": {"type": "string"}, "description": "what for"},
        "options": {"type": "object", "properties": {"fuzzy": {"type": "boolean"}, "weight": {"type": "number"}}},
        "limit": {"type": ["integer", "null"], "description": None},
    },
    ["queries", "options"],
)
CODE = "Fix this \u27e6:\n```python\ndef f(x):\n\treturn {\"a\": x % 2}  # {{ not }} {% a %} tag\n```\n"
UNICODE = "  \u4f60\u597d\uff0cna\u00efve \U0001f600 \u27e6 <|im_end|></s><\uff5cUser\uff5c> \u00df\u0130 \n"
THOUGHT = "<think>\nFirst I add \u27e6 1 + 1.\n</think>\n\nIt is 2 \u27e6."

# (messages, other variables)
CONVERSATIONS = {
    "user": ([user()], {}),
    "user, generation prompt": ([user()], {"add_generation_prompt": True}),
    "system": ([system(), user()], {"add_generation_prompt": True}),
    "several turns": ([system(), user(), answer(), user("And you \u27e6?")], {"add_generation_prompt": True}),
    "ends with an answer": ([user(), answer(), user("Why \u27e6?"), answer("Because \u27e6.")], {}),
    "two systems": ([system(), system("Be brief \u27e6."), user()], {"add_generation_prompt": True}),
    "system later": ([user(), answer(), system("Now be rude \u27e6."), user("Go \u27e6")], {"add_generation_prompt": True}),
    "two users": ([user(), user("Still there \u27e6?")], {"add_generation_prompt": True}),
    "two answers": ([user(), answer(), answer("Also \u27e6."), user("Thanks \u27e6")], {}),
    "empty content": ([system(""), user(""), answer(""), user("x \u27e6")], {"add_generation_prompt": True}),
    "code": ([user(CODE), answer(CODE), user("Better \u27e6?")], {"add_generation_prompt": True}),
    "unicode": ([system(UNICODE), user(UNICODE), answer(UNICODE), user(UNICODE)], {"add_generation_prompt": True}),
    "thoughts": ([user("1 + 1 \u27e6"), answer(THOUGHT), user("2 + 2 \u27e6")], {"add_generation_prompt": True}),
    "thoughts apart": (
        [user("1 + 1 \u27e6"), answer("It is 2 \u27e6.", reasoning_content="Easy \u27e6."), user("2 \u27e6")],
        {"add_generation_prompt": True, "enable_thinking": True, "thinking": True},
    ),
    "no thinking": (
        [system(), user("1 + 1 \u27e6")],
        {"add_generation_prompt": True, "enable_thinking": False, "thinking": False, "reasoning_effort": "low"},
    ),
    "tools": ([system(), user("Weather \u27e6?")], {"tools": [WEATHER, SEARCH], "add_generation_prompt": True}),
    "call and result": (
        [
            user("Weather in M\u00fcnchen \u27e6?"),
            answer(None, tool_calls=[call("get_weather", {"city": "M\u00fcnchen \u27e6", "days": 3, "unit": None})]),
            result('{"temperature": 21.5, "text": "sunny \u27e6"}'),
        ],
        {"tools": [WEATHER], "add_generation_prompt": True},
    ),
    "two calls and an answer": (
        [
            system(),
            user("Both \u27e6"),
            answer(
                "",
                tool_calls=[
                    call("get_weather", {"city": "Rome \u27e6"}),
                    call("search", {"queries": ["a \u27e6", "b"], "options": {"fuzzy": True, "weight": 0.5}}, "call00002"),
                ],
            ),
            result("rain \u27e6"),
            result("nothing \u27e6", "call00002", "search"),
            answer("It rains \u27e6."),
            user("Again \u27e6"),
        ],
        {"tools": [WEATHER, SEARCH], "add_generation_prompt": True},
    ),
    "call with text arguments": (
        [
            user("Weather \u27e6?"),
            answer("I look \u27e6.", tool_calls=[call("get_weather", '{"city": "Rome \u27e6"}')]),
            result("rain \u27e6"),
            answer("Rain \u27e6."),
        ],
        {"tools": [WEATHER]},
    ),
    "content in parts": (
        [
            {"role": "system", "content": [{"type": "text", "text": "Be kind \u27e6."}]},
            {"role": "user", "content": [{"type": "text", "text": "One \u27e6."}, {"type": "text", "text": "Two \u27e6."}]},
        ],
        {"add_generation_prompt": True},
    ),
}

FEATURES = {
    "loop controls": r"\{%-? *(break|continue)\b",
    "macro": r"\{%-? *macro\b",
    "namespace": r"\bnamespace\(",
    "slice": r"\[[^\]'\"]*:[^\]'\"]*\]",
    "tojson": r"\|\s*tojson\b",
    "recursive loop": r"\brecursive\b",
    "block set": r"\{%-? *set \w+ *-?%\}",
    "generation": r"\{%-? *generation\b",
    "strftime_now": r"\bstrftime_now\b",
    "selectattr": r"\b(select|reject)(attr)?\(",
    "call block": r"\{%-? *call\b",
    "items": r"\bitems\b",
}


def templates(folders):
    """(name, text), each text once."""
    seen = set()
    for folder in map(Path, folders):
        for path in sorted(folder.rglob("*.jinja")) + sorted(folder.rglob("tokenizer_config.json")):
            text = path.read_text(encoding="utf-8")
            texts = {path.stem: text}
            if path.suffix == ".json":
                found = json.loads(text).get("chat_template") or []
                several = [{"name": "default", "template": found}] if isinstance(found, str) else found
                texts = {f"{path.parent.name} {t['name']}": t["template"] for t in several}
            for name, text in texts.items():
                if text not in seen:
                    seen.add(text)
                    yield name, text


def expected(text, variables):
    try:
        return hf_jinja.environment().from_string(text).render(**variables)
    except Exception as error:  # whatever a template makes Python raise
        return error


class Ours:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def render(self, text, variables):
        request = {"template": text, "variables": variables, "now": hf_jinja.NOW}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the program ended")
        return json.loads(line)


def difference(wanted, found):
    """What is wrong with our answer, or None."""
    if isinstance(wanted, Exception):
        return None if "error" in found else f"Jinja2 raises ({wanted}), ours does not"
    if "error" in found:
        return f"ours fails: {found['error']}"
    if found["text"] != wanted:
        at = next((i for i, (a, b) in enumerate(zip(wanted, found["text"])) if a != b), min(len(wanted), len(found["text"])))
        return f"at {at}: expected {wanted[at - 20 : at + 40]!r}, found {found['text'][at - 20 : at + 40]!r}"
    if any(source == 0 and MARK in piece for piece, source in found["pieces"]):
        return "a user's character is in a piece of the template's own"
    return None


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    ours = Ours(sys.argv[1])
    n_templates = n_exact = n_same_errors = n_all = 0
    print("| template | equal | of these errors in both | features |\n|---|---|---|---|")
    for name, text in templates(sys.argv[2:]):
        equal = errors = 0
        for title, (messages, more) in CONVERSATIONS.items():
            variables = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": False}
            variables |= SPECIAL | more
            wanted = expected(text, variables)
            fault = difference(wanted, ours.render(text, variables))
            equal += fault is None
            errors += fault is None and isinstance(wanted, Exception)
            if fault is not None:
                print(f"{name}, {title}: {fault}", file=sys.stderr)
        features = ", ".join(name for name, pattern in FEATURES.items() if re.search(pattern, text))
        print(f"| {name} | {equal} of {len(CONVERSATIONS)} | {errors} | {features} |", flush=True)
        n_templates += 1
        n_exact += equal == len(CONVERSATIONS)
        n_all += equal
        n_same_errors += errors
    print(
        f"\n{n_exact} of {n_templates} templates equal in all {len(CONVERSATIONS)} conversations; {n_all} renderings equal, "
        f"of which {n_same_errors} are errors in both"
    )
    return n_exact != n_templates


if __name__ == "__main__":
    sys.exit(main())
