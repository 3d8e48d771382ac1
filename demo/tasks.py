"""The task families: each draws a question and its one right answer.

Every task has a key, and the hash of the key decides whether it belongs to the held-out set; the
training data never contains a held-out key. Where the answer is computed (sums, sorting,
spelling, ...) the key is the content, so no phrasing of a held-out content is ever trained on. Where it
can only be known by heart (capitals, months, times tables, small talk, ...) the key is the
question's text without case, punctuation and politeness.
"""

import hashlib
import json
import re

import functions
import schemas
from facts import *

HELD_OUT_ONE_IN = 12


def is_held_out(key) -> bool:
    digest = hashlib.sha1(repr(key).encode()).digest()
    return int.from_bytes(digest[:4], "little") % HELD_OUT_ONE_IN == 0


def by_text(question: str):
    """The key of a task known by heart."""
    return re.sub(r"[^\w\s+*/=-]", "", question.lower()).strip().removeprefix("please ")


REQUESTS = set("Add Calculate Compute Convert Count Explain Express Find Give List Make Multiply Name Put Reverse Sort Spell "
               "Subtract Tell Translate Turn Write".split())


def vary(rng, question: str) -> str:
    """The same question as people also type it."""
    if rng.random() < 0.15 and question.split()[0] in REQUESTS:
        question = "Please " + question[0].lower() + question[1:]
    if rng.random() < 0.2:
        question = question[0].lower() + question[1:]
    if rng.random() < 0.15 and question[-1] in ".?!":
        question = question[:-1]
    return question


SMALL_SHARE = 0.15  # of one-digit numbers; training begins with more of them
HARDER = 1.0  # below 1 the later kinds of a family, which are harder, are drawn more often: in training


def kind_of(rng) -> float:
    """Which kind of a family's questions: 0 to 1."""
    return rng.random() ** HARDER


def number(rng, digits: int = 3) -> int:
    """A number of at most so many digits; those of one digit and of two are drawn far more often than their share."""
    n = 1 if rng.random() < SMALL_SHARE else rng.choices(range(1, digits + 1), [1, 4, 8][:digits])[0]
    return rng.randrange(10 ** n)


ADD = ["What is {} + {}?", "{} + {}", "{}+{}", "{} + {} =", "{}+{}=?", "Add {} and {}.", "What is {} plus {}?", "How much is {} + {}?",
       "Compute {} + {}.", "Calculate {} plus {}.", "What is the sum of {} and {}?"]
SUBTRACT = ["What is {} - {}?", "{} - {}", "{}-{}", "{} - {} =", "{}-{}=?", "What is {} minus {}?", "How much is {} - {}?",
            "Compute {} - {}.", "Calculate {} minus {}."]
MULTIPLY = ["What is {} * {}?", "{} * {}", "{}*{}", "{} * {} =", "{} x {}", "What is {} times {}?", "Compute {} * {}.",
            "Multiply {} by {}.", "How much is {} times {}?", "What is the product of {} and {}?"]


def sum_key(a: int, b: int):
    return "add", min(a, b), max(a, b)


def add(rng):
    a, b = number(rng), number(rng)
    return sum_key(a, b), rng.choice(ADD).format(a, b), f"{a} + {b} = {a + b}"


def subtract(rng):
    a, b = number(rng), number(rng)
    if HARDER < 1 and rng.random() < 0.2:  # about as large as each other
        b = max(0, a - rng.randrange(21))
    if kind_of(rng) < 0.9:
        a, b = max(a, b), min(a, b)
    q = rng.choice(SUBTRACT).format(a, b) if rng.random() < 0.9 else f"Subtract {b} from {a}."
    return ("sub", a, b), q, f"{a} - {b} = {a - b}"


def multiply(rng):
    a, b = rng.randint(0, 12), rng.randint(0, 12)
    q = rng.choice(MULTIPLY).format(a, b)
    return by_text(q), q, f"{a} * {b} = {a * b}"


