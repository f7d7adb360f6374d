"""The Classify tab: a file or a recording, its genre, and its genre over time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import gradio as gr
import numpy as np

from genre_gan import Clip
from genre_gan.audio import SAMPLE_RATE_HZ, read_blocks
from genre_gan.demo.errors import user_errors
from genre_gan.demo.events import ON_MODELS, PRIVATE
from genre_gan.demo.forms import keep_file
from genre_gan.demo.models import Models
from genre_gan.demo.pictures import describe, label_of
from genre_gan.demo.server import MAX_UPLOAD_MB
from genre_gan.plots import sound_html, spectrogram_of

MAX_UPLOAD_S = 30 * 60
SYNTHETIC = {  # samples by their index
    "white noise": lambda i: 0.1 * np.random.default_rng(0).standard_normal(len(i)),
    "a pure tone": lambda i: 0.3 * np.sin(2 * np.pi * 440 * i / SAMPLE_RATE_HZ),
    "silence": lambda i: 0.0 * i,
}
NOTE = (Path(__file__).parent / "texts" / "classify.md").read_text(encoding="utf-8")


def add_classify_tab(models: Models) -> tuple[gr.Audio, dict]:
    """Build the tab; returns where sound comes in, and the event, as keywords, that classifies it."""

    def blocks_of(path: str, notes: list[str]) -> Iterator[np.ndarray]:
        n_samples = 0
        for block in read_blocks(path, on_note=notes.append):
            n_samples += len(block)
            if n_samples > MAX_UPLOAD_S * SAMPLE_RATE_HZ:
                raise ValueError(f"The sound is longer than {MAX_UPLOAD_S // 60} minutes: send a part of it.")
            yield block

    def classify(audio: str | None) -> tuple[dict[str, float] | str, str, list[dict], str]:
        """Name the genre of a sound file: the likeliest genres, a sentence, the genre over time, and a picture of that as HTML.

        Args:
            audio: A sound file of at most 50 MB and 30 minutes.
        """
        with user_errors(audio):
            if audio is None:
                raise ValueError("There is no sound yet: upload a file or record one first.")
            notes: list[str] = []
            spectrogram = spectrogram_of(blocks_of(audio, notes), SAMPLE_RATE_HZ)
            guess = models.classifier.classify(audio, on_note=lambda note: None)  # all was noted the first time
            sentence = " ".join([describe(guess), *(f"Note: {note}." for note in notes)])
            picture = sound_html(spectrogram, f"Genre over time. {describe(guess)}", guess.timeline)
            return label_of(guess), sentence, [point._asdict() for point in guess.timeline], picture

    def example(kind: str) -> str:
        with user_errors():
            if kind in SYNTHETIC:
                samples = SYNTHETIC[kind](np.arange(6 * SAMPLE_RATE_HZ)).astype(np.float32)
                return keep_file(Clip(samples, SAMPLE_RATE_HZ), kind, "wav")
            return keep_file(models.generator(models.default).generate(kind, 10.0, seed=1), f"{kind} example", "wav")

    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            sources = ["upload", "microphone"]
            upload = gr.Audio(sources=sources, type="filepath", label="Music to classify", buttons=["download"], elem_id="upload")
            button = gr.Button("Classify", variant="primary", elem_id="classify-button")
            gr.Markdown("Or try a sound that is made here:")
            with gr.Row():
                kinds = [*models.generator(models.default).genres[1:8:3], *SYNTHETIC]
                examples = {kind: gr.Button(kind, size="sm", min_width=90) for kind in kinds}
            gr.Markdown(NOTE.format(max_mb=MAX_UPLOAD_MB, max_minutes=MAX_UPLOAD_S // 60))
        with gr.Column(scale=3, min_width=300):
            label = gr.Label(label="Genre", elem_id="label")
            sentence = gr.Textbox(label="In words", interactive=False, elem_id="summary")
            caption = "Spectrogram, and genre over time: the brighter, the likelier"
            picture = gr.HTML(label=caption, show_label=True, container=True, padding=True, elem_id="timeline")
            with gr.Accordion("Every slice in numbers", open=False):
                timeline = gr.JSON(label="Timeline", show_label=False)
    event = {"fn": classify, "inputs": upload, "outputs": [label, sentence, timeline, picture], **ON_MODELS}
    button.click(**event, api_name="classify")
    upload.upload(**event, **PRIVATE)
    for kind, choice in examples.items():
        choice.click(partial(example, kind), None, upload, **ON_MODELS, **PRIVATE).then(**event, **PRIVATE)
    return upload, event
