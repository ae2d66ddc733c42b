"""Opens pages of Ray's dashboard in headless Chromium and keeps what they look like.

    look.py DASHBOARD TOKEN FOLDER NAME=PATH=WORD ...

Waits for a word on each page and prints its text; pictures go to FOLDER/NAME.png.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import aiohttp

PORT = 9333
SECONDS = 90
"""For a page to ask for its data and draw it."""


class Browser:
    """Headless Chromium, told what to do over its own protocol."""

    def __init__(self, socket):
        self.socket, self.count = socket, 0

    async def do(self, method, **words):
        self.count += 1
        await self.socket.send_json(
            {"id": self.count, "method": method, "params": words}
        )
        async for message in self.socket:
            answer = json.loads(message.data)
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]
        raise AssertionError("the browser has gone")


async def look(url, token, folder, pages):
    """Open each page, print its text and keep its picture."""
    async with aiohttp.ClientSession() as session:
        for _ in range(120):
            try:
                async with session.get(f"http://127.0.0.1:{PORT}/json") as answer:
                    tab = next(t for t in await answer.json() if t["type"] == "page")
                    break
            except (aiohttp.ClientError, StopIteration):
                await asyncio.sleep(0.5)
        async with session.ws_connect(
            tab["webSocketDebuggerUrl"], max_msg_size=0
        ) as socket:
            browser = Browser(socket)
            await browser.do("Network.enable")
            await browser.do(
                "Network.setCookie",
                name="ray-authentication-token",
                value=token,
                url=url,
            )
            for name, (path, word) in pages.items():
                await browser.do("Page.navigate", url=url + path)
                said = await read(browser, word)
                print(f"--- {name}\n{said}", flush=True)
                await asyncio.sleep(2)  # it fades in
                shot = await browser.do("Page.captureScreenshot", format="png")
                picture = base64.b64decode(shot["data"])
                Path(folder, f"{name}.png").write_bytes(picture)


async def read(browser, word):
    """Return a page's text, when a word is there or it has been long enough."""
    text = ""
    for _ in range(SECONDS):
        await asyncio.sleep(1)
        said = await browser.do(
            "Runtime.evaluate", expression="document.body.innerText"
        )
        text = said["result"].get("value") or ""
        if word in text:
            break
    return text


def main(url, token, folder, *pages):
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        chromium = subprocess.Popen(
            [
                "chromium",
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--window-size=1600,1100",
                f"--remote-debugging-port={PORT}",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            parts = [page.split("=", 2) for page in pages]
            named = {name: (path, word) for name, path, word in parts}
            asyncio.run(look(url, token, folder, named))
        finally:
            chromium.kill()
            chromium.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
