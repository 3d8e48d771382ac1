"""Compares the greedy answers of two servers, token by token, by OpenAI's /v1/completions.

    compare_servers.py URL URL [--model NAME NAME] [--tokens N] [--prompts N] [--vocabulary N] [--limit X] [--wait SECONDS]

Both get the same lists of token ids and are asked for the likeliest token, again and again, with the log-probabilities
of the best five. These must differ by no more than --limit in at least 19 of 20 positions (where a router's choice hangs
by a hair two right programs part), and the token must be the same, unless the best two are nearer than --limit: from
there on the texts differ, and the next prompt is taken. Exits with 1 if the servers differ, 2 if nothing could be
compared. Needs no module but Python's own.
"""

import argparse
import json
import random
import sys
import time
import urllib.error
import urllib.request

BEST = 5
LEAST_POSITIONS = 20


def give_up(message):
    print(f"compare_servers.py: {message}", file=sys.stderr)
    sys.exit(2)


def ask(url, path, body=None, timeout=120):
    """Throws OSError, of which urllib's errors are."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url + path, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return json.load(response)


def model_of(url, seconds):
    """The name of the one model, as soon as the server has it: until then it does not answer, or says 503."""
    end = time.monotonic() + seconds
    while True:
        try:
            return ask(url, "/v1/models", timeout=5)["data"][0]["id"]
        except OSError as error:
            if time.monotonic() > end:
                give_up(f"{url} does not answer within {seconds:g} s: {error}")
            time.sleep(0.2)


def positions(url, model, prompt, n_tokens):
    """[(token's text, its log-probability, {text: log-probability} of the best)]"""
    body = {"model": model, "prompt": prompt, "max_tokens": n_tokens, "temperature": 0, "logprobs": BEST}
    try:
        logged = ask(url, "/v1/completions", body)["choices"][0]["logprobs"]
    except urllib.error.HTTPError as error:
        give_up(f"{url}: {error.code} {error.read().decode(errors='replace')[:300]}")
    except OSError as error:
        give_up(f"{url} does not answer any more: {error}")
    if logged is None:
        give_up(f"{url} tells no log-probabilities")
    return list(zip(logged["tokens"], logged["token_logprobs"], logged["top_logprobs"]))


def readable(token):
    """Tokens that are no whole characters have other names elsewhere."""
    return token.isascii() and token.isprintable() and not token.startswith(("bytes:", "token_id:"))


def lead(best):
    """How much likelier the best is than the second."""
    values = sorted(best.values(), reverse=True)
    return values[0] - values[1] if len(values) > 1 else 0.0


class Comparison:
    def __init__(self, limit):
        self.limit, self.compared, self.far, self.largest, self.other_tokens = limit, 0, 0, 0.0, []

    def add(self, prompt_number, first, second):
        for position, ((token, value, best), (other, other_value, other_best)) in enumerate(zip(first, second)):
            common = [text for text in best if readable(text) and text in other_best]
            difference = max([abs(best[text] - other_best[text]) for text in common] + [abs(value - other_value)])
            self.compared += 1
            self.far += difference > self.limit
            self.largest = max(self.largest, difference)
            tie = min(lead(best), lead(other_best)) <= self.limit
            if token != other and readable(token) and readable(other):
                if not tie:
                    self.other_tokens.append(f"prompt {prompt_number}, token {position}: {token!r} and {other!r}")
                return
            if tie:  # it may be the same text by chance, or an unreadable one
                return

    def verdict(self):
        print(f"{self.compared} positions, largest difference of a log-probability {self.largest:.4f}, "
              f"{self.far} beyond {self.limit:g}, {len(self.other_tokens)} other tokens")
        for line in self.other_tokens[:5]:
            print(f"  {line}")
        if self.far * 20 > self.compared or len(self.other_tokens) * 20 > self.compared:
            return False
        if self.compared < LEAST_POSITIONS:
            give_up(f"expected {LEAST_POSITIONS} positions to compare or more, found {self.compared}")
        return True


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("urls", nargs=2)
    parser.add_argument("--model", nargs=2)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--vocabulary", type=int, default=256, help="ids of prompts are below this")
    parser.add_argument("--limit", type=float, default=0.05)
    parser.add_argument("--wait", type=float, default=60)
    arguments = parser.parse_args()
    models = [model_of(url, arguments.wait) for url in arguments.urls]
    models = arguments.model or models
    chance, comparison = random.Random(1), Comparison(arguments.limit)
    for number in range(arguments.prompts):
        prompt = [chance.randrange(arguments.vocabulary) for _ in range(chance.choice([4, 17, 40, 97]))]
        answers = [positions(url, model, prompt, arguments.tokens) for url, model in zip(arguments.urls, models)]
        comparison.add(number, *answers)
    same = comparison.verdict()
    print("the same" if same else "they differ")
    sys.exit(not same)


if __name__ == "__main__":
    main()
