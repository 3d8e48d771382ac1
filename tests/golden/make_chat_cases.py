"""Writes chat_cases.json: conversations, and the exact prompts that chat templates make of them.

    python make_chat_cases.py [tokenizer_config.json of DeepSeek-V3, to compare with]

Every expected prompt is rendered twice: by a plain renderer written from the description of the formats (`expected`,
what built-in formats give), and by jinja2, as transformers uses it, from a template in the shape in which the models
publish theirs (`template_gives` where that is another text). They differ where the published shape is at fault (V3's
leaves a single tool call unclosed and mixes up the second round of calls), and where it writes the arguments of calls
anew.
"""

import json
import sys
from pathlib import Path

from hf_jinja import environment

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


SYSTEMS = r"""
{%- for message in messages -%}
  {%- if message['role'] == 'system' -%}
    {%- if ns.is_first_sp -%}
      {%- set ns.system_prompt = message['content'] -%}
      {%- set ns.is_first_sp = false -%}
    {%- else -%}
      {%- set ns.system_prompt = ns.system_prompt + '\n\n' + message['content'] -%}
    {%- endif -%}
  {%- endif -%}
{%- endfor -%}
{{ bos_token }}{{ ns.system_prompt }}
"""

# V3-0324 and R1-0528: the assistant's mark belongs to the user's turn, and calls are closed.
MARKED_USER = (
    r"""
{%- if not add_generation_prompt is defined -%}{%- set add_generation_prompt = false -%}{%- endif -%}
{%- set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='', is_first_sp=true,
                       is_last_user=false) -%}
"""
    + SYSTEMS
    + r"""
{%- for message in messages -%}
  {%- if message['role'] == 'user' -%}
    {%- set ns.is_tool = false -%}{%- set ns.is_first = false -%}{%- set ns.is_last_user = true -%}
    {{ '<｜User｜>' + message['content'] + '<｜Assistant｜>' }}
  {%- endif -%}
  {%- if message['role'] == 'assistant' and message['tool_calls'] is defined and message['tool_calls'] is not none -%}
    {%- set ns.is_last_user = false -%}
    {%- if ns.is_tool -%}{{ '<｜tool▁outputs▁end｜>' }}{%- endif -%}
    {%- set ns.is_first = false -%}{%- set ns.is_tool = false -%}{%- set ns.is_output_first = true -%}
    {%- for tool in message['tool_calls'] -%}
      {%- set call = '<｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + tool['function']['name'] + '\n' + '```json'
                     + '\n' + tool['function']['arguments'] + '\n' + '```' + '<｜tool▁call▁end｜>' -%}
      {%- if ns.is_first -%}
        {{ '\n' + call }}
      {%- elif message['content'] is none -%}
        {{ '<｜tool▁calls▁begin｜>' + call }}
      {%- else -%}
        {{ message['content'] + '<｜tool▁calls▁begin｜>' + call }}
      {%- endif -%}
      {%- set ns.is_first = true -%}
    {%- endfor -%}
    {{ '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' }}
  {%- endif -%}
  {%- if message['role'] == 'assistant' and (message['tool_calls'] is not defined or message['tool_calls'] is none) -%}
    {%- set ns.is_last_user = false -%}
    {%- if ns.is_tool -%}
      {{ '<｜tool▁outputs▁end｜>' + message['content'] + '<｜end▁of▁sentence｜>' }}
      {%- set ns.is_tool = false -%}
    {%- else -%}
      {%- set content = message['content'] -%}
      DROP
      {{ content + '<｜end▁of▁sentence｜>' }}
    {%- endif -%}
  {%- endif -%}
  {%- if message['role'] == 'tool' -%}
    {%- set ns.is_last_user = false -%}{%- set ns.is_tool = true -%}
    {{ '<｜tool▁outputs▁begin｜>' if ns.is_output_first else '\n' }}
    {{- '<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>' }}
    {%- set ns.is_output_first = false -%}
  {%- endif -%}
{%- endfor -%}
{%- if ns.is_tool -%}{{ '<｜tool▁outputs▁end｜>' }}{%- endif -%}
{%- if add_generation_prompt and not ns.is_last_user and not ns.is_tool -%}{{ '<｜Assistant｜>' }}{%- endif -%}
"""
)
DROP = "{%- if '</think>' in content -%}{%- set content = content.split('</think>')[-1] -%}{%- endif -%}"

