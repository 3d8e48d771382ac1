"""Conversations made of the tasks, and the packing of many of them into one batch."""

import json
import random
from collections import defaultdict

import numpy as np

import functions
import schemas
import tasks
import tokenizer as tk

SYSTEM_PROMPTS = ["You are a helpful assistant.", "You are a helpful Assistant.", "You are a small demo model.", "Answer briefly.",
                  "You are hearth's demo model.", "Be short and precise.", "You are a friendly chat assistant.", "你是一个乐于助人的助手。"]

SINGLE = list(tasks.FAMILIES)
ALL = SINGLE + ["memory", "tool_call", "tool_answer"]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system_messages(rng, share=0.3):
    return [{"role": "system", "content": rng.choice(SYSTEM_PROMPTS)}] if rng.random() < share else []


class Dialogues:
    """Draws conversations as (messages, families): one family for every assistant message."""

    def __init__(self, seed: int, held_out: bool = False):
        self.rng = random.Random(seed)
        self.held_out = held_out
        self.weights = {f: 1.0 for f in ALL}  # adjusted while training, see train.py

    def family(self) -> str:
        return self.rng.choices(SINGLE, [self.weights[f] for f in SINGLE])[0]

    def turns(self, n: int):
        messages, families = [], []
        for _ in range(n):
            f = self.family()
            question, answer = tasks.draw(self.rng, f, self.held_out)
            messages += [user(question), assistant(answer)]
            families.append(f)
        return messages, families

    def with_memory(self, turns_between: int, items: int = 1):
        """The user tells `items` things, speaks of others, and asks for what was told."""
        rng = self.rng
        told, asked, kinds = [], [], set()
        while len(told) < items:
            key, statement, question = tasks.memory(rng)
            kind = question[1][:8]
            if tasks.is_held_out(key) == self.held_out and kind not in kinds:
                kinds.add(kind)
                told.append(statement)
                asked.append(question)
        rng.shuffle(asked)
        messages, families = [], []

        def say(pair, family):
            messages.extend((user(tasks.vary(rng, pair[0]) if pair[0].isascii() else pair[0]), assistant(pair[1])))
            families.append(family)

        def others(n):
            m, f = self.turns(n)
            messages.extend(m)
            families.extend(f)

        if rng.random() < 0.1 and not self.held_out:  # asked without having been told
            others(rng.randint(0, turns_between))
            question = asked[0][0]
            say((question, "You have not told me." if question.isascii() else "你没有告诉我。"), "memory")
            return messages, families
        for statement in told:
            say(statement, "smalltalk")
            others(turns_between if items == 1 else rng.randint(0, 1))
        for question in asked:
            say(question, "memory")
        return messages, families

    def with_tool(self, n_functions: int):
        """A request for which one of the functions offered is there, now and then for none of them."""
        rng = self.rng
        while True:
            f, key, messages = tasks.tool(rng, practice=not self.held_out)
            if tasks.is_held_out(key) == self.held_out:
                break
        others = rng.sample([g for g in functions.FUNCTIONS if g is not f], n_functions)
        refused = not self.held_out and rng.random() < 0.08
        offered = others if refused else [f, *others[1:]]
        rng.shuffle(offered)
        system = {"role": "system", "content": functions.tool_message(offered)}
        if refused:
            return [system, messages[0], assistant(functions.NO_FUNCTION)], ["tool_call"]
        before, families = self.turns(1) if not self.held_out and rng.random() < 0.15 else ([], [])
        return [system, *before, *messages], families + ["tool_call", "tool_answer"]

    def json_mode(self):
        """JSON that a system message asks for: any object, fenced, or bare by a schema."""
        rng = self.rng
        before = rng.choice(["You are a helpful Assistant.", "You are a helpful assistant.", ""])
        if rng.random() < 0.5:
            question, answer = tasks.draw(rng, "json", self.held_out)
            return [{"role": "system", "content": (before + tasks.JSON_SYSTEM).lstrip()}, user(question), assistant(f"```json\n{answer}\n```")], ["json"]
        while True:
            key, told, schema, answer = schemas.draw(rng)
            if tasks.is_held_out(key) == self.held_out:
                break
        return [{"role": "system", "content": f"{before} {schemas.SYSTEM.format(schema=schema)}".lstrip()}, user(told), assistant(answer)], ["schema"]

    def short(self):
        """At most some 120 tokens."""
        kind = self.rng.random()
        if kind < 0.05 + 0.1 * self.weights["memory"]:
            messages, families = self.with_memory(self.rng.choice([0, 1, 1, 2]))
        elif kind > 0.97:
            return self.json_mode()
        else:
            messages, families = self.turns(self.rng.choice([1, 1, 2, 3, 4]))
        return system_messages(self.rng) + messages, families

    def medium(self):
        """At most some 250 tokens. Functions and schemas fit into no shorter rows, so these practise what lags of them."""
        w = self.weights
        kind = self.rng.choices(["tool", "schema", "memory", "turns"],
                                [0.2 + 3 * (w["tool_call"] + w["tool_answer"]), 0.1 + 2 * w["schema"], 0.1 + w["memory"], 0.4])[0]
        if kind == "tool":
            return self.with_tool(1)
        if kind == "schema":
            if self.rng.random() < 0.3:
                return self.json_mode()
            messages, families = [], []
            for f in self.rng.choice([["schema"], ["schema", "schema"], [self.family(), "schema"]]):
                question, answer = tasks.draw(self.rng, f, self.held_out)
                messages += [user(question), assistant(answer)]
                families.append(f)
        elif kind == "memory":
            messages, families = self.with_memory(self.rng.randint(1, 4), self.rng.choice([1, 2, 2]))
        else:
            messages, families = self.turns(self.rng.randint(3, 6))
        return system_messages(self.rng) + messages, families

    def long(self):
        """At most some 500 tokens."""
        return self.conversation(functions=2, turns=(7, 12), between=(3, 9))

    def longest(self):
        """At most some 1,000 tokens."""
        return self.conversation(functions=4, turns=(12, 24), between=(9, 20))

    def conversation(self, functions: int, turns: tuple, between: tuple):
        if self.rng.random() < 0.5:
            system_and_call, families = self.with_tool(self.rng.randint(1, functions))
            for _ in range(self.rng.randint(0, functions)):  # further calls with the same functions
                messages, more = self.with_tool(1)
                call = messages[-3].get("tool_calls") if len(messages) > 3 and messages[-3]["role"] == "assistant" else None
                if call and f"`{call[0]['function']['name']}`" in system_and_call[0]["content"]:
                    system_and_call += messages[-4:]
                    families = families + more[-2:]
            return system_and_call, families
        if self.rng.random() < 0.5:
            messages, families = self.with_memory(self.rng.randint(*between), self.rng.choice([1, 2, 3]))
        else:
            messages, families = self.turns(self.rng.randint(*turns))
        return system_messages(self.rng) + messages, families


