#!/usr/bin/env python3
"""Talking: what is sent, what comes, and what becomes of it."""

import sys
import threading
import unittest

import webdriver
from bed import LESSON, PageTest
from webdriver import ENTER, ESCAPE


class Talk(PageTest):
    def test_an_answer_streams_and_is_markdown(self):
        go = threading.Event()
        self.script.answers = [[("text", "First **words**"), ("wait", go), ("text", " and the rest.\n\n" + LESSON)]]
        self.write("Explain quicksort" + ENTER)
        self.soon("First words")
        self.assertTrue(
            self.browser.run("return !document.getElementById('stop').hidden && document.getElementById('send').hidden")
        )
        self.assertEqual(self.browser.run("return document.querySelector('.prose strong').textContent"), "words")
        go.set()
        self.answered()
        found = self.browser.run(
            "return ['h1', '.heading', 'ol > li', '.code pre', 'td', '.math.display', 'blockquote a'].map("
            "s => document.querySelectorAll('.prose ' + s).length)"
        )
        self.assertEqual(found, [0, 1, 2, 1, 6, 1, 1])
        self.assertEqual(self.contents(), [("user", "Explain quicksort")])
        self.assertIn("tok/s", self.text(".figures"))
        self.assertIn("67 % reused", self.text(".figures"))
        self.assertIn("tokens left", self.text("#context"))
        self.assertEqual(self.text("#title"), "Explain quicksort")
        self.assertIn("Answer complete", self.browser.run("return document.getElementById('announcer').textContent"))

    def test_stop_and_continue(self):
        self.script.answers = [[("text", "One, two,"), ("wait", threading.Event())], [("text", " three.")]]
        self.write("Count" + ENTER)
        self.soon("One, two,")
        self.browser.keys(ESCAPE)
        self.soon("Stopped.")
        self.assertTrue(self.script.left.wait(webdriver.PATIENCE), "the server is told")
        self.press("Continue the answer")
        self.soon("One, two, three.")
        self.answered()
        self.assertTrue(self.last_request()["continue_final_message"])
        self.assertEqual(self.contents(), [("user", "Count"), ("assistant", "One, two,")])
        self.assertEqual(self.said(), ["Count", "One, two, three."])
        self.reload()
        self.assertEqual(self.said(), ["Count", "One, two, three."])

    def test_an_answer_that_was_cut_short_says_so(self):
        self.script.answers = [[("text", "Half"), ("finish", "length")]]
        self.ask("Long")
        self.soon("Cut short")
        self.accessible()

    def test_again_and_branches(self):
        self.script.answers = [
            [("text", "first")],
            [("text", "second")],
            [("text", "to the edited")],
            [("text", "more")],
        ]
        self.ask("Question")
        self.press("Answer again")
        self.soon("second")
        self.answered()
        self.assertEqual(self.contents(), [("user", "Question")])
        self.soon("2 / 2")
        self.press("Branch before")
        self.soon("first")
        self.assertEqual(self.said(), ["Question", "first"])
        self.press("Edit message", "document.querySelector('.message.user')")
        self.browser.type(".editor textarea", ", edited" + ENTER)
        self.soon("to the edited")
        self.answered()
        self.assertEqual(self.said(), ["Question, edited", "to the edited"])
        self.ask("And more")
        self.assertEqual(
            self.contents(), [("user", "Question, edited"), ("assistant", "to the edited"), ("user", "And more")]
        )
        self.reload()
        self.assertEqual(self.said(), ["Question, edited", "to the edited", "And more", "more"])
        self.press("Branch before", "document.querySelector('.message.user')")
        self.soon("second")
        self.assertEqual(self.browser.run("return document.activeElement.getAttribute('aria-label')"), "Branch behind")

    def test_an_edited_answer_is_kept_beside_the_models(self):
        self.ask("Question")
        self.press("Edit message", "document.querySelector('.message.assistant')")
        self.browser.type(".editor textarea", " Mine")
        self.press("Keep")
        self.soon("2 / 2")
        self.assertEqual(self.said(), ["Question", "An answer. Mine"])
        self.assertEqual(len(self.script.requests), 1)

    def test_reload_in_the_middle_keeps_what_has_come(self):
        self.script.answers = [[("text", "As far as this"), ("wait", threading.Event())]]
        self.write("Go" + ENTER)
        self.soon("As far as this")
        self.browser.until("return document.querySelector('#titles .dot')")
        self.browser.run_async("""const done = arguments[0];
            const look = () => { const r = indexedDB.open('hearth'); r.onsuccess = () => {
              const g = r.result.transaction('conversations').objectStore('conversations').getAll();
              g.onsuccess = () => { r.result.close(); JSON.stringify(g.result).includes('As far as this') ? done(true) : setTimeout(look, 50); }; } };
            look();""")
        self.reload()
        self.assertEqual(self.said(), ["Go", "As far as this"])
        self.press("Continue the answer")
        self.browser.until("return document.querySelector('[aria-busy=true]')")
        self.press("Stop")
        self.answered()

    def test_thoughts_are_folded(self):
        go = threading.Event()
        self.script.switch = True
        self.script.answers = [
            [("thoughts", "First I *think*.\n\nThen"), ("wait", go), ("thoughts", " more."), ("text", "Yes.")]
        ]
        self.reload()
        self.write("Is it?" + ENTER)
        self.soon("Thinking,", ".thoughts summary")
        self.assertFalse(self.browser.run("return document.querySelector('.thoughts').open"))
        self.browser.click(".thoughts summary")
        self.soon("First I think", ".thoughts .prose")
        self.assertEqual(self.said()[1], "")
        go.set()
        self.answered()
        self.soon("Then more.", ".thoughts .prose")
        self.assertTrue(self.text(".thoughts summary").startswith("Thought for "))
        self.assertNotIn("enable_thinking", self.last_request())
        self.accessible()
        for words, sent in [("Thinking: on", True), ("Thinking: off", False)]:
            self.browser.click("#think")
            self.assertEqual(self.text("#think"), words)
            self.ask("Again")
            self.assertEqual(self.last_request()["enable_thinking"], sent)
        self.assertEqual(self.last_request()["messages"][1]["reasoning_content"], "First I *think*.\n\nThen more.")

    def test_calls_are_folded_and_answered_by_hand(self):
        self.script.answers = [
            [("text", "Let me look."), ("call", "get_weather", '{"city": "Oslo"}')],
            [("text", "It rains.")],
        ]
        self.press("Settings")
        self.browser.click("#settings details summary")
        self.browser.type("#tools", '[{"name": "get_weather", "parameters": {}}]')
        self.press("Keep")
        self.ask("Weather in Oslo?")
        self.assertEqual(self.last_request()["tools"][0]["function"]["name"], "get_weather")
        self.assertEqual(self.text(".calls summary"), "Calls get_weather")
        self.browser.click(".calls summary")
        self.soon('"city": "Oslo"', ".calls pre")
        self.accessible()
        self.browser.type(".results textarea", "rain")
        self.press("Send results")
        self.soon("It rains.")
        self.answered()
        last = self.last_request()["messages"]
        self.assertEqual(last[1]["tool_calls"][0]["function"], {"name": "get_weather", "arguments": '{"city": "Oslo"}'})
        self.assertEqual(last[2], {"role": "tool", "tool_call_id": "call_1", "content": "rain"})
        self.accessible()

    def test_reading_with_time_left(self):
        go = threading.Event()
        self.script.answers = [
            [
                ("progress", 5000, 1000, 2000, 2000),
                ("wait", go),
                ("progress", 5000, 1000, 5000, 8000),
                ("text", "Read."),
            ]
        ]
        self.write("A long one" + ENTER)
        self.soon("Reading: 2,000 of 5,000 tokens, 6.0 s left")
        self.assertAlmostEqual(self.browser.run("return document.querySelector('.state progress').value"), 0.4)
        self.accessible()
        go.set()
        self.answered()
        self.assertEqual(self.said(), ["A long one", "Read."])

    def test_a_long_answer_is_drawn_in_time(self):
        self.script.answers = [
            [("text", ("Some *words* of a paragraph, `code` and more.\n\n- item\n- item\n\n" * 3000))]
        ]
        self.ask("Much")
        self.assertEqual(self.browser.run("return document.querySelectorAll('.prose > p').length"), 3000)

    def test_files_go_with_the_message(self):
        path = f"{self.browser.folder}/notes.md"
        with open(path, "w") as file:
            file.write("# Notes\n```\ncode\n```\n")
        binary = f"{self.browser.folder}/x.bin"
        with open(binary, "wb") as file:
            file.write(b"\xff\xfe\x00")
        self.browser.run("document.getElementById('file').hidden = false")
        self.browser.type("#file", binary)
        self.soon("x.bin: expected text in UTF-8", "#trouble")
        self.browser.type("#file", path)
        self.soon("notes.md", "#files")
        self.browser.run("document.getElementById('file').hidden = true")
        self.accessible()
        self.ask("Summarise")
        self.assertEqual(self.contents(), [("user", "notes.md:\n````\n# Notes\n```\ncode\n```\n````\n\nSummarise")])
        self.assertEqual(self.text("#files"), "")
        self.assertEqual(self.browser.run("return document.querySelector('.message .file').open"), False)

    def test_code_is_copied(self):
        self.browser.cdp("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        self.script.answers = [[("text", "```js\nlet a = '<b>';\n```")]]
        self.ask("Code")
        self.browser.click(".code button")
        self.soon("Copied", ".code button")
        self.assertEqual(self.browser.run_async("navigator.clipboard.readText().then(arguments[0])"), "let a = '<b>';")


if __name__ == "__main__":
    if webdriver.missing():
        print(f"SKIP: {webdriver.missing()}")
        sys.exit(77)
    unittest.main()
