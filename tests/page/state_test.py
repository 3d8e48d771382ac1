#!/usr/bin/env python3
"""What is kept, what is chosen, and what goes wrong: one clear answer each."""

import json
import os
import random
import sys
import threading
import unittest

import webdriver
from bed import PageTest
from fake_server import FakeServer
from webdriver import ENTER


class State(PageTest):
    # Browsers themselves write failed requests into the console.
    expected_console = (
        "status of 401",
        "status of 400",
        "status of 500",
        "net::ERR_CONNECTION_REFUSED",
        "net::ERR_INCOMPLETE_CHUNKED",
    )

    def test_while_the_model_loads(self):
        self.ask("Before")
        self.script.loading = 0.42
        self.reload()
        self.soon("The model is loading: 42 %", "#loading")
        self.assertEqual(self.said(), ["Before", "An answer."])  # what is kept can be read
        self.accessible()
        n = len(self.script.requests)
        self.write("Meanwhile" + ENTER)
        self.soon("Waiting for the model")
        self.accessible()
        self.assertEqual(len(self.script.requests), n)
        self.script.loading = None
        self.browser.until("return document.querySelectorAll('.message').length === 4")
        self.answered()
        self.assertEqual(self.said()[2:], ["Meanwhile", "An answer."])
        self.assertTrue(self.browser.run("return document.getElementById('loading').hidden"))
        self.script.loading = 0.1
        self.reload()
        self.write("Given up" + ENTER)
        self.soon("Waiting for the model")
        self.press("Stop")
        self.soon("Stopped.")
        self.assertEqual(len(self.script.requests), n + 1)

    def test_a_key_is_asked_for(self):
        self.script.key = "secret"
        self.reload()
        self.soon("This server asks for a key", "#key")
        self.accessible()
        self.browser.type("#key-field", "wrong" + ENTER)
        self.soon("not one of its keys", "#key")
        self.accessible()
        self.press("Not now")
        self.soon("asks for a key", "#loading")
        self.write("With a key" + ENTER)
        self.soon("Waiting for the model")
        self.press("Settings")
        self.browser.run("document.getElementById('api-key').closest('details').open = true")
        self.browser.run("document.getElementById('api-key').value = ''")
        self.browser.type("#api-key", "secret")
        self.press("Keep")
        self.soon("An answer.")
        self.reload()
        self.ask("Still")
        self.assertFalse(self.browser.run("return document.getElementById('key').open"))

    def test_refusals_and_broken_answers(self):
        self.script.refusal = (400, "the prompt has 9000 tokens, the context 8192")
        self.ask("Too long")
        self.assertEqual(self.text(".state[role=alert]"), "the prompt has 9000 tokens, the context 8192")
        self.accessible()
        self.script.refusal = None
        self.script.answers = [
            [("text", "Half of"), ("error", "the server ends")],
            [("text", "Some of"), ("cut",)],
            [("text", " it.")],
        ]
        self.press("Answer again")
        self.soon("the server ends")
        self.answered()
        self.press("Answer again")
        self.soon("The connection ended in the middle of the answer.")
        self.answered()
        self.press("Continue the answer")
        self.soon("Some of it.")
        self.answered()
        self.assertIsNone(self.browser.run("return document.querySelector('.state[role=alert]')"))

    def test_a_server_that_is_gone(self):
        self.server = FakeServer()
        self.server.script.answers = [[("text", "Half"), ("cut",)]]
        self.open()
        self.ask("One")
        self.server.close()
        self.browser.run("performance.clearResourceTimings()")
        self.write("Two" + ENTER)
        self.soon("The server does not answer", "#loading")
        self.accessible()
        self.press("Stop") if self.browser.run("return !document.getElementById('stop').hidden") else None

    def test_settings(self):
        self.browser.keys(webdriver.ALT, "s")
        self.browser.until("return document.getElementById('settings').open")
        self.accessible()
        self.assertEqual(self.browser.run("return document.getElementById('s-temperature').placeholder"), "0.3")
        self.browser.type("#system", "Be brief.")
        self.browser.type("#s-temperature", "0.7")
        self.browser.type("#s-top_k", "1.5")
        self.press("Keep")
        self.soon("Top-k: expected a whole number from 0 to 1000000.", "#settings .state")
        self.browser.run("document.getElementById('s-top_k').value = 40")
        self.browser.run("document.querySelector('#settings details').open = true")
        self.browser.type("#tools", "{")
        self.press("Keep")
        self.soon("Functions: expected JSON", "#settings .state")
        self.accessible()
        self.browser.run("document.getElementById('tools').value = ''")
        self.press("Keep")
        self.browser.until("return !document.getElementById('settings').open")
        self.ask("Hi")
        self.assertEqual(self.contents(), [("system", "Be brief."), ("user", "Hi")])
        self.assertEqual([self.last_request().get(name) for name in ("temperature", "top_k", "top_p")], [0.7, 40, None])
        self.reload()
        self.press("New conversation")
        self.ask("Ho")  # the next one begins with it, too
        self.assertEqual(self.contents(), [("system", "Be brief."), ("user", "Ho")])
        self.assertEqual(self.last_request()["temperature"], 0.7)

    def test_the_list(self):
        self.ask("First question")
        self.press("New conversation")
        self.ask("Second question")
        titles = "return [...document.querySelectorAll('#titles .open')].map(b => b.textContent)"
        self.browser.until(f"{titles[7:] and titles}.length === 2".replace("return return", "return"))
        self.assertEqual(self.browser.run(titles), ["Second question", "First question"])
        self.browser.keys(webdriver.ALT, "\ue015")
        self.soon("First question", "#title")
        self.browser.type("#search", "sec")
        self.assertEqual(self.browser.run(titles), ["Second question"])
        self.browser.run(
            "document.getElementById('search').value = ''; document.getElementById('search').dispatchEvent(new Event('input'))"
        )
        self.press("Rename First question")
        self.accessible()
        self.browser.run("document.querySelector('#question input').value = ''")
        self.browser.type("#question input", "<b>Renamed</b>" + ENTER)
        self.soon("<b>Renamed</b>", "#title")
        self.press("Delete <b>Renamed</b>")
        self.soon("cannot be had back", "#question")
        self.press("Cancel")
        self.soon("<b>Renamed</b>", "#titles")
        self.press("Delete <b>Renamed</b>")
        self.press("Delete", "document.getElementById('question')")
        self.browser.until("return document.querySelectorAll('#titles li').length === 1")
        self.assertEqual(self.said(), [])
        self.reload()
        self.assertEqual(self.browser.run(titles), ["Second question"])

    def test_export_and_import(self):
        folder = f"{self.browser.folder}/downloads"
        os.makedirs(folder, exist_ok=True)
        self.browser.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=folder)
        self.ask("Keep me")
        self.press("Settings")
        self.press("Export all")
        self.soon("1 exported.", "#settings")
        deadline = threading.Event()
        for _ in range(webdriver.PATIENCE * 20):
            files = [name for name in os.listdir(folder) if name.endswith(".json")]
            if files:
                break
            deadline.wait(0.05)
        path = os.path.join(folder, files[0])
        with open(path) as file:
            self.assertEqual(json.load(file)["conversations"][0]["title"], "Keep me")
        self.press("Delete all")
        self.press("Delete all", "document.getElementById('question')")
        self.soon("1 deleted.", "#settings")
        bad = f"{self.browser.folder}/bad.json"
        with open(bad, "w") as file:
            file.write('{"format": "other"}')
        self.browser.run("document.querySelector('#settings input[type=file]').hidden = false")
        self.browser.type("#settings input[type=file]", bad)
        self.soon("Expected a file that this page exported", "#settings")
        self.browser.type("#settings input[type=file]", path)
        self.soon("1 imported.", "#settings")
        self.press("Close", "document.getElementById('settings')")
        self.press("Keep me", "document.getElementById('titles')")
        self.soon("An answer.")
        self.assertEqual(self.said(), ["Keep me", "An answer."])

    def test_two_tabs(self):
        go, more = threading.Event(), threading.Event()
        self.addCleanup(go.set)
        self.script.answers = [
            [("text", "An answer.")],
            [("text", "Slowly"), ("wait", more), ("text", " on,"), ("wait", go), ("text", " done.")],
            [("text", "Quickly.")],
        ]
        self.ask("Shared")
        first = self.browser.tab()
        where = self.browser.run("return location.hash")
        second = self.browser.new_tab()
        try:
            self.open(where)
            self.assertEqual(self.said(), ["Shared", "An answer."])
            self.browser.switch(first)
            self.write("From the first" + ENTER)
            self.soon("Slowly")
            self.browser.switch(second)
            self.soon("Slowly")  # what the first one keeps, the second one shows
            self.press("Edit message", "document.querySelectorAll('.message.user')[1]")
            self.browser.type(".editor textarea", ", from the")
            more.set()
            self.soon("Slowly on")  # what is being edited stays
            self.browser.type(".editor textarea", " second" + ENTER)
            self.soon("Quickly.")
            self.answered()
            self.browser.switch(first)
            go.set()
            self.soon("Slowly on, done.")
            self.answered()
            self.browser.switch(second)
            self.soon("Quickly.")
            self.browser.until("return document.querySelectorAll('.message.user')[1].textContent.includes('2 / 2')")
            for tab in (second, first):
                self.browser.switch(tab)
                self.reload()
                self.assertEqual(len(self.said()), 4)
                self.soon("/ 2")  # of both branches
            self.press("Delete Shared", "document.getElementById('titles')")
            self.press("Delete", "document.getElementById('question')")
            self.browser.until("return document.querySelectorAll('.message').length === 0", "no message in the first")
            self.browser.switch(second)
            self.browser.until("return document.querySelectorAll('.message').length === 0")
        finally:
            self.browser.switch(second)
            self.browser._do("/window", method="DELETE")
            self.browser.switch(first)

    def test_storage_is_full(self):
        # Of an origin that has no database yet: browsers look at the quota when one is opened, and then now and then.
        origin = self.server.url.replace("127.0.0.1", "localhost")[:-1]
        self.browser.cdp("Storage.overrideQuotaForOrigin", origin=origin, quotaSize=100000)
        self.browser.open(origin)
        self.ready()
        self.ask("Before")
        much = "".join(random.choices("abcdefghij", k=300000))
        self.script.answers = [[("text", much)], [("text", "Short.")]]
        self.ask("Much")
        self.soon("The browser has no room left for conversations", "#trouble")
        self.assertEqual(len(self.said()[3]), len(much))  # it is shown all the same
        self.accessible()
        self.browser.cdp("Storage.overrideQuotaForOrigin", origin=origin)
        self.ask("Again")
        self.browser.until("return document.getElementById('trouble').hidden")
        self.reload()
        self.assertEqual(len(self.said()), 6)


if __name__ == "__main__":
    if webdriver.missing():
        print(f"SKIP: {webdriver.missing()}")
        sys.exit(77)
    unittest.main()
