"""The evaluation of classifiers as a page of Markdown and three pictures, beside the JSON that they are made from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from genre_gan.files import write_bytes
from genre_gan.markdown import interval, table
from genre_gan.plots import save_figure

SHOWN_THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
CURVES = {
    "answered": "music answered", "not_music_named": "no music, recorded, named", "other_genres_named": "other genres named",
}  # fmt: skip


def write_results(results: dict, folder: Path) -> str:
    """Write results.json, results.md and the pictures; return the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(_parts(results)) + "\n"
    write_bytes(folder / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    write_bytes(folder / "results.md", text.encode())
    save_figure(confusion_figure(np.array(results["confusion"]), results["genres"]), folder / "confusion.png")
    save_figure(reliability_figure(results["reliability"]), folder / "reliability.png")
    save_figure(curve_figure(results["curve"]), folder / "open_set.png")
    return text


def _parts(results: dict) -> Iterator[str]:
    yield f"# Classifier: {results['protocol']}\n\n`{results['command']}`"
    yield "\n".join(f"- {remark}" for remark in [f"data: {', '.join(results['data'])}", *results["remarks"]])
    yield (
        "Accuracy is by track. Balanced: the mean over genres. Intervals: 95 %, by bootstrap over artists, whose tracks are "
        'alike. Calibration error: expected, over ten bins of confidence. Sure: a genre is named, not "not sure".'
    )
    heads = ["", "tracks", "artists", "balanced", "accuracy", "calibration error", "sure", "accuracy where sure"]
    yield table(heads, [_summary(name, row) for name, row in {"all": results["all"], **results["by_collection"]}.items()])
    rows = ([genre, row["n"], interval(row["accuracy"])] for genre, row in results["by_genre"].items())
    yield table(["genre", "tracks", "accuracy"], rows)
    yield "Rows: the truth; columns: the guess."
    genres = list(results["genres"])
    yield table(["", *genres], [[g, *row] for g, row in zip(genres, results["confusion"], strict=True)])
    if results["robustness"]:
        yield (
            "The same music, changed: points of balanced accuracy lost, with their interval; share of tracks whose guess is "
            "another one; and how far the probabilities move, by the largest of each track. A change that moves nothing, such as "
            "16 kHz for a classifier that works at 16 kHz, cannot lose anything."
        )
        rows = (
            [name, row["n"], f"{row['balanced']:.3f}", _points(row["lost"]), f"{row['turned']:.0%}",
             f"{row['moved']:.3f}", f"{row['sure']:.0%}"]
            for name, row in results["robustness"].items()
        )  # fmt: skip
        yield table(["the same music", "tracks", "balanced", "points lost", "other guess", "moved", "sure"], rows)
    yield "Sound that should not be named:"
    found = results["named"].items()
    rows = ([kind, row["n"], f"{row['named']:.0%} ({row['low']:.0%} to {row['high']:.0%})"] for kind, row in found)
    yield table(["sound", "n", "named"], rows)
    yield _curve_table(results["curve"])
    if results["comparison"]:
        yield "Other models on the same tracks, and the mean of their probabilities and the first one's:"
        yield table(heads, [_summary(name, row) for name, row in results["comparison"].items()])
    if results["speech_over_music"]:
        yield "Music under speech, by its level relative to the speech:"
        rows = ([k, v["n"], f"{v['named']:.0%}", f"{v['right']:.0%}"] for k, v in results["speech_over_music"].items())
        yield table(["music to speech", "n", "named", "named rightly"], rows)


def _summary(name: str, row: dict) -> list:
    where_sure = "-" if row["accuracy_where_sure"] is None else f"{row['accuracy_where_sure']:.3f}"
    shares = [interval(row[key], 3) for key in ("balanced", "accuracy")]
    return [name, row["n"], row["n_artists"], *shares, f"{row['calibration_error']:.3f}", f"{row['sure']:.0%}", where_sure]


def _points(found: dict) -> str:
    return interval({name: 100 * value for name, value in found.items()}, 1)


def _curve_table(curve: list[dict]) -> str:
    names = [name for name in CURVES if name in curve[0]]
    nearest = np.abs(np.subtract.outer(SHOWN_THRESHOLDS, [row["threshold"] for row in curve])).argmin(1)
    chosen = [curve[i] for i in nearest]
    rows = ([f"{row['threshold']:.2f}", *(f"{row[name]:.0%}" for name in names)] for row in chosen)
    heads = ["confidence", *(CURVES[name] for name in names)]
    return "If a genre were named from some confidence on:\n\n" + table(heads, rows)


def confusion_figure(confusion: np.ndarray, genres: tuple[str, ...]) -> Figure:
    """Counts by truth and guess, shaded by their share of the truth [shape=(n_genres, n_genres)]."""
    figure, axes = _figure(5.6, 5.0)
    axes.imshow(confusion / np.maximum(confusion.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            axes.text(column, row, count, ha="center", va="center", fontsize=7)
    axes.set_xticks(range(len(genres)), genres, rotation=60)
    axes.set_yticks(range(len(genres)), genres)
    axes.set(xlabel="guess", ylabel="truth")
    return figure


def reliability_figure(rows: list[tuple[float, float, float]]) -> Figure:
    """Accuracy against confidence, from rows of confidence, accuracy and share of all items."""
    figure, axes = _figure(4.2, 4.0)
    confidence, accuracy, share = np.array(rows).T
    axes.plot([0, 1], [0, 1], "--", color="grey", linewidth=1)
    axes.scatter(confidence, accuracy, s=20 + 600 * share)
    axes.set(xlabel="probability of the guess", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    return figure


def curve_figure(curve: list[dict]) -> Figure:
    """What is wrongly named against the music that is answered, one point a threshold."""
    figure, axes = _figure(4.2, 4.0)
    for name, label in {"not_music_named": "no music", "other_genres_named": "other genres"}.items():
        if name in curve[0]:
            axes.plot([row["answered"] for row in curve], [row[name] for row in curve], label=label)
    if axes.lines:
        axes.legend()
    axes.set(xlabel="share of music answered", ylabel="share named", xlim=(0, 1), ylim=(0, 1))
    return figure


def _figure(width: float, height: float):
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()
