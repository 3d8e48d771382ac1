"""The official clients of OpenAI and Anthropic against a server, whatever model it has.

    clients.py http://127.0.0.1:8080 [KEY]

Needs the packages `openai` and `anthropic` (tests only); says SKIP and exits with 77 where they are not installed.
"""

import json
import sys
import urllib.error
import urllib.request

try:
    import anthropic
    import openai
except ImportError as missing:
    print(f"SKIP: {missing}")
    sys.exit(77)

# The demo was taught to call this one; other models may, too.
PRICE = {"name": "get_price", "description": "Get the price of a product",
         "parameters": {"type": "object", "properties": {"product": {"type": "string", "description": "Name of the product"}},
                        "required": ["product"]}}
ASKS_PRICE = [{"role": "user", "content": "Tell me the price of apples."}]
QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]
# The same text each time, and short. `extra_body` is how the clients send what they do not know.
GREEDY = {"temperature": 0, "seed": 7}


def http(base, key, path, body=None):
    """(status, headers, JSON or text) by no client at all."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            status, headers, text = response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        status, headers, text = error.code, error.headers, error.read().decode()
    is_json = "json" in headers.get("Content-Type", "")
    return status, headers, json.loads(text) if is_json else text


def refused(kind, call):
    """The error that `call` must end with."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, found none")


def chat(client, model):
    whole = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=24, **GREEDY)
    choice = whole.choices[0]
    assert whole.object == "chat.completion" and whole.id.startswith("chatcmpl-"), whole
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length"), whole
    usage = whole.usage
    assert usage.prompt_tokens > 0 and 0 < usage.completion_tokens <= 24, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
    assert usage.prompt_tokens_details.cached_tokens >= 0, usage
    assert usage.completion_tokens_details.reasoning_tokens >= 0, usage

    chunks = list(
        client.chat.completions.create(
            model=model, messages=QUESTION, max_tokens=24, stream=True, stream_options={"include_usage": True}, **GREEDY
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == (choice.message.content or ""), (text, choice.message.content)
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == usage.completion_tokens, chunks[-1]
    assert chunks[-2].choices[0].finish_reason == choice.finish_reason, chunks[-2]
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens > 0, "the prompt was just read"

    with client.chat.completions.stream(model=model, messages=QUESTION, max_tokens=24, **GREEDY) as stream:
        for _ in stream:
            pass
        # Not get_final_completion, which takes an answer that was cut short for an error.
        assert stream.current_completion_snapshot.choices[0].message.content == choice.message.content

    several = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=4, n=2, seed=1, temperature=1)
    assert [one.index for one in several.choices] == [0, 1], several
    parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
    again = client.chat.completions.create(model=model, messages=parts, max_tokens=24, **GREEDY)
    assert again.choices[0].message.content == choice.message.content
    if choice.message.content:
        stop = choice.message.content[1:3] or choice.message.content
        cut = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=24, stop=[stop], **GREEDY)
        assert cut.choices[0].message.content == choice.message.content.split(stop)[0], cut
        assert cut.choices[0].finish_reason == "stop", cut


def logprobs(client, model):
    arguments = {"model": model, "messages": QUESTION, "max_tokens": 4, "logprobs": True, "top_logprobs": 3, **GREEDY}
    entries = client.chat.completions.create(**arguments).choices[0].logprobs.content
    assert entries and all(entry.logprob <= 0 and len(entry.top_logprobs) == 3 for entry in entries), entries
    assert all(entry.top_logprobs[0].logprob >= entry.top_logprobs[1].logprob for entry in entries), entries
    streamed = []
    for chunk in client.chat.completions.create(stream=True, **arguments):
        if chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content
    assert [entry.bytes for entry in streamed] == [entry.bytes for entry in entries], (streamed, entries)


def completions(client, model):
    whole = client.completions.create(model=model, prompt="One, two,", max_tokens=6, logprobs=2, **GREEDY)
    assert whole.object == "text_completion" and whole.usage.completion_tokens <= 6, whole
    assert len(whole.choices[0].logprobs.tokens) == len(whole.choices[0].logprobs.text_offset), whole
    chunks = client.completions.create(model=model, prompt="One, two,", max_tokens=6, stream=True, **GREEDY)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    two = client.completions.create(model=model, prompt=["One,", "A,"], max_tokens=2, **GREEDY)
    assert len(two.choices) == 2, two


