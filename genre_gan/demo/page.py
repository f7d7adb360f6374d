"""The page: its tabs, and its endpoints `/generate` and `/classify`."""

from __future__ import annotations

import gradio as gr
from gradio import processing_utils

from genre_gan.demo.about_tab import add_about_tab
from genre_gan.demo.classify_tab import add_classify_tab
from genre_gan.demo.events import PRIVATE
from genre_gan.demo.forms import KEPT_CLIPS, take_in
from genre_gan.demo.generate_tab import add_generate_tab
from genre_gan.demo.models import Models
from genre_gan.demo.server import own_file

TITLE = "genre-gan: music by genre"
CACHE_CHECK_S, CACHE_AGE_S = 600, 7_200
IN_QUEUE = 32


def build_demo(models: Models) -> gr.Blocks:
    """Build the page and its two endpoints, `/generate` and `/classify`, on the given pipelines."""
    processing_utils.async_ssrf_protected_download = own_file
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(CACHE_CHECK_S, CACHE_AGE_S)) as demo:
        gr.Markdown("# genre-gan\nGenerate short music by genre, or find out which genre a recording sounds like.")
        for notice in models.notices:
            gr.Markdown(f"**Note:** {notice}")
        with gr.Tabs() as tabs:
            with gr.Tab("Generate", id="generate"):
                takes, senders = add_generate_tab(models)
            with gr.Tab("Classify", id="classify"):
                upload, classifying = add_classify_tab(models)
            with gr.Tab("About", id="about"):
                add_about_tab(models)
        for slot, sender in zip([None, *range(KEPT_CLIPS)], senders, strict=True):
            sender.click(
                lambda takes, slot=slot: (take_in(takes, slot).path, gr.Tabs(selected="classify")),
                takes, [upload, tabs], queue=False, **PRIVATE,
            ).then(**classifying, **PRIVATE)
    return demo.queue(max_size=IN_QUEUE)