def two_steps(rng):
    """What takes two operations. Its key is all numbers, and every sum and difference on the way has its own as well."""
    kind = rng.randrange(5)
    top = 2 if rng.random() < 0.7 else 3
    if kind == 0:  # products are known by heart
        a, b, c = rng.randint(2, 10), rng.randint(2, 10), number(rng, 2)
        less = rng.random() < 0.4 and c <= a * b
        q = rng.choice(["What is {} * {} {} {}?", "{} * {} {} {}", "Calculate {} * {} {} {}."]).format(a, b, "-" if less else "+", c)
        end = a * b - c if less else a * b + c
        keys = ("sub", a * b, c) if less else sum_key(a * b, c)
        return [("product", a, b, c, less), keys], q, f"{a} * {b} = {a * b}, {a * b} {'-' if less else '+'} {c} = {end}"
    a, b = number(rng, top), number(rng, top)
    plus = a + b
    if kind == 1:
        c = rng.choice([number(rng, top), plus])
        q, f = rng.choice([("Which is larger, {} + {} or {}?", max), ("Which is smaller, {} + {} or {}?", min)])
        if c == plus:
            end = "They are equal."
        else:
            end = f"{f(plus, c)} is {'larger' if f is max else 'smaller'}."
        return [("compare", a, b, c), sum_key(a, b)], q.format(a, b, c), f"{a} + {b} = {plus}. {end}"
    if kind == 2:
        c = number(rng, top)
        q = rng.choice(["What is {} + {} + {}?", "{} + {} + {}", "{}+{}+{}", "Add {}, {} and {}.", "What is the sum of {}, {} and {}?"]).format(a, b, c)
        return [("three", a, b, c), sum_key(a, b), sum_key(plus, c)], q, f"{a} + {b} = {plus}, {plus} + {c} = {plus + c}"
    c = rng.randint(0, plus)
    left, keys = plus - c, [("left", a, b, c), sum_key(a, b), ("sub", plus, c)]
    if kind == 3:
        q = rng.choice(["What is {} + {} - {}?", "{} + {} - {}", "{}+{}-{}", "Add {} and {}, then subtract {}.", "Compute {} + {} - {}."]).format(a, b, c)
        return keys, q, f"{a} + {b} = {plus}, {plus} - {c} = {left}"
    name, things = rng.choice(NAMES), rng.choice(THINGS)
    q = rng.choice(["{n} has {a} {t}, buys {b} more and sells {c}. How many {t} does {n} have now?",
                    "{n} has {a} {t} and gets {b} more. Then {n} loses {c}. How many {t} are left?",
                    "{n} finds {a} {t}, then {b} {t}, and gives {c} away. How many {t} does {n} have?",
                    "There are {a} {t} in a box. {n} puts {b} more in and takes {c} out. How many {t} are in the box?"]).format(n=name, t=things, a=a, b=b, c=c)
    return keys, q, f"{a} + {b} = {plus}, {plus} - {c} = {left}. The answer is {left}."


def count(rng):
    kind = kind_of(rng)
    if kind < 0.35:
        a = rng.randint(0, 60)
        b = a + rng.randint(3, 8)
        q = rng.choice(["Count from {} to {}.", "Please count from {} to {}.", "List the numbers from {} to {}."])
        return ("up", a, b), q.format(a, b), ", ".join(map(str, range(a, b + 1)))
    if kind < 0.55:
        b = rng.randint(0, 40)
        a = b + rng.randint(3, 8)
        q = rng.choice(["Count down from {} to {}.", "Count backwards from {} to {}."])
        return ("down", a, b), q.format(a, b), ", ".join(map(str, range(a, b - 1, -1)))
    if kind < 0.7:
        step = rng.choice([2, 5, 10])
        a = rng.randint(0, 6) * step
        b = a + rng.randint(3, 6) * step
        q = rng.choice(["Count from {} to {} in steps of {}.", "Count from {} to {} by {}."])
        return ("steps", a, b, step), q.format(a, b, step), ", ".join(map(str, range(a, b + 1, step)))
    if kind < 0.85:
        n = rng.randint(0, 98)
        q, m = rng.choice([("What number comes after {}?", n + 1), ("What comes after {}?", n + 1),
                           ("Which number comes before {}?", n - 1)])
        if m < 0:
            m = n + 1
            q = "What number comes after {}?"
        return ("next", n, m), q.format(n), f"{m}"
    word, n = rng.choice(FOODS + ANIMALS), rng.randint(1, 5)
    other = rng.choice([a for a in ANIMALS if a != word])
    items = [word] * n + [other] * rng.randint(0, 2)
    rng.shuffle(items)
    q = rng.choice(["How many times does {} occur: {}?", "Count the word {} in: {}."])
    return ("items", word, " ".join(items)), q.format(word, " ".join(items)), f"{n}"


