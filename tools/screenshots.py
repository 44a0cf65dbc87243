"""The pictures of the web page in docs/pictures: `python -m tools.screenshots`, with Playwright and a Chromium.

Starts llamaswap with demo models, asks them a few things, and photographs every page in both themes, on a desk and on
a phone. The ones that the documentation shows go to docs/pictures; `--all FOLDER` keeps all of them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
PORT = 18_437
SIZES = {"desk": (1280, 800), "phone": (390, 844)}
PAGES = (
    *("models", "models/qwen3-30b", "queue", "activity", "logs?show=proxy&show=qwen3-30b", "performance?span=5m"),
    *("playground/chat", "playground/embeddings", "config", "config/edit", "settings"),
)
SHOWN = {
    "models-desk-light",
    "models-phone-dark",
    "queue-desk-light",
    "activity-desk-dark",
    "playground-chat-desk-light",
}
DEMO = "${LLAMASWAP} demo --port ${PORT} --model ${MODEL_ID}"
CONFIG = {
    "startPort": PORT + 1,
    "models": {
        "qwen3-30b": {
            "cmd": f"{DEMO} --tokens-per-second 90 --load-seconds 3 --prompt-seconds 0.3",
            "description": "for the chat",
            "aliases": ["gpt-4o"],
            "ttl": 600,
            "capabilities": {"in": ["text", "image"], "tools": True},
        },
        "coder-32b": {
            "cmd": f"{DEMO} --tokens-per-second 38 --load-seconds 5",
            "aliases": ["claude-sonnet"],
            "ttl": 300,
        },
        "embeddings": {"cmd": DEMO, "description": "stays beside the others"},
        "whisper": {"cmd": f"{DEMO} --load-seconds 1", "ttl": 240},
        "flux": {"cmd": f"{DEMO} --exit-at-start 1", "description": "does not fit"},
    },
    "groups": {
        "gpu": {"members": ["qwen3-30b", "coder-32b", "flux"]},
        "always": {"members": ["embeddings", "whisper"], "swap": False, "exclusive": False, "persistent": True},
    },
    "profiles": {"work": {"pins": {"gpt-4o": "coder-32b"}}},
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Makes the pictures of the web page in docs/pictures.")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="keep every picture there")
    parser.add_argument("--pages", nargs="*", default=PAGES, help="only these")
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with _server() as base, sync_playwright() as started, tempfile.TemporaryDirectory() as folder:
        _live_a_little(base)
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for picture in _photograph(browser, base, options.pages, options.all or Path(folder)):
            print(picture)  # noqa: T201 - what the user asked for
            if picture.stem in SHOWN:
                PICTURES.mkdir(exist_ok=True)
                shutil.copy(picture, PICTURES)
        browser.close()


@contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(json.dumps(CONFIG))
        command = (
            sys.executable,
            ROOT / "llamaswap.py",
            "-c",
            config,
            "-listen",
            f"127.0.0.1:{PORT}",
            "-allow-config-edit",
        )
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                base = f"http://127.0.0.1:{PORT}"
                _await(lambda: _get(f"{base}/health"))
                yield base
            finally:
                process.terminate()


def _live_a_little(base: str) -> None:
    """Requests, swaps, and some that wait, so that there is something to see."""
    for model in ("embeddings", "whisper", "qwen3-30b", "coder-32b", "flux", "qwen3-30b", "qwen3-30b", "nobody"):
        _chat(base, model, 40)
    for model, tokens in (("qwen3-30b", 6000), ("qwen3-30b", 3000), ("coder-32b", 60), ("embeddings", 20)):
        threading.Thread(target=_chat, args=(base, model, tokens), daemon=True).start()
    time.sleep(1.5)


def _chat(base: str, model: str, tokens: int) -> None:
    question = "Which of two models is kept in memory when a third one is asked for?"
    body = {"model": model, "max_tokens": tokens, "ignore_eos": True, "stream": tokens > 40}
    body["messages"] = [{"role": "user", "content": question}]
    request = urllib.request.Request(  # noqa: S310 - of ours
        f"{base}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            answer.read()
    except (OSError, http.client.HTTPException):
        pass  # some are meant to fail, and some are cut off at the end


def _photograph(browser: Browser, base: str, pages: Sequence[str], folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for size, (width, height) in SIZES.items():
        for theme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=theme, has_touch=size == "phone"
            )
            page = context.new_page()
            for name in pages:
                page.goto(f"{base}/ui/{name}")
                page.locator("main h1").first.wait_for()
                if name == "queue":  # somebody who waits
                    threading.Thread(target=_chat, args=(base, "coder-32b", 20), daemon=True).start()
                if name == "playground/chat":
                    page.get_by_label("Message", exact=True).fill(
                        "Which of two models is kept when a third one is asked for?"
                    )
                    page.keyboard.press("Enter")
                    page.get_by_role("button", name="Retry").wait_for(timeout=120_000)
                page.wait_for_timeout(1200)  # what it asks for comes
                picture = folder / f"{name.partition('?')[0].replace('/', '-')}-{size}-{theme}.png"
                page.screenshot(path=picture)
                yield picture
            context.close()


def _get(url: str) -> bool:
    try:
        with urllib.request.urlopen(url) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def _await(holds: Any) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        if time.monotonic() > deadline:
            sys.exit("llamaswap has not started")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
