#!/usr/bin/env python3
"""What it looks like and who can use it: hostile answers, keyboard, phone, dark, screen readers."""

import json
import pathlib
import sys
import unittest

import webdriver
from bed import LESSON, PageTest
from webdriver import ALT, ENTER, ESCAPE, SHIFT, TAB, UP

HOSTILE = json.loads((pathlib.Path(__file__).parent / "hostile.json").read_text())
# Asks in a conversation of its own, and tells what is wrong with the answer.
ASK = """
const [shows, done] = arguments;
document.getElementById('new').click();
document.getElementById('message').value = 'Hostile';
document.getElementById('composer').requestSubmit();
const look = async () => {
  if (!document.querySelector('.message.assistant .figures')) return setTimeout(look, 5);
  document.querySelector('.thoughts').open = true;
  const {faults} = await import('/tests/harmless.js');
  const answer = document.querySelector('.prose:not(.thoughts .prose)');
  const missing = shows.filter((text) => !answer.textContent.includes(text)).map((text) => `not shown: ${text}`);
  done([...document.querySelectorAll('.prose')].flatMap(faults).concat(missing));
};
look();
"""


class Look(PageTest):
    def test_fifty_hostile_answers(self):
        def steps(answer):
            text = answer["text"] * min(answer.get("repeat", 1), 300)  # long ones: hostile_test.js
            return [("thoughts", text[:20000]), ("text", text)]

        self.script.answers = [steps(answer) for answer in HOSTILE] + [
            [("call", "<img src=x onerror=harmed=1>", '{"a": "<script>harmed=1</script>"}')]
        ]
        title = self.browser.run("return document.title")
        for answer in HOSTILE:
            self.assertEqual(self.browser.run_async(ASK, answer.get("shows", [])), [], answer["name"])
        self.ask("And a call")
        self.browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
        self.assertEqual(self.browser.run("return document.querySelectorAll('.calls img, .calls script').length"), 0)
        self.soon("<img src=x", ".calls summary")
        self.assertFalse(self.browser.run("return 'harmed' in window"))
        self.assertEqual(self.browser.run("return document.querySelectorAll('script').length"), 2)
        self.assertTrue(title.endswith("hearth"))
        self.assertEqual(self.browser.run("return location.origin + '/'"), self.server.url)

    def test_the_policy_holds(self):
        """What would be loaded or run, if markup got in by whatever way, is stopped by the policy."""
        self.assertEqual(
            self.browser.run("""
            const tried = [];
            for (const act of [() => { document.body.innerHTML = '<b>x</b>'; }, () => document.body.insertAdjacentHTML('beforeend', 'x'),
                               () => { const script = document.createElement('script'); script.textContent = 'harmed = 1'; document.body.append(script); }])
              try { act(); tried.push('done'); } catch (error) { tried.push(error.name); }
            return tried"""),
            ["TypeError"] * 3,
        )
        self.browser.run_async("""
            const done = arguments[0];
            const image = new Image();
            image.onerror = () => done();
            image.onload = () => { window.harmed = 1; done(); };
            image.src = 'http://198.51.100.7/x.png'""")
        self.assertFalse(self.browser.run("return 'harmed' in window"))
        self.browser.run("performance.clearResourceTimings()")  # where what was stopped is listed, too
        stopped = [line["message"] for line in self.browser.console()]
        self.assertTrue(
            all("Content Security Policy" in line or "Trusted" in line or "TrustedHTML" in line for line in stopped),
            stopped,
        )

    def test_keyboard_alone(self):
        self.assertEqual(self.browser.run("return document.activeElement.id"), "message")
        self.browser.keys("H")
        self.browser.keys("i")
        self.browser.keys(SHIFT, ENTER)
        self.browser.keys("x")
        self.assertEqual(self.browser.run("return document.activeElement.value"), "Hi\nx")
        self.browser.keys(ENTER)
        self.answered()
        self.browser.keys(UP)
        self.browser.until("return document.activeElement.matches('.editor textarea')")
        self.browser.keys(ESCAPE)
        self.browser.until("return document.activeElement.matches('[aria-label=\"Edit message\"]')")
        self.browser.keys("?")
        self.browser.until("return document.getElementById('keys').open")
        self.accessible()
        self.browser.keys(ESCAPE)
        self.browser.keys("/")
        self.assertEqual(self.browser.run("return document.activeElement.id"), "message")
        self.browser.run("document.querySelector('[aria-label=\"Answer again\"]').focus()")
        self.browser.keys(ENTER)
        self.soon("2 / 2")
        self.answered()
        self.assertEqual(self.browser.run("return document.activeElement.id"), "scroll")  # where Tab goes on from
        self.browser.keys(ALT, "n")
        self.browser.until("return document.querySelectorAll('.message').length === 0")
        self.assertEqual(self.browser.run("return document.activeElement.id"), "message")

    def test_tab_reaches_everything_and_the_focus_is_seen(self):
        self.script.answers = [[("thoughts", "Hm."), ("text", LESSON)]]
        self.ask("Explain")
        wanted = self.browser.run("""
            document.activeElement.blur();
            return [...document.querySelectorAll('a, button, input, textarea, summary, [tabindex="0"]')]
                .filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled && e.tabIndex >= 0).length""")
        seen = self.browser.run("document.activeElement.blur(); return []")
        for _ in range(wanted + 5):
            self.browser.keys(TAB)
            seen.append(
                self.browser.run(
                    """
                const e = document.activeElement;
                if (e === document.body) return null;
                e.dataset.reached = 'yes';
                const style = getComputedStyle(e), box = getComputedStyle(e.closest('#composer') ?? e);
                return [e.outerHTML.slice(0, 80), style.outlineStyle !== 'none' || e.id === 'message' && box.borderTopColor]"""
                )
            )
        missed = self.browser.run("""
            return [...document.querySelectorAll('a, button, input, textarea, summary, [tabindex="0"]')]
                .filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled && e.tabIndex >= 0 && !e.dataset.reached)
                .map(e => e.outerHTML.slice(0, 100))""")
        self.assertEqual(missed, [])
        self.assertEqual([one for one in seen if one and not one[1]], [])

    def test_on_a_phone(self):
        self.browser.resize(360, 740)
        self.script.answers = [[("thoughts", "Hm."), ("text", LESSON + "\n" + "unbreakable" * 40)]]
        self.accessible(targets=44)
        self.ask("A question of some length, which takes more than one line of a narrow screen")
        self.accessible(targets=40)
        self.press("Conversations")
        self.browser.until("return document.body.classList.contains('drawer')")
        self.accessible(targets=40)
        self.browser.keys(ESCAPE)
        self.browser.until("return !document.body.classList.contains('drawer')")
        self.assertEqual(self.browser.run("return document.activeElement.id"), "open-sidebar")
        self.press("Conversations")
        self.press("New conversation")
        self.browser.until("return !document.body.classList.contains('drawer')")
        for label, dialog in [("Settings", "settings"), ("Gauges", "gauges"), ("Keys", "keys")]:
            self.press("Conversations")
            self.press(label)
            self.browser.until(f"return document.getElementById('{dialog}').open")
            self.accessible(targets=40)
            self.browser.run(f"document.getElementById('{dialog}').close()")
            self.press("Close the list")

    def test_dark_and_light(self):
        self.script.answers = [[("thoughts", "Hm."), ("text", LESSON)]]
        self.ask("Explain")
        ground = "return getComputedStyle(document.body).backgroundColor"
        light = self.browser.run(ground)
        self.accessible()
        self.browser.theme(dark=True)
        dark = self.browser.run(ground)
        self.assertNotEqual(light, dark)
        self.accessible()
        self.press("To the light theme")
        self.assertEqual(self.browser.run(ground), light)
        self.reload()
        self.assertEqual(self.browser.run(ground), light)
        self.press("To the dark theme")  # as the system has it: followed again
        self.browser.theme(dark=False)
        self.assertEqual(self.browser.run(ground), light)
        self.browser.theme(dark=True)
        for label, dialog in [("Settings", "settings"), ("Gauges", "gauges"), ("Keys", "keys")]:
            self.press(label)
            self.browser.until(f"return document.getElementById('{dialog}').open")
            self.accessible()
            self.browser.keys(ESCAPE)
            self.browser.until("return !document.querySelector('dialog[open]')")

    def test_gauges(self):
        self.press("Gauges")
        self.soon("Placement", "#gauges")
        shown = self.text("#gauges")
        for part in [
            "In the GPU’s memory\n7.1 GB",
            "In memory\n2.9 GB",
            "on disk\n500 MB",
            "NVIDIA RTX 4090",
            "found on the GPU\n91 %",
            "not read again\n65 %",
            "6,400 tokens\n40 %",
            "1 of 4",
            "23.4 tok/s",
        ]:
            self.assertIn(part, shown)
        self.accessible()

    def test_what_is_said_to_screen_readers(self):
        self.ask("Hi")
        self.assertEqual(
            self.browser.run("return document.getElementById('messages').getAttribute('aria-live')"), "off"
        )
        self.assertEqual(
            self.browser.run("return document.getElementById('announcer').textContent"), "Answer complete: An answer."
        )
        self.accessible()


if __name__ == "__main__":
    if webdriver.missing():
        print(f"SKIP: {webdriver.missing()}")
        sys.exit(77)
    unittest.main()