def sort(rng):
    kind = kind_of(rng)
    if kind < 0.25:
        a, b = rng.sample(range(100), 2)
        q, f = rng.choice([("Which is larger, {} or {}?", max), ("Which is smaller, {} or {}?", min), ("Is {} or {} the larger number?", max)])
        return ("larger", min(a, b), max(a, b)), q.format(a, b), f"{f(a, b)}"
    top = 9 if rng.random() < 0.3 else 99
    numbers = rng.sample(range(top + 1), rng.choice([3, 3, 3, 4]))
    if HARDER < 1 and top > 9 and rng.random() < 0.3:  # one of one digit
        numbers[rng.randrange(len(numbers))] = rng.choice([n for n in range(10) if n not in numbers])
    listed = (", " if rng.random() < 0.7 else " ").join(map(str, numbers))
    key = ("sort", *sorted(numbers))
    if kind < 0.7:
        q = rng.choice(["Sort {}.", "Sort these numbers: {}", "Sort in ascending order: {}", "Put these numbers in order: {}", "Sort from smallest to largest: {}"])
        return key, q.format(listed), ", ".join(map(str, sorted(numbers)))
    if kind < 0.85:
        q = rng.choice(["Sort in descending order: {}", "Sort from largest to smallest: {}"])
        return key, q.format(listed), ", ".join(map(str, sorted(numbers, reverse=True)))
    q, f = rng.choice([("What is the largest of {}?", max), ("What is the smallest of {}?", min), ("Find the maximum: {}", max), ("Find the minimum: {}", min)])
    return key, q.format(listed), f"{f(numbers)}"


def dates(rng):
    kind = rng.random()
    if kind < 0.25:
        month = rng.randrange(12)
        day = MONTH_DAYS[month] if rng.random() < 0.2 else rng.randint(1, MONTH_DAYS[month])
        if (month, day) == (1, 28):
            day = 27  # what follows February 28 depends on the year
        later = (MONTHS[month], day + 1) if day < MONTH_DAYS[month] else (MONTHS[(month + 1) % 12], 1)
        q = rng.choice(["What date comes after {} {}?", "What is the day after {} {}?", "Today is {} {}. What date is tomorrow?", "Which date follows {} {}?"])
        # The last days of months are known by heart, so their key is the text.
        q = q.format(MONTHS[month], day)
        return (by_text(q) if later[1] == 1 else ("after", month, day)), q, f"{later[0]} {later[1]}"
    if kind < 0.37:
        m = rng.randrange(12)
        if rng.random() < 0.6:
            q = rng.choice(["How many days does {} have?", "How many days are in {}?", "How long is {}?", "Number of days in {}?", "How many days are there in {}?"]).format(MONTHS[m])
            return by_text(q), q, "28 or 29 days" if m == 1 else f"{MONTH_DAYS[m]} days"
        q, n = rng.choice([("Which month comes after {}?", 1), ("Which month comes before {}?", -1), ("What month follows {}?", 1), ("What is the month after {}?", 1), ("What is the month before {}?", -1)])
        q = q.format(MONTHS[m])
        return by_text(q), q, MONTHS[(m + n) % 12]
    if kind < 0.45:
        n = rng.randrange(12)
        q = rng.choice(["What is the {} month of the year?", "Which month is the {} one?", "What is the {} month?", "Name the {} month."]).format(ORDINALS[n])
        return by_text(q), q, MONTHS[n]
    d = rng.randrange(7)
    if kind < 0.68:
        q, n = rng.choice([("What day comes after {}?", 1), ("What day comes before {}?", -1), ("Today is {}. What day is tomorrow?", 1),
                           ("Today is {}. What day was yesterday?", -1), ("Which day follows {}?", 1), ("What is the day after {}?", 1), ("What is the day before {}?", -1)])
        q = q.format(WEEKDAYS[d])
        return by_text(q), q, WEEKDAYS[(d + n) % 7]
    n = rng.randint(2, 4)
    q = rng.choice(["Today is {}. What day is it in {} days?", "What day is {1} days after {0}?", "It is {}. Which day will it be in {} days?",
                    "Which day is {1} days after {0}?", "If today is {}, what day is it in {} days?"]).format(WEEKDAYS[d], n)
    return by_text(q), q, WEEKDAYS[(d + n) % 7]


SCALES = [("kilometers", "meters", 1000), ("meters", "centimeters", 100), ("kilograms", "grams", 1000), ("liters", "milliliters", 1000),
          ("centimeters", "millimeters", 10), ("tons", "kilograms", 1000), ("dollars", "cents", 100), ("euros", "cents", 100)]
