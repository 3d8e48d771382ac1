"""Conversations made of the tasks, and the packing of many of them into one batch."""

import json
import random
from collections import defaultdict

import numpy as np

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

    def with_tool(self, functions: int):
        rng = self.rng
        while True:
            f, key, messages = tasks.tool(rng)
            if tasks.is_held_out(key) == self.held_out:
                break
        listed = [f] + rng.sample([g for g in tasks.FUNCTIONS if g is not f], functions - 1)
        rng.shuffle(listed)
        return [{"role": "system", "content": tasks.tool_message(listed)}] + messages, ["tool_call", "tool_answer"]

    def json_mode(self):
        rng = self.rng
        question, answer = tasks.draw(rng, "json", self.held_out)
        text = rng.choice(["You are a helpful Assistant.", "You are a helpful assistant.", ""]) + tasks.JSON_SYSTEM
        return [{"role": "system", "content": text.lstrip()}, user(question), assistant(f"```json\n{answer}\n```")], ["json"]

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
        """At most some 250 tokens."""
        if self.rng.random() < 0.45:
            return self.with_tool(1)
        if self.rng.random() < 0.5:
            messages, families = self.with_memory(self.rng.randint(1, 4), self.rng.choice([1, 2, 2]))
        else:
            messages, families = self.turns(self.rng.randint(4, 7))
        return system_messages(self.rng) + messages, families

    def long(self):
        """At most some 500 tokens."""
        if self.rng.random() < 0.5:
            system_and_call, families = self.with_tool(self.rng.choice([1, 2, 2]))
            n = self.rng.randint(0, 2)
            for _ in range(n):  # further calls with the same functions
                messages, more = self.with_tool(1)
                if messages[2]["tool_calls"][0]["function"]["name"] in system_and_call[0]["content"]:
                    system_and_call += messages[1:]
                    families = families + more
            return system_and_call, families
        if self.rng.random() < 0.5:
            messages, families = self.with_memory(self.rng.randint(3, 9), self.rng.choice([1, 2, 3]))
        else:
            messages, families = self.turns(self.rng.randint(8, 14))
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


def held_out_items(per_family: int = 30):
    """The task file: {"family", "messages", "answer"}; the model continues the messages."""
    d = Dialogues(seed=2026, held_out=True)
    trained = Dialogues(seed=2027)  # earlier turns of a conversation may be known tasks
    rng, seen, made = d.rng, set(), defaultdict(int)

    def emit(family, messages):
        *before, last = messages
        # One item for each question, however it is typed.
        mark = family, *(tasks.by_text(m["content"]) for m in before if m["role"] in ("user", "tool"))
        if mark in seen or made[family] == per_family:
            return None
        seen.add(mark)
        made[family] += 1
        answer = last["content"] if last["content"] else tk.tool_calls_text(last["tool_calls"])
        return {"family": family, "messages": before, "answer": answer}

    for family in SINGLE:
        attempts = 0
        while made[family] < per_family and attempts < 2000:
            attempts += 1
            if family == "json" and rng.random() < 0.2:
                messages = d.json_mode()[0]
            else:
                question, answer = tasks.draw(rng, family, held_out=True)
                messages = system_messages(rng) + [user(question), assistant(answer)]
            if item := emit(family, messages):
                yield item
    while made["memory"] < per_family:
        messages, _ = d.with_memory(rng.choice([1, 1, 2]))
        if item := emit("memory", system_messages(rng) + messages):
            yield item
    while made["tool_call"] < per_family or made["tool_answer"] < per_family:
        messages, _ = d.with_tool(1)
        if item := emit("tool_call", messages[:3]):
            yield item
        if item := emit("tool_answer", messages):
            yield item
    while made["multiturn"] < per_family:
        before, _ = trained.turns(rng.randint(2, 4))
        question, answer = tasks.draw(rng, rng.choice(SINGLE), held_out=True)
        if item := emit("multiturn", system_messages(rng) + before + [user(question), assistant(answer)]):
            yield item
