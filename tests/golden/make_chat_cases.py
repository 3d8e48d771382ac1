"""Writes chat_cases.json: conversations, and the exact prompts that DeepSeek's chat templates make of them.

    python make_chat_cases.py [tokenizer_config.json of DeepSeek-V3, to compare with]

Every expected prompt is rendered twice: by a plain renderer written from the description of the formats, and by jinja2
from a template in the shape in which the models publish theirs. Where the two differ, the published shape is at fault
(it leaves a single tool call unclosed, and mixes up the second round of calls): such a case says so, and expects what
the model itself writes.
"""

import json
import sys
from pathlib import Path

import jinja2

HERE = Path(__file__).parent
BOS, EOS = "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"
USER, ASSISTANT = "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>"


def tool_token(name):
    return "<\uff5ctool\u2581" + name.replace(" ", "\u2581") + "\uff5c>"


# --- templates, in the shape of the published ones ---

V2 = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token }}"
    "{% elif message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def v3_template(join_systems, drop_thoughts, generation):
    if join_systems:
        state = ", is_first_sp=true"
        system = (
            "{%- if ns.is_first_sp %}{% set ns.system_prompt = ns.system_prompt + message['content'] %}"
            "{% set ns.is_first_sp = false %}"
            "{%- else %}{% set ns.system_prompt = ns.system_prompt + '\\n\\n' + message['content'] %}{%- endif %}"
        )
    else:
        state, system = "", "{% set ns.system_prompt = message['content'] %}"
    call = (
        f"'{tool_token('call begin')}' + tool['type'] + '{tool_token('sep')}' + tool['function']['name'] + '\\n' + "
        f"'```json' + '\\n' + tool['function']['arguments'] + '\\n' + '```' + '{tool_token('call end')}'"
    )
    answer = "{% set content = message['content'] %}"
    if drop_thoughts:
        answer += "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    return (
        "{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt=''" + state + ") %}"
        "{%- for message in messages %}{%- if message['role'] == 'system' %}" + system + "{%- endif %}{%- endfor %}"
        "{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}"
        "{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}"
        "{{'" + USER + "' + message['content']}}{%- endif %}"
        "{%- if message['role'] == 'assistant' and message['content'] is none %}{%- set ns.is_tool = false -%}"
        "{%- for tool in message['tool_calls'] %}{%- if not ns.is_first %}"
        "{{'" + ASSISTANT + tool_token("calls begin") + "' + " + call + "}}{%- set ns.is_first = true -%}"
        "{%- else %}{{'\\n' + "
        + call
        + "}}{{'"
        + tool_token("calls end")
        + EOS
        + "'}}{%- endif %}{%- endfor %}{%- endif %}"
        "{%- if message['role'] == 'assistant' and message['content'] is not none %}"
        "{%- if ns.is_tool %}{{'" + tool_token("outputs end") + "' + message['content'] + '" + EOS + "'}}"
        "{%- set ns.is_tool = false -%}"
        "{%- else %}" + answer + "{{'" + ASSISTANT + "' + content + '" + EOS + "'}}{%- endif %}{%- endif %}"
        "{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}"
        "{{'"
        + tool_token("outputs begin")
        + tool_token("output begin")
        + "' + message['content'] + '"
        + tool_token("output end")
        + "'}}{%- set ns.is_output_first = false %}"
        "{%- else %}{{'\\n"
        + tool_token("output begin")
        + "' + message['content'] + '"
        + tool_token("output end")
        + "'}}"
        "{%- endif %}{%- endif %}{%- endfor -%}"
        "{% if ns.is_tool %}{{'" + tool_token("outputs end") + "'}}{% endif %}"
        "{% if add_generation_prompt and not ns.is_tool %}{{'" + generation + "'}}{% endif %}"
    )


TEMPLATES = {
    "v2": V2,
    "v3": v3_template(False, False, ASSISTANT),  # V2.5 and the first release of V3
    "v3_joined": v3_template(True, False, ASSISTANT),  # later V3
    "r1": v3_template(True, True, ASSISTANT),
    "r1_think": v3_template(True, True, ASSISTANT + "<think>\\n"),
}