def responses(client, model):
    arguments = {"model": model, "input": "What is 2 + 3?", "instructions": "Be brief.", "max_output_tokens": 24,
                 "temperature": 0, "store": False}
    whole = client.responses.create(**arguments)
    assert whole.object == "response" and whole.status in ("completed", "incomplete"), whole
    assert whole.usage.input_tokens > 0 and whole.usage.output_tokens > 0, whole.usage
    events = list(client.responses.create(stream=True, **arguments))
    assert [event.sequence_number for event in events] == list(range(len(events))), events
    assert events[0].type == "response.created" and events[1].type == "response.in_progress", events[:2]
    assert events[-1].type == f"response.{whole.status}", events[-1]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text == events[-1].response.output_text, (text, whole.output_text)
    with client.responses.stream(**arguments) as stream:
        kinds = [event.type for event in stream]
        assert kinds[-1] == f"response.{whole.status}", kinds
        if whole.status == "completed":  # the client takes others for errors
            assert stream.get_final_response().output_text == whole.output_text
    items = [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}, *whole.output,
             {"role": "user", "content": "And 3 + 4?"}]
    assert client.responses.create(**{**arguments, "input": items}).usage.input_tokens > whole.usage.input_tokens


def messages(client, model):
    arguments = {"model": model, "messages": QUESTION, "max_tokens": 24, "system": "Be brief.",
                 "extra_body": {"temperature": 0}}
    whole = client.messages.create(**arguments)
    assert whole.type == "message" and whole.role == "assistant" and whole.id.startswith("msg_"), whole
    assert whole.stop_reason in ("end_turn", "max_tokens"), whole
    read = whole.usage.input_tokens + whole.usage.cache_read_input_tokens
    counted = client.messages.count_tokens(model=model, messages=QUESTION, system="Be brief.")
    assert counted.input_tokens == read, (counted, whole.usage)

    text = "".join(block.text for block in whole.content if block.type == "text")
    with client.messages.stream(**arguments) as stream:
        assert "".join(stream.text_stream) == text
        final = stream.get_final_message()
    assert final.stop_reason == whole.stop_reason and final.usage.output_tokens == whole.usage.output_tokens, final
    assert final.usage.cache_read_input_tokens > 0, "the prompt was just read"
    kinds = [event.type for event in client.messages.create(stream=True, **arguments)]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds

    history = [*QUESTION, {"role": "assistant", "content": whole.content or "5"}, {"role": "user", "content": "And 3 + 4?"}]
    assert client.messages.create(model=model, messages=history, max_tokens=8).usage.output_tokens <= 8
    billed = "x-anthropic-billing-header: cc_version=2.1; cch=%s;"
    for stamp in ("one", "two"):
        system = [{"type": "text", "text": billed % stamp}, {"type": "text", "text": "Be brief."}]
        assert client.messages.count_tokens(model=model, messages=QUESTION, system=system) == counted


def thinking(client, other, model):
    arguments = {"model": model, "messages": QUESTION, "max_tokens": 200, "seed": 7}
    whole = client.chat.completions.create(**arguments, extra_body={"enable_thinking": True})
    thoughts = whole.choices[0].message.reasoning_content
    assert thoughts and whole.usage.completion_tokens_details.reasoning_tokens > 0, whole
    deltas = [chunk.choices[0].delta for chunk in
              client.chat.completions.create(stream=True, **arguments, extra_body={"enable_thinking": True})]
    assert "".join(getattr(delta, "reasoning_content", "") for delta in deltas) == thoughts
    response = client.responses.create(model=model, input="Hello", reasoning={"effort": "high"}, max_output_tokens=200)
    assert response.output[0].type == "reasoning" and response.output[0].content[0].text, response
    arguments = {"model": model, "messages": QUESTION, "max_tokens": 2000,
                 "thinking": {"type": "enabled", "budget_tokens": 1024}}
    assert other.messages.create(**arguments).content[0].type == "thinking"
    with other.messages.stream(**arguments) as stream:
        block = stream.get_final_message().content[0]
    assert block.type == "thinking" and block.thinking and block.signature, block


