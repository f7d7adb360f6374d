"""The Generate tab: a form, the music while it is made, and the clips of this visit."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np

from genre_gan import Clip, load_audio
from genre_gan.clip import FORMATS
from genre_gan.demo.errors import user_errors
from genre_gan.demo.events import ON_MODELS, PRIVATE, QUIET
from genre_gan.demo.forms import ALONE, KEPT_CLIPS, MAX_SEED, RANDOM_SEED, Form, Take, keep_file, take_in
from genre_gan.demo.models import Models
from genre_gan.demo.pictures import label_of, picture_of

MIN_DURATION_S, DEFAULT_DURATION_S, MAX_DURATION_S = 2.0, 8.0, 60.0
PLAYER_JS = Path(__file__).with_name("player.js").read_text(encoding="utf-8")
STOP_JS = "() => { window.dispatchEvent(new Event('genre-gan-stop')); }"


def music_in_pieces(clips: Iterator[Clip]) -> Iterator[tuple[dict, Clip | None]]:
    """What the player needs after each clip, and, once all are there, their WAV header and the whole clip.

    The list of pieces grows: a page that draws two answers at once misses none of them.
    """
    music, parts = {"id": secrets.token_hex(8), "pieces": []}, []
    header_bytes = 44
    for clip in clips:
        parts.append(clip.samples)
        piece = base64.b64encode(clip.encode("wav")[header_bytes:]).decode()
        music = music | {"rate": clip.sample_rate_hz, "pieces": [*music["pieces"], piece]}
        yield music, None
    whole = Clip(np.concatenate(parts), clip.sample_rate_hz)
    yield music | {"header": base64.b64encode(whole.encode("wav")[:header_bytes]).decode()}, whole


def add_generate_tab(models: Models) -> tuple[gr.State, list[gr.Button]]:
    """Build the tab; returns the visit's takes, and the buttons that send the latest one, and each slot's, to be classified."""
    genres = list(models.generator(models.default).genres)
    takes = gr.State([])
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            with gr.Row():
                genre = gr.Dropdown(genres, value=genres[0], label="Genre", min_width=120, elem_id="genre")
                second = gr.Dropdown([ALONE, *genres], value=ALONE, label="Blend with", min_width=120, elem_id="second")
            share = gr.Slider(0, 100, 30, step=5, label="Share of the second genre (%)", visible=False, elem_id="share")
            duration_s = gr.Slider(
                MIN_DURATION_S, MAX_DURATION_S, DEFAULT_DURATION_S, step=0.5, label="Length (seconds)", elem_id="duration"
            )
            variation = gr.Slider(
                0.0, 1.5, 1.0, step=0.1, label="Variation", info="Low: typical of the genre. High: daring.", elem_id="variation"
            )
            seed = gr.Number(
                RANDOM_SEED, precision=0, minimum=RANDOM_SEED, maximum=MAX_SEED, label="Seed", elem_id="seed",
                info="The same seed gives the same music; -1 draws one.",
            )
            is_random = gr.Checkbox(value=True, label="A new seed each time (untick to keep this one)", elem_id="random-seed")
            choices = [(label, name) for name, label in models.labels.items()]
            model = gr.Dropdown(choices, value=models.default, label="Model", elem_id="model")
            with gr.Row():
                button = gr.Button("Generate", variant="primary", min_width=120, elem_id="generate-button")
                stop = gr.Button("Stop", min_width=80, elem_id="stop-button")
        with gr.Column(scale=3, min_width=300):
            frame = "<audio controls aria-label='Generated music'></audio>"
            player = gr.HTML(html_template=frame, js_on_load=PLAYER_JS, elem_id="player")
            status = gr.Markdown("Choose a genre and press Generate.", elem_id="status")
            spectrogram = gr.HTML(label="Spectrogram", show_label=True, container=True, padding=True, elem_id="spectrogram")
            with gr.Row():
                heard = gr.Label(label="What the classifier hears", num_top_classes=3, min_width=200, elem_id="heard")
                with gr.Column(min_width=200):
                    file_format = gr.Radio(FORMATS, value="wav", label="File format", elem_id="format")
                    download = gr.DownloadButton("Download", interactive=False, elem_id="download")
                    send = gr.Button("Send to Classify", interactive=False, elem_id="send")
    form = [genre, second, share, duration_s, variation, is_random, seed, model]
    offered = Form.examples(genres, models.default)
    titles = [f"{example.title}, {example.duration_s:g} s" for example in offered]
    examples = gr.Examples(
        [list(example) for example in offered], form, example_labels=titles, label="Examples: a click generates one", **PRIVATE
    )
    gr.Markdown(f"### Your clips\nThe last {KEPT_CLIPS} of this visit, to compare.")
    slots = []
    with gr.Row(elem_id="takes"):
        for _ in range(KEPT_CLIPS):
            with gr.Column(min_width=280, visible=False) as box:
                audio = gr.Audio(interactive=False, buttons=["download"], elem_classes="take")
                note = gr.Markdown()
                with gr.Row():
                    reuse = gr.Button("Use its settings", size="sm", min_width=100)
                    again = gr.Button("Send to Classify", size="sm", min_width=100)
            slots.append((box, audio, note, reuse, again))

    def offer(clip: Clip, form: Form, file_format: str) -> gr.DownloadButton:
        return gr.DownloadButton(f"Download {file_format}", keep_file(clip, form.title, file_format), interactive=True)

    def compose(values: dict, progress: gr.Progress = gr.Progress()) -> Iterator[dict]:  # noqa: B008 (gradio's way)
        with user_errors():
            began = time.perf_counter()
            asked = Form(*(values[field] for field in form)).with_seed()
            generator = models.generator(asked.model)
            clips = generator.generate(asked.wanted, asked.duration_s, asked.seed, asked.variation, stream=True)
            for music, clip in music_in_pieces(clips):  # noqa: B007 (the last one is the whole clip)
                progress((len(music["pieces"]), None), desc="Making music", unit="pieces")
                yield {player: music}
            made = f"{clip.duration_s:g} s, made by {asked.model} in {time.perf_counter() - began:.2f} s"
            yield {seed: asked.seed, status: f"**{asked.title}**: {made}.", spectrogram: picture_of(clip, asked.title)}
            guess = models.classifier.classify(clip)
            earlier = values[takes]
            take = Take(earlier[-1].number + 1 if earlier else 0, asked, keep_file(clip, asked.title, "wav"))
            box, audio, note, *_ = slots[take.number % KEPT_CLIPS]
            yield {
                heard: label_of(guess),
                takes: [*earlier, take][-KEPT_CLIPS:],
                download: offer(clip, asked, values[file_format]),
                send: gr.Button(interactive=True),
                box: gr.Column(visible=True),
                audio: gr.Audio(take.path, label=f"{take.number + 1}. {asked.title}"),
                note: f"{made}. The classifier hears: **{guess.verdict}**",
            }

    def convert(file_format: str, takes: list[Take]) -> gr.DownloadButton:
        """The latest take as a file of the chosen format."""
        with user_errors():
            if not takes:
                return gr.DownloadButton()
            rate_hz = models.generator(takes[-1].form.model).sample_rate_hz
            return offer(load_audio(takes[-1].path, rate_hz), takes[-1].form, file_format)

    def show_genres(model: str, genre: str, second: str) -> tuple[gr.Dropdown, gr.Dropdown]:
        """A model's genres; the ones chosen stay where it knows them."""
        with user_errors():
            names = list(models.generator(model).genres)
            first, blended = (genre if genre in names else names[0]), (second if second in names else ALONE)
            return gr.Dropdown(names, value=first), gr.Dropdown([ALONE, *names], value=blended)

    def generate(
        genre: str, duration_s: float, seed: int, second_genre: str, second_share: float, variation: float, model: str
    ) -> tuple[str, int]:
        """Generate a WAV clip of a genre, or of a blend of two; the seed used comes back with it.

        Args:
            genre: One of the genres that the model knows, in any spelling.
            duration_s: Length in seconds, from 2 to 60.
            seed: The same seed gives the same clip; -1 draws one.
            second_genre: A genre to blend in, or "none".
            second_share: The second genre's share in percent.
            variation: From 0, typical of the genre, to 1.5, daring.
            model: One of the models that the page offers.
        """
        with user_errors():
            asked = Form(genre, second_genre, second_share, duration_s, variation, False, seed, model).with_seed()
            clip = models.generator(model).generate(asked.wanted, duration_s, asked.seed, variation)
            return keep_file(clip, asked.title, "wav"), asked.seed

    shown = [part for box, audio, note, *_ in slots for part in (box, audio, note)]
    composing = {
        "fn": compose, "inputs": {*form, file_format, takes}, "show_progress_on": status, **ON_MODELS, **PRIVATE,
        "outputs": [player, seed, status, spectrogram, heard, takes, download, send, *shown],
    }
    running = [button.click(**composing), examples.load_input_event.then(**composing)]
    stop.click(lambda: "Stopped.", None, status, cancels=running, js=STOP_JS, queue=False, **QUIET)
    # over the network a genre goes by any of its names, as in Python
    any_name = {"allow_custom_value": True, "visible": False}
    asked = gr.Dropdown(genres, value=genres[0], label="Genre", **any_name)
    asked_second = gr.Dropdown([ALONE, *genres], value=ALONE, label="Blend with", **any_name)
    settings = [asked, duration_s, seed, asked_second, share, variation, model]
    result = [gr.Audio(label="Clip", visible=False), seed]
    gr.Button(visible=False).click(generate, settings, result, api_name="generate", **ON_MODELS)
    file_format.input(convert, [file_format, takes], download, **QUIET)
    model.input(show_genres, [model, genre, second], [genre, second], **QUIET)
    second.change(lambda name: gr.Slider(visible=name != ALONE), second, share, queue=False, **QUIET)
    for slot, (*_, reuse, _) in enumerate(slots):
        reuse.click(lambda takes, slot=slot: list(take_in(takes, slot).form), takes, form, queue=False, **QUIET)
    return takes, [send, *(again for *_, again in slots)]