def render_template(name, messages, add_generation_prompt):
    environment = jinja2.Environment(keep_trailing_newline=True)
    return environment.from_string(TEMPLATES[name]).render(
        messages=messages, add_generation_prompt=add_generation_prompt, bos_token=BOS, eos_token=EOS
    )


# --- the formats in plain words ---


def render(name, messages, add_generation_prompt):
    if name == "v2":
        shape = {"system": "{}\n\n", "user": "User: {}\n\n", "assistant": "Assistant: {}" + EOS}
        text = "".join(shape[m["role"]].replace("{}", m["content"]) for m in messages)
        return BOS + text + ("Assistant:" if add_generation_prompt else "")

    systems = [m["content"] for m in messages if m["role"] == "system"]
    text = BOS + (systems[-1:] or [""])[0] if name == "v3" else BOS + "\n\n".join(systems)
    after_tools = False
    for i, m in enumerate(messages):
        if m["role"] == "user":
            text += USER + m["content"]
        elif m["role"] == "assistant" and m["content"] is None:
            calls = [
                f"{tool_token('call begin')}{c['type']}{tool_token('sep')}{c['function']['name']}\n```json\n"
                f"{c['function']['arguments']}\n```{tool_token('call end')}"
                for c in m["tool_calls"]
            ]
            text += (
                ASSISTANT * (not after_tools)
                + tool_token("calls begin")
                + "\n".join(calls)
                + tool_token("calls end")
                + EOS
            )
        elif m["role"] == "assistant":
            content = m["content"]
            if name.startswith("r1"):
                content = content.split("</think>")[-1]
            text += ASSISTANT * (not after_tools) + content + EOS
        elif m["role"] == "tool":
            first = not after_tools
            last = i + 1 == len(messages) or messages[i + 1]["role"] != "tool"
            text += (tool_token("outputs begin") if first else "\n") + tool_token("output begin") + m["content"]
            text += tool_token("output end") + tool_token("outputs end") * last
        after_tools = m["role"] == "tool"
    if add_generation_prompt and not after_tools:
        text += ASSISTANT + ("<think>\n" if name == "r1_think" else "")
    return text


# --- conversations ---


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def calls(*pairs):
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": {"name": n, "arguments": a}} for n, a in pairs],
    }


def tool(text):
    return {"role": "tool", "content": text}


CONVERSATIONS = {
    "one question": [user("Hello")],
    "system and question": [system("You are a helpful assistant."), user("Hello")],
    "empty system": [system(""), user("Hello")],
    "empty question": [user("")],
    "several turns": [
        user("Hi"),
        assistant("Hello! How can I help?"),
        user("What is 2+2?"),
        assistant("4"),
        user("And 3+3?"),
    ],
    "system and several turns": [system("Be brief."), user("Hi"), assistant("Hello."), user("Bye")],
    "blanks are kept": [system("  spaced \n"), user("  Hi \n\n"), assistant(" \n Hello  "), user("\tx\t")],
    "lines and fences": [
        user("Write code:\n```python\nprint('x')\n```"),
        assistant("```\nok\n```\n"),
        user("{{ braces }} {% x %}"),
    ],
    "other scripts": [
        system("\u4f60\u662f\u4e00\u4e2a\u52a9\u624b\u3002"),
        user("\u4f60\u597d\uff01\U0001f600"),
        assistant("\u041f\u0440\u0438\u0432\u0435\u0442"),
        user("\u0645\u0631\u062d\u0628\u0627"),
    ],
    "control tokens in the text": [
        user("say " + EOS + USER + "x"),
        assistant("no" + BOS),
        user("User: a\n\nAssistant: b"),
    ],
    "answer at the end": [user("Hi"), assistant("Hello")],
    "thoughts of an earlier turn": [user("Hi"), assistant("<think>\nLet me see.\n</think>\n\nHello"), user("Go on")],
    "thoughts that end twice": [user("Hi"), assistant("<think>a</think>b</think>c"), user("Go on")],
    "thoughts without an end": [user("Hi"), assistant("<think>never closed"), user("Go on")],
}
SEVERAL_SYSTEMS = {
    "two systems": [system("First."), system("Second."), user("Hi")],
    "a system in between": [system("First."), user("Hi"), assistant("Hello"), system("Later."), user("Go on")],
}
WEATHER = ("get_weather", '{"city": "Lisbon"}')
TOOLS = {
    "one call": [user("Weather?"), calls(WEATHER)],
    "one call and its result": [user("Weather?"), calls(WEATHER), tool('{"t": 21}')],
    "one call, result and answer": [
        user("Weather?"),
        calls(WEATHER),
        tool('{"t": 21}'),
        assistant("21 degrees."),
        user("Thanks"),
    ],
    "two calls": [user("Both?"), calls(WEATHER, ("get_time", "{}"))],
    "two calls and results": [user("Both?"), calls(WEATHER, ("get_time", "{}")), tool("21"), tool("06:12")],
    "two calls, results and answer": [
        system("You have tools."),
        user("Both?"),
        calls(WEATHER, ("get_time", "{}")),
        tool("21"),
        tool("06:12"),
        assistant("21 degrees at 06:12."),
        user("Thanks"),
    ],
    "three calls": [
        user("All?"),
        calls(WEATHER, ("get_time", "{}"), ("get_tide", '{\n  "port": "x"\n}')),
        tool("21"),
        tool("06:12"),
        tool("low"),
    ],
    "a second round": [
        user("Weather?"),
        calls(WEATHER),
        tool("21"),
        assistant("21."),
        user("Time?"),
        calls(("get_time", "{}")),
        tool("06:12"),
    ],
}


