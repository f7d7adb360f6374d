"""The demo in a real headless browser. With GENRE_GAN_SCREENSHOTS=FOLDER it also writes the README's pictures there."""

import contextlib
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from genre_gan import Clip
from genre_gan.clip import FORMATS
from genre_gan.demo import server
from genre_gan.demo.forms import KEPT_CLIPS
from genre_gan.demo.models import Models
from genre_gan.demo.page import build_demo
from tests.conftest import synthesize

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

SIZES = {"desktop": {"width": 1200, "height": 900}, "phone": {"width": 390, "height": 844}}
PATIENCE_MS = 120_000  # a busy machine is slow
IS_PLAYING = """() => {
  const audio = document.querySelector('#player audio');
  return !audio.paused && audio.readyState > 2 && audio.currentTime > 0;
}"""
# what a screen reader would have no name for
NAMELESS = """() => [...document.querySelectorAll('button, input, textarea, select, audio, [role=img]')]
  .filter((element) => element.offsetParent && element.type !== 'file')
  .filter((element) => !(element.ariaLabel || element.innerText?.trim() || element.labels?.length || element.title))
  .map((element) => element.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def models():
    models = Models()
    models.warm_up()
    return models


@pytest.fixture(scope="module")
def address(models):
    demo = build_demo(models)
    server.serve(demo, server_name="127.0.0.1", quiet=True)
    yield demo.local_url
    demo.close()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        flags += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Open the page at a size and in a colour scheme; whatever its scripts complain of fails the test at its end."""
    pages, complaints = [], []

    def note_request(request) -> None:
        if not request.url.startswith((address, "blob:", "data:")):
            complaints.append(request.url)

    def open_page(size: str = "desktop", scheme: str = "light"):
        page = browser.new_page(viewport=SIZES[size], color_scheme=scheme, permissions=["microphone"])
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", note_request)
        page.goto(address)
        page.wait_for_selector("#generate-button")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def keep_picture(page, name: str) -> None:
    if folder := os.environ.get("GENRE_GAN_SCREENSHOTS"):
        page.wait_for_timeout(1_000)  # players draw their waveforms
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def choose(page, field: str, label: str) -> None:
    page.click(f"#{field} input")
    page.get_by_role("option", name=label, exact=True).click()
    page.get_by_role("option").first.wait_for(state="detached")


def set_length(page, seconds: float) -> None:
    page.fill("#duration input[type=number]", str(seconds))
    page.press("#duration input[type=number]", "Tab")


def generate(page, take: int = 1) -> None:
    """Press the button, and wait until the visit's clip of that number is there."""
    page.click("#generate-button")
    page.locator(".take").get_by_text(re.compile(rf"^\s*{take}\. ")).wait_for()