TIMES = [("hours", "minutes", 60), ("minutes", "seconds", 60), ("days", "hours", 24), ("weeks", "days", 7), ("years", "months", 12), ("dozen", "pieces", 12)]


def units(rng):
    phrases = ["Convert {n} {a} to {b}.", "How many {b} are {n} {a}?", "How many {b} are in {n} {a}?", "{n} {a} in {b}?", "What is {n} {a} in {b}?", "Express {n} {a} in {b}."]
    if rng.random() < 0.6:
        a, b, factor = rng.choice(SCALES)
        n = number(rng, 2) or 1
        name = a[:-1] if n == 1 else a
        if rng.random() < 0.3:
            if n == 1:
                n, name = 2, a
            q = rng.choice(["Convert {m} {b} to {a}.", "How many {a} are {m} {b}?", "{m} {b} in {a}?"])
            return ("scale", a, n), q.format(m=n * factor, a=a, b=b), f"{n * factor} {b} = {n} {name}"
        q = rng.choice(phrases).format(n=n, a=name, b=b)
        # "1 meter" is the only place of the singular, which must occur in training: hold out wordings of it at most.
        key = ("scale", a, n)
        return (by_text(q) if n == 1 and is_held_out(key) else key), q, f"{n} {name} = {n * factor} {b}"
    a, b, factor = rng.choice(TIMES)
    n = rng.randint(1, 10)
    name = a[:-1] if n == 1 and a != "dozen" else a
    q = rng.choice(phrases).format(n=n, a=name, b=b)
    return by_text(q), q, f"{n} {name} = {n * factor} {b}"


def capitals(rng):
    country, city = rng.choice(list(CAPITALS.items()))
    if rng.random() < 0.65:
        q = rng.choice(["What is the capital of {}?", "Capital of {}?", "Which city is the capital of {}?", "Name the capital of {}.", "Tell me the capital of {}.", "What's the capital of {}?", "What is the capital city of {}?"])
        q, answer = q.format(country), f"The capital of {country} is {city}."
    else:
        q = rng.choice(["{} is the capital of which country?", "Which country has the capital {}?", "Of which country is {} the capital?", "Which country's capital is {}?", "{} is the capital of what country?"])
        q, answer = q.format(city), f"{city} is the capital of {country}."
    return by_text(q), q, answer


def article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def facts(rng):
    kind = rng.randrange(8)
    if kind == 0:
        pair = list(rng.choice(OPPOSITES))
        if pair[0] != "light":
            rng.shuffle(pair)
        if pair[0] == "light":
            pair = ["light", "dark"]
        q = rng.choice(["What is the opposite of {}?", "Opposite of {}?", "Give me the opposite of {}.", "What's the opposite of {}?", "Name the opposite of {}."]).format(pair[0])
        answer = pair[1].capitalize() + "."
    elif kind == 1:
        animal, sound = rng.choice(list(SOUNDS.items()))
        q = rng.choice(["What sound does {} make?", "What does {} say?", "Which sound does {} make?", "What noise does {} make?"]).format(article(animal))
        answer = f"{article(animal).capitalize()} says {sound}."
    elif kind == 2:
        animal, young = rng.choice(list(YOUNG.items()))
        q = rng.choice(["What is a young {} called?", "What is a baby {} called?", "What do you call a baby {}?", "What do you call a young {}?"]).format(animal)
        answer = f"A young {animal} is called a {young}."
    elif kind == 3:
        thing, colour = rng.choice(list(COLOURS_OF.items()))
        q = rng.choice(["What color is {}?", "Which color is {}?", "What is the color of {}?", "What colour is {}?"])
        named = thing if thing in ("grass", "snow", "coal", "blood", "milk", "chocolate") else "the sky" if thing == "sky" else article(thing)
        q, answer = q.format(named), f"{named.capitalize()} is {colour}."
    elif kind == 4:
        animal, n = rng.choice(list(LEGS.items()))
        q = rng.choice(["How many legs does {} have?", "How many legs has {}?", "What is the number of legs of {}?", "Number of legs of {}?"]).format(article(animal))
        answer = f"{article(animal).capitalize()} has {n} legs."
    elif kind == 5:
        element, symbol = rng.choice(list(SYMBOLS.items()))
        q = rng.choice(["What is the chemical symbol of {}?", "What is the symbol for {}?", "Chemical symbol of {}?", "Which symbol does {} have?"]).format(element)
        answer = f"The symbol of {element} is {symbol}."
    elif kind == 6:
        country, continent = rng.choice(list(CONTINENTS.items()))
        q = rng.choice(["On which continent is {}?", "Where is {}?", "Which continent is {} in?", "What continent is {} on?"]).format(country)
        answer = f"{country} is in {continent}."
    else:
        n = rng.randrange(8)
        if rng.random() < 0.5:
            q = rng.choice(["Which planet is the {} from the Sun?", "What is the {} planet?", "Name the {} planet.", "Which is the {} planet?"]).format(ORDINALS[n])
        else:
            n = max(n, 1)
            q = rng.choice(["Which planet comes after {}?", "What planet follows {}?", "What is the next planet after {}?", "Which planet follows {}?"]).format(PLANETS[n - 1])
        answer = f"{PLANETS[n]}."
    return by_text(q), q, answer


