"""What the tests of the whole page share: one browser, a server that says what it is told to, and hands."""

import pathlib
import unittest

import webdriver
from fake_server import FakeServer
from webdriver import ENTER

ACCESSIBILITY = (pathlib.Path(__file__).parent / "accessibility.js").read_text()

LESSON = """Quicksort picks a **pivot** and *partitions* the list. Its average cost is $O(n \\log n)$.

## How it goes

1. Take the first element
   - smaller ones go left
   - larger ones go right
2. Sort both sides

```python
def quicksort(items):
    if len(items) < 2:
        return items
    pivot, *rest = items
    left = [x for x in rest if x < pivot]
    right = [x for x in rest if x >= pivot]
    return quicksort(left) + [pivot] + quicksort(right)
```

| case | comparisons | memory |
|:-----|------------:|:------:|
| best | n log n | log n |
| worst | n² | n |

$$
T(n) = 2\\,T(n/2) + O(n)
$$

> It is not stable, see [Quicksort](https://en.wikipedia.org/wiki/Quicksort).
"""


class PageTest(unittest.TestCase):
    expected_console = ()  # parts of lines that a case may leave in the console

    @classmethod
    def setUpClass(cls):
        cls.browser = webdriver.Browser()
        cls.server = FakeServer()  # one for all: browsers make a process for every origin
        cls.first_tab = cls.browser.tab()

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.server.close()

    def setUp(self):
        self.script = self.server.script
        self.script.reset()
        self.script.answers = [[("text", "An answer.")]]
        self.browser.cdp("Storage.clearDataForOrigin", origin=self.server.url[:-1], storageTypes="all")
        self.browser.resize(1200, 800)
        self.browser.theme(dark=False)
        self.open()

    def tearDown(self):
        lines = [line["message"] for line in self.browser.console() if line["level"] != "INFO"]
        lines = [line for line in lines if not any(part in line for part in self.expected_console)]
        self.assertEqual(lines, [], "the console")
        self.assertEqual(
            self.browser.run(
                "return performance.getEntriesByType('resource').map(e => e.name)"
                ".filter(name => !name.startsWith(location.origin) && !name.startsWith('blob:'))"
            ),
            [],
        )

    def open(self, where=""):
        self.browser.open(self.server.url + where)
        self.ready()

    def reload(self):
        """When all that was said is kept."""
        self.browser.until("return document.documentElement.dataset.keeping !== 'true'", "what is said is kept")
        self.browser.reload()
        self.ready()

    def ready(self):
        self.browser.until("return document.documentElement.dataset.ready", "the page")

    # --- Hands and eyes.

    def write(self, text):
        self.browser.type("#message", text)

    def ask(self, text):
        """Sends a question, and waits for the end of its answer."""
        self.write(text + ENTER)
        self.answered()

    def answered(self):
        self.browser.until(
            "return !document.querySelector('[aria-busy=true]') && document.querySelector('.message.assistant:last-child .foot button')",
            "the end of the answer",
        )

    def press(self, label, within="document"):
        self.browser.until(
            f"""const all = [...{within}.querySelectorAll('button')].filter(b => b.checkVisibility() && (b.getAttribute('aria-label') ?? b.textContent.trim()) === {label!r});
                               if (!all.length) return false; all[all.length - 1].click(); return true""",
            label,
        )

    def said(self):
        return self.browser.run(
            "return [...document.querySelectorAll('.message')].map(m => m.querySelector('.words, .prose:not(.thoughts .prose)')?.textContent.toWellFormed() ?? '')"
        )

    def soon(self, text, css="#messages"):
        self.browser.until(f"return document.querySelector({css!r})?.textContent.includes({text!r})", f"{css}: {text}")

    def text(self, css):
        return self.browser.run(f"return document.querySelector({css!r})?.innerText ?? null")

    def last_request(self):
        return self.script.requests[-1]

    def contents(self):
        """Of the messages of the last request."""
        return [(message["role"], message["content"]) for message in self.last_request()["messages"]]

    def accessible(self, targets=0):
        self.assertEqual(self.browser.run(ACCESSIBILITY, {"targets": targets}), [])