def tools_message(tools):
    """The system message that announces functions to V2.5, V3 and R1."""
    items = "\n".join(f"- `{t['name']}`:\n```json\n{json.dumps(t, indent=4, ensure_ascii=False)}\n```" for t in tools)
    return (
        "You are a helpful Assistant.\n\n## Tools\n\n### Function\n\nYou have the following functions available:\n\n"
        + items
    )


FUNCTIONS = [
    {
        "name": "get_weather",
        "description": "Get the current weather in a location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "City, e.g. \u5317\u4eac"},
                "days": {"type": "integer"},
            },
            "required": ["location"],
        },
    },
    {
        "name": "get_time",
        "description": 'The time "now"',
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
]


def cases():
    for name in TEMPLATES:
        conversations = dict(CONVERSATIONS)
        if name != "v2":
            conversations |= SEVERAL_SYSTEMS | TOOLS
        for title, messages in conversations.items():
            for add_generation_prompt in (True, False):
                expected = render(name, messages, add_generation_prompt)
                differs = render_template(name, messages, add_generation_prompt) != expected
                if differs and title not in TOOLS:
                    raise SystemExit(f"{name}, {title}: the two renderings differ")
                yield {
                    "template": name,
                    "conversation": title,
                    "messages": messages,
                    "add_generation_prompt": add_generation_prompt,
                    "expected": expected,
                    "template_differs": differs,
                }


def main():
    if len(sys.argv) > 1:  # ours in the published shape must render as the published one
        ours, TEMPLATES["v3_joined"] = (
            TEMPLATES["v3_joined"],
            json.loads(Path(sys.argv[1]).read_text())["chat_template"],
        )
        conversations = CONVERSATIONS | SEVERAL_SYSTEMS | TOOLS
        published = [render_template("v3_joined", m, g) for m in conversations.values() for g in (True, False)]
        TEMPLATES["v3_joined"] = ours
        assert published == [render_template("v3_joined", m, g) for m in conversations.values() for g in (True, False)]
        print(f"{sys.argv[1]}: {len(published)} renderings equal")
    rows = list(cases())
    tools = [{"tools": FUNCTIONS[:n], "expected": tools_message(FUNCTIONS[:n])} for n in (1, 2)]
    text = ",\n".join(json.dumps(row) for row in rows)
    (HERE / "chat_cases.json").write_text(
        f'{{"templates": {json.dumps(TEMPLATES, indent=1)},\n"tools": {json.dumps(tools)},\n"cases": [\n{text}\n]}}\n'
    )
    print(
        f"{len(rows)} prompts, {sum(row['template_differs'] for row in rows)} of them not as the template renders them"
    )


if __name__ == "__main__":
    main()
