"""Classifying in a real browser."""

import base64
import csv
import io
import threading
from pathlib import Path

import numpy as np
import pytest

from genre_gan import Clip
from genre_gan.demo import hearing
from genre_gan.demo.hearing import HINT
from tests.browser import steps
from tests.browser.conftest import PATIENCE_MS
from tests.conftest import synthesize

CLASSIFIED = "document.querySelector('#timeline img') && !document.querySelector('#summary').innerText.includes('appears here')"


def song(folder, suffix: str = "mp3"):
    """A minute that changes half way."""
    samples = np.concatenate([synthesize(220, 2, 15.0, seed=1), synthesize(900, 6, 15.0, seed=2)])
    return Clip(samples, 22_050).save(folder / f"song.{suffix}")


@pytest.fixture
def page(open_page):
    page = open_page()
    page.get_by_role("tab", name="Classify").click()
    return page


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_an_upload_is_classified_at_once_and_over_time(open_page, size, scheme, tmp_path):
    page = open_page(size, scheme)
    page.get_by_role("tab", name="Classify").click()
    page.get_by_text(HINT).wait_for()
    assert steps.barriers(page) == []
    page.set_input_files("#upload input[type=file]", song(tmp_path))
    page.wait_for_function(CLASSIFIED)
    assert page.locator("#timeline img").count() == 2
    page.wait_for_selector("#upload time >> text=0:30")
    page.locator("#timeline img").nth(1).click(position={"x": 100, "y": 20})
    page.wait_for_selector("#upload [aria-label=Pause]")
    assert page.inner_text("#upload time >> nth=0") >= "0:03"
    page.click("#upload [aria-label=Pause]")
    assert page.evaluate(steps.NAMELESS) == []
    assert steps.fits_its_width(page)
    page.get_by_role("button", name="Every slice in numbers").click()
    page.wait_for_selector("#slices td >> text=0:03")
    page.get_by_role("button", name="Many files at once").click()
    page.get_by_text("Drop File Here").last.wait_for()
    assert steps.barriers(page) == []


def clear(page) -> None:
    """Take the sound away, and wait until the browser has drawn all fields without it, which need not be at once."""
    page.locator("#upload").get_by_role("button", name="Clear").click()
    page.get_by_text(HINT).wait_for()
    page.wait_for_function("!document.querySelector('#timeline img') && !/%/.test(document.querySelector('#label').innerText)")


