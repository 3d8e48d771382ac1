#!/usr/bin/env python3
"""How fast a server answers several at once, and what a long prompt does to the others.

    tests/bench/serve_speed.py http://127.0.0.1:8080 [--streams 1,2,4,8] [--prompt 128] [--tokens 128] [--long 30000]

Any server that speaks OpenAI's /v1/completions with prompts of token ids (hearth, llama.cpp's); --vocabulary says how
many ids its model has. Clocks are those of the client, and what is counted are tokens after the first one of each
stream. --long N also reads a prompt of N tokens: what becomes of a stream meanwhile, and how long a short question
waits for its first token.
"""

import argparse
import http.client
import json
import os
import random
import statistics
import threading
import time
import urllib.parse


class Stream(threading.Thread):
    """A request whose answer is streamed: when each piece came, and how many tokens there were in all."""

    vocabulary = 30000

    def __init__(self, url, n_prompt, n_tokens, seed):
        super().__init__(daemon=True)
        self.address, self.n_tokens = urllib.parse.urlparse(url).netloc, n_tokens
        draw = random.Random(seed)
        self.prompt = [draw.randrange(300, self.vocabulary) for _ in range(n_prompt)]
        self.times, self.usage, self.leave = [], {}, threading.Event()

    def run(self):
        body = {
            "model": "any", "prompt": self.prompt, "max_tokens": self.n_tokens, "temperature": 0, "stream": True,
            "ignore_eos": True, "cache_prompt": False, "stream_options": {"include_usage": True},
        }
        connection = http.client.HTTPConnection(self.address)
        self.begin = time.monotonic()
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            return self.fail(f"{answer.status}: {answer.read().decode()}")
        for line in answer:
            if self.leave.is_set():
                break
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                return self.fail(str(event))
            self.usage = event.get("usage") or self.usage
            if event.get("choices") and not event["choices"][0].get("finish_reason"):
                self.times.append(time.monotonic())
        connection.close()

    def fail(self, words):
        print(words, flush=True)
        os._exit(1)

    def first(self):
        return self.times[0] - self.begin

    def rate(self):
        return (self.usage["completion_tokens"] - 1) / (self.times[-1] - self.times[0])


def together(url, n, arguments, seed):
    streams = [Stream(url, arguments.prompt, arguments.tokens, seed + i) for i in range(n)]
    for stream in streams:
        stream.start()
    for stream in streams:
        stream.join()
    # While all of them decode: from the last first token to the first last one.
    begin, end = max(s.times[0] for s in streams), min(s.times[-1] for s in streams)
    # (Some pieces are more than one token: those that end in the middle of a character wait for the next.)
    counted = sum(sum(begin < t <= end for t in s.times) * s.usage["completion_tokens"] / len(s.times) for s in streams)
    rate = counted / (end - begin) if n > 1 and end > begin else streams[0].rate()
    return rate, statistics.median(s.first() for s in streams)


def until(condition):
    while not condition():
        time.sleep(0.005)


def beside_long_prompt(url, arguments):
    alone = Stream(url, arguments.prompt, arguments.tokens, 900)
    alone.run()
    # Nobody decodes: slices are as long as they get.
    long = Stream(url, arguments.long, 1, 901)
    long.start()
    time.sleep(1)
    short = Stream(url, 16, 2, 902)
    short.run()
    early = not long.times
    long.join()
    seconds = long.first()
    print(f"a prompt of {arguments.long} tokens: {seconds:.1f} s, {arguments.long / seconds:.0f} tok/s; a question of 16 "
          f"beside it: first token after {short.first():.2f} s{'' if early else ' (it came too late)'}")
    # Somebody decodes.
    decodes = Stream(url, arguments.prompt, 1_000_000, 903)
    decodes.start()
    until(lambda: len(decodes.times) > 20)
    long = Stream(url, arguments.long, 1, 904)
    long.start()
    time.sleep(1)
    short = Stream(url, 16, 2, 905)
    short.run()
    long.join()
    decodes.leave.set()
    decodes.join()
    during = [t for t in decodes.times if long.begin <= t <= long.times[0]]
    gaps = [b - a for a, b in zip(during, during[1:])]
    print(f"a stream beside it: the prompt took {long.first():.1f} s; {shares(during, gaps)}; longest pause "
          f"{max(gaps):.2f} s; a question of 16: first token after {short.first():.2f} s")


def shares(times, gaps):
    """How much of the time steps of decoding had: gaps of a stream are one step, but for those, far longer, that hold a
    slice of the prompt, too."""
    step = 5 * statistics.median(gaps)
    steps = [gap if gap < step else 0 for gap in gaps]
    windows = [sum(s for t, s in zip(times, steps) if start <= t < start + 5) / 5 for start in times
               if start + 5 <= times[-1]]
    share = sum(steps) / (times[-1] - times[0])
    return f"decoding had {100 * share:.0f} % of the time" + (
        f", in the worst 5 s {100 * min(windows):.0f} %" if windows else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--streams", default="1,2,4,8")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=0)
    parser.add_argument("--vocabulary", type=int, default=30000, help="prompts are of token ids below")
    arguments = parser.parse_args()
    Stream.vocabulary = arguments.vocabulary
    counts = [int(n) for n in arguments.streams.split(",") if n]
    for n in counts:
        rounds = [together(arguments.url, n, arguments, 100 * n + 1000 * r) for r in range(arguments.rounds)]
        rate, first = (statistics.median(column) for column in zip(*rounds))
        print(f"{n:3} streams: {rate:7.1f} tok/s, {rate / n:6.1f} each, first token after {first:.2f} s", flush=True)
    if arguments.long:
        beside_long_prompt(arguments.url, arguments)


if __name__ == "__main__":
    main()
