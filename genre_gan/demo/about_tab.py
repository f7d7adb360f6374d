"""The About tab: what this is, its use from code, and what was measured."""

from __future__ import annotations

import re
from pathlib import Path

import gradio as gr

from genre_gan.demo.models import Models

RESULTS = Path(__file__).parents[2] / "training" / "results"
ABOUT = (Path(__file__).parent / "texts" / "about.md").read_text(encoding="utf-8")
SNIPPETS = {path.stem: path.read_text(encoding="utf-8").rstrip() for path in (Path(__file__).parent / "snippets").glob("*.py")}


def add_about_tab(models: Models) -> None:
    """Build the tab: what this is, its use from code, and the tables and curves that stand in `training/results`."""
    gr.Markdown(ABOUT.format(weights=models.in_use(), **SNIPPETS))
    for path in sorted(RESULTS.rglob("*.md"), key=lambda path: (path.stem != "report", path)):
        text = re.sub(r"!\[([^]]*)\]\([^)]*\)", r"*\1: see the pictures below*", path.read_text(encoding="utf-8"))
        with gr.Accordion(text.lstrip("# \n").partition("\n")[0] or path.stem, open=False):
            gr.Markdown(text)
    if pictures := sorted(RESULTS.rglob("*.png")):
        with gr.Accordion("Curves and pictures", open=False):
            for path in pictures:
                gr.Image(path, label=path.stem.replace("_", " "), interactive=False, buttons=["fullscreen"])
