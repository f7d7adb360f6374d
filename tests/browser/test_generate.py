"""Making music in a real browser."""

import threading

import pytest

from genre_gan.demo import limits, music, wishes
from tests.browser import steps
from tests.browser.conftest import PATIENCE_MS
from tests.browser.steps import generate, menu, open_settings, set_length, set_seed, title, wait_for_takes, wait_until_made


@pytest.mark.parametrize(("size", "scheme", "picture"), [("desktop", "light", "generate"), ("phone", "dark", "phone")])
def test_music_plays_and_is_drawn_heard_and_kept(open_page, address, size, scheme, picture):
    page = open_page(size, scheme)
    assert page.inner_text("#player .status") == "Choose a genre and press Generate."
    page.click("#genre >> text=jazz")
    generate(page)
    page.wait_for_function(steps.IS_PLAYING)
    assert page.evaluate("Math.round(document.querySelector('#player audio').duration)") == 8
    assert title(page).startswith("jazz, seed ")
    assert page.get_attribute("#player canvas", "aria-label") == f"Spectrogram of {title(page)}"
    assert page.inner_text("#player .status").startswith("8 s made in ")
    assert steps.take_titles(page) == [title(page)]
    assert page.locator("#player .play").bounding_box()["y"] < steps_height(size)
    assert page.evaluate(steps.NAMELESS) == []
    assert steps.fits_its_width(page)
    steps.keep_picture(page, picture)
    open_settings(page)
    assert steps.barriers(page) == []
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_selector(f"#use code >> text={address.rstrip('/')}")  # in the snippets stands the page's own address
    page.wait_for_function("document.querySelectorAll('#lesson figure img').length === 5")
    page.locator(".result > button").first.click()
    page.wait_for_selector(".result table[tabindex]")
    assert page.evaluate(steps.NAMELESS) == []
    assert steps.barriers(page) == [] and steps.fits_its_width(page)


def steps_height(size: str) -> int:
    """The lower edge of the first screen, on which the player must be."""
    return {"desktop": 900, "phone": 844}[size]


def test_the_page_shows_life_while_music_is_made(open_page, let_parts_come):
    def state(done_s: int) -> tuple[int, float]:
        """How many columns are drawn, and what the clock says, once so much is made."""
        page.get_by_text(f": {done_s} of 12 s").wait_for()
        page.wait_for_function("window.genreGan.shown().nDrawn === window.genreGan.shown().pcm.length")
        return page.evaluate(steps.N_DRAWN), float(page.inner_text("#player .clock").removesuffix(" s"))

    page = open_page()
    open_settings(page)
    set_length(page, 12)
    page.click("#generate-button")
    let_parts_come(2)
    drawn, clock = state(4)
    assert page.inner_text("#player .status").startswith("Making blues, seed")
    let_parts_come(3)
    more, later = state(10)
    n_columns = page.evaluate("window.genreGan.shown().n_columns")
    assert 0 < drawn < more < n_columns and later > clock
    let_parts_come(1)
    wait_until_made(page)
    page.wait_for_function(f"({steps.N_DRAWN})() === {n_columns}")


def test_stop_ends_the_music_without_an_error_again_and_again(open_page, let_parts_come, monkeypatch):
    stopped, stop = threading.Event(), music.Visit.stop
    monkeypatch.setattr(music.Visit, "stop", lambda *values: (stop(*values), stopped.set()))
    page = open_page()
    for _ in range(6):
        page.click("#generate-button")
        let_parts_come(2)
        page.get_by_text(": 3 of 8 s").wait_for()
        page.click("#stop-button")
        assert stopped.wait(PATIENCE_MS / 1000)
        stopped.clear()
        let_parts_come(1)
        page.get_by_text("Stopped at ").wait_for()
        assert page.evaluate("document.querySelector('#player audio').paused")
        assert page.locator("#player").get_by_text("Error").count() == 0
        assert page.locator("[data-testid=toast-body]").count() == 0
    page.click("#player .play")  # what there was of it can be heard
    page.wait_for_function(steps.IS_PLAYING)
    assert page.locator("#takes li").count() == 0


def test_stop_ends_what_waits_in_the_queue(open_page, monkeypatch):
    begun, may_go_on, stopped = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)
    clips_of, stop = music.clips_of, music.Visit.stop

    def late_clips_of(*wish):
        begun.release()
        may_go_on.wait(PATIENCE_MS / 1000)
        return clips_of(*wish)

    monkeypatch.setattr(music, "clips_of", late_clips_of)
    monkeypatch.setattr(music.Visit, "stop", lambda *values: (stop(*values), stopped.release()))
    page = open_page()
    others = [("phone", "light"), ("phone", "dark")]  # of other storage: browsers make few connections for one
    assert len(others) == limits.AT_ONCE
    for kind in others:
        open_page(*kind).click("#generate-button")
        assert begun.acquire(timeout=PATIENCE_MS / 1000)
    page.click("#generate-button")
    page.get_by_text("Asking for blues").wait_for()
    page.click("#stop-button")
    assert stopped.acquire(timeout=PATIENCE_MS / 1000)
    page.get_by_text("Stopped.").wait_for()
    assert title(page) == "Nothing made yet"
    page.click("#genre >> text=jazz")
    page.wait_for_timeout(250)  # gradio's form hears of a choice a moment after it is drawn
    page.click("#generate-button")
    page.get_by_text("Asking for jazz").wait_for()
    may_go_on.set()
    wait_until_made(page)
    assert page.evaluate("[...window.genreGan.clips.values()].map(({ title }) => title)") == [title(page)]
    assert steps.take_titles(page) == [title(page)] and title(page).startswith("jazz")


