"""The page of the report's experiments, from what the runs gave: its tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from genre_gan.files import write_bytes
from genre_gan.markdown import table
from training.report.figures import Results, write_figures
from training.report.rows import GAN_EPOCHS, GROUPS, PROTOCOLS, ROWS, Row

HEADING = f"""# The report's experiments, repeated

    python training/reproduce.py --data path/to/gtzan

Each classifier was trained by `train_lstm.py`, each GAN by `train_cgan.py`; every run is a line in `runs.jsonl`, with its
command. The report's classifiers have 50 or 100 epochs, its GANs {GAN_EPOCHS}. **Rows of fewer say so in bold**: they were made
with `--scale` or `--gan-scale` under 1, and may not be compared with rows of more. Mean ± standard deviation over the seeds.

`segment` is the report's protocol: slices split at random, so that slices of one track stand on both sides, and GANs that learned
from all tracks. `artist`: no artist on both sides (five folds by scikit-learn's `StratifiedGroupKFold`, fewer where a genre has
fewer artists; seed k validates on fold k), faulty and repeated tracks left out, and GANs that learned from the training side
alone. "Train" is the accuracy by slice on what was trained on, generated slices included, "loss" the cross-entropy there, "valid"
the accuracy by slice; "balanced" is the mean over genres of each one's accuracy by track."""
GENERATORS = """After the last epoch. A discriminator wins where its logits on real and on generated slices are far apart: then
the loss of G rises and that of D goes to 0, which the report took for a good fit. Flatness is 0 for a tone and 1 for white noise;
spectra are the mean mel spectra of five clips of each genre, without their level."""


def write_page(folder: Path, results: Sequence[dict[str, Any]]) -> Path:
    """Write `folder`/report.md and its pictures; the path of the page."""
    classifiers, gans = longest(results, "row"), longest(results, "generator")
    parts = [HEADING]
    for group, title in GROUPS.items():
        rows = [row for row in ROWS if row.group == group and any((row.name, protocol) in classifiers for protocol in PROTOCOLS)]
        if rows:
            parts += [f"## {title}", _data_line(rows, classifiers), _table(rows, classifiers)]
            parts += [comparison(row, classifiers) for row in rows if row.beside and (row.beside, "artist") in classifiers]
    if gans:
        parts += ["## The generators", GENERATORS, _gan_table(gans)]
    parts += [f"## {title}\n\n![{title}]({name})" for name, title in write_figures(folder, classifiers, gans).items()]
    page = folder / "report.md"
    write_bytes(page, ("\n\n".join(parts) + "\n").encode())
    return page


def longest(results: Iterable[dict[str, Any]], kind: str) -> Results:
    """The results that have a `row` or a `generator`, by its name and by protocol.

    Of each those of the most epochs alone, so that means are of runs that are alike.
    """
    found = defaultdict(list)
    for result in results:
        if kind in result:
            found[result[kind], result["protocol"]].append(result)
    return {key: [run for run in runs if _epochs(run) == max(map(_epochs, runs))] for key, runs in found.items()}


def _epochs(result: Mapping[str, Any]) -> tuple[int, int]:
    return result.get("gan_epochs") or 0, result["epochs"]


def _data_line(rows: Sequence[Row], results: Results) -> str:
    """Which data the runs of a table had, and how those of its last row were split."""
    runs = [run for row in rows for protocol in PROTOCOLS for run in results.get((row.name, protocol), ())]
    data = sorted({" + ".join(run["data"]) for run in runs})
    splits = {run["protocol"]: run["split"] for run in sorted(runs, key=lambda run: -run["seed"])}
    shown = ". ".join(splits[name] for name in PROTOCOLS if name in splits)
    line = f"Data: {'; '.join(data)}. Splits of the last row, seed 0: {shown}."
    steps = sorted({run["generator_steps"] for run in runs if run.get("generator_steps")})
    return line + (f" The generator had {' or '.join(map(str, steps))} steps of training." if steps else "")


