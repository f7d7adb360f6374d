"""The page of the report's experiments, from what the runs gave: tables, learning curves and confusion matrices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from genre_gan.files import write_bytes
from genre_gan.plots import save_figure

PROTOCOLS = ("segment", "artist", "fold")
CURVE_PROTOCOLS = PROTOCOLS[:2]
CURVES = {  # the report's figures: title, rows, what is drawn
    5: ("accuracy without segmenting", ("LSTM_SGD_50no_segment", "LSTM_ADAM_50_no_segment"), "accuracy"),
    6: ("accuracy after segmenting", ("LSTM_ADAM_50_segment", "LSTM_ADAM_50_segment (enlarged set)"), "accuracy"),
    7: ("loss after segmenting", ("LSTM_ADAM_50_segment", "LSTM_ADAM_50_segment (enlarged set)"), "loss"),
    8: (
        "accuracy after adding generated data",
        ("LSTM_CNN_GAN_segment", "LSTM_FCN_GAN_segment", "LSTM2_FCN_4S_GAN_segment"),
        "accuracy",
    ),
}
CONFUSIONS = ("LSTM_ADAM_50_segment (enlarged set)", "LSTM2_FCN_4S_GAN_segment")


def write_page(folder: Path, results: Sequence[dict], rows: Sequence, command: str) -> Path:
    """Write `folder`/report.md and its pictures; the path of the page.

    Args:
        results: of all runs.
        rows: of `training/reproduce.py`, in the order of the tables.
        command: that repeats the runs.
    """
    runs, gans = defaultdict(list), defaultdict(list)
    for result in results:
        if "row" in result:
            runs[result["row"], result["protocol"]].append(result)
        else:
            gans[result["generator"], result["protocol"]].append(result)
    parts = [_heading(results, command)]
    for group, title in (
        ("table", "The report's table"),
        ("future", "The future work that it names"),
        ("ablations", "Ablations"),
        ("extra", "Beyond the report: the best generator of this project"),
    ):
        chosen = [row for row in rows if row.group == group and any((row.name, protocol) in runs for protocol in PROTOCOLS)]
        if chosen:
            parts.append(f"## {title}\n\n" + _table(chosen, runs))
    if gans:
        parts.append("## The generators\n\n" + _gan_table(gans))
        save_figure(_gan_figure(gans), folder / "report-gans.png")
        parts.append("![Losses and logits of the GANs](report-gans.png)")
    for number, (title, names, quantity) in CURVES.items():
        if any((name, protocol) in runs for name in names for protocol in PROTOCOLS):
            save_figure(_curves(runs, names, quantity, title), folder / f"report-figure{number}.png")
            parts.append(f"## Figure {number}: {title}\n\n![{title}](report-figure{number}.png)")
    shown = [(name, protocol) for name in CONFUSIONS for protocol in PROTOCOLS if (name, protocol) in runs]
    if shown:
        save_figure(_confusions(runs, shown), folder / "report-confusion.png")
        parts.append("## Confusion matrices\n\nTracks of all seeds together.\n\n![Confusion matrices](report-confusion.png)")
    page = folder / "report.md"
    write_bytes(page, ("\n\n".join(parts) + "\n").encode())
    return page


def _heading(results: Sequence[dict], command: str) -> str:
    settings = results[0]["settings"]
    return f"""# The report's experiments, repeated

    {command}

On {settings["tracks"]} tracks: classifiers trained {settings["scale"]:g} and GANs {settings["gan_scale"]:g} of its epochs
(50 or 100, and 500). Each run is a line in `runs.jsonl`.

Mean ± deviation over the runs (seeds). `segment`: the report's protocol, slices split at random, so that slices of one track
stand on both sides; the GANs learned from all tracks. `artist`: artists kept apart; the GANs
learned from the training side alone. `fold`: the same by one of six folds, each with every genre. "Balanced" is the mean over
genres of each one's accuracy; "valid" is by slice unless said otherwise."""


def _mean(values: Iterable[float], digits: int = 3) -> str:
    values = list(values)
    if not values:
        return ""
    return f"{np.mean(values):.{digits}f}" + (f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else "")


def _markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *lines))


