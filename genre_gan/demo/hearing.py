"""What the Classify tab asks of the server: one sound in full, or many in a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from genre_gan import Clip, Guess
from genre_gan.audio import SAMPLE_RATE_HZ, load_audio
from genre_gan.classify import TimelinePoint
from genre_gan.demo.errors import user_errors
from genre_gan.demo.limits import MAX_FILES, MAX_UPLOAD_S
from genre_gan.demo.models import Models
from genre_gan.demo.music import keep_file
from genre_gan.demo.pictures import sound_html
from genre_gan.markdown import table
from genre_gan.plots import spectrogram_of
from genre_gan.wording import clock, csv_text, nearest, sentence, strongest_moment

BLOCK_S = 20


class Heard(NamedTuple):
    """What the classifier heard, in the order of the page's fields.

    Attributes:
        label: genres with their probabilities, or the words that there is none.
        words: a sentence, and what a listener should know of the file.
        timeline: what was heard in each slice.
        picture: the spectrogram with the genre over time, as HTML.
    """

    label: dict[str, float] | str
    words: str
    timeline: tuple[TimelinePoint, ...]
    picture: str


HINT = "Send a song or record one: what it sounds like, and when, appears here."
HEADERS = ["file", "genre", "in words"]
SLICE_HEADERS = ["from", "to", "genre", "then"]
NOTHING = (None, HINT, "", "")  # the fields while there is no sound


def load(path: str, notes: list[str]) -> Clip:
    """The whole sound of a file, decoded once; what should be known of it goes into `notes`.

    Raises:
        ValueError: longer than `MAX_UPLOAD_S`, or no sound.
    """
    clip = load_audio(path, SAMPLE_RATE_HZ, max_duration_s=MAX_UPLOAD_S + 1.0, on_note=notes.append)
    if clip.duration_s > MAX_UPLOAD_S:
        raise ValueError(f"The sound is longer than {MAX_UPLOAD_S // 60} minutes: send a part of it.")
    return clip


def label_of(guess: Guess) -> dict[str, float] | str:
    """What a label shows: genres with their probabilities, or the words that there is none."""
    return guess.probabilities if guess.is_sure else guess.verdict


def row_of(name: str, result: Guess | str) -> list[str]:
    """A row of the page's table, in the order of `HEADERS`."""
    if isinstance(result, str):
        return [name, "", result]
    return [name, result.verdict, sentence(result)]


def table_html(rows: Sequence[Sequence[str]]) -> str:
    """The page's table of many files; not in Markdown, to which a file's name may mean something."""
    lines = [("th", HEADERS), *(("td", row) for row in rows)]
    cells = ("".join(f"<{tag}>{escape(text)}</{tag}>" for text in line) for tag, line in lines)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in cells)}</table>"


def slice_table(timeline: Sequence[TimelinePoint]) -> str:
    """What was heard in each slice, in Markdown: as plain text it is read out well, and costs the page nothing."""
    rows = []
    for point in timeline:
        likeliest = sorted(point.probabilities.items(), key=lambda item: -item[1])[:2]
        named = [f"{genre} {probability:.0%}" for genre, probability in likeliest]
        rows.append([clock(point.start_s), clock(point.end_s), *named])
    return table(SLICE_HEADERS, rows)


class Listener:
    """The handlers, on the given pipelines. Errors reach the visitor in words."""

    def __init__(self, models: Models):
        self.models = models

    def hear(self, path: str) -> Heard:
        """All that can be said of a file."""
        notes: list[str] = []
        clip = load(path, notes)
        guess = self.models.classifier.classify(clip)
        step = BLOCK_S * SAMPLE_RATE_HZ
        blocks = (clip.samples[start : start + step] for start in range(0, len(clip.samples), step))
        details = " ".join(filter(None, [strongest_moment(guess), nearest(guess), *(f"Note: {note}." for note in notes)]))
        words = f"{sentence(guess)}\n\n{details}".strip().replace(path, Path(path).name)
        picture = sound_html(spectrogram_of(blocks, SAMPLE_RATE_HZ), f"Genre over time. {words}", guess.timeline)
        return Heard(label_of(guess), words, guess.timeline, picture)

    def begin(self, path: str | None, page: dict[str, Any]) -> tuple:
        """Note which sound a visitor's page holds now; no answer stands beside it yet."""
        page["sound"] = path
        return NOTHING

    def one(self, path: str | None, page: dict[str, Any]) -> Any:
        """What the page shows of its sound. What is late, an error too, goes nowhere: the page holds another sound by then."""
        if path is None:
            return gr.skip()
        try:
            with user_errors(path):
                heard = self.hear(path)
        except gr.Error:
            if page.get("sound", path) == path:
                raise
            return gr.skip()
        if page.get("sound", path) != path:
            return gr.skip()
        return heard.label, heard.words, slice_table(heard.timeline), heard.picture

    def many(self, paths: Sequence[str] | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple]:  # noqa: B008 (gradio's way)
        """A table of many files and the same as a CSV file. A file that cannot be read gets its error as its row."""
        with user_errors():
            if not paths:
                yield gr.HTML(visible=False), gr.DownloadButton(visible=False)
                return
            if len(paths) > MAX_FILES:
                raise ValueError(f"At most {MAX_FILES} files at once, please; there were {len(paths)}.")
            results: dict[str, Guess | str] = {}
            for path in progress.tqdm(paths, desc="Listening", unit="files"):
                name = Path(path).name
                while name in results:
                    name += "'"
                results[name] = self.result_of(path)
            genres = self.models.classifier.genres
            csv_file = keep_file(csv_text(results, genres).encode(), "genres", "csv")
            rows = [row_of(name, result) for name, result in results.items()]
            yield gr.HTML(table_html(rows), visible=True), gr.DownloadButton(value=csv_file, visible=True)

    def result_of(self, path: str) -> Guess | str:
        """The guess, or what is wrong with the file."""
        try:
            return self.models.classifier.classify(load(path, []))
        except (ValueError, OSError) as error:
            return str(error).replace(path, Path(path).name)
