"""The player, and sounds beside each other, in a real browser."""

from tests.browser import steps
from tests.browser.steps import generate, open_settings, set_length, title, wait_for_takes, wait_until_made


def test_seek_volume_waveform_loop_and_media_keys(open_page):
    page = open_page()
    generate(page)
    page.wait_for_function(steps.IS_PLAYING)
    page.click("#player .play")
    page.wait_for_function("document.querySelector('#player audio').paused")
    screen = page.locator("#player .seek").bounding_box()
    page.mouse.click(screen["x"] + 0.5 * screen["width"], screen["y"] + 30)
    page.wait_for_function("Math.abs(document.querySelector('#player audio').currentTime - 4) < 0.3")
    page.fill("#player .volume", "0.25")
    assert page.evaluate("document.querySelector('#player audio').volume") == 0.25
    page.click("#player .view")
    assert page.get_attribute("#player canvas", "aria-label").startswith("Waveform of ")
    page.click("#player .loop")
    page.click("#player .play")
    page.wait_for_function(steps.IS_PLAYING)
    # a loop is one long sound, so that no gap is heard where it begins again
    assert page.evaluate("document.querySelector('#player audio').duration") > 600
    page.evaluate("document.querySelector('#player audio').currentTime = 8 * 3 + 1")
    page.wait_for_function("/0:0[12] . 0:08/.test(document.querySelector('#player .time').textContent)")
    assert page.evaluate("navigator.mediaSession.metadata.title") == title(page)


def test_two_takes_are_compared_at_the_same_moment(open_page):
    page = open_page()
    generate(page)
    generate(page, takes=2)
    page.reload()  # the browser has their recipes alone
    wait_for_takes(page, 2)
    for box in page.locator("#takes [data-do=tick]").all():
        box.check()
    page.click("#takes .compare-two")
    pair = page.locator("#compare figure button")
    page.wait_for_function("[...window.genreGan.clips.values()].filter((clip) => clip.done).length === 2")
    assert page.locator("#compare figcaption").all_inner_texts() == steps.take_titles(page)[::-1] or (
        page.locator("#compare figcaption").all_inner_texts() == steps.take_titles(page)
    )
    pair.nth(0).click()
    page.wait_for_function(steps.IS_PLAYING)
    page.evaluate("document.querySelector('#player audio').currentTime = 5")
    pair.nth(1).click()
    page.wait_for_function(steps.IS_PLAYING)
    assert 4.9 < page.evaluate("document.querySelector('#player audio').currentTime") < 7
    assert title(page) == page.locator("#compare figcaption").nth(1).inner_text()
    assert pair.nth(1).get_attribute("aria-pressed") == "true" and pair.nth(0).get_attribute("aria-pressed") == "false"
    assert steps.barriers(page) == []
    steps.keep_picture(page, "compare")


def test_one_sound_at_a_time_and_silence_when_a_clip_is_sent_on(open_page):
    page = open_page()
    generate(page)
    page.wait_for_function(steps.IS_PLAYING)
    page.click("#player .send")
    page.wait_for_selector("#timeline img")
    assert page.evaluate("document.querySelector('#player audio').paused")
    page.get_by_role("tab", name="Generate").click()
    page.click("#player .play")
    page.wait_for_function(steps.IS_PLAYING)
    page.get_by_role("tab", name="Classify").click()
    page.locator("#upload").get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("document.querySelector('#player audio').paused")


def test_what_was_asked_last_is_made_and_the_keyboard_asks(open_page):
    page = open_page()
    open_settings(page)
    set_length(page, 60)
    page.click("#generate-button")
    set_length(page, 2)
    page.locator("#genre input").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_selector("#genre label.selected >> text=classical")
    page.wait_for_timeout(250)  # gradio's form hears of a choice a moment after it is drawn
    page.keyboard.press("Control+Enter")
    page.wait_for_function("window.genreGan.shown()?.title.startsWith('classical')")
    wait_until_made(page)
    assert title(page).startswith("classical")


def test_keys_that_are_held_down_ask_once(open_page):
    page, asked = open_page(), []
    page.on("request", lambda request: asked.append(request) if request.url.endswith("/queue/join?") else None)
    page.keyboard.down("Control")
    for _ in range(4):  # as the keyboard repeats it
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    page.keyboard.up("Control")
    wait_until_made(page)
    assert len(asked) == 1 and page.locator("#takes li").count() == 1
