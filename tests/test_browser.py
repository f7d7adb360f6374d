"""The demo in a real headless browser. With GENRE_GAN_SCREENSHOTS=FOLDER it also writes the README's pictures there."""

import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import app
from genre_gan import Clip, GenreClassifier, GenreGenerator
from tests.conftest import synthesize

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def address():
    demo = app.build_demo(GenreGenerator.from_pretrained(), GenreClassifier.from_pretrained())
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **app.LAUNCH_SETTINGS)
    yield url
    demo.close()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(params=[(1100, 900), (390, 844)], ids=["desktop", "phone"])
def page(request, browser, address):
    page = browser.new_page(viewport=dict(zip(("width", "height"), request.param)))
    page.goto(address)
    page.wait_for_selector("#generate-button")
    yield page
    page.close()


def keep_picture(page, name: str) -> None:
    folder = os.environ.get("GENRE_GAN_SCREENSHOTS")
    if folder and page.viewport_size["width"] > 1000:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_generate_and_download(page):
    page.click("#generate-button")
    link = page.wait_for_selector("#generated-audio a[download]", timeout=20_000)
    page.wait_for_selector("#spectrogram img")
    with page.expect_download() as download:
        link.click()
    assert Path(download.value.path()).read_bytes()[:4] == b"RIFF"
    assert page.input_value("#seed-used input, #seed-used textarea").isdigit()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.wait_for_timeout(500)  # the player draws its waveform
    keep_picture(page, "generate")


def open_classify(page, path: Path) -> None:
    page.get_by_role("tab", name="Classify").click()
    page.set_input_files("#upload input[type=file]", str(path))


def test_upload_and_classify(page, tmp_path):
    open_classify(page, Clip(synthesize(220, 2, 9.0, seed=1), 22_050).save(tmp_path / "song.mp3"))
    page.wait_for_selector("#upload button[aria-label='Clear']")
    page.click("#classify-button")
    page.wait_for_selector("#timeline img", timeout=20_000)
    assert "%" in page.inner_text("#label")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.wait_for_timeout(500)
    keep_picture(page, "classify")


def test_a_wrong_file_gets_a_plain_word(page, tmp_path):
    (tmp_path / "song.wav").write_text("this is no sound")
    open_classify(page, tmp_path / "song.wav")
    page.wait_for_timeout(1_000)
    page.click("#classify-button")
    text = page.wait_for_selector("[data-testid=toast-body]", timeout=20_000).inner_text()
    assert "cannot be read as audio" in text and str(tmp_path) not in text