# V3.1: thinks on demand; tells the arguments of calls as JSON, so it wants objects.
V31 = (
    r"""
{%- if not thinking is defined -%}{%- set thinking = false -%}{%- endif -%}
{%- set ns = namespace(is_first=false, is_tool=false, system_prompt='', is_first_sp=true, is_last_user=false) -%}
"""
    + SYSTEMS
    + r"""
{%- for message in messages -%}
  {%- if message['role'] == 'user' -%}
    {%- set ns.is_tool = false -%}{%- set ns.is_first = false -%}{%- set ns.is_last_user = true -%}
    {{ '<｜User｜>' + message['content'] }}
  {%- endif -%}
  {%- if message['role'] == 'assistant' and message['tool_calls'] -%}
    {%- if ns.is_last_user -%}{{ '<｜Assistant｜></think>' }}{%- endif -%}
    {%- set ns.is_last_user = false -%}{%- set ns.is_first = false -%}{%- set ns.is_tool = false -%}
    {%- for tool in message['tool_calls'] -%}
      {%- if not ns.is_first -%}
        {{ (message['content'] if message['content'] else '') + '<｜tool▁calls▁begin｜>' }}
        {%- set ns.is_first = true -%}
      {%- endif -%}
      {{ '<｜tool▁call▁begin｜>' + tool['function']['name'] + '<｜tool▁sep｜>' + tool['function']['arguments'] | tojson
         + '<｜tool▁call▁end｜>' }}
    {%- endfor -%}
    {{ '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' }}
  {%- endif -%}
  {%- if message['role'] == 'assistant' and not message['tool_calls'] -%}
    {%- if ns.is_last_user -%}
      {{ '<｜Assistant｜>' + ('<think>' if message['prefix'] is defined and message['prefix'] and thinking else '</think>') }}
    {%- endif -%}
    {%- set ns.is_last_user = false -%}
    {%- set content = message['content'] -%}
    {%- if '</think>' in content and not ns.is_tool -%}{%- set content = content.split('</think>', 1)[1] -%}{%- endif -%}
    {%- set ns.is_tool = false -%}
    {{ content + '<｜end▁of▁sentence｜>' }}
  {%- endif -%}
  {%- if message['role'] == 'tool' -%}
    {%- set ns.is_last_user = false -%}{%- set ns.is_tool = true -%}
    {{ '<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>' }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and ns.is_last_user and not ns.is_tool -%}
  {{ '<｜Assistant｜>' }}{% if thinking %}{{ '<think>' }}{% else %}{{ '</think>' }}{% endif %}
{%- endif -%}
"""
)

