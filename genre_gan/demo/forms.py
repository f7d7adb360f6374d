"""What a visitor asks for, and the clips that came of it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import NamedTuple

import gradio as gr
from gradio import processing_utils

from genre_gan import Clip
from genre_gan.files import file_names

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
        def name(position: int | None) -> str:
            return ALONE if position is None else genres[position % len(genres)]

        return [cls(name(first), name(other), *rest, False, seed, model) for first, other, *rest, seed in EXAMPLES]

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
    name = file_names([re.sub(r"[\W_]+", "-", title.lower())])[0]
    return processing_utils.save_bytes_to_cache(clip.encode(file_format), f"{name}.{file_format}", gr.utils.get_upload_folder())
