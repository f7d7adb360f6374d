"""The demo in the browser: generate music by genre, and name the genre of an upload.

    python app.py                                    # http://127.0.0.1:7860
    python app.py --port 8000 --auth anna:secret     # with a login
    python app.py --share                            # with a temporary public link
    python app.py --model user/genre-gan-fcn --classifier runs/lstm

The same page is an API, `/generate` and `/classify`, for gradio_client and plain HTTP.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import gradio as gr
import numpy as np
import torch
from matplotlib.figure import Figure

from genre_gan import Clip, GenreClassifier, GenreGenerator, Guess
from genre_gan.features import FeatureConfig, FeatureExtractor

MIN_DURATION_S, DEFAULT_DURATION_S, MAX_DURATION_S = 2.0, 8.0, 60.0
RANDOM_SEED = -1
MAX_SEED = 2**53 - 1  # the largest whole number that a browser keeps exactly
DYNAMIC_RANGE_DB = 80.0
TITLE = "genre-gan: music by genre"
LAUNCH_SETTINGS = {"max_file_size": "50mb", "theme": gr.themes.Soft()}
CACHE_CHECK_S, CACHE_AGE_S = 3600, 86_400

CLASSIFY_NOTE = """The classifier learned from ten genres and must choose one of them: speech, noise or any other kind
of music also gets an answer. It is often wrong on real recordings: read its percentages as a hint. Files up to 50 MB
and of half a second or more."""

ABOUT = """### What this is
A conditional GAN, a network that was trained against a critic, turns random numbers and a genre into sound. An LSTM
listens to slices of a recording, says how likely each genre is, and averages over the slices. The music is short and
rough: it shows a method and does not replace a musician.

- Generator: `{generator_name}` ({generator_source})
- Classifier: LSTM ({classifier_source})
- Genres to generate: {genres}

### From Python
```python
from genre_gan import GenreClassifier, GenreGenerator

clip = GenreGenerator.from_pretrained().generate("jazz", duration_s=8, seed=1)
clip.save("jazz.wav")
print(GenreClassifier.from_pretrained().classify("jazz.wav").probabilities)
```

### Over the network
```python
from gradio_client import Client, handle_file

client = Client("http://127.0.0.1:7860")  # the address of this page
audio, spectrogram, seed = client.predict("jazz", 8, -1, api_name="/generate")  # seed -1: a random one
label, timeline, text = client.predict(handle_file("jazz.wav"), api_name="/classify")
```
"""

logger = logging.getLogger(__name__)


@contextmanager
def user_errors(path: str | None = None) -> Iterator[None]:
    """Show the user a `ValueError`'s own words (with `path` cut to its name); log anything else and apologise."""
    try:
        yield
    except gr.Error:
        raise
    except ValueError as error:
        message = str(error)
        if path is not None:
            message = message.replace(path, Path(path).name)
        raise gr.Error(message, print_exception=False) from error
    except Exception as error:
        logger.exception("a request failed")
        raise gr.Error("Something went wrong here. Please try again.", print_exception=False) from error


@lru_cache(maxsize=1)
def _spectrogram_extractor(sample_rate_hz: int) -> FeatureExtractor:
    config = FeatureConfig(name="log-mel", sample_rate_hz=sample_rate_hz, n_fft=1024, hop_length=256, n_mels=96)
    return FeatureExtractor(config)


def plot_spectrogram(clip: Clip) -> Figure:
    """Draw a clip's mel spectrogram: time across, pitch upwards, level in dB under the loudest point."""
    from librosa import mel_frequencies

    extractor = _spectrogram_extractor(clip.sample_rate_hz)
    n_mels = extractor.config.n_mels
    with torch.inference_mode():
        level_db = extractor(torch.from_numpy(clip.samples)[None])[0].T.numpy()  # (n_mels, T)
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(
        level_db - level_db.max(), origin="lower", aspect="auto", cmap="magma", vmin=-DYNAMIC_RANGE_DB, vmax=0.0,
        extent=(0.0, clip.duration_s, -0.5, n_mels - 0.5),
    )
    centres_hz = mel_frequencies(n_mels + 2, fmin=0.0, fmax=clip.sample_rate_hz / 2)[1:-1]
    ticks_hz = [tick_hz for tick_hz in (250, 500, 1000, 2000, 4000, 8000) if tick_hz < centres_hz[-1]]
    axes.set_yticks(np.interp(ticks_hz, centres_hz, np.arange(n_mels)), [str(tick_hz) for tick_hz in ticks_hz])
    axes.set(title="Mel spectrogram", xlabel="Time (s)", ylabel="Frequency (Hz)")
    figure.colorbar(image, ax=axes, label="Level (dB)")
    return figure


