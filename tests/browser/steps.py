"""What the tests do on the page, and what they look at."""

import importlib.util
import io
import os
import time
from functools import cache
from pathlib import Path

from PIL import Image

from tests.browser.conftest import PATIENCE_MS

IS_PLAYING = """() => {
  const audio = document.querySelector('#player audio');
  return !audio.paused && audio.readyState > 2 && audio.currentTime > 0;
}"""
# what a screen reader would have no name for
NAMELESS = """() => [...document.querySelectorAll('button, input, textarea, select, summary, [role=img]:not([aria-hidden=true])')]
  .filter((element) => element.checkVisibility({ contentVisibilityAuto: true, visibilityProperty: true }))
  .filter((element) => element.type !== 'file')
  .filter((element) => !(element.ariaLabel || element.innerText?.trim() || element.labels?.length || element.title))
  .map((element) => element.outerHTML.slice(0, 200))"""
# a number that stands for the samples of the clip in the player
SAMPLES = """() => {
  let sum = 7;
  for (const part of window.genreGan.shown().pcm) for (const value of part) sum = (31 * sum + value) % 2147483647;
  return sum;
}"""
# how many columns of the clip's spectrogram are drawn
N_DRAWN = """() => {
  const { image } = window.genreGan.shown();
  const { data } = image.getContext('2d').getImageData(0, 48, image.width, 1);
  return data.filter((_, i) => i % 4 === 3 && data[i] > 0).length;
}"""

# what fades in, as messages do, has no contrast before; svelte waits in one animation and fades in a second, a frame later
FADED_IN = """async () => {
  const fades = ({ effect, playState }) => playState === 'running' && effect.getComputedTiming().endTime < 5000;
  for (let still = 0; still < 3; still += 1) {
    for (const { finished } of document.getAnimations().filter(fades)) {
      still = 0;
      await finished.catch(() => {}); // what is taken off the page is never finished
    }
    await new Promise(requestAnimationFrame);
  }
}"""


def keep_picture(page, name: str) -> None:
    """Write one of the README's pictures, where they are asked for."""
    if folder := os.environ.get("GENRE_GAN_SCREENSHOTS"):
        page.mouse.move(0, 0)
        page.wait_for_timeout(1_000)  # gradio's player draws its waveform
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        picture = picture.quantize(256, Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE)
        picture.save(Path(folder) / f"{name}.png", optimize=True)


def open_settings(page) -> None:
    page.get_by_role("button", name="More settings").click()
    page.wait_for_selector("#seed input, #seed textarea")
    page.wait_for_timeout(250)  # what is typed while gradio still builds the fields is lost


def choose(page, field: str, label: str) -> None:
    """Choose in a dropdown."""
    page.click(f"#{field} input")
    page.get_by_role("option", name=label, exact=True).click()
    page.get_by_role("option").first.wait_for(state="detached")


def blend_with_metal(page) -> None:
    choose(page, "second", "metal")
    page.wait_for_selector("#share input[type=number]")


def set_length(page, seconds: float) -> None:
    has_it = f"Number(document.querySelector('#duration input[type=range]').value) === {seconds}"
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(has_it):  # what is typed while gradio still builds the field is lost
        assert time.monotonic() < deadline, f"the length does not become {seconds} s"
        page.fill("#duration input[type=number]", str(seconds))
        page.press("#duration input[type=number]", "Tab")
        page.wait_for_timeout(50)


def set_seed(page, text: str) -> None:
    page.locator("#seed").locator("input, textarea").fill(text)


def wait_for_takes(page, number: int) -> None:
    page.wait_for_function(f"document.querySelectorAll('#takes li').length === {number}")


def wait_until_made(page) -> None:
    page.locator("#player .status", has_text="The classifier hears").wait_for()
    page.wait_for_function("window.genreGan.shown()?.done")


def generate(page, takes: int = 1) -> None:
    """Press Generate, and wait until so many takes are there."""
    page.click("#generate-button")
    wait_for_takes(page, takes)
    wait_until_made(page)


def title(page) -> str:
    return page.inner_text("#player .title")


def take_titles(page) -> list[str]:
    return [field.input_value() for field in page.locator("#takes .name").all()]


def menu(page, name: str, entry: str) -> None:
    """Choose from one of the player's menus."""
    page.locator("#player summary", has_text=name).click()
    page.locator("#player details[open]").get_by_role("button", name=entry, exact=True).click()


def toast(page) -> str:
    return page.wait_for_selector("[data-testid=toast-body]").inner_text()


@cache
def axe() -> str:
    """The script of axe-core, as the package axe-playwright-python brings it; nothing where that is missing."""
    found = importlib.util.find_spec("axe_playwright_python")
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8") if found and found.origin else ""


def barriers(page) -> list[str]:
    """What keeps people from using the page as it stands: what axe-core calls serious or critical, a low contrast among it."""
    if not axe():
        return []
    page.evaluate(axe())
    page.evaluate(FADED_IN)
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    return [f"{v['id']}: {node['html'][:200]}" for v in found if v["impact"] in ("serious", "critical") for node in v["nodes"]]


def fits_its_width(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