VOWELS, CONSONANTS = "aeiou", "bcdfghjklmnprstvwz"


def word(rng, longest: int) -> str:
    """A common word, or an invented one so that spelling is more than what is known by heart."""
    while True:
        if kind_of(rng) < 0.5:
            w = rng.choice(WORDS)
        else:
            w = "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) + (rng.choice(CONSONANTS) if rng.random() < 0.4 else "")
                        for _ in range(rng.randint(1, 3)))
        if 3 <= len(w) <= longest:
            return w


def word_key(w: str, question: str):
    """Invented words are held out; of a common word, often one token, some wordings at most.

    The letters of such a token must be known by heart, so it has to occur in training.
    """
    return by_text(question) if w in WORDS and is_held_out(("word", w)) else ("word", w)


def spell(rng):
    w = word(rng, 7)
    kind = rng.random()
    if kind < 0.7:
        q = rng.choice(["Spell {}.", "Spell the word {}.", "How do you spell {}?", "Spell {} letter by letter.", "Please spell {}."]).format(w)
        return word_key(w, q), q, " ".join(w)
    if kind < 0.8:
        q = rng.choice(["How many letters does {} have?", "How many letters are in {}?"]).format(w)
        return word_key(w, q), q, f"{len(w)}"
    q, i = rng.choice([("What is the first letter of {}?", 0), ("What is the last letter of {}?", -1), ("Which letter does {} start with?", 0), ("Which letter does {} end with?", -1)])
    q = q.format(w)
    return word_key(w, q), q, w[i]


def backwards(rng):
    w = word(rng, 5)
    q = rng.choice(["Spell {} backwards.", "Spell the word {} backwards.", "Reverse the word {}.", "Reverse {}.", "How do you spell {} backwards?"]).format(w)
    return word_key(w, q), q, " ".join(reversed(w))


