"""The demo in the browser: generate music by genre, and name the genre of an upload.

    python app.py                                    # http://127.0.0.1:7860
    python app.py --port 8000 --auth anna:secret     # with a login
    python app.py --share                            # with a temporary public link
    python app.py --model user/genre-gan --classifier runs/lstm

The page is also an API, `/generate` and `/classify`, and an MCP server where `gradio[mcp]` is installed.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import logging
import os
import re
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlparse

import gradio as gr
import numpy as np
import torch
from gradio import processing_utils
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from genre_gan import Clip, GenreClassifier, GenreGenerator, Guess, load_audio
from genre_gan.audio import SAMPLE_RATE_HZ, read_blocks
from genre_gan.clip import FORMATS
from genre_gan.hub import packaged_weights
from genre_gan.plots import sound_html, spectrogram_of
from genre_gan.pretrained import ModelError

PACKAGED = {
    "mel": "mel: the default, a GAN on spectrograms",
    "fcn": "fcn: the report's fully connected GAN",
    "cnn": "cnn: the report's convolutional GAN",
}
MIN_DURATION_S, DEFAULT_DURATION_S, MAX_DURATION_S = 2.0, 8.0, 60.0
ALONE = "none"  # no second genre
RANDOM_SEED = -1
MAX_SEED = 2**53 - 1  # the largest whole number that a browser keeps exactly
KEPT_CLIPS = 6
EXAMPLES = (  # positions of the genre and of one to blend with, the latter's share in percent, seconds, variation, seed
    (5, None, 30, 8.0, 1.0, 1),
    (1, None, 30, 15.0, 0.6, 2),
    (6, 4, 40, 10.0, 1.0, 3),
    (8, 3, 50, 12.0, 1.4, 4),
)
SYNTHETIC = {  # samples by their index
    "white noise": lambda i: 0.1 * np.random.default_rng(0).standard_normal(len(i)),
    "a pure tone": lambda i: 0.3 * np.sin(2 * np.pi * 440 * i / SAMPLE_RATE_HZ),
    "silence": lambda i: 0.0 * i,
}
RESULTS = Path(__file__).parent / "training" / "results"
TITLE = "genre-gan: music by genre"

MAX_UPLOAD_S, MAX_UPLOAD_MB = 30 * 60, 50
MAX_BODY_BYTES = 1_000_000  # of a request that is no upload
MAX_CACHE_BYTES = 4_000_000_000
CACHE_CHECK_S, CACHE_AGE_S = 600, 7_200
AT_ONCE, IN_QUEUE = 2, 32
ON_MODELS = {"concurrency_id": "models", "concurrency_limit": AT_ONCE}
PRIVATE = {"api_visibility": "private"}
QUIET = {"api_visibility": "private", "show_progress": "hidden"}

CSS = """
.playhead { background: #fff; mix-blend-mode: difference; opacity: 0 }
#player audio { width: 100% }
.dark #player audio { color-scheme: dark }
#spectrogram, #timeline { padding-top: 2.4em }
#takes { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)) }
"""
STOP_JS = "() => { window.dispatchEvent(new Event('genre-gan-stop')); }"
# Plays pieces as they come, and hands over to the browser's own player, at the same moment of the music, once all are there.
PLAYER_JS = """
const audio = element.querySelector('audio');
let clip, context, output, heard, begin, end;
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const hush = () => { output?.disconnect(); output = null; };
const open = (id, rate) => {
  hush();
  audio.pause();
  if (context?.sampleRate !== rate) context = new AudioContext({ sampleRate: rate });
  output = context.createGain();
  output.connect(context.destination);
  [clip, heard, begin] = [id, 0, context.currentTime + 0.03];
  end = begin;
};
const schedule = (pcm) => {
  const source = context.createBufferSource(), late = Math.max(0, context.currentTime - end);
  source.buffer = context.createBuffer(1, pcm.length, context.sampleRate);
  source.buffer.getChannelData(0).set(Float32Array.from(pcm, (value) => value / 32768));
  source.connect(output);
  source.start(end + late);
  begin += late;
  end += late + source.buffer.duration;
};
watch('value', () => {
  if (!props.value) return;
  document.querySelector('#status').role = 'status';
  const { id, rate, pieces, header } = props.value;
  if (id !== clip) open(id, rate);
  for (; output && heard < pieces.length; heard++) schedule(new Int16Array(bytes(pieces[heard]).buffer));
  if (!header || audio.dataset.clip === id) return;
  audio.dataset.clip = id;
  URL.revokeObjectURL(audio.src);
  audio.src = URL.createObjectURL(new Blob([header, ...pieces].map(bytes), { type: 'audio/wav' }));
  if (!output) return;
  audio.currentTime = Math.max(0, context.currentTime - begin);
  audio.play().then(hush, hush);
});
audio.addEventListener('timeupdate', () => {
  for (const line of document.querySelectorAll('#spectrogram .playhead'))
    Object.assign(line.style, { left: `${100 * audio.currentTime / audio.duration}%`, opacity: 1 });
});
window.addEventListener('genre-gan-stop', () => { hush(); audio.pause(); });
"""

CLASSIFY_NOTE = f"""The classifier knows ten genres and nothing else, and it is often wrong about artists that it never heard: read
the percentages as a hint. It says **not sure** when no genre stands out, as with silence, noise or speech. Files may have
{MAX_UPLOAD_MB} MB and {MAX_UPLOAD_S // 60} minutes; wav, flac, ogg, mp3 and au always work, others where the server has ffmpeg. What you send
is deleted after some hours and used for nothing else."""

PYTHON_SNIPPET = """from genre_gan import GenreClassifier, GenreGenerator

clip = GenreGenerator.from_pretrained().generate("jazz", duration_s=8, seed=1)
clip.save("jazz.wav")
print(GenreClassifier.from_pretrained().classify("jazz.wav").verdict)"""

CLIENT_SNIPPET = """from gradio_client import Client, handle_file

client = Client("http://127.0.0.1:7860")  # the address of this page
audio, seed = client.predict("jazz", 8, -1, api_name="/generate")  # -1 draws a seed; the one used comes back
blend, seed = client.predict("jazz", 8, 7, second_genre="hiphop", second_share=30, model="fcn", api_name="/generate")
label, sentence, timeline, picture = client.predict(handle_file(audio), api_name="/classify")
print(label["label"], sentence)"""

HTTP_SNIPPET = """import json
from urllib.request import Request, urlopen

api = "http://127.0.0.1:7860/gradio_api"  # the address of this page, and /gradio_api
# genre, seconds, seed, blended with, its share in percent, variation, model
body = json.dumps({"data": ["jazz", 8, 1, "none", 30, 1.0, "fcn"]}).encode()
event = json.load(urlopen(Request(api + "/call/generate", body, {"Content-Type": "application/json"})))["event_id"]
answer = urlopen(f"{api}/call/generate/{event}").read().decode()
audio, seed = json.loads(answer.split("data: ")[-1])
with open("jazz.wav", "wb") as file:
    file.write(urlopen(audio["url"]).read())"""

ABOUT = """### What this is
A conditional GAN, a network that was trained against a critic, turns random numbers and a genre into sound. An LSTM listens to
slices of a recording, says how likely each genre is, and averages. Both follow a coursework report, and go on from it; the report's
own generators, `fcn` and `cnn`, work on the raw waveform and make noise with a rhythm.

{weights}

### From Python
```python
{python}
```

### Over the network
With gradio's client (`pip install gradio_client`):
```python
{client}
```
Or with plain HTTP:
```python
{http}
```

### Train your own
```bash
python training/train_lstm.py --data path/to/genres --output-dir runs/lstm
accelerate launch training/train_cgan.py --data path/to/genres --model fcn --segment-s 4 --output-dir runs/fcn
python app.py --model runs/fcn --classifier runs/lstm
```
`--data` is a folder of sound by genre, a table of tracks, or a data set on the Hub; each script's `--help` explains the rest.
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
    except FileNotFoundError as error:
        raise gr.Error("This sound is no longer kept here: please make it or send it again.", print_exception=False) from error
    except Exception as error:
        logger.exception("a request failed")
        raise gr.Error("Something went wrong here. Please try again.", print_exception=False) from error


async def own_file(url: str, cache_dir: str) -> str:
    """The file behind an address of this page, in place of gradio's download, which would hold a file of any size in memory."""
    path = Path(unquote(urlparse(url).path).partition("/gradio_api/file=")[2]).resolve()
    if not (path.is_relative_to(Path(cache_dir).resolve()) and path.is_file()):
        raise gr.Error("Send the file itself: addresses of other sites are not fetched here.", print_exception=False)
    return str(path)


class BodyLimit:
    """Middleware that ends requests larger than an upload, or than any other request, may be."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        is_upload = scope.get("path", "").endswith("/upload")
        left = MAX_UPLOAD_MB * 2**20 + MAX_BODY_BYTES if is_upload else MAX_BODY_BYTES

        async def receive_some():
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, "This is too large to send.")
            return message

        await self.app(scope, receive_some if scope["type"] == "http" else receive, send)


def trim_cache(folder: Path, max_bytes: int) -> None:
    """Delete the oldest files of `folder` until at most `max_bytes` are left."""
    files = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # gradio deletes here too
            if path.is_file():
                files.append((path.stat().st_mtime, path.stat().st_size, path))
    excess = sum(size for _, size, _ in files) - max_bytes
    for _, size, path in sorted(files):
        if excess <= 0:
            return
        excess -= size
        path.unlink(missing_ok=True)


class Models:
    """The pipelines behind the page, each loaded once, when it is first asked for.

    Where a Hub id cannot be loaded the packaged weights stand in, and `notices` says so.

    Args:
        generator: a folder or a Hub id, offered first; None offers the packaged models alone.
        classifier: a folder or a Hub id; None is the packaged one.

    Raises:
        ModelError: a local folder that holds no such model.
    """

    def __init__(self, generator: str | None = None, classifier: str | None = None):
        self.notices: list[str] = []
        self.labels = {name: label for name, label in PACKAGED.items() if packaged_weights(name).is_dir()}
        self._lock = threading.Lock()
        self._generators: dict[str, GenreGenerator] = {}
        if generator is not None and (loaded := self._load(GenreGenerator, generator)):
            name = shown_source(generator)
            self._generators[name] = loaded
            self.labels = {name: f"{name}: {loaded.name}"} | self.labels
        self.default = next(iter(self.labels))
        self.classifier = classifier and self._load(GenreClassifier, classifier) or GenreClassifier.from_pretrained()

    def _load(self, pipeline: type, source: str) -> GenreGenerator | GenreClassifier | None:
        try:
            return pipeline.from_pretrained(source)
        except ModelError as error:
            if Path(source).exists():
                raise
            self.notices.append(f"{source} could not be loaded, so weights from the package stand in for it.")
            logger.warning("%s %s", self.notices[-1], error)
            return None

    def generator(self, name: str) -> GenreGenerator:
        """The generator of that name, one of `labels`."""
        if name not in self.labels:
            raise ValueError(f"model must be one of {', '.join(self.labels)}, got {name!r}")
        with self._lock:
            if name not in self._generators:
                self._generators[name] = GenreGenerator.from_pretrained(name)
            return self._generators[name]

    def in_use(self) -> str:
        """Which weights are in use, as Markdown."""
        offered = "\n".join(f"- {label}" for label in self.labels.values())
        return f"Generators here, the default first:\n{offered}\n\nClassifier: LSTM, {shown_source(self.classifier.source)}"

    def warm_up(self) -> None:
        """Go once through everything that the first click needs."""
        generator = self.generator(self.default)
        clip = generator.generate(generator.genres[0], MIN_DURATION_S, 0)
        picture_of(clip, "warm-up", self.classifier.classify(clip))


def shown_source(source: str) -> str:
    """A model's name for visitors: of a folder's path they need the end, and that it is none of the packaged models."""
    return f"{Path(source).resolve().name} (folder)" if Path(source).is_dir() else source


class Form(NamedTuple):
    """What a visitor asks for on the Generate tab; `share` is the second genre's, in percent."""

    genre: str
    second: str
    share: float
    duration_s: float
    variation: float
    is_random: bool
    seed: int | None
    model: str

    @property
    def wanted(self) -> str | dict[str, float]:
        """The genre, or the blend."""
        if self.second in (ALONE, self.genre):
            return self.genre
        return {self.genre: 1.0 - self.share / 100.0, self.second: self.share / 100.0}

    @property
    def title(self) -> str:
        """The clip's name for people."""
        blend = "" if self.wanted == self.genre else f" with {self.share:g} % {self.second}"
        return f"{self.genre}{blend}, seed {self.seed}"

    @classmethod
    def examples(cls, genres: Sequence[str], model: str) -> list[Form]:
        """`EXAMPLES` in the genres that there are."""
        names = [(genres[first % len(genres)], ALONE if other is None else genres[other % len(genres)]) for first, other, *_ in EXAMPLES]
        return [cls(*pair, *rest, False, seed, model) for pair, (_, _, *rest, seed) in zip(names, EXAMPLES)]

    def with_seed(self) -> Form:
        """The same, with the seed drawn if it is to be."""
        is_drawn = self.is_random or self.seed in (None, RANDOM_SEED)
        return self._replace(is_random=False, seed=secrets.randbelow(2**31) if is_drawn else self.seed)


class Take(NamedTuple):
    """A clip of this visit: its number from 0, the form that made it, and where its WAV file lies."""

    number: int
    form: Form
    path: str


def take_in(takes: list[Take], slot: int | None) -> Take:
    """The take that a slot of the page shows; None means the latest."""
    shown = [take for take in takes if slot is None or take.number % KEPT_CLIPS == slot]
    if not shown:
        raise gr.Error("This clip is no longer here: please generate it again.", print_exception=False)
    return shown[-1]


def keep_file(clip: Clip, title: str, file_format: str) -> str:
    """Write a clip into gradio's cache, which serves it and deletes it later, under a name that visitors can use."""
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return processing_utils.save_bytes_to_cache(clip.encode(file_format), f"{name}.{file_format}", gr.utils.get_upload_folder())


def picture_of(clip: Clip, title: str, guess: Guess | None = None) -> str:
    """A clip's spectrogram, with the genre over time under it if there is a guess."""
    timeline = guess.timeline if guess else ()
    return sound_html(spectrogram_of([clip.samples], clip.sample_rate_hz), f"Spectrogram of {title}", timeline)


def describe(guess: Guess) -> str:
    """Say a guess in a sentence or two."""
    n_slices = len(guess.timeline)
    heard = f"Heard {guess.timeline[-1].end_s:.1f} s in {n_slices} slice{'s' if n_slices != 1 else ''}"
    if not guess.is_sure:
        return f"Not sure: no genre stands out. {heard}."
    n_agreeing = sum(point.genre == guess.genre for point in guess.timeline)
    return f"Most likely {guess.genre} ({guess.probabilities[guess.genre]:.0%}). {heard}; {guess.genre} came first in {n_agreeing}."


def label_of(guess: Guess) -> dict[str, float] | str:
    """What a label shows: genres with their probabilities, or the word that there is none."""
    return guess.probabilities if guess.is_sure else guess.verdict


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
            for music, clip in music_in_pieces(clips):
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
            genre: One of the genres that the model knows.
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
    settings = [genre, duration_s, seed, second, share, variation, model]
    result = [gr.Audio(label="Clip", visible=False), seed]
    gr.Button(visible=False).click(generate, settings, result, api_name="generate", **ON_MODELS)
    file_format.input(convert, [file_format, takes], download, **QUIET)
    model.input(show_genres, [model, genre, second], [genre, second], **QUIET)
    second.change(lambda name: gr.Slider(visible=name != ALONE), second, share, queue=False, **QUIET)
    for slot, (*_, reuse, _) in enumerate(slots):
        reuse.click(lambda takes, slot=slot: list(take_in(takes, slot).form), takes, form, queue=False, **QUIET)
    return takes, [send, *(again for *_, again in slots)]


def add_classify_tab(models: Models) -> tuple[gr.Audio, dict]:
    """Build the tab; returns where sound comes in, and the event, as keywords, that classifies it."""

    def blocks_of(path: str) -> Iterator[np.ndarray]:
        n_samples = 0
        for block in read_blocks(path):
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
            spectrogram = spectrogram_of(blocks_of(audio), SAMPLE_RATE_HZ)
            guess = models.classifier.classify(audio)
            picture = sound_html(spectrogram, f"Genre over time. {describe(guess)}", guess.timeline)
            return label_of(guess), describe(guess), [point._asdict() for point in guess.timeline], picture

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
            gr.Markdown(CLASSIFY_NOTE)
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


def add_about_tab(models: Models) -> None:
    """Build the tab: what this is, its use from code, and the tables and curves that stand in `training/results`."""
    gr.Markdown(ABOUT.format(weights=models.in_use(), python=PYTHON_SNIPPET, client=CLIENT_SNIPPET, http=HTTP_SNIPPET))
    for path in sorted(RESULTS.rglob("*.md"), key=lambda path: (path.stem != "report", path)):
        text = re.sub(r"!\[([^]]*)\]\([^)]*\)", r"*\1: see the pictures below*", path.read_text(encoding="utf-8"))
        with gr.Accordion(text.lstrip("# \n").partition("\n")[0] or path.stem, open=False):
            gr.Markdown(text)
    if pictures := sorted(RESULTS.rglob("*.png")):
        with gr.Accordion("Curves and pictures", open=False):
            for path in pictures:
                gr.Image(path, label=path.stem.replace("_", " "), interactive=False, buttons=["fullscreen"])


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
        for slot, sender in zip([None, *range(KEPT_CLIPS)], senders):
            sender.click(
                lambda takes, slot=slot: (take_in(takes, slot).path, gr.Tabs(selected="classify")),
                takes, [upload, tabs], queue=False, **PRIVATE,
            ).then(**classifying, **PRIVATE)
    return demo.queue(max_size=IN_QUEUE)


def serve(demo: gr.Blocks, **settings) -> None:
    """Launch the page, in threads of its own, with the limits that strangers need; `settings` go to gradio's `launch`."""
    demo.launch(
        prevent_thread_lock=True, theme=gr.themes.Soft(font=["system-ui", "sans-serif"]), css=CSS, footer_links=["api", "settings", "gradio"],
        max_file_size=f"{MAX_UPLOAD_MB}mb", app_kwargs={"middleware": [Middleware(BodyLimit)]}, state_session_capacity=1_000,
        enable_monitoring=False, run_history=False, mcp_server=importlib.util.find_spec("mcp") is not None, **settings,
    )


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
    for option, variable in (("model", "GENRE_GAN_MODEL"), ("classifier", "GENRE_GAN_CLASSIFIER")):
        parser.add_argument(
            f"--{option}", metavar="REPO_OR_FOLDER", default=os.environ.get(variable) or None,
            help=f"{option} to offer first (default: ${variable}, else the weights in the package)",
        )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Load the models and serve the page until interrupted."""
    args = parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever stops it, the cache goes too
    torch.set_num_threads(max(1, torch.get_num_threads() // AT_ONCE))
    with tempfile.TemporaryDirectory(prefix="genre_gan_", dir=os.environ.get("GRADIO_TEMP_DIR")) as cache:
        os.environ["GRADIO_TEMP_DIR"] = cache
        try:
            models = Models(args.model, args.classifier)
            demo = build_demo(models)
            serve(demo, server_name=args.host, server_port=args.port, share=args.share, auth=args.auth)
        except (ValueError, OSError) as error:
            raise SystemExit(f"app.py: {error}") from error
        if args.share and demo.share_url is None:
            print(f"No public link could be made (is there a network?); the demo stays on {demo.local_url}", flush=True)
        models.warm_up()
        try:
            while True:
                trim_cache(Path(cache), MAX_CACHE_BYTES)
                time.sleep(60)
        except KeyboardInterrupt:
            demo.close()


if __name__ == "__main__":
    main()