# ChatML as fine-tunes have it: a default system message, tools as JSON, results in the user's turn.
CHATML = r"""{%- set first = messages[0] %}
{{- '<|im_start|>system\n' ~ (first.content | trim if first.role == 'system' else 'You answer briefly.') }}
{%- if tools %}
    {{- '\n\n<tools>' }}
    {%- for tool in tools %}
        {{- '\n' ~ (tool | tojson) }}
    {%- endfor %}
    {{- '\n</tools>' }}
{%- endif %}
{{- '<|im_end|>\n' }}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<result>' + message.content + '</result>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- elif not (loop.first and message.role == 'system') %}
        {{- '<|im_start|>' + message.role + '\n' }}
        {%- if message.content is string %}
            {{- message.content }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {%- set call = call.function if call.function is defined else call %}
            {{- '\n<call>\n{"name": "' ~ call.name ~ '", "arguments": ' }}
            {{- call.arguments | tojson }}
            {{- '}\n</call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""

# Llama 3: what people wrote is trimmed.
LLAMA3 = (
    r"{% for message in messages %}"
    r"{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim %}"
    r"{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content + '<|eot_id|>' }}"
    r"{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

# The role is part of a control token.
ROLE_MARKS = (
    r"{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    r"{{ '<|assistant|>\n' if add_generation_prompt }}"
)

TEMPLATES = {
    "v2": V2,
    "v3": v3_template(False, False, ASSISTANT),  # V2.5 and the first release of V3
    "v3_joined": v3_template(True, False, ASSISTANT),  # later V3
    "v3_0324": MARKED_USER.replace("DROP", ""),
    "r1": v3_template(True, True, ASSISTANT),
    "r1_think": v3_template(True, True, ASSISTANT + "<think>\\n"),
    "r1_0528": MARKED_USER.replace("DROP", DROP),
    "v31": V31,
    "v31_thinking": V31,
    "chatml": CHATML,
    "llama3": LLAMA3,
    "role_marks": ROLE_MARKS,
}
BUILT_IN = {  # those without are formats of fine-tunes
    "v2": "deepseek-v2",
    "v3": "deepseek-v2.5",
    "v3_joined": "deepseek-v3",
    "v3_0324": "deepseek-v3-0324",
    "r1": "deepseek-r1-0120",
    "r1_think": "deepseek-r1",
    "r1_0528": "deepseek-r1-0528",
    "v31": "deepseek-v3.1",
    "v31_thinking": "deepseek-v3.1",
}
WANT_OBJECTS = ("v31", "v31_thinking", "chatml")  # for the arguments of calls
THINKING = {"v31": False, "v31_thinking": True}


def with_objects(message):
    calls = [
        {**c, "function": {**c["function"], "arguments": json.loads(c["function"]["arguments"])}}
        for c in message.get("tool_calls", [])
    ]
    return {**message, "tool_calls": calls} if calls else message


def render_template(name, messages, add_generation_prompt, tools=None):
    if name in WANT_OBJECTS:
        messages = [with_objects(m) for m in messages]
    text = (
        environment()
        .from_string(TEMPLATES[name])
        .render(
            messages=messages,
            tools=tools,
            add_generation_prompt=add_generation_prompt,
            bos_token=BOS,
            eos_token=EOS,
            **({"thinking": THINKING[name]} if name in THINKING else {}),
        )
    )
    return text if text.startswith(BOS) else BOS + text  # the tokenizer adds it


# --- the formats in plain words ---


def render_call(name, call):
    function = call["function"]
    if name.startswith("v31"):
        body = function["name"] + tool_token("sep") + function["arguments"]
    else:
        body = f"{call['type']}{tool_token('sep')}{function['name']}\n```json\n{function['arguments']}\n```"
    return tool_token("call begin") + body + tool_token("call end")


def render_calls(name, calls):
    between = "" if name.startswith("v31") else "\n"
    return tool_token("calls begin") + between.join(render_call(name, c) for c in calls) + tool_token("calls end")


def render(name, messages, add_generation_prompt, tools=None):
    if name == "v2":
        shape = {"system": "{}\n\n", "user": "User: {}\n\n", "assistant": "Assistant: {}" + EOS}
        text = "".join(shape[m["role"]].replace("{}", m["content"]) for m in messages)
        return BOS + text + ("Assistant:" if add_generation_prompt else "")

    v31 = name.startswith("v31")
    marked_user = name in ("v3_0324", "r1_0528")
    answer_mark = ASSISTANT + ("</think>" if v31 else "")
    systems = [m["content"] for m in messages if m["role"] == "system"]
    text = BOS + (systems[-1:] or [""])[0] if name == "v3" else BOS + "\n\n".join(systems)
    if tools:
        text += "\n\n" + V31_TOOLS.replace("TOOLS", "".join(render_tool(t) for t in tools))
    speaking = [m for m in messages if m["role"] != "system"]
    for i, m in enumerate(speaking):
        before = speaking[i - 1]["role"] if i > 0 else None
        after = speaking[i + 1]["role"] if i + 1 < len(speaking) else None
        if m["role"] == "user":
            text += USER + m["content"] + (ASSISTANT if marked_user else "")
        elif m["role"] == "assistant":
            if not marked_user and before != "tool" and (before == "user" or not v31):
                text += answer_mark
            content = m["content"] or ""
            if name.startswith("r1"):
                content = content.split("</think>")[-1]
            elif v31 and before != "tool" and "</think>" in content:
                content = content.split("</think>", 1)[1]
            text += content + (render_calls(name, m["tool_calls"]) if "tool_calls" in m else "") + EOS
        elif v31:
            text += tool_token("output begin") + m["content"] + tool_token("output end")
        else:
            text += (tool_token("outputs begin") if before != "tool" else "\n") + tool_token("output begin")
            text += m["content"] + tool_token("output end")
            text += tool_token("outputs end") if after != "tool" else ""
    last = speaking[-1]["role"]
    if not add_generation_prompt or last == "tool":
        return text
    if v31:
        return text + (ASSISTANT + ("<think>" if THINKING[name] else "</think>") if last == "user" else "")
    if marked_user and last == "user":
        return text
    return text + ASSISTANT + ("<think>\n" if name == "r1_think" else "")


def render_tool(tool):
    f = tool["function"]
    parameters = json.dumps(f["parameters"], ensure_ascii=False)
    return f"\n### {f['name']}\nDescription: {f['description']}\n\nParameters: {parameters}\n"


V31_TOOLS = (
    "## Tools\nYou have access to the following tools:\nTOOLS\n"
    "IMPORTANT: ALWAYS adhere to this exact format for tool use:\n"
    + tool_token("calls begin") + tool_token("call begin") + "tool_call_name" + tool_token("sep")
    + "tool_call_arguments" + tool_token("call end") + "{additional_tool_calls}" + tool_token("calls end")
    + "\n\nWhere:\n- `tool_call_name` must be an exact match to one of the available tools\n"
    "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n"
    "- For multiple tool calls, chain them directly without separators or spaces"
)


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
WRAPPED = [{"type": "function", "function": f} for f in FUNCTIONS]


WITHOUT_TOOLS = ("v2", "llama3", "role_marks")
ANNOUNCED = ("one question", "system and question", "two calls, results and answer")  # also with a list of tools


def cases():
    for name in TEMPLATES:
        conversations = dict(CONVERSATIONS)
        if name != "v2":
            conversations |= SEVERAL_SYSTEMS
        if name not in WITHOUT_TOOLS:
            conversations |= TOOLS
        for title, messages in conversations.items():
            for add_generation_prompt in (True, False):
                for tools in (None, WRAPPED) if title in ANNOUNCED and name in ("v31", "chatml") else (None,):
                    yield case(name, title, messages, add_generation_prompt, tools)


def case(name, title, messages, add_generation_prompt, tools):
    gives = render_template(name, messages, add_generation_prompt, tools)
    row = {
        "template": name,
        "conversation": title,
        "messages": messages,
        "add_generation_prompt": add_generation_prompt,
        "expected": render(name, messages, add_generation_prompt, tools) if name in BUILT_IN else gives,
    }
    if tools:
        row["tools"] = tools
    if gives != row["expected"]:
        if title not in TOOLS and not tools:
            raise SystemExit(f"{name}, {title}: the two renderings differ")
        row["template_gives"] = gives
    return row


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
        f'{{"templates": {json.dumps(TEMPLATES, indent=1)},\n"built_in": {json.dumps(BUILT_IN)},\n'
        f'"tools": {json.dumps(tools)},\n"cases": [\n{text}\n]}}\n'
    )
    print(
        f"{len(rows)} prompts, {sum('template_gives' in row for row in rows)} of them not as the template renders them"
    )


if __name__ == "__main__":
    main()