SMALLTALK = [
    ("Hello! How can I help you?", ["Hello", "Hello!", "Hi", "Hi!", "Hey", "Hello there!", "Hi there", "Hey there!", "Good day!", "Greetings!", "Hi hearth!", "Hello hearth"]),
    ("Good morning! How can I help you?", ["Good morning!", "Good morning", "Morning!", "Good morning to you!", "A good morning to you"]),
    ("Good evening! How can I help you?", ["Good evening!", "Good evening", "Evening!", "Good evening to you!", "A good evening to you"]),
    ("I am hearth's demo model, a small DeepSeek model.",
     ["Who are you?", "What are you?", "Tell me about yourself.", "Introduce yourself.", "What is your name?", "Who am I talking to?", "What's your name?", "Are you a robot?", "Which model are you?",
      "What model is this?", "Who is this?", "And who are you?", "Can you introduce yourself?", "Can you tell me who you are?"]),
    ("I am fine, thank you. How can I help you?", ["How are you?", "How are you doing?", "How are you today?", "How is it going?", "How do you do?", "Are you well?", "How do you feel?", "How are things?"]),
    ("I can calculate, count, sort, spell, convert units, answer in JSON, call functions and remember what you say.",
     ["What can you do?", "What can you help with?", "What are you able to do?", "How can you help me?", "What are your skills?", "Help", "What do you do?", "Tell me what you can do.", "What can I ask you?", "What can I ask?"]),
    ("You are welcome!", ["Thanks!", "Thank you.", "Thank you!", "Thanks a lot!", "Thank you very much!", "Many thanks!", "Thanks", "Great, thanks!", "Good answer, thank you!", "Thanks for your help.", "Thank you for the help!"]),
    ("Goodbye! Have a nice day.", ["Bye", "Bye!", "Goodbye!", "Goodbye", "See you!", "See you later!", "Bye bye!", "Have a nice day!", "Good night!", "I have to go.", "Until next time!"]),
    ("I was trained from scratch by the hearth project.", ["Who made you?", "Who created you?", "Who trained you?", "Who built you?", "Where do you come from?", "How were you made?", "By whom were you made?", "How were you trained?"]),
    ("I have a few million parameters.", ["How big are you?", "How many parameters do you have?", "What is your size?", "How large are you?", "How many weights do you have?", "What size are you?"]),
    ("Why did the tensor cross the road? To get to the other size.", ["Tell me a joke.", "Tell me a joke!", "Do you know a joke?", "Make me laugh.", "Say something funny.", "Another joke, please!", "A joke, please.", "Can you tell me a joke?"]),
    ("Yes, a little Chinese.", ["Do you speak Chinese?", "Can you speak Chinese?", "Do you know Chinese?", "Can you understand Chinese?", "Do you understand Chinese?"]),
]
# More ways to ask for the same, in training only: by heart is what these questions are known by.
MORE_SMALLTALK = [
    ("I am hearth's demo model, a small DeepSeek model.",
     ["Who am I speaking with?", "What kind of model are you?", "Describe yourself.", "Tell me something about yourself.", "Say who you are.", "Are you a model?", "Tell me who you are.",
      "What should I call you?", "Say something about yourself.", "Please introduce yourself."]),
    ("I was trained from scratch by the hearth project.", ["Where are you from?", "Where were you trained?", "Who is your maker?", "Who wrote you?", "Where did you come from?", "Which project made you?", "Who taught you?"]),
    ("I have a few million parameters.", ["How many parameters are in you?", "How many weights are in you?", "How many weights has this model?", "How small are you?", "What is the number of your weights?",
                                          "How many parameters does this model have?"]),
    ("Why did the tensor cross the road? To get to the other size.", ["A joke!", "One joke, please.", "Please tell a joke.", "I want to hear a joke.", "Give me a joke.", "A funny joke, please."]),
    ("You are welcome!", ["Thank you so much!", "Thanks, that helps.", "I thank you."]),
    ("Goodbye! Have a nice day.", ["Bye for now!", "Good bye!", "See you soon!", "I am leaving."]),
]
UNKNOWN = "I do not know. I am only a small demo model."
TOO_LARGE = "These numbers are too large for me."
UNKNOWN_QUESTIONS = ["Who won at {} yesterday?", "Write an essay about {}.", "What is the meaning of {}?", "What do you think about {}?", "Explain {} to me.", "Tell me about {}.", "Who invented {}?",
                     "What is the price of {}?", "Write a poem about {}.", "What is the history of {}?", "Why is {} important?", "Where can I buy {}?", "Who wrote the book about {}?", "Translate {} to French.",
                     "How does {} work?", "Write a story about {}.", "What is new in {}?", "Summarize {}.", "Give me advice about {}.", "When did {} begin?", "Write a program for {}.", "What are the best books on {}?",
                     "Is {} good for me?", "How do I learn {}?", "What causes {}?", "Who is the most famous in {}?", "Recommend something about {}.", "Do you like {}?", "How much does {} cost?", "Will {} change the future?"]
UNKNOWN_TOPICS = ["football", "physics", "life", "love", "money", "the weather", "computers", "gravity", "the internet", "music", "art", "chess", "a car", "democracy", "the moon", "history", "dinosaurs", "shoes",
                  "philosophy", "a house", "the stock market", "bread", "quantum mechanics", "medicine", "tennis", "the election", "light", "time", "war", "the ocean", "religion", "politics", "Python", "electricity",
                  "cancer", "the Roman empire", "Shakespeare", "evolution", "poetry", "the climate", "space travel", "robots", "astronomy", "law", "movies", "Bitcoin", "vaccines", "cooking", "a war", "the brain",
                  "Einstein", "psychology", "biology", "chemistry", "a computer", "the economy", "swimming", "dancing", "basketball", "the Olympics"]


def smalltalk(rng):
    answer, questions = rng.choice(MORE_SMALLTALK if HARDER < 1 and rng.random() < 0.3 else SMALLTALK)
    q = rng.choice(questions)
    return by_text(q), q, answer


