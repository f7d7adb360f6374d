"""Pictures of sound and of training, drawn without a display."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from genre_gan.classify import TimelinePoint
from genre_gan.clip import Clip
from genre_gan.features import FeatureConfig, FeatureExtractor

DYNAMIC_RANGE_DB = 80.0
MAX_COLUMNS = 1200  # more than a picture has pixels for
TICKS_HZ = (100, 500, 1000, 2000, 4000, 8000)
TICK_STEPS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


def mel_figure(clips: Sequence[Clip], titles: Sequence[str], columns: int = 1) -> Figure:
    """Mel spectrograms of `clips` in one sheet, all on one colour scale from -60 to 20 dB."""
    levels_db = [spectrogram_of([clip.samples], clip.sample_rate_hz).level_db for clip in clips]
    return level_figure(levels_db, [clip.duration_s for clip in clips], titles, columns)


def level_figure(levels_db: Sequence[np.ndarray], durations_s: Sequence[float], titles: Sequence[str], columns: int = 1) -> Figure:
    """A sheet of spectrograms in dB [shape=(n_mels, T)] on one colour scale from -60 to 20 dB."""
    rows = -(-len(levels_db) // columns)
    figure = Figure(figsize=(6.4 * columns, 2.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, level_db, duration_s, title in zip(
        figure.subplots(rows, columns, squeeze=False).flat, levels_db, durations_s, titles
    ):
        extent = (0.0, duration_s, 0, len(level_db))
        axes.imshow(level_db, origin="lower", aspect="auto", extent=extent, vmin=-60, vmax=20, cmap="magma")
        axes.set(title=title, xlabel="seconds", ylabel="mel band")
    return figure


def learning_curve_figure(rows: Sequence[Mapping[str, float]]) -> Figure:
    """One panel for each logged value over the steps; a row is `{"step": 10, "loss": 0.7}` and may lack some values."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "step"))
    figure = Figure(figsize=(3.2 * len(names), 2.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False).flat, names):
        points = [(row["step"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points), linewidth=1)
        axes.set(title=name, xlabel="step")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write `figure` as a picture."""
    figure.savefig(path, dpi=110)


def spectra_figure(spectra: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Average spectra by name: frequencies in Hz and levels in dB."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, (frequencies_hz, level_db) in spectra.items():
        axes.semilogx(frequencies_hz[1:], level_db[1:], label=name, linewidth=1.2)
    axes.set(xlabel="frequency (Hz)", ylabel="level (dB)", xlim=(20, frequencies_hz[-1]))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


class Spectrogram(NamedTuple):
    """Mel levels of a sound, evenly spaced in time.

    Attributes:
        level_db: [shape=(n_mels, n_columns)].
        sample_rate_hz, duration_s: of the sound.
    """

    level_db: np.ndarray
    sample_rate_hz: int
    duration_s: float


def spectrogram_of(blocks: Iterable[np.ndarray], sample_rate_hz: int) -> Spectrogram:
    """The spectrogram of consecutive blocks of samples [shape=(n,)], each read once; at most `MAX_COLUMNS` columns."""
    extractor = _extractor(sample_rate_hz)
    frames, n_samples = [], 0
    with torch.inference_mode():
        for block in blocks:
            if len(block):
                frames.append(extractor(torch.from_numpy(np.ascontiguousarray(block))[None])[0].half())
                n_samples += len(block)
        level_db = torch.cat(frames).float().T  # (n_mels, T)
        if level_db.shape[1] > MAX_COLUMNS:
            level_db = torch.nn.functional.adaptive_avg_pool1d(level_db, MAX_COLUMNS)
    return Spectrogram(level_db.numpy(), sample_rate_hz, n_samples / sample_rate_hz)


@lru_cache(maxsize=4)
def _extractor(sample_rate_hz: int) -> FeatureExtractor:
    return FeatureExtractor(FeatureConfig("log-mel", sample_rate_hz, n_fft=1024, hop_length=256, n_mels=96))


def sound_html(spectrogram: Spectrogram, description: str, timeline: Sequence[TimelinePoint] = ()) -> str:
    """A spectrogram and, on the same time axis under it, how likely each genre is in each slice.

    It is HTML and no drawing of text, so that labels stay readable at any width and take the page's colours. An element
    of the class `playhead` stands at the left edge for a player to move.

    Args:
        spectrogram: of the sound.
        description: the picture in words, for those who do not see it.
        timeline: a guess's timeline; without it there is the spectrogram alone.
    """
    from librosa import mel_frequencies

    level_db, sample_rate_hz, duration_s = spectrogram
    n_mels = len(level_db)
    centres_hz = mel_frequencies(n_mels + 2, fmin=0.0, fmax=sample_rate_hz / 2)[1:-1]
    pitches = {f"{hz} Hz": 1.0 - (np.interp(hz, centres_hz, np.arange(n_mels)) + 0.5) / n_mels for hz in TICKS_HZ}
    loudness = 1.0 + (level_db - level_db.max()) / DYNAMIC_RANGE_DB
    cells = _labels(pitches) + _bitmap(loudness[::-1], "magma", "11rem", "auto")
    if timeline:
        genres = list(timeline[0].probabilities)
        step_s = min(point.end_s - point.start_s for point in timeline)
        moments_s = np.arange(step_s / 2, duration_s, step_s)
        slices = np.searchsorted([point.end_s for point in timeline], moments_s).clip(max=len(timeline) - 1)
        rows = np.array([[timeline[i].probabilities[genre] for i in slices] for genre in genres])
        rows[:, moments_s > timeline[-1].end_s] = 0.0  # a rest too short to be judged
        names = {genre: (row + 0.5) / len(genres) for row, genre in enumerate(genres)}
        cells += _labels(names) + _bitmap(rows, "viridis", f"{1.3 * len(genres):g}rem", "pixelated")
    step_s = next((step for step in TICK_STEPS_S if duration_s / step <= 5), TICK_STEPS_S[-1])
    ticks = "".join(
        f"<span style='position:absolute;left:{100 * at_s / duration_s:.2f}%;transform:translateX(-50%)'>"
        f"{at_s // 60}:{at_s % 60:02d}</span>"
        for at_s in range(0, int(duration_s) + 1, step_s)
    )
    return (
        f"<div role='img' aria-label='{escape(description, quote=True)}' style='display:grid;grid-template-columns:auto 1fr;"
        f"gap:.4rem;font-size:.75rem;line-height:1;white-space:nowrap;padding-right:1rem'>{cells}"
        f"<span></span><span style='position:relative;height:1rem'>{ticks}</span></div>"
    )


def _labels(places: dict[str, float]) -> str:
    """A column of labels, each at its height as a share of the column's; the widest gives the width."""
    widest = max(places, key=len)
    spans = "".join(
        f"<span style='position:absolute;right:0;top:{100 * top:.1f}%;transform:translateY(-50%)'>{escape(name)}</span>"
        for name, top in places.items()
    )
    return f"<span style='position:relative'><span style='visibility:hidden'>{escape(widest)}</span>{spans}</span>"


def _bitmap(values: np.ndarray, colours: str, height: str, rendering: str) -> str:
    """Values in [0, 1] [shape=(rows, columns)] as a picture stretched over its cell."""
    from PIL import Image

    picture = io.BytesIO()
    pixels = matplotlib.colormaps[colours](values.clip(0.0, 1.0), bytes=True)[..., :3]
    Image.fromarray(np.ascontiguousarray(pixels)).save(picture, "WEBP", lossless=rendering == "pixelated", quality=85, method=2)
    data = base64.b64encode(picture.getvalue()).decode()
    return (
        "<span style='position:relative'><i class='playhead' style='position:absolute;left:0;top:0;bottom:0;width:2px'></i>"
        f"<img alt='' src='data:image/webp;base64,{data}' style='width:100%;height:{height};image-rendering:{rendering}'></span>"
    )