def _table(rows: Sequence, runs: dict) -> str:
    with_report = any(row.report for row in rows)
    protocols = [protocol for protocol in PROTOCOLS if any((row.name, protocol) in runs for row in rows)]
    header = ["model", "runs", "epochs"]
    header += ["report: loss", "report: train", "report: valid"] if with_report else []
    for protocol in protocols:
        header += [f"{protocol}: loss", f"{protocol}: train", f"{protocol}: valid"]
        header += [] if protocol == "segment" else [f"{protocol}: valid by track", f"{protocol}: balanced by track"]
    lines = []
    for row in rows:
        done = {protocol: runs.get((row.name, protocol), []) for protocol in protocols}
        cells = [row.name, "+".join(str(len(done[protocol])) for protocol in protocols)]
        cells.append("/".join(sorted({str(run["epochs"]) for of_protocol in done.values() for run in of_protocol})))
        if with_report:
            cells += [f"{value:g}" for value in row.report] if row.report else [""] * 3
        for protocol in protocols:
            cells += [_mean(run["curve"][-1][key] for run in done[protocol]) for key in ("loss", "accuracy")]
            keys = ("slice accuracy", "track accuracy", "balanced track accuracy")[: 1 if protocol == "segment" else 3]
            cells += [_mean(run["scores"][key] for run in done[protocol]) for key in keys]
        lines.append(cells)
    return _markdown(header, lines)


def _gan_table(gans: dict) -> str:
    header = ["generator", "tracks it saw", "runs", "loss D", "loss G", "logit on real", "logit on fake", "flatness of real"]
    header += ["flatness of generated", "spectrum apart from real, dB", "the same for blues, dB"]
    lines = []
    for (name, protocol), results in sorted(gans.items(), key=lambda item: (item[0][0], PROTOCOLS.index(item[0][1]))):
        cells = [name, "all" if protocol == "segment" else "training side", str(len(results))]
        cells += [
            _mean((result["curve"][-1][key] for result in results), 2) for key in ("loss D", "loss G", "logit real", "logit fake")
        ]
        for key, digits in (("real flatness", 4), ("flatness", 4), ("spectrum distance dB", 1)):
            cells.append(_mean((np.mean([genre[key] for genre in result["sound"].values()]) for result in results), digits))
        cells.append(_mean((r["sound"]["blues"]["spectrum distance dB"] for r in results if "blues" in r["sound"]), 1))
        lines.append(cells)
    return (
        "After the last epoch. Flatness is 0 for a tone and 1 for white noise; the spectra are mean mel spectra of each genre, "
        "without "
        "their level.\n\n" + _markdown(header, lines)
    )


def _figure(n_columns: int, n_rows: int = 1, width: float = 5.0, height: float = 3.6) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width * n_columns, height * n_rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def _curves(runs: dict, names: Sequence[str], quantity: str, title: str) -> Figure:
    figure, panels = _figure(len(CURVE_PROTOCOLS))
    for axes, protocol in zip(panels[0], CURVE_PROTOCOLS, strict=True):
        for colour, name in enumerate(names):
            done = runs.get((name, protocol), [])
            if not done:
                continue
            n_epochs = min(len(run["curve"]) for run in done)
            for key, style in ((quantity, "--"), (f"valid {quantity}", "-")):
                mean = np.mean([[epoch[key] for epoch in run["curve"][:n_epochs]] for run in done], 0)
                label = f"{name}, {'valid' if key != quantity else 'train'}"
                axes.plot(np.arange(1, n_epochs + 1), mean, style, color=f"C{colour}", label=label)
        axes.set(title=f"{title}: {protocol}", xlabel="epoch", ylabel=quantity)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=6)
    return figure


def _gan_figure(gans: dict) -> Figure:
    figure, panels = _figure(2)
    for colour, name in enumerate(name for name in ("cnn", "fcn", "fcn-4s") if (name, "artist") in gans):
        curves = [result["curve"] for result in gans[name, "artist"]]
        for axes, keys in zip(panels[0], (("loss G", "loss D"), ("logit real", "logit fake")), strict=True):
            for key, style in zip(keys, ("-", "--"), strict=True):
                mean = np.mean([[epoch[key] for epoch in curve] for curve in curves], 0)
                axes.plot(np.arange(1, len(mean) + 1), mean, style, color=f"C{colour}", label=f"{name}, {key}")
    for axes, label in zip(panels[0], ("loss", "mean logit of D"), strict=True):
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=6)
    return figure


def _confusions(runs: dict, shown: Sequence[tuple[str, str]]) -> Figure:
    figure, panels = _figure(2, -(-len(shown) // 2), 4.6, 4.4)
    for axes, (name, protocol) in zip(panels.flat, shown, strict=False):
        counts = np.sum([run["scores"]["confusion"] for run in runs[name, protocol]], 0)
        genres = runs[name, protocol][0]["genres"]
        axes.imshow(counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
        for (i, j), count in np.ndenumerate(counts):
            if count:
                axes.text(j, i, str(count), ha="center", va="center", fontsize=6)
        axes.set_xticks(range(len(genres)), genres, rotation=90, fontsize=7)
        axes.set_yticks(range(len(genres)), genres, fontsize=7)
        axes.set_title(f"{name}: {protocol}", fontsize=8)
        axes.set(xlabel="named", ylabel="true")
    return figure