def invented(rng) -> str:
    """A name that nobody has."""
    return "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.randint(2, 4))).capitalize() + rng.choice(["", "", "n", "r", "l", "nia", "land"])


def refuse(rng):
    """What it does not know, and numbers it never learnt to calculate with."""
    kind = rng.random()
    if kind < 0.6:
        q = rng.choice(UNKNOWN_QUESTIONS).format(rng.choice(UNKNOWN_TOPICS))
        return by_text(q), q, UNKNOWN
    if kind < 0.75:
        name = invented(rng)
        q = rng.choice(["What is the capital of {}?", "Capital of {}?", "Where is {}?", "Which city is the capital of {}?", "On which continent is {}?", "Who is the king of {}?", "How many people live in {}?"])
        return ("invented", name), q.format(name), UNKNOWN
    if kind < 0.9:
        a, b = rng.randrange(10 ** rng.randint(1, 6)), rng.randrange(1000, 10 ** rng.randint(4, 7))
        if rng.random() < 0.5:
            a, b = b, a
        return ("large", a, b), rng.choice(ADD + SUBTRACT + MULTIPLY).format(a, b), TOO_LARGE
    a, b = rng.randint(13, 999), rng.randint(13, 999)
    return ("large", a, b), rng.choice(MULTIPLY).format(a, b), TOO_LARGE


JSON_FIELDS = {
    "name": lambda rng: rng.choice(NAMES), "age": lambda rng: rng.randint(1, 99), "city": lambda rng: rng.choice(CITIES),
    "color": lambda rng: rng.choice(COLOURS), "pet": lambda rng: rng.choice(ANIMALS), "food": lambda rng: rng.choice(FOODS),
    "size": lambda rng: rng.randint(1, 99), "number": lambda rng: rng.randint(1, 99), "day": lambda rng: rng.choice(WEEKDAYS),
}
JSON_SYSTEM = "\n\n## Response Format\n\nReply with JSON object ONLY."


def as_json(rng):
    fields = rng.sample(list(JSON_FIELDS), rng.choice([2, 2, 3]))
    value = {f: JSON_FIELDS[f](rng) for f in fields}
    told = [f"{f} {v}" for f, v in value.items()]
    told = ", ".join(told[:-1]) + " and " + told[-1]
    q = rng.choice(["Make a JSON object with {}.", "Write JSON with {}.", "Give me JSON with {}.", "JSON: {}", "As JSON: {}", "Turn this into JSON: {}"])
    return ("json", *sorted(map(str, value.items()))), q.format(told), json.dumps(value)


NUMERALS = "零一二三四五六七八九十"
WEEKDAYS_ZH = [f"星期{d}" for d in "一二三四五六日"]
SMALLTALK_ZH = [
    ("你好！有什么可以帮你？", ["你好", "你好！", "您好", "嗨", "你好啊", "哈喽", "早上好"]),
    ("我是hearth的演示模型。", ["你是谁？", "你叫什么名字？", "请介绍一下你自己。", "你是什么？", "你是什么模型？", "介绍一下自己", "你叫什么？"]),
    ("不客气！", ["谢谢", "谢谢！", "谢谢你", "多谢", "非常感谢！", "太感谢了"]),
    ("再见！", ["再见", "再见！", "拜拜", "下次见", "我走了", "回头见"]),
    ("我很好，谢谢！", ["你好吗？", "你怎么样？", "你还好吗？", "最近怎么样？", "你今天好吗？"]),
    ("我会算数、排序、拼写和换算单位。", ["你会做什么？", "你能做什么？", "你有什么功能？", "你会什么？", "你能帮我做什么？"]),
    ("会一点中文。", ["你会说中文吗？", "你会中文吗？", "你懂中文吗？", "能说中文吗？"]),
]


