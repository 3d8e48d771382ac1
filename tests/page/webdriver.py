"""A browser for tests: headless Chromium, spoken to in W3C WebDriver by the standard library alone."""

import base64
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

PATIENCE = 60  # seconds; the machine may be busy with other things
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

# Of the Unicode block that WebDriver types keys by.
ENTER, ESCAPE, UP, TAB, SHIFT, ALT = "\ue007", "\ue00c", "\ue013", "\ue004", "\ue008", "\ue00a"


def missing():
    """What is not installed, or None."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        return "no chromium"
    return None if shutil.which("chromedriver") else "no chromedriver (Debian: chromium-driver)"


class WebDriverError(Exception):
    pass


class Browser:
    def __init__(self, width=1200, height=800, dark=False, environment=None):
        self.folder = tempfile.mkdtemp(prefix="hearth-page-")
        environment = {
            **os.environ,
            "HOME": self.folder,
            "XDG_CONFIG_HOME": self.folder,
            "XDG_CACHE_HOME": self.folder,
            **(environment or {}),
        }
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self.session = None
        try:
            self.port = self._port()
            arguments = [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-extensions",
                "--hide-scrollbars",
                f"--window-size={width},{height}",
                f"--user-data-dir={self.folder}/profile",
            ]
            made = self._call(
                "POST",
                "/session",
                {
                    "capabilities": {
                        "alwaysMatch": {
                            "browserName": "chrome",
                            "goog:chromeOptions": {
                                "args": arguments,
                                "binary": shutil.which("chromium") or shutil.which("chromium-browser"),
                            },
                            "goog:loggingPrefs": {"browser": "ALL"},
                        }
                    }
                },
            )
            self.session = made["sessionId"]
            self.resize(width, height)
            self.theme(dark)
        except BaseException:
            self.close()
            raise

    def _port(self):
        for line in self.driver.stdout:
            found = re.search(r"started successfully on port (\d+)", line)
            if found:
                return int(found[1])
        raise WebDriverError("chromedriver did not start")

    def _call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2 * PATIENCE)
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"}
            )
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise WebDriverError(f"{value['error']}: {value['message'].splitlines()[0]}")
        return value

    def _do(self, path, body=None, method="POST"):
        return self._call(method, f"/session/{self.session}{path}", {} if body is None and method == "POST" else body)

    def close(self):
        try:
            if self.session:
                self._do("", method="DELETE")
        finally:
            os.killpg(self.driver.pid, signal.SIGKILL)
            self.driver.wait()
            self.driver.stdout.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- Pages and windows.

    def open(self, url):
        self._do("/url", {"url": url})

    def reload(self):
        self._do("/refresh")

    def resize(self, width, height):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def theme(self, dark):
        self.cdp(
            "Emulation.setEmulatedMedia",
            features=[
                {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ],
        )

    def new_tab(self):
        handle = self._do("/window/new", {"type": "tab"})["handle"]
        self.switch(handle)
        return handle

    def tab(self):
        return self._do("/window", method="GET")

    def switch(self, handle):
        self._do("/window", {"handle": handle})

    def cdp(self, command, **parameters):
        return self._do("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def screenshot(self):
        return base64.b64decode(self._do("/screenshot", method="GET"))

    def console(self):
        """What the page has written there since it was last asked."""
        return self._do("/se/log", {"type": "browser"})

    # --- What is in them.

    def run(self, script, *arguments):
        return self._do("/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script, *arguments):
        """The script calls its last argument with what it returns."""
        self._do("/timeouts", {"script": 1000 * PATIENCE})
        return self._do("/execute/async", {"script": script, "args": list(arguments)})

    def find(self, css):
        return self._do("/element", {"using": "css selector", "value": css})[ELEMENT]

    def click(self, css):
        self.until(
            f"const e = document.querySelector({json.dumps(css)}); return e && e.getClientRects().length > 0", css
        )
        self._do(f"/element/{self.find(css)}/click")

    def type(self, css, text):
        self._do(f"/element/{self.find(css)}/value", {"text": text})

    def keys(self, *keys):
        """Pressed together, by whatever has the focus."""
        down = [{"type": "keyDown", "value": key} for key in keys]
        up = [{"type": "keyUp", "value": key} for key in reversed(keys)]
        self._do("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": down + up}]})

    def until(self, script, what=None):
        """Waits for the script to return something true, and returns that."""
        end = time.monotonic() + PATIENCE
        while True:
            value = self.run(script)
            if value:
                return value
            if time.monotonic() > end:
                raise WebDriverError(f"waited {PATIENCE} s in vain for: {what or script}")
            time.sleep(0.02)
