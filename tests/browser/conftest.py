"""One server and one browser for all of these tests. They need `pip install playwright` and a chromium, else they are skipped.

With GENRE_GAN_SCREENSHOTS=FOLDER they also write the README's pictures there.
"""

import os
import shutil
import socket
import threading
from functools import cache
from pathlib import Path

import pytest

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

PATIENCE_MS = 60_000  # a busy machine is slow
SIZES = {"desktop": {"width": 1400, "height": 900}, "phone": {"width": 390, "height": 844}}
CHROMIUM = shutil.which("chromium")
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items) -> None:
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        reason = "playwright is not installed"
    else:
        reason = None if CHROMIUM else "no chromium on this machine"
    for item in items:
        if reason and HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def models():
    from genre_gan.demo.models import Models

    models = Models()
    models.warm_up()
    return models


@pytest.fixture(scope="session")
def demo(models):
    from genre_gan.demo.page import build_demo
    from genre_gan.demo.server import serve

    with socket.socket() as free:  # not gradio's usual port, which stands in the snippets as they are written
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    demo = build_demo(models)
    serve(demo, server_name="127.0.0.1", server_port=port, quiet=True)
    yield demo
    demo.close()


@pytest.fixture(scope="session")
def address(demo):
    return demo.local_url


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        flags += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def context_of(browser):
    """The browser's storage for a size and a colour scheme; kept, so that the page's scripts are loaded and compiled once."""
    rights = ["microphone", "clipboard-read", "clipboard-write"]

    @cache
    def context_of(size: str, scheme: str):
        context = browser.new_context(viewport=SIZES[size], color_scheme=scheme, permissions=rights)
        context.set_default_timeout(PATIENCE_MS)
        return context

    return context_of


@pytest.fixture
def open_page(context_of, address):
    """Open the page at a size and in a colour scheme; whatever its scripts complain of, or fetch elsewhere, fails the test."""
    pages, complaints, own = [], [], [address, "blob:", "data:"]

    def note_request(request) -> None:
        if not request.url.startswith(tuple(own)):
            complaints.append(request.url)

    def open_page(size: str = "desktop", scheme: str = "light", url: str | None = None):
        own.append((url or address).partition("?")[0])
        page = context_of(size, scheme).new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", note_request)
        page.goto(url or address)
        for part in ("#player .status", "#examples button"):  # gradio builds one after the other
            page.wait_for_selector(part)
        pages.append(page)
        return page

    yield open_page
    for page in (page for page in pages if not page.is_closed()):
        page.evaluate("localStorage.clear()")
        page.close()
    assert complaints == []


@pytest.fixture
def let_parts_come(monkeypatch):
    """Music comes in six parts, each of them when the test lets it come: a function that lets so many more come."""
    from genre_gan.demo import music

    allowed = threading.Semaphore(0)

    def in_parts(models, recipe):
        whole = models.make(recipe)
        step = -(-len(whole.samples) // 6)

        def parts():
            for start in range(0, len(whole.samples), step):
                allowed.acquire(timeout=PATIENCE_MS / 1000)
                yield music.Clip(whole.samples[start : start + step], whole.sample_rate_hz)

        return parts(), len(whole.samples)

    monkeypatch.setattr(music, "clips_of", in_parts)
    return allowed.release
