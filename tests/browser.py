"""A page in headless Chromium, driven through its DevTools pipe: keys, sizes, pictures, fetched addresses."""

import base64
import json
import os
import shutil
import subprocess
from contextlib import contextmanager

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Tab": 9, "Enter": 13}


class Page:
    """One tab. `events`: all that the browser has said, in its own words."""

    def __init__(self, read, write):
        self._read, self._write, self._number, self._session, self.events = read, write, 0, None, []
        (target,) = [t for t in self.ask("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        asked = {"targetId": target["targetId"], "flatten": True}
        self._session = self.ask("Target.attachToTarget", **asked)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **parameters):
        """The result of one command of the DevTools protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, found
                return found["result"]

    def _next(self):
        text = bytearray()
        while (byte := self._read.read(1)) != b"\0":
            assert byte, "the browser has gone"
            text += byte
        found = json.loads(text)
        self.events += [found] if "method" in found else []
        return found

    def open(self, address, width, height):
        """Load a page in a window of this size, on a phone's screen if it is narrow."""
        self.resize(width, height)
        self.ask("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._next()

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)

    def press(self, *keys):
        """Real key events, one after the other."""
        for key in keys:
            own = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
            own |= {"text": "\r"} if key == "Enter" else {}
            self.ask("Input.dispatchKeyEvent", type="keyDown", **own)
            self.ask("Input.dispatchKeyEvent", type="keyUp", **own)

    def read(self, script):
        """What a line of JavaScript is worth."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def fetched(self):
        """Addresses of everything that was asked for."""
        sent = [e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [own["request"]["url"] for own in sent]

    def complaints(self):
        """Errors and what the page's policy has blocked."""
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown")
        return [event["params"] for event in self.events if event["method"] in kinds]


@contextmanager
def browser(folder):
    """A tab of a browser whose own files are in `folder`."""
    (from_us, to_browser), (from_browser, to_us) = os.pipe(), os.pipe()
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --remote-debugging-pipe"
    )
    command = [BROWSER, *flags.split(), f"--user-data-dir={folder}", "about:blank"]
    # The pipe is to be found at 3 and 4; bash puts it there, whatever its numbers are here.
    start = ["bash", "-c", f'exec "$@" 3<&{from_us} 4>&{to_us}', "bash", *command]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(start, pass_fds=(from_us, to_us), stdin=quiet, stdout=quiet, stderr=quiet)
    os.close(from_us)
    os.close(to_us)
    with open(from_browser, "rb") as read, open(to_browser, "wb") as write:
        try:
            yield Page(read, write)
        finally:
            process.terminate()
            process.wait(30)