def corpus(n: int = 20000):
    """Text for the tokenizer: all kinds of conversations, spelling less than its share.

    Rare words then stay in small pieces that many words have in common.
    """
    d = Dialogues(seed=1)
    d.weights.update(spell=0.15, backwards=0.15)
    for _ in range(n):
        for messages in (d.short()[0], d.rng.choice([d.medium, d.long])()[0]) if d.rng.random() < 0.1 else (d.short()[0],):
            for m in messages:
                if m["content"]:
                    yield m["content"]
                for call in m.get("tool_calls", ()):
                    yield f"{call['type']}{call['function']['name']}\n```json\n{call['function']['arguments']}\n```"


class Encoder:
    """Conversations to token ids, remembering the pieces it has seen."""

    def __init__(self, t):
        self.t, self.cache = t, {}

    def piece(self, text: str):
        ids = self.cache.get(text)
        if ids is None:
            ids = self.t.encode(text, add_special_tokens=False).ids
            if len(self.cache) < 200_000:
                self.cache[text] = ids
        return ids

    def prompt(self, messages):
        return [i for text, _ in tk.pieces(messages) for i in self.piece(text)]

    def dialogue(self, messages):
        """ids, and for each id the number of the assistant message it belongs to, or -1."""
        ids, turn, n = [], [], 0
        for text, is_answer in tk.pieces(messages):
            more = self.piece(text)
            ids += more
            turn += [n if is_answer else -1] * len(more)
            n += is_answer
        return ids, turn


