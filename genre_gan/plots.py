"""Pictures of sound and of training, drawn without a display."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from genre_gan.clip import Clip
from genre_gan.features import FeatureConfig, FeatureExtractor

MAX_COLUMNS = 1200  # more than a picture has pixels for


def mel_figure(clips: Sequence[Clip], titles: Sequence[str], columns: int = 1) -> Figure:
    """Mel spectrograms of `clips` in one sheet, all on one colour scale from -60 to 20 dB."""
    levels_db = [spectrogram_of([clip.samples], clip.sample_rate_hz).level_db for clip in clips]
    return level_figure(levels_db, [clip.duration_s for clip in clips], titles, columns)


def level_figure(
    levels_db: Sequence[np.ndarray], durations_s: Sequence[float], titles: Sequence[str], columns: int = 1
) -> Figure:
    """A sheet of spectrograms in dB [shape=(n_mels, T)] on one colour scale from -60 to 20 dB."""
    rows = -(-len(levels_db) // columns)
    figure = Figure(figsize=(6.4 * columns, 2.4 * rows), layout="constrained")
    for axes, level_db, duration_s, title in zip(
        figure.subplots(rows, columns, squeeze=False).flat, levels_db, durations_s, titles, strict=False  # a sheet may have room
    ):
        extent = (0.0, duration_s, 0, len(level_db))
        axes.imshow(level_db, origin="lower", aspect="auto", extent=extent, vmin=-60, vmax=20, cmap="magma")
        axes.set(title=title, xlabel="seconds", ylabel="mel band")
    return figure


def learning_curve_figure(rows: Sequence[Mapping[str, float]]) -> Figure:
    """One panel for each logged value over the steps; a row is `{"step": 10, "loss": 0.7}` and may lack some values."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "step"))
    figure = Figure(figsize=(3.2 * len(names), 2.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        points = [(row["step"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), linewidth=1)
        axes.set(title=name, xlabel="step")
    return figure


def save_figure(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write `figure` as a picture with so many pixels an inch."""
    figure.savefig(path, dpi=dpi)


def spectra_figure(spectra: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Average spectra by name: frequencies in Hz and levels in dB."""
    figure = Figure(figsize=(9, 5), layout="constrained")
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


def spectrogram_of(blocks: Iterable[np.ndarray], sample_rate_hz: int, max_columns: int = MAX_COLUMNS) -> Spectrogram:
    """The spectrogram of consecutive blocks of samples [shape=(n,)], each read once; at most `max_columns` columns."""
    extractor = _extractor(sample_rate_hz)
    frames, n_samples = [], 0
    with torch.inference_mode():
        for block in blocks:
            if len(block):
                frames.append(extractor(torch.from_numpy(np.ascontiguousarray(block))[None])[0].half())
                n_samples += len(block)
        level_db = torch.cat(frames).float().T  # (n_mels, T)
        if level_db.shape[1] > max_columns:
            level_db = torch.nn.functional.adaptive_avg_pool1d(level_db, max_columns)
    return Spectrogram(level_db.numpy(), sample_rate_hz, n_samples / sample_rate_hz)


@lru_cache(maxsize=4)
def _extractor(sample_rate_hz: int) -> FeatureExtractor:
    return FeatureExtractor(FeatureConfig("log-mel", sample_rate_hz, n_fft=1024, hop_length=256, n_mels=96))