def tools(client, other, model):
    """A loop of calls and results by each protocol, whole and streamed; how many calls there were."""
    offered = [{"type": "function", "function": PRICE}]
    arguments = {"model": model, "messages": ASKS_PRICE, "tools": offered, "max_tokens": 100, **GREEDY}
    whole = client.chat.completions.create(**arguments).choices[0]
    with client.chat.completions.stream(**arguments) as stream:
        for _ in stream:
            pass
        streamed = stream.current_completion_snapshot.choices[0]
    calls = whole.message.tool_calls or []
    said = [(call.function.name, call.function.arguments) for call in calls]
    assert [(call.function.name, call.function.arguments) for call in streamed.message.tool_calls or []] == said, streamed
    assert whole.finish_reason == streamed.finish_reason == ("tool_calls" if calls else "stop"), whole
    assert whole.message.content == (streamed.message.content or whole.message.content), (whole, streamed)
    results = [{"role": "tool", "tool_call_id": call.id, "content": '{"price": 3}'} for call in calls]
    again = client.chat.completions.create(**{**arguments, "messages": [*ASKS_PRICE, whole.message, *results]})
    assert not calls or again.usage.prompt_tokens_details.cached_tokens > 0, again.usage
    none = client.chat.completions.create(**arguments, tool_choice="none").choices[0]
    assert not none.message.tool_calls and none.finish_reason in ("stop", "length"), none

    offered = [{"type": "function", **PRICE, "strict": False}]
    arguments = {"model": model, "input": ASKS_PRICE, "tools": offered, "max_output_tokens": 100, "temperature": 0}
    whole = client.responses.create(**arguments)
    made = [item for item in whole.output if item.type == "function_call"]
    assert [(item.name, item.arguments) for item in made] == said, whole.output
    with client.responses.stream(**arguments) as stream:
        deltas = "".join(event.delta for event in stream if event.type == "response.function_call_arguments.delta")
        assert deltas == "".join(item.arguments for item in made), (deltas, made)
        final = stream.get_final_response().output
    assert [item.arguments for item in final if item.type == "function_call"] == [item.arguments for item in made]
    results = [{"type": "function_call_output", "call_id": item.call_id, "output": '{"price": 3}'} for item in made]
    client.responses.create(**{**arguments, "input": [*ASKS_PRICE, *whole.output, *results]})

    offered = [{"name": PRICE["name"], "description": PRICE["description"], "input_schema": PRICE["parameters"]}]
    arguments = {"model": model, "messages": ASKS_PRICE, "tools": offered, "max_tokens": 100,
                 "extra_body": {"temperature": 0}}
    whole = other.messages.create(**arguments)
    made = [block for block in whole.content if block.type == "tool_use"]
    assert [(block.name, block.input) for block in made] == [(name, json.loads(text)) for name, text in said], whole
    assert whole.stop_reason == ("tool_use" if made else "end_turn"), whole
    with other.messages.stream(**arguments) as stream:
        final = stream.get_final_message()
    assert [(block.name, block.input) for block in final.content if block.type == "tool_use"] == [
        (block.name, block.input) for block in made], final
    if made:
        results = [{"type": "tool_result", "tool_use_id": block.id, "content": '{"price": 3}'} for block in made]
        history = [*ASKS_PRICE, {"role": "assistant", "content": whole.content}, {"role": "user", "content": results}]
        again = other.messages.create(**{**arguments, "messages": history})
        read = whole.usage.input_tokens + whole.usage.cache_read_input_tokens
        assert again.usage.cache_read_input_tokens > read, "the model's own call is in the cache"
    return len(said)


def models(openai_client, anthropic_client):
    listed = list(openai_client.models.list())
    assert len(listed) == 1, listed
    model = listed[0].id
    assert openai_client.models.retrieve(model).id == model
    assert [one.id for one in anthropic_client.models.list()] == [model]
    assert anthropic_client.models.retrieve(model).type == "model"
    error = refused(openai.NotFoundError, lambda: openai_client.models.retrieve("no such model"))
    assert error.code == "model_not_found", error
    refused(anthropic.NotFoundError, lambda: anthropic_client.messages.batches.list())
    return model


