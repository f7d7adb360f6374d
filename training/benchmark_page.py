"""The benchmark's rows on the page, in a real browser and on the clock, as a visitor waits.

They need `pip install playwright` and a chromium.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil

from genre_gan import Clip
from genre_gan.audio import SAMPLE_RATE_HZ
from training.stopwatch import ROOT, Row, tones

UPLOAD_S, GENERATED_S, N_REPEATS = 30.0, 10.0, 5
UPLOADS = ("wav", "mp3")
PATIENCE_MS = 60_000
# Measured inside the page: Playwright's own waiting, from outside, adds tens of milliseconds.
# From the press on Generate: when the playhead begins to move, and when the whole clip is there, in milliseconds.
GENERATE_JS = """async () => {
  const before = window.genreGan.shown()?.id, began = performance.now();
  document.querySelector('#generate-button').click();
  for (let soundMs = 0; ; ) {
    await new Promise(requestAnimationFrame);
    const clip = window.genreGan.shown(), playhead = document.querySelector('#player .playhead');
    if (!clip || clip.id === before) continue;
    if (!soundMs && parseFloat(playhead.style.left) > 0) soundMs = performance.now() - began;
    if (soundMs && clip.done) return [soundMs, performance.now() - began];
  }
}"""
# From the choice of a file to the answer, in milliseconds; begun before the file is chosen.
WATCH_UPLOAD_JS = """() => {
  const chosen = new Promise((go) => addEventListener('change', () => go(performance.now()), { capture: true, once: true }));
  window.answeredMs = chosen.then(async (start) => {
    while (!document.querySelector('#timeline img')) await new Promise(requestAnimationFrame);
    return performance.now() - start;
  });
}"""


class RunningApp(NamedTuple):
    """The app in a process of its own.

    Attributes:
        address: of the page.
        started_s, started_cpu_s: until it answered, on the clock and of the processors.
    """

    address: str
    started_s: float
    started_cpu_s: float


@contextmanager
def running_app() -> Iterator[RunningApp]:
    """Start `python app.py`, wait until it answers, and end it afterwards.

    Raises:
        RuntimeError: it ended by itself.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, began = [sys.executable, "app.py", "--port", str(port)], time.perf_counter()
    environment, silent = os.environ | {"HF_HUB_OFFLINE": "1"}, subprocess.DEVNULL
    with psutil.Popen(command, stdout=silent, stderr=silent, cwd=ROOT, env=environment) as process:
        try:
            while not _answers(address := f"http://127.0.0.1:{port}/"):
                if process.poll() is not None:
                    raise RuntimeError("app.py ended before it answered")
                time.sleep(0.05)
            yield RunningApp(address, time.perf_counter() - began, sum(process.cpu_times()[:2]))
        finally:
            process.terminate()


def _answers(address: str) -> bool:
    with suppress(OSError):
        urllib.request.urlopen(address, timeout=60).close()
        return True
    return False


def measure_page() -> Iterator[Row]:
    """What a visitor waits for: the median of several starts and visits, and the shortest, after one to warm up."""
    chromium = shutil.which("chromium")
    if chromium is None or find_spec("playwright") is None:
        print("page: skipped, it needs `pip install playwright` and a chromium on this machine", file=sys.stderr)
        return
    from playwright.sync_api import sync_playwright

    starts_s = []
    for _ in range(N_REPEATS):
        with running_app() as app:
            starts_s.append(app.started_s)
    with tempfile.TemporaryDirectory() as folder, running_app() as app, sync_playwright() as driver:
        songs = [Clip(tones(UPLOAD_S), SAMPLE_RATE_HZ).save(Path(folder) / f"song.{suffix}") for suffix in UPLOADS]
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        visits = [_visit(browser, app.address, songs) for _ in range(N_REPEATS + 1)]
        browser.close()
    spans = [
        ("page up", "<5", "start of python app.py to the served page"),
        ("form usable", "<2", "navigation to a Generate button that can be pressed, without a cache"),
        ("first sound", "<0.3", f"press on Generate, {GENERATED_S:.0f} s asked for, to a playhead that moves"),
        (f"{GENERATED_S:.0f} s clip whole", "<0.5", "the same press to the whole clip in the player"),
        *((f"{suffix} of {UPLOAD_S:.0f} s answered", "<0.4", "file chosen to verdict and pictures shown") for suffix in UPLOADS),
    ]
    # The first of each warms up: the files of the next start, the server of the next visit.
    times_s = [[*starts_s, app.started_s][1:], *zip(*visits[1:], strict=True)]
    for (what, target, span), took_s in zip(spans, times_s, strict=True):
        note = f"{span}; median of {len(took_s)}, the shortest {min(took_s):.2f} s"
        yield Row("page", what, median(took_s), "s", target, note)


def _visit(browser: Any, address: str, songs: list[Path]) -> list[float]:
    """One visit with an empty cache: seconds until the form can be used, the first sound, the whole clip, and each answer."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    began = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_selector("#player .status")
    page.click("#generate-button", trial=True)
    usable_s = time.perf_counter() - began
    page.get_by_role("button", name="More settings").click()
    page.fill("#duration input[type=number]", f"{GENERATED_S:.0f}")
    page.press("#duration input[type=number]", "Tab")
    sound_ms, whole_ms = page.evaluate(GENERATE_JS)
    page.locator("#player .status", has_text="The classifier hears").wait_for()
    page.get_by_role("tab", name="Classify").click()
    times_s = [usable_s, sound_ms / 1e3, whole_ms / 1e3]
    for song in songs:
        page.evaluate(WATCH_UPLOAD_JS)
        page.set_input_files("#upload input[type=file]", song)
        times_s.append(page.evaluate("window.answeredMs") / 1e3)
        page.locator("#upload").get_by_role("button", name="Clear").click()
        page.locator("#timeline img").first.wait_for(state="detached")
    context.close()
    return times_s
