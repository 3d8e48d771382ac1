"""Functions that the demo model learns to call, in the format of DeepSeek-V2.5."""

import json
from dataclasses import dataclass

from facts import *


@dataclass(frozen=True)
class Function:
    name: str
    description: str
    parameters: dict  # name: (type, description, values)
    requests: list  # with {parameter} in them
    result: str  # the key of what it returns
    values: list
    answer: str  # with {parameter} and {result} in it

    def declaration(self) -> dict:
        return {"name": self.name, "description": self.description,
                "parameters": {"type": "object",
                               "properties": {p: {"type": t, "description": d} for p, (t, d, _) in self.parameters.items()},
                               "required": list(self.parameters)}}


TIMES_OF_DAY = [f"{h:02}:{m:02}" for h in range(24) for m in range(0, 60, 5)]
NUMBERS = list(range(1, 100))
CURRENCIES = "dollars euros yen pounds francs".split()
MESSAGES = ["I am late.", "Dinner is ready.", "See you tomorrow.", "Call me back.", "Happy birthday!", "The train is full.", "I am at home.", "Good luck!"]
ROOMS = "kitchen bedroom garden bathroom garage office".split()
STATUS = ["ok"]

FUNCTIONS = [
    Function("get_weather", "Get the weather of a city", {"city": ("string", "Name of the city", CITIES)},
             ["What is the weather in {city}?", "How is the weather in {city}?", "Weather in {city}?", "Tell me the weather in {city}.", "Is it nice in {city} today?"],
             "weather", ["sunny", "rainy", "cloudy", "windy", "snowy", "foggy"], "It is {result} in {city}."),
    Function("get_time", "Get the local time of a city", {"city": ("string", "Name of the city", CITIES)},
             ["What time is it in {city}?", "Tell me the time in {city}.", "Time in {city}?", "What is the local time in {city}?"],
             "time", TIMES_OF_DAY, "It is {result} in {city}."),
    Function("get_age", "Get the age of a person", {"name": ("string", "Name of the person", NAMES)},
             ["How old is {name}?", "What is the age of {name}?", "Tell me the age of {name}.", "Find out how old {name} is."],
             "age", NUMBERS, "The age is {result} for {name}."),
    Function("get_price", "Get the price of a product", {"product": ("string", "Name of the product", FOODS)},
             ["How much does the {product} cost?", "What is the price of {product}?", "Price of {product}?", "Tell me the price of {product}."],
             "price", NUMBERS, "The price is {result} for {product}."),
    Function("get_distance", "Get the distance between two cities",
             {"start": ("string", "Where the way begins", CITIES), "goal": ("string", "Where the way ends", CITIES)},
             ["How far is it from {start} to {goal}?", "What is the distance from {start} to {goal}?", "Distance from {start} to {goal}?", "How many kilometers from {start} to {goal}?"],
             "km", list(range(100, 1000)), "It is {result} km from {start} to {goal}."),
    Function("convert_money", "Convert an amount of money",
             {"amount": ("integer", "How much", NUMBERS), "from": ("string", "Currency to convert from", CURRENCIES), "to": ("string", "Currency to convert to", CURRENCIES)},
             ["How much are {amount} {from} in {to}?", "Convert {amount} {from} to {to}.", "What are {amount} {from} in {to}?", "{amount} {from} in {to}?"],
             "amount", NUMBERS, "{amount} {from} are {result} {to}."),
    Function("set_alarm", "Set an alarm", {"time": ("string", "Time of the alarm", TIMES_OF_DAY)},
             ["Wake me at {time}.", "Set an alarm for {time}.", "Please wake me up at {time}.", "I need an alarm at {time}."],
             "status", STATUS, "The alarm is set for {time}."),
    Function("send_message", "Send a message to a person",
             {"to": ("string", "Name of the person", NAMES), "text": ("string", "What to say", MESSAGES)},
             ["Write to {to}: {text}", "Tell {to}: {text}", "Send a message to {to}: {text}", "Message {to}: {text}"],
             "status", STATUS, "I have told {to}."),
    Function("book_table", "Book a table in a restaurant",
             {"city": ("string", "Name of the city", CITIES), "people": ("integer", "Number of people", list(range(1, 13)))},
             ["Book a table for {people} in {city}.", "I need a table for {people} in {city}.", "Reserve a table for {people} in {city}.", "A table for {people} in {city}, please."],
             "time", TIMES_OF_DAY, "Your table for {people} in {city} is booked at {result}."),
    Function("set_light", "Turn the light of a room on or off",
             {"room": ("string", "Name of the room", ROOMS), "on": ("boolean", "Whether it shines", [True, False])},
             ["Turn the light in the {room} {on}.", "Switch {on} the light in the {room}.", "Light {on} in the {room}, please.", "Turn {on} the {room} light."],
             "status", STATUS, "The light in the {room} is {on}."),
    Function("get_date", "Get the date of today", {},
             ["What is the date today?", "Which day is today?", "What day is it?", "Today's date, please.", "Tell me the date."],
             "date", [f"{m} {d}" for m in MONTHS for d in range(1, 29)], "Today is {result}."),
]
NO_FUNCTION = "I have no function for that."


def words(value) -> str:
    """A value as people say it."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def tool_message(functions) -> str:
    """The system message of DeepSeek-V2.5 that lists the functions."""
    text = "You are a helpful Assistant.\n\n## Tools\n\n### Function\n\nYou have the following functions available:\n\n"
    return text + "\n".join(f"- `{f.name}`:\n```json\n{json.dumps(f.declaration(), indent=4)}\n```" for f in functions)


def draw_arguments(rng, f: Function) -> dict:
    while True:
        arguments = {p: rng.choice(values) for p, (_, _, values) in f.parameters.items()}
        if len(set(map(str, arguments.values()))) == len(arguments):  # no way from a city to itself
            return arguments


def call_and_result(rng, f: Function, arguments: dict):
    """The call, the message with its result, and the sentence made of it."""
    result = rng.choice(f.values)
    call = {"type": "function", "function": {"name": f.name, "arguments": json.dumps(arguments)}}
    said = f.answer.format(result=result, **{p: words(v) for p, v in arguments.items()})
    return call, {"role": "tool", "content": json.dumps({f.result: result})}, said


def exchange(rng, practice: bool):
    """(functions needed, request, messages from the calls on); now and then the same function for two values.

    What has more parameters is practised more.
    """
    f = rng.choices(FUNCTIONS, [max(1, len(f.parameters)) ** 2 for f in FUNCTIONS])[0] if practice else rng.choice(FUNCTIONS)
    arguments = [draw_arguments(rng, f)]
    request = rng.choice(f.requests)
    spoken = {p: words(v) for p, v in arguments[0].items()}
    if len(f.parameters) == 1 and rng.random() < 0.2:
        (p, _), second = *f.parameters.items(), draw_arguments(rng, f)
        if second != arguments[0]:
            arguments.append(second)
            spoken[p] += " and " + words(second[p])
    calls, results, said = zip(*(call_and_result(rng, f, a) for a in arguments))
    return f, request.format(**spoken), [{"role": "assistant", "content": None, "tool_calls": list(calls)}, *results,
                                         {"role": "assistant", "content": " ".join(said)}]