def plot_timeline(guess: Guess, genres: Sequence[str]) -> Figure:
    """Draw how probable each genre is in each slice: time across, one row for each genre."""
    edges_s = [point.start_s for point in guess.timeline] + [guess.timeline[-1].end_s]
    probabilities = np.array([[point.probabilities[genre] for point in guess.timeline] for genre in genres])
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(genres) + 1)
    mesh = axes.pcolormesh(edges_s, rows, 100.0 * probabilities, cmap="viridis", vmin=0.0, vmax=100.0)
    middles_s = [(point.start_s + point.end_s) / 2 for point in guess.timeline]
    axes.plot(middles_s, probabilities.argmax(0) + 0.5, "o", color="white", markeredgecolor="black")
    axes.set_yticks(np.arange(len(genres)) + 0.5, list(genres))
    axes.invert_yaxis()
    axes.set(title="Genre over time (a dot marks the likeliest)", xlabel="Time (s)")
    figure.colorbar(mesh, ax=axes, label="Probability (%)")
    return figure


def describe(guess: Guess) -> str:
    """Say a guess in a sentence or two."""
    share = guess.probabilities[guess.genre]
    n_slices = len(guess.timeline)
    n_agreeing = sum(point.genre == guess.genre for point in guess.timeline)
    heard = f"Heard {guess.timeline[-1].end_s:.1f} s in {n_slices} slice{'s' if n_slices != 1 else ''}"
    return f"Most likely {guess.genre} ({share:.0%}). {heard}; {guess.genre} came first in {n_agreeing}."


def _add_generate_tab(generator: GenreGenerator) -> None:
    shortest_s = max(MIN_DURATION_S, generator.min_duration_s)
    longest_s = min(MAX_DURATION_S, generator.max_duration_s)

    def generate(genre: str, duration_s: float, seed: int | None) -> tuple[bytes, Figure, int]:
        with user_errors():
            if seed is None or seed == RANDOM_SEED:
                seed = secrets.randbelow(2**31)
            clip = generator.generate(genre, duration_s, seed)
            return clip.encode("wav"), plot_spectrogram(clip), seed

    def switch_seed(is_random: bool, seed_used: int | None) -> gr.Number:
        if is_random:
            return gr.Number(value=RANDOM_SEED, interactive=False)
        return gr.Number(value=seed_used or 0, interactive=True)

    with gr.Row():
        with gr.Column(scale=1):
            genre = gr.Dropdown(list(generator.genres), value=generator.genres[0], label="Genre", elem_id="genre")
            duration_s = gr.Slider(
                shortest_s, longest_s, value=min(max(DEFAULT_DURATION_S, shortest_s), longest_s), step=0.5,
                label="Length (seconds)", elem_id="duration",
            )
            is_random = gr.Checkbox(value=True, label="Random seed", elem_id="random-seed")
            seed = gr.Number(
                value=RANDOM_SEED, precision=0, minimum=RANDOM_SEED, maximum=MAX_SEED, interactive=False, label="Seed",
                info="The same seed gives the same music; -1 draws a new one. Untick the box to choose.",
                elem_id="seed",
            )
            button = gr.Button("Generate", variant="primary", elem_id="generate-button")
        with gr.Column(scale=2):
            player = gr.Audio(
                label="Generated music", interactive=False, buttons=["download"], elem_id="generated-audio"
            )
            spectrogram = gr.Plot(label="Mel spectrogram", show_label=False, elem_id="spectrogram")
            seed_used = gr.Number(label="Seed used", precision=0, interactive=False, elem_id="seed-used")
    is_random.change(switch_seed, [is_random, seed_used], seed, api_visibility="private", show_progress="hidden")
    button.click(
        generate, [genre, duration_s, seed], [player, spectrogram, seed_used], api_name="generate",
        api_description="Generate a WAV clip of a genre. A seed of -1 draws a random one; the seed used comes back.",
        concurrency_id="models", concurrency_limit=2,
    )


