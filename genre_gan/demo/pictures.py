"""What the page shows of a clip and of a guess."""

from __future__ import annotations

from genre_gan import Clip, Guess
from genre_gan.plots import sound_html, spectrogram_of


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
    probability = f"{guess.probabilities[guess.genre]:.0%}"
    n_agreeing = sum(point.genre == guess.genre for point in guess.timeline)
    return f"Most likely {guess.genre} ({probability}). {heard}; {guess.genre} came first in {n_agreeing}."


def label_of(guess: Guess) -> dict[str, float] | str:
    """What a label shows: genres with their probabilities, or the word that there is none."""
    return guess.probabilities if guess.is_sure else guess.verdict