def test_no_answer_stays_beside_another_sound(page, tmp_path):
    data = song(tmp_path, "wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[: len(data) // 2])
    page.set_input_files("#upload input[type=file]", tmp_path / "cut.wav")
    page.wait_for_function(CLASSIFIED)
    assert "Note: 'cut.wav' ended early" in page.inner_text("#summary") and "/" not in page.inner_text("#summary")
    clear(page)
    page.set_input_files("#upload input[type=file]", song(tmp_path))
    page.wait_for_function(CLASSIFIED)
    clear(page)
    (tmp_path / "no_song.wav").write_text("this is no sound")
    page.set_input_files("#upload input[type=file]", tmp_path / "no_song.wav")
    text = steps.toast(page)
    assert "cannot be read as audio" in text and str(tmp_path) not in text
    assert steps.barriers(page) == []
    assert page.locator("#timeline img").count() == 0 and "%" not in page.inner_text("#label")


# all that the page has ever shown
SAID = """() => {
  window.said = '';
  const look = () => (window.said += document.body.innerText);
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


@pytest.mark.parametrize("late", ["answer", "error"])
def test_the_sound_that_is_there_is_answered_while_another_is_listened_to(page, tmp_path, monkeypatch, late):
    begun, may_end, has_ended = (threading.Event() for _ in range(3))

    def hear(listener, path: str) -> hearing.Heard:
        name = Path(path).stem
        if name == "long":
            begun.set()
            may_end.wait(PATIENCE_MS / 1000)
            has_ended.set()
            if late == "error":
                raise ValueError("long is no sound")
        return hearing.Heard({"jazz": 1.0}, f"Answer to {name}", (), f"<b>{name}</b>")

    def send(name: str) -> None:
        sound = Clip(synthesize(220, 2, 3.0, seed=len(name)), 22_050)
        page.set_input_files("#upload input[type=file]", sound.save(tmp_path / name))

    monkeypatch.setattr(hearing.Listener, "hear", hear)
    page.evaluate(SAID)
    send("long.wav")
    assert begun.wait(PATIENCE_MS / 1000)
    clear(page)
    send("short.wav")
    page.get_by_text("Answer to short").wait_for()
    may_end.set()
    assert has_ended.wait(PATIENCE_MS / 1000)
    clear(page)
    send("next.wav")  # what comes late of the long one has come when this one is answered
    page.get_by_text("Answer to next").wait_for()
    assert "Answer to short" in page.evaluate("window.said")
    assert "Answer to long" not in page.evaluate("window.said") and "is no sound" not in page.evaluate("window.said")


def test_samples_of_ours_are_classified_generated_ones_marked_and_silence_dark(page):
    for name in ("Ode to Joy", "classical (generated)"):
        page.get_by_role("button", name=name).click()
        page.wait_for_function(CLASSIFIED)
        steps.keep_picture(page, "classify")  # the second one stays
        assert page.inner_text("#summary").startswith("Sounds like classical")
        clear(page)
    page.get_by_role("button", name="Silence").click()
    page.wait_for_function(CLASSIFIED)
    assert page.inner_text("#summary").startswith("None of my ten genres")
    brightest = page.evaluate(
        """async () => {
          const bitmap = await createImageBitmap(document.querySelector('#timeline img'));
          const pen = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
          pen.drawImage(bitmap, 0, 0);
          const { data } = pen.getImageData(0, 0, bitmap.width, bitmap.height);
          return data.reduce((most, value, i) => (i % 4 === 3 ? most : Math.max(most, value)), 0);
        }"""
    )
    assert brightest < 20


def test_many_files_give_a_table_and_a_csv_file(page, tmp_path):
    (tmp_path / "notes.txt").write_text("this is no sound")
    page.get_by_role("button", name="Many files at once").click()
    page.set_input_files("#many-files input[type=file]", [song(tmp_path), song(tmp_path, "flac"), tmp_path / "notes.txt"])
    page.wait_for_selector("#many-csv")
    assert "cannot be read as audio" in page.inner_text("#many-results tr:nth-child(4)")
    assert steps.barriers(page) == []
    with page.expect_download() as download:
        page.click("#many-csv")
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert [row["file"] for row in rows] == ["song.mp3", "song.flac", "notes.txt"]
    assert rows[0]["genre"] and "cannot be read as audio" in rows[2]["error"]
    assert sum(float(rows[1][name]) for name in rows[1] if name.startswith("p_")) == pytest.approx(1.0, abs=0.01)


DROP = """(data) => {
  const files = new DataTransfer();
  files.items.add(new File([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], 'film.webm', { type: 'video/webm' }));
  document.querySelector('#upload button').dispatchEvent(new DragEvent('drop', { dataTransfer: files, bubbles: true }));
}"""


def test_sound_is_taken_whatever_the_browser_calls_it(page, tmp_path):
    data = song(tmp_path).read_bytes()
    (tmp_path / "no suffix").write_bytes(data)
    page.set_input_files("#upload input[type=file]", tmp_path / "no suffix")
    page.wait_for_function(CLASSIFIED)
    clear(page)
    page.evaluate(DROP, base64.b64encode(data).decode())
    page.wait_for_function(CLASSIFIED)


def test_the_microphone_is_classified_and_a_missing_one_said(page):
    recorder = page.locator("#upload")
    recorder.get_by_role("button", name="Record audio").click()
    recorder.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1_500)
    recorder.get_by_role("button", name="Stop", exact=True).click()
    page.wait_for_function(CLASSIFIED)
    clear(page)
    page.evaluate("navigator.mediaDevices.enumerateDevices = async () => []")
    recorder.get_by_role("button", name="Record audio").click()
    page.get_by_text("There is no microphone here").wait_for()