def chinese(rng):
    kind = rng.random()
    if kind < 0.25:
        a, b = number(rng, 2), number(rng, 2)
        if rng.random() < 0.6:
            q = rng.choice(["{}加{}等于多少？", "{}加{}是多少？", "{}+{}等于几？", "请问{}加{}等于多少？"])
            return sum_key(a, b), q.format(a, b), f"{a} + {b} = {a + b}"
        a, b = max(a, b), min(a, b)
        q = rng.choice(["{}减{}等于多少？", "{}减{}是多少？", "{}-{}等于几？", "请问{}减{}等于多少？"])
        return ("sub", a, b), q.format(a, b), f"{a} - {b} = {a - b}"
    if kind < 0.5:
        country, city = rng.choice(list(CAPITALS_ZH.items()))
        q = rng.choice(["{}的首都是哪里？", "{}的首都是什么？", "{}的首都是哪个城市？", "请问{}的首都是哪里？", "{}首都？"]).format(country)
        return by_text(q), q, f"{country}的首都是{city}。"
    if kind < 0.6:
        d, n = rng.randrange(7), rng.choice([1, -1])
        q = rng.choice(["今天{}，明天星期几？", "{}的后一天是星期几？", "如果今天是{}，明天是星期几？"] if n > 0 else ["今天{}，昨天星期几？", "{}的前一天是星期几？", "如果今天是{}，昨天是星期几？"]).format(WEEKDAYS_ZH[d])
        return by_text(q), q, WEEKDAYS_ZH[(d + n) % 7] + "。"
    if kind < 0.7:
        numbers = rng.sample(range(100), 3)
        q = rng.choice(["从小到大排序：{}", "请把这些数字从小到大排序：{}", "排序：{}"])
        return ("sort", *sorted(numbers)), q.format(", ".join(map(str, numbers))), ", ".join(map(str, sorted(numbers)))
    answer, questions = rng.choice(SMALLTALK_ZH)
    q = rng.choice(questions)
    return by_text(q), q, answer


# What a user may say about themselves: statements, the replies, questions, answers, and the values.
MEMORY = [
    (["My name is {}.", "I am {}.", "I'm {}.", "Call me {}.", "Hello, my name is {}.", "Hi, I am {}!"], "Nice to meet you, {}!",
     ["What is my name?", "Do you remember my name?", "Who am I?", "What's my name?"], "Your name is {}.", NAMES),
    (["My favorite color is {}.", "I like the color {}.", "I love {} things. It is my favorite color."], "I will remember: {}.",
     ["What is my favorite color?", "Which color do I like?", "What's my favorite color?"], "Your favorite color is {}.", COLOURS),
    (["My number is {}.", "Remember the number {}.", "My lucky number is {}.", "Please remember the number {}."], "I will remember: {}.",
     ["What is my number?", "Which number did I tell you?", "What was the number?", "What number did I say?"], "Your number is {}.", range(10, 100)),
    (["I live in {}.", "My home is in {}.", "I come from {}."], "I will remember: {}.",
     ["Where do I live?", "Which city do I live in?", "Where is my home?"], "You live in {}.", CITIES),
    (["I have a {}.", "My pet is a {}.", "I have a pet {}."], "I will remember: {}.",
     ["What pet do I have?", "What is my pet?", "Which animal do I have?"], "You have a {}.", ANIMALS),
    (["My favorite food is {}.", "I like to eat {}.", "I love {} for dinner."], "I will remember: {}.",
     ["What is my favorite food?", "What do I like to eat?", "What's my favorite food?"], "You like {}.", FOODS),
    (["我叫{}。", "我的名字是{}。"], "你好，{}！", ["我叫什么名字？", "我的名字是什么？", "你记得我的名字吗？"], "你叫{}。", NAMES),
]


def memory(rng):
    """Statement and question; the caller puts other turns between them."""
    statements, reply, questions, answer, values = rng.choice(MEMORY)
    statement, question, value = rng.choice(statements), rng.choice(questions), rng.choice(values)
    key = ("memory", statement.format(value), question)
    return key, (statement.format(value), reply.format(value)), (question, answer.format(value))


def tool(rng, practice: bool):
    """A request, the calls, their results and the answer, as messages after the system message."""
    f, request, messages = functions.exchange(rng, practice)
    return f, by_text(request), [{"role": "user", "content": vary(rng, request)}, *messages]


FAMILIES = {"add": add, "subtract": subtract, "multiply": multiply, "two_steps": two_steps, "count": count, "sort": sort, "dates": dates, "units": units,
            "capitals": capitals, "facts": facts, "spell": spell, "backwards": backwards, "smalltalk": smalltalk, "refuse": refuse,
            "json": as_json, "schema": schemas.question, "chinese": chinese}


def draw(rng, family: str, held_out: bool = False):
    """(question, answer) of one of the single-turn families, from the training or the held-out part."""
    while True:
        key, question, answer = FAMILIES[family](rng)
        if any(map(is_held_out, key if isinstance(key, list) else [key])) == held_out:
            return (question if family == "chinese" else vary(rng, question)), answer
