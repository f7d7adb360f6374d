"""Measure a classifier on labelled music: accuracy, calibration, robustness, and what it says of sound that is no music.

    python training/evaluate_classifier.py --data path/to/genres --output-dir results
    python training/evaluate_classifier.py --model runs/lstm/model --data path/to/genres --split artist --output-dir results
    python training/evaluate_classifier.py --model runs/lstm --data path/to/genres --output-dir results

The last line takes the folder of a cross-validation: each track is judged by the model that never heard it.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from genre_gan import GenreClassifier, Guess
from genre_gan.audio import AudioError, load_audio
from genre_gan.clip import Clip
from genre_gan.data.sources import DEFAULT_DATASET, DataError, TrackSet, load_tracks
from genre_gan.data.splits import N_FOLDS, artist_folds, split_tracks
from genre_gan.evaluation.metrics import mean_and_interval
from genre_gan.files import write_bytes
from genre_gan.plots import save_figure
from training.arguments import launch_command, positive_int, run_script
from training.not_music import KINDS, make_not_music, speak
from training.scores import balanced, expected_calibration_error, reliability, wilson_interval

SENTENCES = (
    "The train to the coast leaves at seven in the morning, and there is no other before noon.",
    "Please leave your message after the tone, and we will call you back as soon as we can.",
    "In the year that followed, nobody in the village spoke of the storm or of the broken bridge.",
    "Add two cups of flour, a little salt and three eggs, and stir until the dough is smooth.",
)
VOICES = ("en", "en+f3", "de", "fr+f2", "es+m4")  # none of those that train_lstm.py learns from


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="REPO_OR_FOLDER", help="a classifier or the folder of a cross-validation (default: packaged)")
    parser.add_argument("--data", action="append", metavar="SOURCE", help=f"as for train_lstm.py (default: {DEFAULT_DATASET})")
    parser.add_argument("--split", choices=("all", "track", "artist", "fold"), default="all",
                        help="judge all tracks, or the validation side of a split (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: %(default)s)")
    parser.add_argument("--robustness-tracks", type=int, default=10, metavar="N",
                        help="tracks of each genre to disturb, 0 for none (default: %(default)s)")
    parser.add_argument("--not-music", type=positive_int, default=10, metavar="N", help="sounds of each kind (default: %(default)s)")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for results.json, results.md and two pictures")
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Judged:
    """Tracks and what was said of them: arrays of one length n.

    Attributes:
        genre_ids: the truth, in the classifier's numbering.
        probabilities: [shape=(n, n_genres)].
        is_sure: [shape=(n,)].
        segment_hits, n_segments: slices named rightly, and slices, of each track.
    """

    genre_ids: np.ndarray
    probabilities: np.ndarray
    is_sure: np.ndarray
    segment_hits: np.ndarray
    n_segments: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        return self.probabilities.argmax(1) == self.genre_ids


class Panel:
    """One classifier for all tracks, or one for each fold of a cross-validation, asked about the tracks it never heard."""

    def __init__(self, source: str | None):
        folder = Path(source) if source else None
        if folder and (folder / "fold-0" / "model").is_dir():
            self.classifiers = [GenreClassifier.from_pretrained(folder / f"fold-{k}" / "model") for k in range(N_FOLDS)]
        else:
            self.classifiers = [GenreClassifier.from_pretrained(source)]
        self.genres = self.classifiers[0].genres

    @property
    def is_cross_validation(self) -> bool:
        return len(self.classifiers) > 1

    def classify(self, audio, fold: int) -> Guess:
        return self.classifiers[fold if self.is_cross_validation else 0].classify(audio)


def choose_tracks(tracks: TrackSet, panel: Panel, split: str, seed: int) -> tuple[TrackSet, np.ndarray, list[str]]:
    """The tracks to judge, the fold of each, and remarks on what was left out."""
    remarks = []
    known = [i for i, genre in enumerate(tracks.genre_names) if genre in panel.genres]
    unknown = sorted(set(tracks.genres) - set(panel.genres))
    if not known:
        raise DataError(f"the data has {', '.join(tracks.genres)}, but the classifier knows only {', '.join(panel.genres)}")
    if unknown:
        remarks.append(f"left out {len(tracks) - len(known)} tracks of genres that the classifier does not know: {', '.join(unknown)}")
    missing = [genre for genre in panel.genres if genre not in tracks.genres]
    if missing:
        remarks.append(f"the data has no tracks of: {', '.join(missing)}; balanced accuracy is over the genres found")
    tracks = tracks.select(known)
    if panel.is_cross_validation:
        folds = artist_folds(tracks)
        chosen = np.flatnonzero(folds >= 0)
        if len(chosen) < len(tracks):
            remarks.append(f"left out {len(tracks) - len(chosen)} faulty or repeated tracks")
        return tracks.select(chosen), folds[chosen], remarks
    if split != "all":
        tracks = tracks.select(split_tracks(tracks, split, seed=seed).valid)
    return tracks, np.zeros(len(tracks), np.int64), remarks


def judge(panel: Panel, tracks: TrackSet, folds: np.ndarray, change: Callable[[Clip], object], label: str) -> Judged:
    """Ask about each track, changed in some way; one that cannot be read is told of and left out."""
    rows = []
    for i in tqdm(range(len(tracks)), desc=label, unit="track", leave=False):
        track = tracks[i]
        try:
            guess = panel.classify(change(load_audio(track.audio)), int(folds[i]))
        except (AudioError, OSError) as error:
            tqdm.write(f"{track.id} left out: {error}")
            continue
        truth = panel.genres.index(track.genre)
        right = sum(point.genre == track.genre for point in guess.timeline)
        rows.append((truth, list(guess.probabilities.values()), guess.is_sure, right, len(guess.timeline)))
    if not rows:
        raise DataError("none of the tracks can be read")
    return Judged(*(np.array(column) for column in zip(*rows)))


def as_stereo(clip: Clip) -> tuple[np.ndarray, int]:
    import soxr

    samples = soxr.resample(clip.samples, clip.sample_rate_hz, 44_100)
    return np.stack([samples, 0.8 * samples], 1), 44_100


def as_mp3(clip: Clip) -> bytes:
    import soundfile
    import soxr

    buffer = io.BytesIO()
    samples = np.clip(soxr.resample(clip.samples, clip.sample_rate_hz, 44_100), -1.0, 1.0)
    # The constant bit rate goes from 320 down to 32 kbit/s as the level goes from 0 to 1.
    soundfile.write(buffer, samples, 44_100, format="MP3", bitrate_mode="CONSTANT", compression_level=(320 - 64) / (320 - 32))
    return buffer.getvalue()


def as_quiet(clip: Clip) -> Clip:
    return Clip(0.1 * clip.samples, clip.sample_rate_hz)


def as_cut(clip: Clip) -> Clip:
    n_samples = min(len(clip.samples), 5 * clip.sample_rate_hz)
    start = (len(clip.samples) - n_samples) // 2
    return Clip(clip.samples[start : start + n_samples], clip.sample_rate_hz)


CHANGES: dict[str, Callable[[Clip], object]] = {
    "44.1 kHz stereo": as_stereo, "64 kbit/s mp3": as_mp3, "20 dB quieter": as_quiet, "cut to 5 s": as_cut,
}  # fmt: skip


def measure_robustness(panel: Panel, tracks: TrackSet, folds: np.ndarray, per_genre: int) -> dict[str, dict[str, float]]:
    """Accuracy on up to `per_genre` tracks of each genre, spread evenly: as they are and changed in each way."""
    chosen = []
    for genre in tracks.genres:
        members = np.flatnonzero(np.array(tracks.genre_names) == genre)
        chosen += list(members[np.linspace(0, len(members) - 1, min(per_genre, len(members))).astype(int)])
    some, some_folds = tracks.select(chosen), folds[chosen]
    table = {}
    for name, change in {"as it is": lambda clip: clip, **CHANGES}.items():
        judged = judge(panel, some, some_folds, change, name)
        table[name] = {
            "accuracy": float(judged.hits.mean()), "balanced": balanced(judged.hits, judged.genre_ids), "n": len(judged.hits)
        }  # fmt: skip
    return table


def measure_not_music(panel: Panel, n_of_kind: int, seed: int) -> dict[str, dict[str, float]]:
    """How often sound that is no music gets "not sure"; spoken sentences too where espeak-ng is installed."""
    rng = np.random.default_rng([seed, 99])
    rate_hz = 22_050
    sounds = {"silence": [np.zeros(round(s * rate_hz), np.float32) for s in (0.5, 3.0, 10.0)]}
    for kind in KINDS:
        sounds[kind] = [make_not_music(kind, rng.uniform(2.0, 10.0), rate_hz, rng) for _ in range(n_of_kind)]
    table = {}
    for kind, clips in {**sounds, "espeak-ng": speak(VOICES, SENTENCES)}.items():
        sources = [clip if kind == "espeak-ng" else (clip, rate_hz) for clip in clips]
        guesses = [panel.classify(source, k % N_FOLDS) for k, source in enumerate(sources)]
        if guesses:
            table[kind] = {"not sure": float(np.mean([not guess.is_sure for guess in guesses])), "n": len(guesses)}
    return table


def summarise(judged: Judged, genres: tuple[str, ...]) -> dict:
    """Everything that one judging gives, as plain numbers."""
    found = np.unique(judged.genre_ids)
    confusion = np.zeros((len(genres), len(genres)), int)
    np.add.at(confusion, (judged.genre_ids, judged.probabilities.argmax(1)), 1)
    hits, segments = judged.hits, judged.n_segments
    by_genre = {}
    for genre in found:
        mine = judged.genre_ids == genre
        by_genre[genres[genre]] = {
            "accuracy": float(hits[mine].mean()), "interval": wilson_interval(int(hits[mine].sum()), int(mine.sum())),
            "tracks": int(mine.sum()),
        }  # fmt: skip
    draws = np.random.default_rng(0).integers(0, len(hits), (1000, len(hits)))
    spread = [balanced(hits[rows], judged.genre_ids[rows]) for rows in draws]
    by_track_segments = [judged.segment_hits[rows].sum() / segments[rows].sum() for rows in draws]
    return {
        "track_accuracy": mean_and_interval(hits),
        "balanced_track_accuracy": (balanced(hits, judged.genre_ids), *map(float, np.quantile(spread, (0.025, 0.975)))),
        "segment_accuracy": (
            float(judged.segment_hits.sum() / segments.sum()), *map(float, np.quantile(by_track_segments, (0.025, 0.975)))
        ),
        "n_tracks": len(hits),
        "n_segments": int(segments.sum()),
        "expected_calibration_error": expected_calibration_error(judged.probabilities, judged.genre_ids),
        "reliability": [tuple(map(float, row)) for row in reliability(judged.probabilities, judged.genre_ids)],
        "sure": float(judged.is_sure.mean()),
        "accuracy_where_sure": float(hits[judged.is_sure].mean()) if judged.is_sure.any() else None,
        "by_genre": by_genre,
        "confusion": confusion.tolist(),
    }  # fmt: skip


def write_results(results: dict, genres: tuple[str, ...], folder: Path) -> str:
    """Write results.json, results.md and two pictures; return the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "results.json", json.dumps(results, indent=1).encode())
    lines = [f"# Classifier: {results['protocol']}", "", f"    {results['command']}", ""]
    lines += [f"- {remark}" for remark in results["remarks"]]
    lines += ["", "| accuracy | value | 95 % interval |", "|---|---|---|"]
    for name in ("track_accuracy", "balanced_track_accuracy", "segment_accuracy"):
        value, low, high = results[name]
        lines.append(f"| {name.replace('_', ' ')} | {value:.3f} | {low:.3f} to {high:.3f} |")
    sure = results["accuracy_where_sure"]
    lines += ["", f"{results['n_tracks']} tracks in {results['n_segments']} slices. Expected calibration error "
              f"{results['expected_calibration_error']:.3f}. Sure of {results['sure']:.0%} of the tracks"
              + (f", and right in {sure:.0%} of those." if sure is not None else "."), ""]  # fmt: skip
    lines += ["| genre | accuracy | 95 % interval | tracks |", "|---|---|---|---|"]
    for genre, row in results["by_genre"].items():
        low, high = row["interval"]
        lines.append(f"| {genre} | {row['accuracy']:.2f} | {low:.2f} to {high:.2f} | {row['tracks']} |")
    lines += ["", "Rows: the truth; columns: the guess.", "", "| | " + " | ".join(genres) + " |", "|---" * (len(genres) + 1) + "|"]
    lines += [f"| {genre} | " + " | ".join(map(str, row)) + " |" for genre, row in zip(genres, results["confusion"])]
    if results["robustness"]:
        lines += ["", "| the same music | accuracy | balanced | tracks |", "|---|---|---|---|"]
        lines += [f"| {k} | {v['accuracy']:.3f} | {v['balanced']:.3f} | {v['n']} |" for k, v in results["robustness"].items()]
    lines += ["", '| no music | "not sure" | sounds |', "|---|---|---|"]
    lines += [f"| {k} | {v['not sure']:.0%} | {v['n']} |" for k, v in results["not_music"].items()]
    text = "\n".join(lines) + "\n"
    write_bytes(folder / "results.md", text.encode())
    save_figure(confusion_figure(np.array(results["confusion"]), genres), folder / "confusion.png")
    save_figure(reliability_figure(results["reliability"]), folder / "reliability.png")
    return text


