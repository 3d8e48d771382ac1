#!/usr/bin/env python3
"""Makes the pictures of docs/page.md again: python3 tests/page/screenshots.py docs

In the font Inter where it is installed (Debian: fonts-inter), else in whatever the machine has."""

import pathlib
import sys
import tempfile
import threading

from bed import LESSON
from fake_server import FakeServer
from webdriver import ENTER, ESCAPE, Browser

FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><dir>/usr/share/fonts</dir>
<alias binding="strong"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
<alias binding="strong"><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
<match target="font"><edit name="hintstyle" mode="assign"><const>hintnone</const></edit></match></fontconfig>"""

THOUGHTS = """The user asks how many primes there are below 30. I will list them.

2, 3, 5, 7, 11, 13, 17, 19, 23, 29. That makes ten. 1 is not a prime, and 27 is 3³."""

PRIMES = """There are **ten**: 2, 3, 5, 7, 11, 13, 17, 19, 23 and 29.

A check that needs no list is \\(\\pi(30) = 10\\), and the estimate \\(x / \\ln x\\) gives about 8.8."""

TITLES = ["Plan a weekend in Bergen", "Why is the sky blue?", "A haiku about compilers"]


class Shots:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.fonts = tempfile.NamedTemporaryFile("w", suffix=".conf")
        self.fonts.write(FONTS)
        self.fonts.flush()
        self.server = FakeServer()
        self.script = self.server.script
        self.script.switch = True
        self.browser = Browser(1200, 780, environment={"FONTCONFIG_FILE": self.fonts.name})

    def open(self):
        self.browser.open(self.server.url)
        self.browser.until("return document.documentElement.dataset.ready")

    def ask(self, text, *steps):
        self.script.answers = [list(steps)]
        self.browser.run("document.getElementById('new').click()")
        self.browser.type("#message", text + ENTER)
        self.browser.until("return document.querySelector('.message.assistant:last-child .figures')")

    def shoot(self, name, width=1200, height=780, dark=False, top=0):
        self.browser.resize(width, height)
        self.browser.theme(dark)
        self.browser.run("document.getElementById('scroll').scrollTop = arguments[0]", top)
        self.browser.run_async(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        )
        picture = self.browser.screenshot()
        (self.folder / name).write_bytes(picture)
        print(f"{name}: {len(picture) / 1000:.0f} kB")

    def dialog(self, name):
        self.browser.run(f"document.getElementById('open-{name}').click()")
        self.browser.until(f"return document.getElementById('{name}').textContent.length > 60")

    def close_dialog(self):
        self.browser.keys(ESCAPE)
        self.browser.until("return !document.querySelector('dialog[open]')")

    def all(self):
        self.open()
        for title in TITLES:
            self.ask(title, ("text", "Gladly."))
        pause = threading.Event()
        threading.Timer(1.2, pause.set).start()
        self.ask("How many primes are there below 30?", ("thoughts", THOUGHTS), ("wait", pause), ("text", PRIMES))
        self.browser.click(".thoughts summary")
        self.shoot("page-thoughts.png", height=640)
        self.ask("Explain quicksort, with an example in Python", ("text", LESSON))
        self.shoot("page.png")
        self.shoot("page-dark.png", dark=True, top=420)
        self.shoot("page-phone.png", 390, 780)
        self.browser.resize(1200, 780)
        self.dialog("settings")
        self.shoot("page-settings.png")
        self.close_dialog()
        self.dialog("gauges")
        self.shoot("page-gauges.png", dark=True)
        self.close_dialog()
        self.reading()

    def reading(self):
        """A long prompt while it is read."""
        go = threading.Event()
        self.script.answers = [[("progress", 24000, 4000, 14000, 12300), ("wait", go), ("text", "Read.")]]
        self.browser.run("document.getElementById('new').click()")
        self.browser.type("#message", "Summarise the attached report" + ENTER)
        self.browser.until("return document.querySelector('.state progress')")
        self.shoot("page-reading.png", height=420)
        go.set()

    def close(self):
        self.browser.close()
        self.server.close()


if __name__ == "__main__":
    shots = Shots(sys.argv[1] if len(sys.argv) > 1 else "docs")
    try:
        shots.all()
    finally:
        shots.close()