def _add_classify_tab(classifier: GenreClassifier) -> None:
    def classify(audio: str | None) -> tuple[dict[str, float], Figure, str]:
        with user_errors(audio):
            if audio is None:
                raise ValueError("There is no sound yet: upload a file or record one first.")
            guess = classifier.classify(audio)
            return guess.probabilities, plot_timeline(guess, classifier.genres), describe(guess)

    with gr.Row():
        with gr.Column(scale=1):
            upload = gr.Audio(
                sources=["upload", "microphone"], type="filepath", label="Music to classify", buttons=["download"],
                elem_id="upload",
            )
            button = gr.Button("Classify", variant="primary", elem_id="classify-button")
            gr.Markdown(CLASSIFY_NOTE)
        with gr.Column(scale=2):
            label = gr.Label(label="Genre", elem_id="label")
            timeline = gr.Plot(label="Genre over time", show_label=False, elem_id="timeline")
            summary = gr.Textbox(label="In words", interactive=False, elem_id="summary")
    button.click(
        classify, upload, [label, timeline, summary], api_name="classify",
        api_description="Name the genre of a sound file: probabilities, a plot over time and a sentence.",
        concurrency_id="models", concurrency_limit=2,
    )


def _shown_source(source: str) -> str:
    """A folder's whole path says more about the server than visitors need."""
    return Path(source).resolve().name if Path(source).is_dir() else source


def build_demo(generator: GenreGenerator, classifier: GenreClassifier) -> gr.Blocks:
    """Build the page and its two endpoints, `/generate` and `/classify`, on the given pipelines."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(CACHE_CHECK_S, CACHE_AGE_S)) as demo:
        gr.Markdown("# genre-gan\nGenerate short music by genre, or find out which genre a recording sounds like.")
        with gr.Tab("Generate", elem_id="generate-tab"):
            _add_generate_tab(generator)
        with gr.Tab("Classify", elem_id="classify-tab"):
            _add_classify_tab(classifier)
        with gr.Tab("About", elem_id="about-tab"):
            gr.Markdown(
                ABOUT.format(
                    generator_name=generator.name, generator_source=_shown_source(generator.source),
                    classifier_source=_shown_source(classifier.source), genres=", ".join(generator.genres),
                )
            )
    return demo.queue(max_size=32)


def _login(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    if not user or not password:
        # the text itself may be a password, so the message does not repeat it
        raise argparse.ArgumentTypeError("must be user:password, with neither part empty")
    return user, password


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 65535, got {text!r}")
    return int(text)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; on a Hugging Face Space the page is served to the outside by default."""
    parser = argparse.ArgumentParser(description="Serve the demo: generate music by genre, and classify uploads.")
    default_host = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"
    parser.add_argument("--host", default=default_host, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also make a temporary public link")
    parser.add_argument("--auth", type=_login, metavar="USER:PASSWORD", help="ask visitors to log in")
    parser.add_argument("--model", metavar="REPO_OR_FOLDER", help="generator (default: the weights in the package)")
    parser.add_argument("--classifier", metavar="REPO_OR_FOLDER", help="classifier (default: as for --model)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Load the models and serve the page until interrupted."""
    args = parse_args(argv)
    try:
        demo = build_demo(GenreGenerator.from_pretrained(args.model), GenreClassifier.from_pretrained(args.classifier))
        demo.launch(
            server_name=args.host, server_port=args.port, share=args.share, auth=args.auth, prevent_thread_lock=True,
            **LAUNCH_SETTINGS,
        )
    except (ValueError, OSError) as error:
        raise SystemExit(f"app.py: {error}") from error
    if args.share and demo.share_url is None:
        print(f"No public link could be made (is there a network?); the demo stays on {demo.local_url}", flush=True)
    demo.block_thread()


if __name__ == "__main__":
    main()