def errors(client, other, model):
    def ask(**more):
        arguments = {"model": model, "messages": QUESTION, "max_tokens": 4, **more}
        return refused(openai.BadRequestError, lambda: client.chat.completions.create(**arguments))

    assert ask(messages=[]).param == "messages"
    assert ask(messages=[{"role": "robot", "content": "x"}]).param == "messages[0].role"
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]
    assert ask(messages=image).param == "messages[0].content[0].type"
    unique = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"uniqueItems": True}}}
    assert ask(response_format=unique).param == "response_format.json_schema.schema"
    assert ask(tools=[{"type": "function", "function": {"name": "not a name"}}]).param == "tools[0].function.name"
    offered = [{"type": "function", "function": {"name": "f"}}]
    other_one = {"type": "function", "function": {"name": "g"}}
    assert ask(tools=offered, tool_choice=other_one).param == "tool_choice"
    assert ask(temperature=-1).param == "temperature"
    long = ask(messages=[{"role": "user", "content": "word " * 200_000}])
    assert long.type == "exceed_context_size_error" and long.body["n_prompt_tokens"] > long.body["n_ctx"], long
    refused(openai.InternalServerError, lambda: client.embeddings.create(model=model, input="x"))

    bad = refused(anthropic.BadRequestError, lambda: other.messages.create(model=model, messages=[], max_tokens=4))
    assert bad.body["error"]["type"] == "invalid_request_error" and "messages" in bad.message, bad
    long = [{"role": "user", "content": "word " * 200_000}]
    error = refused(anthropic.BadRequestError, lambda: other.messages.create(model=model, messages=long, max_tokens=4))
    assert "prompt is too long" in error.message, error


def others(base, key, model):
    """What llama.cpp's clients and Prometheus ask."""
    assert http(base, key, "/health")[2] == {"status": "ok"}
    props = http(base, key, "/props")[2]
    assert props["model_alias"] == model and props["default_generation_settings"]["n_ctx"] > 0, props
    tokens = http(base, key, "/tokenize", {"content": "Hello"})[2]["tokens"]
    assert http(base, key, "/detokenize", {"tokens": tokens})[2] == {"content": "Hello"}
    assert "2 + 3" in http(base, key, "/apply-template", {"messages": QUESTION})[2]["prompt"]
    metrics = http(base, key, "/metrics")[2]
    assert "hearth_ready 1\n" in metrics and "hearth_requests_total" in metrics, metrics
    assert http(base, key, "/v1/nothing")[0] == 404
    status, headers, _ = http(base, key, "/v1/chat/completions")
    assert status == 405 and headers["Allow"] == "POST", (status, headers)
    for body in (b"", b"{", b"[]", b'{"a":1,"a":2}', b"[" * 100_000, b'{"a":"\xff"}'):
        status, _, answer = http(base, key, "/v1/chat/completions", body)
        assert status == 400 and "body" in answer["error"]["message"], (body[:20], status, answer)


def main(base, key=""):
    # No second tries: an error is an error.
    client = openai.OpenAI(base_url=base + "/v1", api_key=key or "none", max_retries=0, timeout=120)
    other = anthropic.Anthropic(base_url=base, api_key=key or "none", max_retries=0, timeout=120)
    model = models(client, other)
    print(f"openai {openai.__version__}, anthropic {anthropic.__version__}: {model} at {base}")
    checks = {
        "chat": lambda: chat(client, model),
        "logprobs": lambda: logprobs(client, model),
        "completions": lambda: completions(client, model),
        "responses": lambda: responses(client, model),
        "messages": lambda: messages(other, model),
        "thinking": lambda: thinking(client, other, model),
        "tools": lambda: tools(client, other, model),
        "errors": lambda: errors(client, other, model),
        "others": lambda: others(base, key, model),
    }
    if not http(base, key, "/props")[2]["can_switch_thinking"]:
        del checks["thinking"]
        print("thinking: not looked at, as this model cannot be told to")
    for name, check in checks.items():
        found = check()
        print(f"{name}: ok" + (f", {found} calls" if name == "tools" else ""))


if __name__ == "__main__":
    main(*sys.argv[1:])