def confusion_figure(confusion: np.ndarray, genres: tuple[str, ...]) -> Figure:
    figure = Figure(figsize=(5.6, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(confusion / np.maximum(confusion.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            axes.text(column, row, count, ha="center", va="center", fontsize=7)
    axes.set_xticks(range(len(genres)), genres, rotation=60)
    axes.set_yticks(range(len(genres)), genres)
    axes.set(xlabel="guess", ylabel="truth")
    return figure


def reliability_figure(rows: list[tuple[float, float, float]]) -> Figure:
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    confidence, accuracy, share = np.array(rows).T
    axes.plot([0, 1], [0, 1], "--", color="grey", linewidth=1)
    axes.scatter(confidence, accuracy, s=20 + 600 * share)
    axes.set(xlabel="probability of the guess", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    return figure


def run(args: argparse.Namespace) -> None:
    panel = Panel(args.model)
    tracks, folds, remarks = choose_tracks(load_tracks(args.data or [DEFAULT_DATASET]), panel, args.split, args.seed)
    protocol = f"{N_FOLDS} folds with artists apart" if panel.is_cross_validation else f"split {args.split}"
    if args.split == "all" and not panel.is_cross_validation:
        remarks.append("the figures flatter if the classifier was trained on these tracks")
    judged = judge(panel, tracks, folds, lambda clip: clip, "as it is")
    results = {
        "command": launch_command(1),
        "protocol": protocol,
        "remarks": remarks,
        "genres": panel.genres,
        **summarise(judged, panel.genres),
        "robustness": measure_robustness(panel, tracks, folds, args.robustness_tracks) if args.robustness_tracks > 0 else {},
        "not_music": measure_not_music(panel, args.not_music, args.seed),
    }
    print(write_results(results, panel.genres, args.output_dir))


def main(argv: list[str] | None = None) -> None:
    run_script(run, parse_args(argv))


if __name__ == "__main__":
    main()
