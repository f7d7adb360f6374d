"""The figures of the report's experiments: learning curves, the GANs' losses and logits, confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from genre_gan.plots import save_figure
from training.report.rows import PROTOCOLS

Results = Mapping[tuple[str, str], Sequence[dict[str, Any]]]  # by name and protocol
SEGMENTED = ("LSTM_ADAM_50_segment", "LSTM_ADAM_50_segment (enlarged set)")
ACCURACY, LOSS = ("train accuracy", "valid accuracy by slice"), ("loss", "valid loss")
CURVES = {  # the report's figures: title, rows, what is drawn of training and of validation
    5: ("accuracy without segmenting", ("LSTM_SGD_50no_segment", "LSTM_ADAM_50_no_segment"), ACCURACY),
    6: ("accuracy after segmenting", SEGMENTED, ACCURACY),
    7: ("loss after segmenting", SEGMENTED, LOSS),
    8: (
        "accuracy after adding generated data",
        ("LSTM_CNN_GAN_segment", "LSTM_FCN_GAN_segment", "LSTM2_FCN_4S_GAN_segment"),
        ACCURACY,
    ),
}
CONFUSIONS = (SEGMENTED[1], "LSTM2_FCN_4S_GAN_segment")


def write_figures(folder: Path, classifiers: Results, gans: Results) -> dict[str, str]:
    """Draw what there are runs for; the files' names, and what to call each."""
    figures = {}
    for number, (title, names, drawn) in CURVES.items():
        if any((name, protocol) in classifiers for name in names for protocol in PROTOCOLS):
            figures[f"report-figure{number}.png"] = (f"Figure {number}: {title}", _curves(classifiers, names, drawn))
    if gans:
        figures["report-gans.png"] = ("Losses and logits of the GANs", _gan_figure(gans))
    shown = [(name, protocol) for name in CONFUSIONS for protocol in PROTOCOLS if (name, protocol) in classifiers]
    if shown:
        figures["report-confusion.png"] = ("Confusion matrices, tracks of all seeds together", _confusions(classifiers, shown))
    for name, (_, figure) in figures.items():
        save_figure(figure, folder / name)
    return {name: title for name, (title, _) in figures.items()}


def _draw(axes: Axes, runs: Sequence[dict[str, Any]], key: str, label: str, style: str, colour: str) -> None:
    """The mean over the runs of one number over the epochs, which not every point has."""
    points = [[(point["epoch"], point[key]) for point in run["curve"] if key in point] for run in runs]
    n_points = min(map(len, points))
    epochs, values = np.mean([run[:n_points] for run in points], 0).T
    axes.plot(epochs, values, style, color=colour, label=label)


def _finish(axes: Axes, **settings: str) -> None:
    axes.set(xlabel="epoch", **settings)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=6)


def _curves(results: Results, names: Sequence[str], drawn: tuple[str, str]) -> Figure:
    figure = Figure(figsize=(10.0, 3.6), layout="constrained")
    for axes, protocol in zip(figure.subplots(1, len(PROTOCOLS)), PROTOCOLS, strict=True):
        for colour, name in enumerate(names):
            if (name, protocol) in results:
                for key, side, style in zip(drawn, ("train", "valid"), ("--", "-"), strict=True):
                    _draw(axes, results[name, protocol], key, f"{name}, {side}", style, f"C{colour}")
        _finish(axes, title=protocol, ylabel="loss" if drawn == LOSS else "accuracy by slice")
    return figure


def _gan_figure(gans: Results) -> Figure:
    figure = Figure(figsize=(10.0, 3.6), layout="constrained")
    drawn = {"loss": ("loss G", "loss D"), "mean logit of D": ("logit real", "logit fake")}
    for axes, (label, keys) in zip(figure.subplots(1, len(drawn)), drawn.items(), strict=True):
        for colour, name in enumerate(("cnn", "fcn", "fcn-4s")):
            if runs := gans.get((name, "artist")) or gans.get((name, "segment")):
                for key, style in zip(keys, ("-", "--"), strict=True):
                    _draw(axes, runs, key, f"{name}, {key}", style, f"C{colour}")
        _finish(axes, ylabel=label)
    return figure


def _confusions(results: Results, shown: Sequence[tuple[str, str]]) -> Figure:
    n_rows = -(-len(shown) // 2)
    figure = Figure(figsize=(9.2, 4.4 * n_rows), layout="constrained")
    for axes, (name, protocol) in zip(figure.subplots(n_rows, 2, squeeze=False).flat, shown, strict=False):
        runs = results[name, protocol]
        counts = np.sum([run["confusion"] for run in runs], 0)
        display = ConfusionMatrixDisplay(counts, display_labels=list(runs[0]["tracks_per_genre"]))
        display.plot(ax=axes, cmap="Blues", colorbar=False, xticks_rotation="vertical", text_kw={"fontsize": 6})
        axes.set_title(f"{name}: {protocol}", fontsize=8)
    return figure
