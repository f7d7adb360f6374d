"""Clips for the player, piece by piece while they are made."""

from __future__ import annotations

import base64
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
from gradio import processing_utils

from genre_gan import Clip, Guess
from genre_gan.demo.look import colour_of
from genre_gan.demo.models import Models
from genre_gan.demo.pictures import GrowingSpectrogram, pitch_labels
from genre_gan.demo.wishes import facts_of, query_of, title_of
from genre_gan.files import file_names
from genre_gan.recipe import Recipe

Music = dict[str, Any]  # what the player gets
Answer = list[Music] | gr.HTML | dict[str, Any]  # music, the end of a job, or nothing
PATIENCE_S = 10  # with what was asked before, should it never end


class Wanted(NamedTuple):
    """A clip that is to be made: its recipe, and the take that it already is, if it is one."""

    recipe: Recipe
    take_id: str | None = None


class Visit:
    """What goes on in one visitor's page, which numbers what it asks for: only what was asked last is made on."""

    def __init__(self):
        self.job = 0  # what was begun last
        self.stopped = 0  # the last one that was asked for before the last press on Stop
        self.making = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Visit:
        """What each visitor begins with: gradio copies the value of a state, and locks cannot be copied."""
        return Visit()

    @contextmanager
    def begin(self, job: int) -> Iterator[None]:
        """Have whatever was asked before end, and begin this.

        It begins when what went before has sent its last piece: a page that draws two answers at once sees the later one alone.
        """
        self.job = max(self.job, job)
        has_ended = self.making.acquire(timeout=PATIENCE_S)
        try:
            yield
        finally:
            if has_ended:
                self.making.release()

    def wants(self, job: int) -> bool:
        """Whether this is what was asked last, and not stopped."""
        return job == self.job and job > self.stopped

    def stop(self, job: int) -> None:
        """Have this and whatever was asked before end, or never begin where it waits in the queue."""
        self.stopped = max(self.stopped, job)