def test_an_example_is_made_at_once_fills_the_form_and_sets_no_seed(open_page, models):
    page = open_page()
    examples = page.locator("#examples button")
    assert examples.all_inner_texts() == list(wishes.examples(models))
    examples.get_by_text("A jazz loop").click()
    wait_for_takes(page, 1)
    wait_until_made(page)
    assert " · 100 beats a minute · loop · " in page.inner_text("#takes small")
    assert page.get_attribute("#player .loop", "aria-pressed") == "true"
    open_settings(page)
    assert page.locator("#tempo").locator("input, textarea").input_value() == "100"
    assert page.locator("#seed").locator("input, textarea").input_value() == ""
    page.get_by_label("Make it a loop").uncheck()
    generate(page, takes=2)
    assert title(page).startswith("jazz, seed ") and len(set(steps.take_titles(page))) == 2
    assert page.get_attribute("#player .loop", "aria-pressed") == "false"  # only what was made to loop does so by itself


def test_an_example_shows_what_it_fills_in_after_another_model(open_page, models):
    page = open_page()
    open_settings(page)
    steps.choose(page, "model", models.labels["fcn"])
    page.wait_for_selector("#tempo", state="hidden")
    page.locator("#examples button").get_by_text("A jazz loop").click()
    wait_for_takes(page, 1)
    page.wait_for_selector("#tempo input, #tempo textarea")
    page.wait_for_selector("#key input")
    assert page.input_value("#model input") == models.labels["mel"]
    assert page.input_value("#tempo input, #tempo textarea") == "100" and page.input_value("#key input") == wishes.ANY
    assert page.locator("#genre label.selected").inner_text() == "jazz"


def test_what_cannot_be_made_is_refused_in_words(open_page, models):
    page = open_page()
    open_settings(page)
    for seed in ("1.5", "-5", "seven"):
        set_seed(page, seed)
        page.click("#generate-button")
        page.get_by_text(f"seed must be a whole number from 0 to 9007199254740991, got '{seed}'").wait_for()
    set_seed(page, "7")
    page.fill("#tempo input, #tempo textarea", "300")
    page.click("#generate-button")
    lowest, highest = models.generator("mel").tempo_range_bpm
    page.get_by_text(f"tempo_bpm must be from {lowest:g} to {highest:g}, got 300").wait_for()
    page.get_by_text("That did not work.").wait_for()


def test_tempo_key_and_loop_are_asked_for_where_the_model_has_them(open_page, models):
    page = open_page()
    open_settings(page)
    set_length(page, 4)
    page.fill("#tempo input, #tempo textarea", "90")
    steps.choose(page, "key", "A minor")
    page.get_by_label("Make it a loop").check()
    generate(page)
    assert " · 90 beats a minute · A minor · loop · mel · " in page.inner_text("#takes small")
    assert page.get_attribute("#player .loop", "aria-pressed") == "true"
    steps.choose(page, "model", models.labels["fcn"])
    page.wait_for_selector("#tempo", state="hidden")
    generate(page, takes=2)
    assert "beats" not in page.locator("#takes small").first.inner_text()


def test_a_typed_seed_is_used_as_long_as_it_stands_there(open_page):
    page = open_page()
    open_settings(page)
    set_length(page, 2)
    set_seed(page, "7")
    generate(page)
    assert title(page) == "blues, seed 7"
    page.click("#genre >> text=rock")
    generate(page, takes=2)
    assert title(page) == "rock, seed 7"
    set_seed(page, "")
    generate(page, takes=3)
    generate(page, takes=4)
    assert len(set(steps.take_titles(page))) == 4


def test_four_takes_in_one_press_and_a_surprise(open_page):
    page = open_page()
    open_settings(page)
    set_length(page, 2)
    set_seed(page, "20")
    page.click("#several-button")
    wait_for_takes(page, 4)
    assert steps.take_titles(page) == [f"blues, seed {seed}" for seed in (23, 22, 21, 20)]
    assert title(page) == "blues, seed 20"  # the first one plays, the others wait in the list
    page.click("#surprise-button")
    wait_for_takes(page, 5)


def test_more_like_this_longer_and_in_another_genre(open_page):
    page = open_page()
    open_settings(page)
    set_length(page, 3)
    set_seed(page, "7")
    generate(page)
    menu(page, "More like this", "A little different")
    wait_for_takes(page, 2)
    assert title(page) == "blues, seed 7, varied"
    page.locator("#player [data-ask=longer]").click()
    wait_for_takes(page, 3)
    assert page.evaluate("window.genreGan.shown().durationS") == 6
    menu(page, "Same, in another genre", "reggae")
    wait_for_takes(page, 4)
    assert title(page) == "reggae, seed 7, varied" and page.evaluate("window.genreGan.shown().durationS") == 6


def test_menus_stay_on_a_phone(open_page):
    page = open_page("phone")
    generate(page)
    for name in ("More like this", "Same, in another genre", "Download"):
        page.locator("#player summary", has_text=name).click()
        box = page.locator("#player details[open] > div").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
        page.keyboard.press("Escape")
