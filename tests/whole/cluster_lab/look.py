"""Opens pages of Ray's dashboard in headless Chromium and keeps what they look like.

    python -m tests.whole.cluster_lab.look DASHBOARD TOKEN FOLDER NAME=PATH=WORD ...

Waits for a word on each page and prints its text; pictures go to FOLDER/NAME.png.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.support.browser import chromium

SECONDS = 90
"""For a page to ask for its data and draw it."""

EXPAND = """
for (const arrow of document.querySelectorAll("tbody tr td:first-child svg"))
  arrow.dispatchEvent(new MouseEvent("click", {bubbles: true}))
"""
"""Show the processes of each node, which the page of the nodes hides at first."""


def main(url, token, folder, *pages):
    Path(folder).mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        browser.call(
            "Network.setCookie", name="ray-authentication-token", value=token, url=url
        )
        for page in pages:
            name, path, word = page.split("=", 2)
            browser.open(f"{url}/?{name}{path}", width=1600, height=1100)
            read(browser, word)
            if name == "processes":
                browser.ask(EXPAND)
                read(browser, ": task ")
            time.sleep(2)  # it fades in
            print(f"--- {name}\n{read(browser, word)}", flush=True)
            browser.shoot(Path(folder, f"{name}.png"))


def read(browser, word):
    """Return a page's text, when a word is there or it has been long enough."""
    text = ""
    deadline = time.monotonic() + SECONDS
    while word not in text and time.monotonic() < deadline:
        time.sleep(1)
        text = browser.ask("document.body.innerText") or ""
    return text


if __name__ == "__main__":
    main(*sys.argv[1:])
