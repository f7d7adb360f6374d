"""The tab that tells how it works: for lay people first, then its use from code, then what was measured."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from genre_gan.demo.models import Models
from genre_gan.demo.server import has_mcp

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "training" / "results"
SNIPPETS = {path.stem: path.read_text(encoding="utf-8").rstrip() for path in (HERE / "snippets").glob("*.py")}
ADDRESS = "http://127.0.0.1:7860"  # in the snippets, where the page puts its own
OWN_ADDRESS_JS = f"(text) => [text.replaceAll('{ADDRESS}', location.origin + location.pathname.replace(/[/]$/, ''))]"
LESSON_COMES = "<p>The sounds are being made.</p>"
# What gradio leaves out: names of pictures that are buttons, and a way for the keyboard into tables that scroll.
READABLE_JS = """() => setTimeout(() => {
  for (const button of document.querySelectorAll('.result .image-container button:not([aria-label])'))
    button.ariaLabel = 'Enlarge ' + button.closest('.block').querySelector('label').innerText;
  for (const table of document.querySelectorAll('.result table')) table.tabIndex = 0;
}, 300)"""
PICTURE = re.compile(r"!\[([^]]*)\]\(([^)]*)\)")
LOCAL_LINK = re.compile(r"\[([^]]*)\]\((?!https?:)[^)]*\)")


def read_text(name: str) -> str:
    """One of the texts."""
    return (HERE / "texts" / name).read_text(encoding="utf-8")


class AboutTab(NamedTuple):
    """What the page fills in: the three sounds, once the tab is looked at, and the text in which its own address is to stand."""

    lesson: gr.HTML
    use: gr.Markdown


def add_about_tab(models: Models) -> AboutTab:
    """Build the tab."""
    gr.Markdown(read_text("how.md"))
    gr.HTML(read_text("steps.html"), apply_default_css=False)
    gr.Markdown("## Look and listen")
    lesson = gr.HTML(LESSON_COMES, elem_id="lesson", apply_default_css=False)
    gr.Markdown(read_text("class.md"))
    gr.Markdown(read_text("more.md").format(weights=models.in_use()))
    mcp = read_text("mcp.md") if has_mcp() else ""
    use = gr.Markdown(read_text("use.md").format(mcp=mcp, **SNIPPETS), elem_id="use")
    paths = sorted(RESULTS.rglob("*.md"), key=lambda path: (len(path.parts), path.stem != "report", path))
    if paths:
        gr.Markdown("## What was measured")
    titles: set[str] = set()
    for path in paths:
        title, text, pictures = result_page(path)
        if title in titles:
            title += f" ({path.relative_to(RESULTS).with_suffix('').as_posix().replace('/', ', ').replace('_', ' ')})"
        titles.add(title)
        with gr.Accordion(title, open=False, elem_classes="result") as page:
            gr.Markdown(text)
            for picture in pictures:
                gr.Image(str(picture), label=picture.stem.replace("_", " "), interactive=False, buttons=["fullscreen"])
        page.expand(None, js=READABLE_JS)
    return AboutTab(lesson, use)


def result_page(path: Path) -> tuple[str, str, list[Path]]:
    """A page of results: its title, its text without it, and its pictures. Links to files beside it would lead nowhere here."""
    text = path.read_text(encoding="utf-8")
    pictures = [path.parent / target for _, target in PICTURE.findall(text)]
    text = LOCAL_LINK.sub(r"\1", PICTURE.sub("", text)).strip()
    title, _, rest = text.partition("\n") if text.startswith("# ") else (f"# {path.stem}", "", text)
    return title.removeprefix("# "), rest.strip(), [picture for picture in pictures if picture.is_file()]
