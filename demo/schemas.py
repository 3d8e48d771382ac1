"""JSON by schema: what a sentence tells about somebody, as an object of the form that was asked for."""

import json

from facts import *

LANGUAGES = "English French German Spanish Italian Chinese Japanese Greek".split()


def several(rng, values, n):
    return rng.sample(values, n)


def listed(items) -> str:
    return ", ".join(items[:-1]) + " and " + items[-1] if len(items) > 1 else items[0]


# Property: its schema, a value, and how a sentence about somebody tells it.
PROPERTIES = {
    "age": ({"type": "integer"}, lambda rng: rng.randint(1, 99), ["is {} years old", "is {}"]),
    "city": ({"type": "string"}, lambda rng: rng.choice(CITIES), ["lives in {}", "comes from {}"]),
    "pet": ({"type": "string"}, lambda rng: rng.choice(ANIMALS), ["has a {}", "owns a {}"]),
    "color": ({"type": "string"}, lambda rng: rng.choice(COLOURS), ["loves the color {}", "wears {}"]),
    "day": ({"enum": WEEKDAYS}, lambda rng: rng.choice(WEEKDAYS), ["comes on {}", "works on {}"]),
    "foods": ({"type": "array", "items": {"type": "string"}}, lambda rng: rng.sample(FOODS, rng.randint(1, 3)), ["likes {}", "eats {}"]),
    "languages": ({"type": "array", "items": {"type": "string"}}, lambda rng: rng.sample(LANGUAGES, rng.randint(1, 2)), ["speaks {}"]),
    "married": ({"type": "boolean"}, lambda rng: rng.random() < 0.5, ["is {}"]),
}
REQUESTS = ["{told} Answer as JSON with this schema: {schema}", "{told} Give me JSON for this schema: {schema}", "{told}\n{schema}",
            "Write this as JSON: {told} The schema is {schema}", "Fill this schema: {schema}\n{told}", "Schema: {schema}\n{told}"]
SYSTEM = "Answer in JSON with this schema: {schema}"


def phrase(rng, name, value) -> str:
    if name == "married":
        return "is married" if value else "is not married"
    return rng.choice(PROPERTIES[name][2]).format(listed(value) if isinstance(value, list) else value)


def draw(rng):
    """(key, sentence, schema, answer); the answer has the properties in the schema's order."""
    fields = rng.sample(list(PROPERTIES), rng.choice([1, 2, 2, 3]))
    value = {"name": rng.choice(NAMES), **{f: PROPERTIES[f][1](rng) for f in fields}}
    told = f"{value['name']} {listed([phrase(rng, f, value[f]) for f in fields])}."
    order = list(value)
    if rng.random() < 0.5:
        rng.shuffle(order)
    if len(order) > 2 and rng.random() < 0.3:  # not all that is told is asked for
        order.pop()
    schema = {"type": "object", "properties": {f: {"type": "string"} if f == "name" else PROPERTIES[f][0] for f in order}, "required": order}
    answer = {f: value[f] for f in order}
    return ("schema", *sorted(map(str, value.items()))), told, json.dumps(schema), json.dumps(answer)


def question(rng):
    key, told, schema, answer = draw(rng)
    return key, rng.choice(REQUESTS).format(told=told, schema=schema), answer