def fits_its_width(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize(("size", "scheme", "picture"), [("desktop", "light", "generate"), ("phone", "dark", "phone")])
def test_music_plays_and_is_drawn_heard_and_kept(open_page, size, scheme, picture):
    page = open_page(size, scheme)
    generate(page)
    page.wait_for_function(IS_PLAYING)
    assert page.evaluate("Math.round(document.querySelector('#player audio').duration)") == 8
    assert page.get_attribute("#spectrogram [role=img]", "aria-label").startswith("Spectrogram of blues, seed ")
    assert page.input_value("#seed input").isdigit()
    assert page.inner_text("#heard")
    assert page.evaluate(NAMELESS) == []
    assert page.inner_text("#status[role=status]").startswith("blues, seed ")
    assert fits_its_width(page)
    keep_picture(page, picture)


def test_each_model_makes_music_and_the_last_clips_are_kept(open_page, models):
    page = open_page()
    set_length(page, 2)
    takes = [*models.labels, *[models.default] * (KEPT_CLIPS + 1 - len(models.labels))]
    for number, name in enumerate(takes, 1):
        choose(page, "model", models.labels[name])
        generate(page, number)
        page.wait_for_function(f"document.querySelector('#status').innerText.includes('made by {name}')")
    labels = page.locator(".take:visible").all_inner_texts()
    assert sorted(int(label.split(".")[0]) for label in labels) == list(range(2, KEPT_CLIPS + 2))


def test_blend_keep_the_seed_and_download_every_format(open_page, tmp_path):
    page = open_page()
    set_length(page, 2)
    choose(page, "genre", "jazz")
    choose(page, "second", "metal")
    page.wait_for_selector("#share")
    page.uncheck("#random-seed input")
    page.fill("#seed input", "7")
    page.press("#seed input", "Tab")
    generate(page)
    for file_format in FORMATS:
        page.get_by_label(file_format, exact=True).check()
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Download {file_format}").click()
        assert download.value.suggested_filename == f"jazz-with-30-metal-seed-7.{file_format}"
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert soundfile.info(path).duration == pytest.approx(2.0, abs=0.1)


def test_an_example_is_one_click_and_its_settings_come_back(open_page):
    page = open_page()
    page.get_by_text("metal with 40 % hiphop", exact=False).first.click()
    page.get_by_text("1. metal with 40 % hiphop, seed 3").wait_for()
    choose(page, "genre", "pop")
    page.get_by_role("button", name="Use its settings").first.click()
    page.wait_for_function("document.querySelector('#genre input').value === 'metal'")


def test_stop_ends_the_music(open_page):
    page = open_page()
    set_length(page, 60)
    page.click("#generate-button")
    page.wait_for_function(IS_PLAYING)
    page.click("#stop-button")
    page.wait_for_function("document.querySelector('#player audio').paused")
    page.get_by_text("Stopped.").wait_for()


def test_a_clip_goes_to_classify_in_one_click(open_page):
    page = open_page()
    set_length(page, 6)
    generate(page)
    page.click("#send")
    page.wait_for_selector("#timeline img")
    assert "Heard 6.0 s" in page.input_value("#summary textarea, #summary input")


def song(folder: Path) -> Path:
    """A minute that changes half way."""
    samples = np.concatenate([synthesize(220, 2, 15.0, seed=1), synthesize(900, 6, 15.0, seed=2)])
    return Clip(samples, 22_050).save(folder / "song.mp3")


@pytest.mark.parametrize("size", SIZES)
def test_an_upload_is_classified_at_once_and_over_time(open_page, size, tmp_path):
    page = open_page(size)
    page.get_by_role("tab", name="Classify").click()
    page.set_input_files("#upload input[type=file]", song(tmp_path))
    page.wait_for_selector("#timeline img")
    assert page.locator("#timeline img").count() == 2
    assert page.evaluate(NAMELESS) == []
    assert fits_its_width(page)
    if size == "desktop":
        keep_picture(page, "classify")


def test_silence_is_not_sure(open_page):
    page = open_page()
    page.get_by_role("tab", name="Classify").click()
    page.get_by_role("button", name="silence").click()
    page.wait_for_function("document.querySelector('#label').innerText.includes('not sure')")


def test_the_microphone_is_classified(open_page):
    page = open_page()
    page.get_by_role("tab", name="Classify").click()
    recorder = page.locator("#upload")
    recorder.get_by_role("button", name="Record audio").click()
    recorder.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(2_000)
    recorder.get_by_role("button", name="Stop", exact=True).click()
    recorder.get_by_role("button", name="Play", exact=True).wait_for()
    for _ in range(10):  # the page does not show when the recording has been sent
        page.click("#classify-button")
        with contextlib.suppress(playwright.TimeoutError):
            page.wait_for_selector("#timeline img", timeout=PATIENCE_MS / 10)
            break
    assert page.locator("#timeline img").first.is_visible()


def test_a_wrong_file_gets_a_plain_word(open_page, tmp_path):
    (tmp_path / "song.wav").write_text("this is no sound")
    page = open_page()
    page.get_by_role("tab", name="Classify").click()
    page.set_input_files("#upload input[type=file]", tmp_path / "song.wav")
    text = page.wait_for_selector("[data-testid=toast-body]").inner_text()
    assert "cannot be read as audio" in text and str(tmp_path) not in text


def test_about_shows_how_to_use_it(open_page):
    page = open_page()
    page.get_by_role("tab", name="About").click()
    page.get_by_text("gradio_client", exact=False).first.wait_for()
    assert fits_its_width(page)
