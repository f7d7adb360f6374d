"""The page: its tabs, and its endpoints `/generate` and `/classify`."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import gradio as gr
from gradio import processing_utils

from genre_gan.demo import limits
from genre_gan.demo.about_tab import OWN_ADDRESS_JS, add_about_tab
from genre_gan.demo.classify_tab import add_classify_tab
from genre_gan.demo.endpoints import add_endpoints
from genre_gan.demo.generate_tab import SAME_JS, add_generate_tab
from genre_gan.demo.handlers import Handlers
from genre_gan.demo.lesson import lesson_html
from genre_gan.demo.models import Models
from genre_gan.demo.server import own_file

TITLE = "genre-gan: music by genre"


class Page(gr.Blocks):
    """Blocks whose users learn in words what is wrong with their values, and whose sessions keep one value of each component."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """What gradio does, with its errors made fit for users: they would read `null`."""
        if len(inputs) < len(block_fn.inputs):
            names = ", ".join(str(component.label) for component in block_fn.inputs)
            wanted = f"{block_fn.api_name} takes {len(block_fn.inputs)} values ({names}), got {len(inputs)}"
            raise gr.Error(wanted, print_exception=False)
        try:
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise gr.Error("These values are not what this field takes.", print_exception=False) from error

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """What gradio does; a component that it has built anew for a session then goes by the number of the one it replaces.

        Gradio would keep its later values under a number of its own, where no end of a job has them forgotten.
        """
        output = await super().postprocess_data(block_fn, predictions, state)
        if state is not None:
            for number, block in state.blocks_config.blocks.items():
                block._id = number
        return output


def build_demo(models: Models) -> gr.Blocks:
    """Build the page and its two endpoints on the given pipelines."""
    processing_utils.async_ssrf_protected_download = own_file
    with Page(title=TITLE, analytics_enabled=False, delete_cache=(limits.CACHE_CHECK_S, limits.CACHE_AGE_S)) as demo:
        gr.Markdown("# genre-gan\nMake music by genre, or name a genre by ear.", elem_id="head")
        for notice in models.notices:
            gr.Markdown(f"**Note:** {notice}")
        with gr.Tabs() as tabs:
            with gr.Tab("Generate", id="generate"):
                made = add_generate_tab(models)
            with gr.Tab("Classify", id="classify"):
                upload = add_classify_tab(models)
            with gr.Tab("How it works", id="about") as about:
                lesson, use = add_about_tab(models)
        made.player.classify(Handlers(models).to_classify, None, [upload, tabs], **limits.ON_MODELS, **limits.PRIVATE)
        about.select(cache(partial(lesson_html, models)), None, lesson, **limits.ON_MODELS, **limits.QUIET)
        demo.load(None, made.takes, made.takes_view, js=SAME_JS)
        demo.load(None, use, use, js=OWN_ADDRESS_JS)
        add_endpoints(models)
    # open, the API would have addresses that pass by the queue
    return demo.queue(max_size=limits.IN_QUEUE, api_open=False)