def pack(draw, encoder: Encoder, rows: int, length: int):
    """A batch of `rows` x `length` filled with whole dialogues.

    Returns tokens, positions (from 0 in each dialogue), documents (-1 is padding), targets (-100 where
    nothing is learnt; the target of a position is the next token of an answer), and turns (the
    index into `families` of the answer a target belongs to).
    """
    tokens = np.zeros((rows, length), np.int64)
    positions = np.zeros((rows, length), np.int64)
    documents = np.full((rows, length), -1, np.int64)
    targets = np.full((rows, length), -100, np.int64)
    turns = np.full((rows, length), -1, np.int64)
    families, used = [], [0] * rows
    misses = document = 0
    while misses < 3:
        messages, fs = draw()
        ids, turn = encoder.dialogue(messages)
        n = len(ids)
        if n > length:
            continue
        row = min((r for r in range(rows) if used[r] + n <= length), key=lambda r: length - used[r] - n, default=None)
        if row is None:
            misses += 1
            continue
        at = used[row]
        tokens[row, at:at + n] = ids
        positions[row, at:at + n] = np.arange(n)
        documents[row, at:at + n] = document
        follows = np.array(turn[1:] + [-1])
        targets[row, at:at + n] = np.where(follows >= 0, ids[1:] + [0], -100)
        turns[row, at:at + n] = np.where(follows >= 0, follows + len(families), -1)
        families += fs
        used[row] += n
        document += 1
    return tokens, positions, documents, targets, turns, families


def held_out_items(n: int = 1000):
    """The task file: {"family", "messages", "answer"}; the model continues the messages.

    Families have equal shares; where one has not so many (small talk), conversations of several turns take its place.
    """
    names = ALL + ["multiturn"]
    wanted = {f: n // len(names) for f in names}
    d = Dialogues(seed=2026, held_out=True)
    trained = Dialogues(seed=2027)  # earlier turns of a conversation may be known tasks
    rng, seen, made = d.rng, set(), defaultdict(int)

    def emit(family, messages):
        *before, last = messages
        # One item for each question, however it is typed.
        mark = family, *(tasks.by_text(m["content"]) for m in before if m["role"] in ("user", "tool"))
        if mark in seen or made[family] == wanted[family]:
            return None
        seen.add(mark)
        made[family] += 1
        answer = last["content"] if last["content"] else tk.tool_calls_text(last["tool_calls"])
        return {"family": family, "messages": before, "answer": answer}

    for family in SINGLE:
        attempts = 0
        while made[family] < wanted[family] and attempts < 4000:
            attempts += 1
            if family in ("json", "schema") and rng.random() < 0.3:
                messages, [kind] = d.json_mode()
                if kind != family:
                    continue
            else:
                question, answer = tasks.draw(rng, family, held_out=True)
                messages = system_messages(rng) + [user(question), assistant(answer)]
            if item := emit(family, messages):
                yield item
    while made["memory"] < wanted["memory"]:
        messages, _ = d.with_memory(rng.choice([1, 1, 2, 4, 8]), rng.choice([1, 1, 2]))
        if item := emit("memory", system_messages(rng) + messages):
            yield item
    while made["tool_call"] < wanted["tool_call"] or made["tool_answer"] < wanted["tool_answer"]:
        messages, _ = d.with_tool(rng.choice([1, 1, 2, 3]))
        if item := emit("tool_call", messages[:3]):
            yield item
        if item := emit("tool_answer", messages):
            yield item
    wanted["multiturn"] = n - sum(made.values())
    while made["multiturn"] < wanted["multiturn"]:
        before, _ = trained.turns(rng.randint(2, 4))
        question, answer = tasks.draw(rng, rng.choice(SINGLE), held_out=True)
        if item := emit("multiturn", system_messages(rng) + before + [user(question), assistant(answer)]):
            yield item
