"""A real Chromium, spoken to by its DevTools protocol: pages as wide as a phone, keys as a reader presses them."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import requests
from websockets.sync.client import connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
]
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowDown": 40, "ArrowUp": 38}

# Texts with their contrast against what is behind them, and controls with their size and name.
MEASURE = """
(() => {
  const channel = c => (c /= 255, c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const numbers = s => s.match(/[\\d.]+/g).map(Number);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const texts = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, words = walk.currentNode.data.trim(), s = getComputedStyle(e);
    if (!words || e.closest("style, .trap")) continue;
    const r = document.createRange(); r.selectNodeContents(walk.currentNode);
    const b = r.getBoundingClientRect(), one = light(numbers(s.color)), two = light(behind(e));
    texts.push({words, size: parseFloat(s.fontSize), left: b.left, right: b.right, height: b.height,
      contrast: (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05)});
  }
  const controls = [...document.querySelectorAll("input:not([type=hidden]), button, a")]
    .filter(e => !e.closest(".trap"))
    .map(e => {
      const b = (e.closest("label") || e).getBoundingClientRect();
      const label = e.labels && e.labels.length ? e.labels[0].innerText : e.innerText;
      return {kind: e.type || e.tagName.toLowerCase(), name: (label || "").trim(), width: b.width, height: b.height};
    });
  return {scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth,
    height: document.documentElement.scrollHeight, dark: matchMedia("(prefers-color-scheme: dark)").matches,
    language: document.documentElement.lang, headings: [...document.querySelectorAll("h1")].map(h => h.innerText),
    groups: [...document.querySelectorAll("fieldset")].map(f => f.querySelector("legend").innerText),
    scripts: document.scripts.length, texts, controls};
})()
"""


class Browser:
    """One tab of a Chromium of its own."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [str(CHROMIUM), *QUIET, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port = self._port(folder / "DevToolsActivePort")
            with requests.get(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
                tab = next(tab for tab in answer.json() if tab["type"] == "page")
            self._socket = connect(tab["webSocketDebuggerUrl"], max_size=None)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        self._numbers = count(1)
        self._loaded = 0
        self.call("Page.enable")

    def _port(self, file: Path) -> int:
        end = monotonic() + 60
        while monotonic() < end:
            if file.exists() and (lines := file.read_text().splitlines()):
                return int(lines[0])
            assert self._process.poll() is None, "Chromium ended"
            sleep(0.05)
        raise AssertionError("Chromium did not start within 60 s")

    def close(self) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(30)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self._socket.recv(timeout=60))
            self._loaded += told.get("method") == "Page.loadEventFired"
            if told.get("id") == number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result

    def look(self, width: int, *, dark: bool = False, height: int = 900, language: str = "en") -> None:
        """Be so wide, light or dark, and ask for pages in a language, from the next page on."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if width < 500 else 1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        agent = self.call("Browser.getVersion")["userAgent"]
        self.call("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)

    def open(self, address: str) -> None:
        """Open a page and wait until it is there."""
        before = self._loaded
        self.call("Page.navigate", url=address)
        self.wait(before)

    def wait(self, before: int) -> None:
        """Wait until more pages than `before` have been loaded."""
        end = monotonic() + 30
        while self._loaded <= before:
            assert monotonic() < end, "no page was loaded"
            self.run("1")
            sleep(0.02)

    @property
    def loaded(self) -> int:
        """How many pages have been loaded."""
        return self._loaded

    def run(self, script: str) -> Any:
        """Return what a script finds."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def measure(self) -> dict[str, Any]:
        """Return what is on the page and how it can be read."""
        result: dict[str, Any] = self.run(MEASURE)
        return result

    def press(self, key: str, times: int = 1) -> None:
        """Press a key as a reader does."""
        code = KEYS[key]
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for _ in range(times):
            common = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Type a text into what has the focus."""
        self.call("Input.insertText", text=text)

    def focused(self) -> str:
        """Return the words of what has the focus, marked where it is ticked."""
        words: str = self.run(
            "(e => ((e.labels && e.labels.length ? e.labels[0].innerText : e.innerText) || '').trim()"
            " + (e.checked ? ' [x]' : ''))(document.activeElement)"
        )
        return words

    def picture(self, file: Path) -> None:
        """Write a PNG of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(shot["data"]))
