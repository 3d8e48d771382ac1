#!/usr/bin/env python3
"""The page's modules by themselves, in a browser, under the page's own policy."""

import sys
import unittest

import webdriver
from fake_server import FakeServer


class Modules(unittest.TestCase):
    def test_modules(self):
        server = FakeServer()
        self.addCleanup(server.close)
        browser = webdriver.Browser()
        self.addCleanup(browser.close)
        browser.open(server.url + "tests/modules.html")
        results = browser.until("return window.results")
        for one in results["failed"]:
            print(f"FAILED: {one['name']}\n  {one['error']}", file=sys.stderr)
        for one in results["slow"]:
            print(f"slow: {one}", file=sys.stderr)
        self.assertEqual([one["name"] for one in results["failed"]], [])
        self.assertGreater(results["n"], 70)
        self.assertEqual([line for line in browser.console() if line["level"] != "INFO"], [])
        self.assertFalse(browser.run("return 'harmed' in window"))


if __name__ == "__main__":
    if webdriver.missing():
        print(f"SKIP: {webdriver.missing()}")
        sys.exit(77)
    unittest.main()
