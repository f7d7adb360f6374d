"""Clips that leave the page, as links and as files, and what the server keeps of them."""

import io
import json
import time
import zipfile

import pytest
import soundfile

from genre_gan import GENRES
from genre_gan.clip import FORMATS
from genre_gan.demo.models import Models
from genre_gan.demo.page import build_demo
from genre_gan.demo.server import serve
from genre_gan.demo.wishes import title_of
from genre_gan.models.waveform import WaveformGANConfig, WaveformGenerator
from genre_gan.recipe import Recipe
from tests.browser import steps
from tests.browser.conftest import PATIENCE_MS
from tests.browser.steps import generate, menu, open_settings, set_length, set_seed, title, toast, wait_for_takes, wait_until_made


def test_the_server_keeps_no_music_of_a_visit(open_page, demo):
    def kept() -> str:
        sessions = [session for name, session in demo.state_holder.session_data.items() if name not in earlier]
        return json.dumps([session.config_values for session in sessions], default=str)

    def wait_until_forgotten() -> None:
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while '"pcm"' in kept():
            assert time.monotonic() < deadline, "the server keeps music"
            page.wait_for_timeout(100)

    earlier = set(demo.state_holder.session_data)
    page = open_page()
    for n_takes in (1, 2):
        generate(page, n_takes)
        wait_until_forgotten()
    page.click("#several-button")
    wait_for_takes(page, 6)
    page.locator("#player .status", has_text="4 takes made").wait_for()
    wait_until_forgotten()
    assert kept().count('"elem_id": "player"') == 1
    page.click("#player .play")  # while the page has it still
    page.wait_for_function("window.genreGan.shown().done")


def test_a_link_makes_the_clip_again_after_a_restart_of_the_server(open_page, demo, models):
    page = open_page()
    generate(page)
    page.click("#player .share")
    page.get_by_text("Link copied").wait_for()
    link, samples = page.evaluate("navigator.clipboard.readText()"), page.evaluate(steps.SAMPLES)
    restarted = build_demo(models)
    serve(restarted, server_name="127.0.0.1", quiet=True)
    try:
        other = open_page(url=link.replace(demo.local_url, restarted.local_url))
        wait_until_made(other)
        assert title(other) == title(page) and other.evaluate(steps.SAMPLES) == samples
        assert "different now" not in other.inner_text("#player .status")
        other.evaluate("localStorage.clear()")
        other.close()
    finally:
        restarted.close()


def test_genres_of_a_foreign_model_may_have_any_name(open_page, tmp_path):
    name = "C:\\x ${document.title = 'run'} in ${A `\"<b>"
    config = WaveformGANConfig(n_samples=22_050, genres=(*GENRES, name), width=8)
    foreign = build_demo(Models(str(WaveformGenerator(config).save_pretrained(tmp_path / "foreign"))))
    serve(foreign, server_name="127.0.0.1", quiet=True)
    try:
        page = open_page(url=foreign.local_url)
        generate(page)
        menu(page, "Same, in another genre", name)
        wait_for_takes(page, 2)
        assert title(page).startswith(f"{name}, seed ") and page.title() != "run"
        assert steps.take_titles(page)[0] == title(page)
        page.evaluate("localStorage.clear()")
        page.close()
    finally:
        foreign.close()


def test_a_server_that_is_gone_is_said(open_page, models):
    gone = build_demo(models)
    serve(gone, server_name="127.0.0.1", quiet=True)
    page = open_page(url=gone.local_url)
    gone.close()
    page.click("#generate-button")
    page.locator("#player .status", has_text="The server cannot be reached.").wait_for()
    assert page.inner_text("#player .clock") == ""


def test_downloads_have_names_and_tags(open_page, tmp_path):
    page = open_page()
    open_settings(page)
    set_length(page, 2)
    steps.blend_with_metal(page)
    set_seed(page, "7")
    generate(page)
    for file_format in (*FORMATS, FORMATS[-1]):  # the last one twice
        with page.expect_download() as download:
            menu(page, "Download", file_format)
        name = download.value.suggested_filename
        assert name == f"blues-60-metal-40-seed-7.{file_format}"
        download.value.save_as(tmp_path / name)
        recipe = Recipe.from_file(tmp_path / name)
        assert (recipe.genre, recipe.seed, recipe.model) == ({"blues": 0.6, "metal": 0.4}, 7, "mel")
        with soundfile.SoundFile(tmp_path / name) as file:
            assert file.title == "blues 60 %, metal 40 %, seed 7" and file.frames / file.samplerate == pytest.approx(2.0, abs=0.1)
    with page.expect_download() as download:
        page.click("#takes .download-all")
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        sound, recipes = archive.namelist()
        assert soundfile.info(io.BytesIO(archive.read(sound))).duration == pytest.approx(2.0)
        (listed,) = json.loads(archive.read(recipes))
    assert recipes == "recipes.json" and listed["file"] == sound and listed["recipe"]["seed"] == 7
    assert title_of(Recipe.from_json(json.dumps(listed["recipe"]))) == title(page)


def test_a_link_makes_the_clip_again_elsewhere(open_page):
    page = open_page()
    open_settings(page)
    set_length(page, 2)
    steps.blend_with_metal(page)
    generate(page)
    menu(page, "More like this", "Quite different")
    wait_for_takes(page, 2)
    page.click("#player .share")
    page.get_by_text("Link copied").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    other = open_page("phone", url=link)
    wait_for_takes(other, 1)
    assert title(other) == title(page) and other.evaluate(steps.SAMPLES) == page.evaluate(steps.SAMPLES)
    other.reload()
    wait_until_made(other)
    assert other.locator("#takes li").count() == 1


def test_a_link_can_be_copied_by_hand_where_the_clipboard_is_closed(open_page, address):
    page, asked = open_page(), []
    page.on("dialog", lambda dialog: (asked.append(dialog.default_value), dialog.dismiss()))
    generate(page)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.click("#player .share")
    page.wait_for_function("document.querySelector('#player .share').textContent === 'Copy link'")
    (link,) = asked
    assert link.startswith(f"{address}?genre=blues:1&seed=")


def test_a_broken_link_is_explained(open_page, address):
    page = open_page(url=f"{address}?genre=polka&seed=1")
    assert "This link leads to no clip: genre 'polka' is unknown" in toast(page)