def keep_file(data: bytes, name: str, suffix: str) -> str:
    """Write a file into gradio's cache, which serves it and deletes it later, under a name that visitors can use."""
    safe = file_names(["-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())])[0]
    return processing_utils.save_bytes_to_cache(data, f"{safe}.{suffix}", gr.utils.get_upload_folder())


def download_of(path: str) -> dict[str, Any]:
    """A file of gradio's cache as gradio sends it to the page."""
    return gr.FileData(path=path, orig_name=path.rpartition("/")[2]).model_dump()


def perform(
    models: Models, wanted: Sequence[Wanted], visit: Visit, job: int, plays: bool = True
) -> Iterator[Answer]:
    """Make clips one after the other; what the player needs after each piece, and how it ended.

    The lists of clips and of their pieces grow: a page that draws two answers at once misses nothing. Gradio sends what is new in
    them, and the last answer whole once more: so the end is another property of the player, beside the music and not with it. It
    also has the server forget the music, some MB, which gradio keeps for as long as it is the player's last value. The music is a
    list of one: gradio's page changes what it holds in place, so that the end, which is a dict, would take another dict apart
    before it is drawn. A list is left whole.

    Args:
        wanted: at least one clip.
        visit: where a later wish, or a press on Stop, is noticed.
        job: the number that the page gave it.
        plays: whether the first of them is to be shown and played.
    """
    with visit.begin(job):
        if not visit.wants(job):  # since it waited
            yield gr.skip()
            return
        began = time.perf_counter()
        clips: list[Music] = [{"id": want.take_id or secrets.token_hex(6)} for want in wanted]
        music: Music = {"job": job, "n_wanted": len(wanted), "title": title_of(wanted[0].recipe)}
        music["play"] = clips[0]["id"] if plays else None
        yield [music | {"clips": []}]
        for i, want in enumerate(wanted):
            for clip, whole in pieces_of(models, want.recipe):  # noqa: B007 (the last one is the whole clip)
                clips[i] = clips[i] | clip
                yield [music | {"clips": clips[: i + 1]}]
                if not visit.wants(job):
                    made_s, duration_s = (clips[i][name] / clips[i]["rate"] for name in ("n_made", "n_samples"))
                    yield ending(job, f"Stopped at {made_s:.0f} of {duration_s:.0f} s.")
                    return
            guess = models.classifier.classify(whole)
            clips[i] = clips[i] | {"heard": heard(guess)}
            if want.take_id is None:
                clips[i] = clips[i] | {"take": take_of(clips[i])}
            yield [music | {"clips": clips[: i + 1]}]
        yield ending(job, made_note(models, wanted, clips, time.perf_counter() - began, plays))


def ending(job: int, note: str) -> gr.HTML:
    """What the player is told last of a job: what to say of it."""
    return gr.HTML(ending={"job": job, "note": note})


def made_note(models: Models, wanted: Sequence[Wanted], clips: Sequence[Music], took_s: float, plays: bool) -> str:
    """What the page says when all is made."""
    recipe = wanted[0].recipe
    if recipe.revision and models.following(recipe).revision != recipe.revision:
        return "The model has changed since this clip was made: it sounds different now."
    if not plays:
        return "Both are ready."
    what = f"{len(wanted)} takes" if len(wanted) > 1 else f"{clips[0]['n_samples'] / clips[0]['rate']:.3g} s"
    return f"{what} made in {took_s:.2f} s. The classifier hears {clips[0]['heard']}."


def heard(guess: Guess) -> str:
    """What the classifier hears in a clip, in short."""
    return f"{guess.genre} ({100 * guess.probabilities[guess.genre]:.0f} %)" if guess.is_sure else "no clear genre"


def pieces_of(models: Models, recipe: Recipe) -> Iterator[tuple[Music, Clip]]:
    """What is new of a clip after each of its pieces, and the sound so far."""
    parts, n_samples = clips_of(models, recipe)
    rate_hz, main_genre = models.following(recipe).sample_rate_hz, max(recipe.genre, key=lambda name: recipe.genre[name])
    growing = GrowingSpectrogram(n_samples, rate_hz)
    clip: Music = {
        "title": title_of(recipe), "colour": colour_of(main_genre), "rate": rate_hz, "n_samples": n_samples, "n_made": 0,
        "n_columns": growing.n_columns, "pitches": pitch_labels(rate_hz), "pieces": [], "done": False, "is_loop": recipe.loop,
        "recipe": recipe.to_json(), "query": query_of(recipe), "facts": facts_of(recipe, n_samples / rate_hz),
    }  # fmt: skip
    samples = np.zeros(0, np.float32)
    for part in parts:
        samples = np.concatenate([samples, part.samples])
        pcm = (part.samples.clip(-1.0, 1.0) * 32767).astype("<i2").tobytes()
        piece = {"pcm": base64.b64encode(pcm).decode(), **growing.add(part.samples)}
        n_made = clip["n_made"] + len(part.samples)
        clip = clip | {"pieces": [*clip["pieces"], piece], "n_made": n_made, "done": n_made == n_samples}
        yield clip, Clip(samples, rate_hz)


def clips_of(models: Models, recipe: Recipe) -> tuple[Iterator[Clip], int]:
    """The parts of a clip and how many samples they will have together. A loop comes whole: its length is known only then."""
    if recipe.loop:
        whole = models.make(recipe)
        return iter([whole]), len(whole.samples)
    return models.stream(recipe), round(recipe.duration_s * models.following(recipe).sample_rate_hz)


def take_of(clip: Music) -> Music:
    """What the browser keeps of a clip."""
    kept = {name: clip[name] for name in ("id", "title", "colour", "recipe", "query")}
    return kept | {"facts": f"{clip['facts']} · heard as {clip['heard']}", "starred": False}
