"""The reference mails in a real browser: they fit a phone and a desktop, and can be read in light and dark.

`DRUMBEAT_UPDATE_IMAGES=1` also renews the pictures in docs/images.
"""

from __future__ import annotations

import html as html_text
import json
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from drumbeat.rendering.links import Links, tracked
from drumbeat.rendering.sample import read_sample
from drumbeat.rendering.templates import Templates

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install `chromium` to look at the mails"),
]
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
]
MAILS = [
    ("abandoned_cart", None),
    ("abandoned_cart", "de"),
    ("expiring_promo", None),
    ("anniversary", None),
    ("newsletter", None),
    ("confirm_subscription", None),
    ("confirm_subscription", "ru"),
]
LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenhalterung"

# Chromium's window is never narrower than 500 px: the mail stands in a frame of the width in question.
FRAME = """<!DOCTYPE html><meta charset="utf-8"><style>body{margin:0;background:%s}
iframe{border:0;display:block;margin:%s;width:%dpx;height:%dpx;%s}</style>
<iframe id="mail" srcdoc="%s"></iframe><pre id="found" hidden></pre><script>
const channel = c => (c /= 255, c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const numbers = s => s.match(/[\\d.]+/g).map(Number);
function behind(e, view) {
  for (; e; e = e.parentElement) {
    const c = numbers(view.getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return [255, 255, 255];
}
function measure() {
  const frame = document.getElementById("mail"), d = frame.contentDocument, view = frame.contentWindow, texts = [];
  const walk = d.createTreeWalker(d.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, words = walk.currentNode.data.trim(), s = view.getComputedStyle(e);
    if (!words || e.closest(".preheader")) continue;
    const r = d.createRange(); r.selectNodeContents(walk.currentNode); const b = r.getBoundingClientRect();
    const one = light(numbers(s.color)), two = light(behind(e, view));
    texts.push({words, size: parseFloat(s.fontSize), left: b.left, right: b.right, height: b.height,
      contrast: (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05)});
  }
  const buttons = [...d.querySelectorAll("a.button-link")].map(a => a.getBoundingClientRect());
  document.getElementById("found").textContent = JSON.stringify({
    scroll: d.documentElement.scrollWidth, client: d.documentElement.clientWidth, height: d.body.scrollHeight, texts,
    dark: view.matchMedia("(prefers-color-scheme: dark)").matches,
    buttons: buttons.map(b => [b.width, b.height])});
}
document.getElementById("mail").addEventListener("load", measure);
</script>"""


def chromium(folder: Path, *words: str) -> str:
    """Run Chromium once with a profile of its own and return what it printed."""
    profile = folder / f"profile-{len(list(folder.glob('profile-*')))}"
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={profile}", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def frame(
    folder: Path,
    page: str,
    width: int,
    height: int,
    *,
    around: str = "#fff",
    margin: str = "0",
    look: str = "",
) -> str:
    file = folder / "frame.html"
    file.write_text(FRAME % (around, margin, width, height, look, html_text.escape(page)), encoding="utf-8")
    return file.as_uri()


def measured(folder: Path, page: str, width: int, *, dark: bool = False) -> dict[str, Any]:
    words = ["--blink-settings=preferredColorScheme=0"] if dark else []
    address = frame(folder, page, width, 900)
    dom = chromium(
        folder, *words, "--window-size=1200,1000", "--virtual-time-budget=5000", "--dump-dom", address
    )
    found = re.search(r'<pre id="found"[^>]*>(.*?)</pre>', dom, re.DOTALL)
    assert found, "the page was not measured"
    result: dict[str, Any] = json.loads(html_text.unescape(found.group(1)))
    return result


def mail(templates: Templates, name: str, language: str | None = None, **changes: Any) -> str:
    template = templates.load(name, language)
    sample = read_sample(templates.folder, name, template.variant) | changes
    return tracked(template.render(sample).html, Links("https://click.example.com", b"k" * 16), 1)


@pytest.mark.parametrize("width", [375, 1000])
@pytest.mark.parametrize(("name", "language"), MAILS)
def test_a_mail_fits_and_can_be_read(
    reference: Templates, tmp_path: Path, name: str, language: str | None, width: int
) -> None:
    """No sideways scrolling, no text outside or too small, contrast of WCAG 2.1 AA, buttons for a thumb."""
    seen = measured(tmp_path, mail(reference, name, language), width)
    assert (seen["client"], seen["scroll"], seen["dark"]) == (width, width, False)
    assert len(seen["texts"]) > 8
    for text in seen["texts"]:
        assert text["left"] >= 0, text
        assert text["right"] <= width, text
        assert text["height"] > 0, text
        assert text["size"] >= 13, text
        assert text["contrast"] >= 4.5, text
    assert seen["buttons"]
    for button_width, button_height in seen["buttons"]:
        assert button_height >= 44
        assert button_width >= (250 if width == 375 else 150)


@pytest.mark.parametrize(("name", "language"), MAILS)
def test_a_mail_can_be_read_in_dark_mode(
    reference: Templates, tmp_path: Path, name: str, language: str | None
) -> None:
    seen = measured(tmp_path, mail(reference, name, language), 375, dark=True)
    assert seen["dark"] is True
    for text in seen["texts"]:
        assert text["contrast"] >= 4.5, text


def test_words_without_end_do_not_widen_a_phones_page(reference: Templates, tmp_path: Path) -> None:
    sample = read_sample(reference.folder, "abandoned_cart")
    items = [dict(sample["items"][0], title=LONG, unit_price="123456.78", line_total="740740.68", quantity=6)]
    page = mail(reference, "abandoned_cart", items=items, customer=sample["customer"] | {"first_name": LONG})
    seen = measured(tmp_path, page, 375)
    assert seen["scroll"] == 375
    assert max(text["right"] for text in seen["texts"]) <= 375


def test_its_pictures_can_be_taken(reference: Templates, tmp_path: Path, project_root: Path) -> None:
    """The README's pictures come from here, and a screenshot is no blank sheet."""
    page = mail(reference, "abandoned_cart")
    phone_look = "border:9px solid #2c2621;border-radius:36px;box-sizing:content-box"
    for name, width, window, style in (
        ("abandoned_cart_desktop.png", 1000, 1000, {}),
        ("abandoned_cart_phone.png", 375, 500, {"margin": "24px auto", "look": phone_look}),
    ):
        height = int(measured(tmp_path, page, width)["height"])
        address = frame(tmp_path, page, width, height, **style)
        file = tmp_path / name
        tall = height + (66 if style else 0)
        chromium(
            tmp_path,
            f"--screenshot={file}",
            f"--window-size={window},{tall}",
            "--virtual-time-budget=5000",
            address,
        )
        assert struct.unpack(">II", file.read_bytes()[16:24]) == (window, tall)
        assert 20_000 < file.stat().st_size < 150_000
        if os.environ.get("DRUMBEAT_UPDATE_IMAGES"):
            shutil.copy(file, project_root / "docs" / "images" / name)
