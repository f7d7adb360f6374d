"""Pictures of sound for the page: spectrograms that grow with the music, and the genre over time under one.

They are HTML with bitmaps in it and no drawings of text, so that labels stay readable at any width and take the page's colours.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import matplotlib
import numpy as np

from genre_gan.classify import TimelinePoint
from genre_gan.features import mel_frequencies
from genre_gan.plots import MAX_COLUMNS, Spectrogram, spectrogram_of
from genre_gan.wording import clock

TOP_DB, RANGE_DB = 20.0, 75.0  # of levels in pictures: loud music reaches the top, and silence is black
QUIET_TOP_DB = -20.0  # a quiet recording is drawn brighter, but not more than down to here
CAPTION = """<p class='caption'>The spectrogram, and under it each genre's share over time: the brighter, the likelier.
Click to hear.</p>"""
TICKS_HZ = (100, 500, 1000, 2000, 4000, 8000)
TICK_STEPS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


class GrowingSpectrogram:
    """The spectrogram of a clip that comes in parts.

    Attributes:
        n_columns: of the whole picture.
    """

    def __init__(self, n_samples: int, sample_rate_hz: int):
        self.n_columns = min(MAX_COLUMNS, max(1, n_samples // 256))
        self._n_samples, self._sample_rate_hz, self._n_done = n_samples, sample_rate_hz, 0

    def add(self, samples: np.ndarray) -> dict[str, int | str]:
        """Draw the next part: its first column and the one after its last, and the picture as base64 of a WebP file."""
        start = self._column(self._n_done)
        self._n_done += len(samples)
        stop = max(start + 1, self._column(self._n_done))
        level_db = spectrogram_of([samples], self._sample_rate_hz, max_columns=stop - start).level_db
        return {"start": start, "stop": stop, "picture": _webp(_brightness(level_db, TOP_DB), "magma")}

    def _column(self, n_samples: int) -> int:
        return round(self.n_columns * n_samples / self._n_samples)


def pitch_labels(sample_rate_hz: int, n_mels: int = 96) -> dict[str, float]:
    """Frequencies and where they lie on a spectrogram, from 0, its top, to 1."""
    centres_hz = mel_frequencies(n_mels + 2, sample_rate_hz / 2)[1:-1]
    shown = [hz for hz in TICKS_HZ if hz < centres_hz[-1]]
    return {f"{hz} Hz": float(1.0 - (np.interp(hz, centres_hz, np.arange(n_mels)) + 0.5) / n_mels) for hz in shown}


def sound_html(spectrogram: Spectrogram, description: str, timeline: Sequence[TimelinePoint] = ()) -> str:
    """A spectrogram and, on the same time axis under it, how likely each genre is in each slice.

    Args:
        spectrogram: of the sound.
        description: the picture in words, for those who do not see it.
        timeline: a guess's timeline; without it there is the spectrogram alone.
    """
    level_db, sample_rate_hz, duration_s = spectrogram
    top_db = float(np.clip(level_db.max(), QUIET_TOP_DB, TOP_DB))
    cells = _labels(pitch_labels(sample_rate_hz, len(level_db)))
    cells += _bitmap(_brightness(level_db, top_db), "magma", "11rem", "auto")
    if timeline:
        genres = list(timeline[0].probabilities)
        step_s = min(point.end_s - point.start_s for point in timeline)
        moments_s = np.arange(step_s / 2, duration_s, step_s)
        slices = np.searchsorted([point.end_s for point in timeline], moments_s).clip(max=len(timeline) - 1)
        rows = np.array([[timeline[i].probabilities[genre] for i in slices] for genre in genres])
        rows[:, moments_s > timeline[-1].end_s] = 0.0  # a rest too short to be classified
        names = {genre: (row + 0.5) / len(genres) for row, genre in enumerate(genres)}
        cells += _labels(names) + _bitmap(rows, "viridis", f"{1.3 * len(genres):g}rem", "pixelated")
    step_s = next((step for step in TICK_STEPS_S if duration_s / step <= 5), TICK_STEPS_S[-1])
    moments = {at_s: 100 * at_s / duration_s for at_s in range(0, int(duration_s) + 1, step_s)}
    ticks = "".join(f"<span style='left:{left:.2f}%'>{clock(at_s)}</span>" for at_s, left in moments.items())
    attributes = f"role='img' aria-label='{escape(description, quote=True)}' data-duration-s='{duration_s:.3f}'"
    picture = f"<div class='sound' {attributes}>{cells}<span></span><span class='ticks'>{ticks}</span></div>"
    return picture + CAPTION if timeline else picture


def _brightness(level_db: np.ndarray, top_db: float) -> np.ndarray:
    """Levels [shape=(n_mels, T)] as values in [0, 1], the highest pitch first."""
    return (1.0 + (level_db[::-1] - top_db) / RANGE_DB).clip(0.0, 1.0)


def _labels(places: dict[str, float]) -> str:
    """A column of labels, each at its height as a share of the column's; the widest gives the width."""
    spans = "".join(f"<span style='top:{100 * top:.1f}%'>{escape(name)}</span>" for name, top in places.items())
    return f"<span class='labels'><span class='widest'>{escape(max(places, key=len))}</span>{spans}</span>"


def _bitmap(values: np.ndarray, colours: str, height: str, rendering: str) -> str:
    """Values in [0, 1] [shape=(rows, columns)] as a picture stretched over its cell."""
    data = _webp(values, colours, lossless=rendering == "pixelated")
    return f"<img alt='' src='data:image/webp;base64,{data}' style='height:{height};image-rendering:{rendering}'>"


def _webp(values: np.ndarray, colours: str, lossless: bool = False) -> str:
    from PIL import Image

    picture = io.BytesIO()
    pixels = matplotlib.colormaps[colours](values, bytes=True)[..., :3]
    Image.fromarray(np.ascontiguousarray(pixels)).save(picture, "WEBP", lossless=lossless, quality=85, method=2)
    return base64.b64encode(picture.getvalue()).decode()
