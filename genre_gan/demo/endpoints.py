"""The page as an API: `/generate` and `/classify`, for gradio's clients, plain HTTP and MCP."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.components.api_component import Api

from genre_gan.demo.errors import user_errors
from genre_gan.demo.hearing import Listener
from genre_gan.demo.limits import ON_MODELS
from genre_gan.demo.models import Models
from genre_gan.demo.music import keep_file
from genre_gan.demo.wishes import ALONE, DEFAULT_DURATION_S, Form, title_of

RANDOM_SEED = -1


def add_endpoints(models: Models) -> None:
    """Add both. Their inputs are not the page's fields, which would round, clip or refuse values in words of their own."""
    listener = Listener(models)

    def generate(
        genre: str, duration_s: float, seed: int, second_genre: str, second_share: float, variation: float, model: str,
        tempo_bpm: float | None = None, key: str | None = None, loop: bool = False,
    ) -> tuple[str, int]:  # fmt: skip
        """Generate a WAV clip of a genre, or of a blend of two; the seed used comes back with it.

        Args:
            genre: One of the genres that the model knows.
            duration_s: Length in seconds, from 2 to 60.
            seed: The same seed gives the same clip; -1 draws one.
            second_genre: A genre to blend in, or "none".
            second_share: The second genre's share in percent.
            variation: From 0, typical of the genre, to 1.5, daring.
            model: One of the models that the page offers.
            tempo_bpm: Beats a minute, where the model takes a tempo.
            key: Such as "A minor", where the model takes a key.
            loop: Whether the end flows into the beginning.
        """
        with user_errors():
            drawn = None if seed == RANDOM_SEED and not isinstance(seed, bool) else seed
            form = Form(genre, second_genre, second_share, duration_s, variation, drawn, model, tempo_bpm, key, loop)
            recipe = form.recipe(models)
            clip = models.make(recipe)
            return keep_file(clip.encode("wav"), title_of(recipe), "wav"), recipe.seed

    def classify(audio: str | None) -> tuple[Any, ...]:
        """Name the genre of a sound file: the likeliest genres, a sentence, the genre over time, and a picture of that as HTML.

        Args:
            audio: A sound file of at most 50 MB and 30 minutes.
        """
        if audio is None:
            raise gr.Error("There is no sound yet: send a file first.", print_exception=False)
        with user_errors(audio):
            heard = listener.hear(audio)
            return heard.label, heard.words, [point._asdict() for point in heard.timeline], heard.picture

    def field(name: str, kind: str, value: Any) -> Api:
        return Api(value, {"type": kind}, label=name)

    inputs = [
        field("genre", "string", models.generator(models.default).genres[0]), field("duration_s", "number", DEFAULT_DURATION_S),
        field("seed", "integer", RANDOM_SEED), field("second_genre", "string", ALONE), field("second_share", "number", 30),
        field("variation", "number", 1.0), field("model", "string", models.default), field("tempo_bpm", "number", None),
        field("key", "string", None), field("loop", "boolean", False),
    ]  # fmt: skip
    with gr.Group(visible=False):
        ask = gr.Button()
        sound, clip = gr.Audio(type="filepath", label="audio"), gr.Audio(label="clip")
        outputs = [gr.Label(label="genre"), gr.Textbox(label="sentence"), gr.JSON(label="timeline"), gr.HTML(label="picture")]
    ask.click(generate, inputs, [clip, field("seed", "integer", None)], api_name="generate", **ON_MODELS)
    ask.click(classify, sound, outputs, api_name="classify", **ON_MODELS)
