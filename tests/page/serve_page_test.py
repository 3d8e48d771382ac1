#!/usr/bin/env python3
"""The page out of `hearth serve` itself, with the demo model."""

import http.client
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import webdriver
from bed import PageTest
from fake_server import POLICY, ROOT, WEB
from webdriver import ENTER

BUILD = pathlib.Path(os.environ.get("HEARTH_BUILD_DIR", ROOT / "build"))
HEARTH = BUILD / "hearth"


class Serve:
    """The program on a port that was free. With a gate: it listens, and loads the model when that file is gone."""

    def __init__(self, model, *options, gate=None):
        environment = dict(os.environ)
        if gate:
            environment |= {"LD_PRELOAD": str(BUILD / "tests/libslow_disk.so"), "HEARTH_TEST_GATE": gate}
        self.process = subprocess.Popen(
            [HEARTH, "serve", model, "--port", "0", "--alias", "demo", "--temp", "0", *options],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for line in self.process.stderr:
            found = re.search(r"listening on (http://[^,]*), loading" if gate else r"ready: .* at (http://.*)/v1", line)
            if found:
                self.url = found[1] + "/"
                return
        raise RuntimeError("hearth serve ended")

    def get(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection(self.url.split("/")[2], timeout=webdriver.PATIENCE)
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        response.body = response.read()
        connection.close()
        return response

    def close(self):
        self.process.terminate()
        self.process.stderr.close()
        self.process.wait()


class ServePage(PageTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = tempfile.TemporaryDirectory(prefix="hearth-page-")
        os.environ["XDG_CACHE_HOME"] = cls.folder.name  # what the program measures of this machine is not kept
        cls.model = f"{cls.folder.name}/demo.gguf"
        subprocess.run(
            [HEARTH, "convert", ROOT / "demo/checkpoint", cls.model, "--recipe", "bf16"],
            check=True,
            capture_output=True,
        )
        cls.one = Serve(cls.model)
        cls.fake, cls.server = cls.server, cls.one

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()
        cls.fake.close()
        super().tearDownClass()  # closes cls.server, which is cls.one

    def setUp(self):
        self.server = self.one
        self.browser.cdp("Storage.clearDataForOrigin", origin=self.server.url[:-1], storageTypes="all")
        self.browser.resize(1200, 800)
        self.open()

    def test_the_files_and_their_headers(self):
        for file in sorted(WEB.iterdir()):
            response = self.one.get(f"/{file.name}")
            self.assertEqual((response.status, response.body), (200, file.read_bytes()), file.name)
            self.assertEqual(response.headers["Content-Security-Policy"], POLICY)
            self.assertEqual(response.headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(response.headers["Referrer-Policy"], "no-referrer")
        index = self.one.get("/")
        self.assertEqual(index.headers["Content-Type"], "text/html; charset=utf-8")
        again = self.one.get("/", **{"If-None-Match": index.headers["ETag"]})
        self.assertEqual((again.status, again.body), (304, b""))
        head = self.one.get("/app.js", method="HEAD")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(int(head.headers["Content-Length"]), (WEB / "app.js").stat().st_size)
        refused = self.one.get("/app.js", method="POST")
        self.assertEqual((refused.status, refused.headers["Allow"]), (405, "GET"))

    def test_a_conversation(self):
        self.ask("What is 12 + 7?")
        self.assertIn("19", self.said()[1])
        self.assertRegex(self.text(".figures"), r"^\d+ tokens, [\d.]+ tok/s; prompt \d+")
        self.assertRegex(self.text("#context"), r"tokens left")
        self.ask("What is the capital of France?")
        self.assertIn("Paris", self.said()[3])
        self.assertRegex(self.text(".message:last-child .figures"), r"\d+ % reused")
        self.press("Edit message", "document.querySelectorAll('.message.user')[1]")
        self.browser.run("document.querySelector('.editor textarea').value = 'What is the capital of Italy?'")
        self.press("Send", "document.querySelector('.editor')")
        self.soon("Rome")
        self.answered()
        self.reload()
        self.assertIn("Rome", self.said()[3])
        self.press("Branch before", "document.querySelectorAll('.message.user')[1]")
        self.soon("Paris")
        self.accessible()
        self.press("Gauges")
        self.soon("Placement", "#gauges")
        self.assertRegex(self.text("#gauges"), r"In memory\n[\d.]+ MB\s+No GPU: the processor computes.")
        self.assertRegex(self.text("#gauges"), r"not read again\n[1-9]\d* %")

    def test_cut_short_and_continued(self):
        self.ask("Count from 1 to 10.")
        whole = self.said()[1]
        self.press("Settings")
        self.browser.type("#s-max_tokens", "5")
        self.press("Keep")
        self.press("Answer again")
        self.soon("Cut short")
        self.answered()
        begun = self.said()[1]
        self.assertTrue(whole.startswith(begun) and len(begun) < len(whole), begun)
        self.press("Settings")
        self.browser.run("document.getElementById('s-max_tokens').value = ''")
        self.press("Keep")
        self.press("Continue the answer")
        self.browser.until("return document.querySelectorAll('[aria-label=\"Continue the answer\"]').length === 0")
        self.answered()
        self.assertEqual(self.said()[1], whole)

    def test_stop(self):
        """Any token may come, so the answer goes on for a thousand; on slow kernels, so that it can be stopped."""
        self.server = Serve(self.model, "--isa", "scalar", "--threads", "1")
        self.addCleanup(self.server.close)
        self.open()
        self.browser.run(
            "localStorage.setItem('hearth.settings', JSON.stringify({sampling: {temperature: 100, top_p: 1}}))"
        )
        self.reload()
        self.write("Talk" + ENTER)
        for _ in range(20):  # the answer may have been complete by chance
            self.browser.until("return document.querySelector('.prose:not(:empty)')")
            self.browser.run("document.getElementById('stop').click()")
            self.answered()
            while self.metric('requests{state="running"}') > 0:
                pass
            if self.metric('requests_total{result="cancelled"}') > 0:
                break
            self.press("Answer again")
        else:
            self.fail("the server went on each time")
        self.assertEqual(self.text(".message.assistant .state"), "Stopped.")

    def metric(self, name):
        return int(re.search(f"^hearth_{re.escape(name)} (\\d+)", self.server.get("/metrics").body.decode(), re.M)[1])

    def test_while_it_loads_and_with_a_key(self):
        gate = f"{self.folder.name}/gate"
        keys = f"{self.folder.name}/keys"
        pathlib.Path(gate).touch()
        pathlib.Path(keys).write_text("secret\n")
        self.server = Serve(self.model, "--api-key-file", keys, gate=gate)
        self.addCleanup(self.server.close)
        self.expected_console = ("status of 401",)
        self.open()
        self.soon("asks for a key", "#key")
        self.browser.type("#key-field", "secret" + ENTER)
        self.soon("The model is loading", "#loading")
        self.write("What is 12 + 7?" + ENTER)
        self.soon("Waiting for the model")
        os.remove(gate)
        self.soon("19")
        self.answered()


if __name__ == "__main__":
    if webdriver.missing():
        print(f"SKIP: {webdriver.missing()}")
        sys.exit(77)
    unittest.main()