def comparison(row: Row, results: Results) -> str:
    """A sentence on whether generated slices help: the mean difference over the seeds that both rows have, and its interval."""
    names = (row.name, row.beside or "")
    of_both = [{run["seed"]: run["valid"]["balanced_track_accuracy"] for run in results[name, "artist"]} for name in names]
    differences = np.array([of_both[0][seed] - of_both[1][seed] for seed in sorted(set.intersection(*map(set, of_both)))])
    sentence = f"*{row.name}* against *{row.beside}*: balanced accuracy changes by {differences.mean():+.3f}"
    if len(differences) < 2:
        return f"{sentence} in a single pair of runs, which says nothing."
    margin = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    low, high = differences.mean() - margin, differences.mean() + margin
    reading = "it helps" if low > 0 else "it harms" if high < 0 else "no effect is shown"
    return f"{sentence} (95 % interval {low:+.3f} to {high:+.3f}, {len(differences)} pairs of one fold): **{reading}**."


def _mean(values: Iterable[float], digits: int = 3) -> str:
    values = list(values)
    if not values:
        return ""
    return f"{np.mean(values):.{digits}f}" + (f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else "")


def _of(done: int, full: int) -> str:
    return str(done) if done >= full else f"**{done} of {full}**"


def _epochs_cell(row: Row, runs: Sequence[dict[str, Any]]) -> str:
    """Such as "100, GAN **5 of 500**"; one entry where the protocols had the same."""
    cells = []
    for gan_epochs, epochs in sorted({_epochs(run) for run in runs}):
        cells.append(_of(epochs, row.epochs) + (f", GAN {_of(gan_epochs, GAN_EPOCHS)}" if gan_epochs else ""))
    return " / ".join(cells)


def _table(rows: Sequence[Row], results: Results) -> str:
    with_report = any(row.report for row in rows)
    protocols = [protocol for protocol in PROTOCOLS if any((row.name, protocol) in results for row in rows)]
    header = ["model", "runs", "epochs"] + (["report: loss", "report: train", "report: valid"] if with_report else [])
    for protocol in protocols:
        header += [f"{protocol}: {name}" for name in ("loss", "train", "valid")]
        header += [] if protocol == "segment" else [f"{protocol}: valid by track", f"{protocol}: balanced"]
    lines = []
    for row in rows:
        done = {protocol: results.get((row.name, protocol), ()) for protocol in protocols}
        cells = [row.name, "+".join(str(len(done[protocol])) for protocol in protocols)]
        cells.append(_epochs_cell(row, [run for runs in done.values() for run in runs]))
        if with_report:
            cells += [f"{value:g}" for value in row.report] if row.report else [""] * 3
        for protocol in protocols:
            cells += [_mean(run["train"][key] for run in done[protocol]) for key in ("loss", "segment_accuracy")]
            keys = ("segment_accuracy", "track_accuracy", "balanced_track_accuracy")[: 1 if protocol == "segment" else 3]
            cells += [_mean(run["valid"][key] for run in done[protocol]) for key in keys]
        lines.append(cells)
    return table(header, lines)


def _gan_table(gans: Results) -> str:
    header = ["generator", "learned from", "runs", "epochs", "loss D", "loss G", "logit on real", "logit on generated"]
    header += ["flatness of real", "flatness of generated", "spectrum apart from real, dB", "the same for blues, dB"]
    lines = []
    for (name, protocol), runs in sorted(gans.items(), key=lambda item: (item[0][0], PROTOCOLS.index(item[0][1]))):
        cells = [name, "all tracks" if protocol == "segment" else "training side", str(len(runs))]
        cells.append(_of(runs[0]["epochs"], GAN_EPOCHS))
        cells += [_mean((run["curve"][-1][key] for run in runs), 2) for key in ("loss D", "loss G", "logit real", "logit fake")]
        for key, digits in (("real flatness", 4), ("flatness", 4), ("spectrum distance dB", 1)):
            cells.append(_mean((np.mean([genre[key] for genre in run["sound"].values()]) for run in runs), digits))
        cells.append(_mean((run["sound"]["blues"]["spectrum distance dB"] for run in runs if "blues" in run["sound"]), 1))
        lines.append(cells)
    return table(header, lines)
