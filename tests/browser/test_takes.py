"""The list of takes in a real browser."""

import json

from tests.browser import steps
from tests.browser.steps import generate, open_settings, set_length, title, wait_for_takes, wait_until_made


def test_takes_come_newest_first_stay_over_a_reload_and_can_be_changed(open_page):
    page = open_page()
    open_settings(page)
    set_length(page, 2)
    generate(page)
    page.click("#genre >> text=metal")
    generate(page, takes=2)
    samples, titles = page.evaluate(steps.SAMPLES), steps.take_titles(page)
    assert titles[0].startswith("metal") and titles[1].startswith("blues")
    page.locator("#takes .star").first.click()
    page.locator("#takes .name").first.fill("My <b>song</b>")
    page.locator("#takes .name").first.press("Enter")
    page.reload()
    wait_for_takes(page, 2)
    assert steps.take_titles(page) == ["My <b>song</b>", titles[1]]
    assert page.get_attribute("#takes .star >> nth=0", "aria-pressed") == "true"
    page.locator("#takes .show").first.click()  # it is made again from its recipe
    wait_until_made(page)
    assert title(page) == titles[0] and page.evaluate(steps.SAMPLES) == samples
    assert page.locator("#takes li").count() == 2
    page.locator("#takes .delete").nth(1).click()
    wait_for_takes(page, 1)
    page.click("#takes .undo")
    wait_for_takes(page, 2)
    page.locator("#takes .delete").nth(1).click()
    wait_for_takes(page, 1)
    assert steps.take_titles(page) == ["My <b>song</b>"]


def test_a_take_may_have_any_name(open_page):
    page = open_page()
    generate(page)
    name = "C:\\users\\x ${document.title = 'run'} in ${A `\"<b>"
    page.fill("#takes .name", name)
    page.press("#takes .name", "Enter")
    page.locator(f"#takes .star[aria-label={json.dumps(f'Star {name}')}]").click()
    page.wait_for_selector("#takes .star[aria-pressed=true]")
    assert page.get_attribute("#takes .star", "aria-label") == f"Star {name}"
    page.reload()
    wait_for_takes(page, 1)
    assert steps.take_titles(page) == [name] and page.title() != "run"
    assert " · heard as " in page.inner_text("#takes small")


def test_a_take_that_arrives_leaves_the_name_that_is_typed(open_page, let_parts_come):
    page = open_page()
    let_parts_come(6)
    generate(page)
    page.click("#generate-button")
    page.click("#takes .name")
    page.keyboard.press("Control+A")
    page.keyboard.type("My best so")
    let_parts_come(6)
    wait_for_takes(page, 2)
    page.keyboard.type("ng")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelectorAll('#takes .name')[1].value === 'My best song'")
    assert steps.take_titles(page) == [title(page), "My best song"]
    page.click("#generate-button")
    page.click("#takes .name >> nth=1")  # nothing is typed
    let_parts_come(6)
    wait_for_takes(page, 3)
    page.keyboard.press("Tab")
    page.wait_for_function("document.querySelectorAll('#takes .name')[2].value === 'My best song'")
    assert steps.take_titles(page)[0] == title(page)


def test_tabs_keep_one_list_of_takes(open_page):
    page, other = open_page(), open_page()
    generate(page)
    wait_for_takes(other, 1)
    generate(other, takes=2)
    wait_for_takes(page, 2)
    page.fill("#takes .name >> nth=0", "Mine")
    page.press("#takes .name >> nth=0", "Enter")
    other.wait_for_function("document.querySelector('#takes .name').value === 'Mine'")
    other.locator("#takes .delete").nth(1).click()
    wait_for_takes(page, 1)
    page.reload()
    wait_for_takes(page, 1)
    assert steps.take_titles(page) == steps.take_titles(other) == ["Mine"]


def test_takes_that_tabs_make_at_the_same_moment_are_all_kept(open_page):
    page, other = open_page(), open_page()
    for tab in (page, other):
        tab.evaluate(
            """() => {
              const { postMessage } = BroadcastChannel.prototype;
              BroadcastChannel.prototype.postMessage = function (message) {
                (window.unsent ??= []).push(() => postMessage.call(this, message));
              };
            }"""
        )
        generate(tab)
    for tab in (page, other):
        tab.evaluate("window.unsent.splice(0).forEach((send) => send())")
    titles = {title(page), title(other)}
    for tab in (page, other):
        wait_for_takes(tab, 2)
        assert set(steps.take_titles(tab)) == titles
        assert tab.evaluate("window.unsent.length") == 0  # what another tab said is not said again
    page.reload()
    wait_for_takes(page, 2)
    assert set(steps.take_titles(page)) == titles


def test_takes_are_kept_however_late_their_pictures_are_drawn(open_page):
    page = open_page()
    page.evaluate(
        """() => {
          const draw = window.createImageBitmap.bind(window);
          window.createImageBitmap = (blob) => new Promise((go) => setTimeout(go, 3000)).then(() => draw(blob));
        }"""
    )
    generate(page)
    assert steps.take_titles(page) == [title(page)]


def test_new_takes_have_room_beside_a_list_of_starred_ones(open_page):
    page = open_page()
    open_settings(page)
    set_length(page, 2)
    generate(page)
    page.evaluate(
        """() => {
          const { take } = [...window.genreGan.clips.values()][0];
          const starred = Array.from({ length: 24 }, (_, i) => ({ ...take, id: `${i}`, query: `seed=${i}`, starred: true }));
          const message = { before: [take.id], takes: starred };
          new BroadcastChannel('genre-gan-takes').postMessage(JSON.stringify(message)); // as from another tab
        }"""
    )
    wait_for_takes(page, 24)
    page.click("#several-button")
    wait_for_takes(page, 28)
    generate(page, takes=25)
    assert page.locator("#takes .star[aria-pressed=true]").count() == 24 and steps.take_titles(page)[0] == title(page)
