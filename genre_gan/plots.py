"""Pictures of sound and of training, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from genre_gan.audio import Clip
from genre_gan.features import FeatureConfig, FeatureExtractor


def mel_figure(clips: Sequence[Clip], titles: Sequence[str], columns: int = 1) -> Figure:
    """Mel spectrograms of `clips` in one sheet, all on one colour scale from -60 to 20 dB."""
    levels_db, durations_s = [], []
    for clip in clips:
        extractor = FeatureExtractor(FeatureConfig("log-mel", clip.sample_rate_hz, n_fft=1024, hop_length=256, n_mels=96))
        levels_db.append(extractor(torch.from_numpy(np.ascontiguousarray(clip.samples))[None])[0].T.numpy())
        durations_s.append(clip.duration_s)
    return level_figure(levels_db, durations_s, titles, columns)


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
