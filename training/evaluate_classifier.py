"""Measure a classifier on labelled music: accuracy, calibration, robustness, and what it says of sound that it should not name.

    python training/evaluate_classifier.py --model runs/lstm --data path/to/gtzan --data path/to/mer4q \\
        --not-music path/to/recordings --other-genres path/to/electronic --output-dir training/results/classifier
    python training/evaluate_classifier.py --model runs/lstm/model --split artist --data path/to/gtzan --output-dir results

The first line takes the folder of a cross-validation (`fold-0/model` and so on): the model that never heard a track's artist is
asked about it. That is the headline. The second takes one model, and asks about the validation side of its split.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
from sklearn.metrics import confusion_matrix

from genre_gan.audio import load_audio
from genre_gan.clip import Clip
from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import DataError, TrackSet, load_tracks
from genre_gan.data.splits import artist_folds, artist_groups, split_tracks
from genre_gan.evaluation.changes import CHANGES
from genre_gan.evaluation.metrics import Estimate, bootstrap, draw_clusters, mean_over_groups
from genre_gan.features import FeatureConfig
from training.arguments import data_names, launch_command, positive_int, run_script, whole_number
from training.classifier_page import write_results
from training.not_music import recordings
from training.open_set import (
    answer_curve,
    measure_speech_over_music,
    named_shares,
    others_to_ask_about,
    some_of_each_genre,
)
from training.panel import Panel
from training.probe_examples import RATE_HZ
from training.scores import expected_calibration_error, reliability


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="SOURCE", required=True,
                        help="folder of a cross-validation, or folder, Hub id or packaged name of a classifier")
    parser.add_argument("--data", action="append", metavar="SOURCE", required=True, help="labelled music, as for train_lstm.py")
    parser.add_argument("--split", choices=("all", "track", "artist", "fold"), default="all",
                        help="for one model: ask about all tracks, or the validation side of a split (default: %(default)s)")
    parser.add_argument("--seed", type=whole_number, default=0, help="of the split (default: %(default)s)")
    parser.add_argument("--robustness-tracks", type=whole_number, default=1000, metavar="N",
                        help="up to so many tracks of each genre are changed, 0 for none (default: %(default)s)")
    parser.add_argument("--not-music", action="append", type=Path, default=[], metavar="FOLDER",
                        help="recordings that are no music, in folders by kind; a files.csv may name their sources")
    parser.add_argument("--other-genres", action="append", default=[], metavar="SOURCE",
                        help="music, of which genres that the classifier lacks are taken")
    parser.add_argument("--synthetic", type=positive_int, default=10, metavar="N",
                        help="made-up sounds of each kind that are no music (default: %(default)s)")
    parser.add_argument("--compare", action="append", default=[], metavar="FOLDER",
                        help="another cross-validation on the same folds: it and its mean with --model in one table")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for results.json, results.md and pictures")
    parser.add_argument("--cache-dir", type=Path, help="where features are kept (default: ~/.cache/genre_gan)")
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Judged:
    """Tracks and what was said of them: arrays of one length n.

    Attributes:
        genre_ids: the truth, in the classifier's numbering.
        probabilities: [shape=(n, n_genres)].
        is_sure: [shape=(n,)].
        known: the probability that it is any of the genres [shape=(n,)].
        artists: the group of artists of each.
        collections: which of `--data` each is from.
    """

    genre_ids: np.ndarray
    probabilities: np.ndarray
    is_sure: np.ndarray
    known: np.ndarray
    artists: np.ndarray
    collections: np.ndarray

    @property
    def guesses(self) -> np.ndarray:
        return self.probabilities.argmax(1)

    @property
    def hits(self) -> np.ndarray:
        return self.guesses == self.genre_ids

    def pick(self, rows: np.ndarray) -> Judged:
        """Some of the tracks."""
        return Judged(**{name: values[rows] for name, values in vars(self).items()})

    def estimate(self, statistic: Callable[[np.ndarray], float]) -> Estimate:
        """A share with its interval; artists are drawn, since their tracks are alike."""
        return bootstrap(statistic, draw_clusters(self.artists), (0.0, 1.0), len(np.unique(self.artists)))

    def accuracy(self) -> Estimate:
        """The share of tracks whose genre is named rightly, with its interval."""
        hits = self.hits
        return self.estimate(lambda counts: np.average(hits, weights=counts))


def usable_tracks(sources: list[str], cache_dir: Path | None) -> TrackSet:
    """The tracks that training would split: one more or less would be split otherwise, and artists heard would be asked about."""
    store = FeatureStore(load_tracks(sources), FeatureConfig("waveform", RATE_HZ), cache_dir, progress=True)
    if store.skipped:
        print(store.summary(), flush=True)
    return store.tracks


def choose_tracks(tracks: TrackSet, panel: Panel, split: str, seed: int) -> tuple[TrackSet, np.ndarray, list[str]]:
    """The tracks to ask about, the fold of each, and remarks on what was left out."""
    remarks = []
    known = [i for i, genre in enumerate(tracks.genre_names) if genre in panel.genres]
    unknown = sorted(set(tracks.genres) - set(panel.genres))
    if not known:
        raise DataError(f"the data has {', '.join(tracks.genres)}, but the classifier knows only {', '.join(panel.genres)}")
    if unknown:
        remarks.append(
            f"left out {len(tracks) - len(known)} tracks of genres that the classifier does not know: {', '.join(unknown)}"
        )
    missing = [genre for genre in panel.genres if genre not in tracks.genres]
    if missing:
        remarks.append(f"the data has no tracks of: {', '.join(missing)}; balanced accuracy is over the genres found")
    tracks = tracks.select(known)
    if panel.is_cross_validation:
        folds = artist_folds(tracks, len(panel.classifiers))
        chosen = np.flatnonzero(folds >= 0)
        check_unheard(panel, tracks.select(chosen), folds[chosen])
        if len(chosen) < len(tracks):
            remarks.append(f"left out {len(tracks) - len(chosen)} faulty or repeated tracks")
        return tracks.select(chosen), folds[chosen], remarks
    if split == "all":
        remarks.append("the figures flatter if the classifier was trained on these tracks")
        return tracks, np.zeros(len(tracks), np.int64), remarks
    found = split_tracks(tracks, split, seed=seed)
    remarks.append(found.summary())
    if doubt := found.doubt(panel.classifiers[0].model.training_record or {}, tracks, seed):
        remarks.append(f"**the classifier may have heard these tracks: {doubt}**")
    return tracks.select(found.valid), np.zeros(len(found.valid), np.int64), remarks


def check_unheard(panel: Panel, tracks: TrackSet, folds: np.ndarray) -> None:
    """Raise `DataError` where a model of the cross-validation learned from other tracks than these folds leave to it."""
    for fold, classifier in enumerate(panel.classifiers if panel.is_cross_validation else ()):
        learned = (classifier.model.training_record or {}).get("tracks_per_genre")
        left = tracks.select(np.flatnonzero(folds != fold)).tracks_per_genre
        if learned is not None and learned != left:
            raise DataError(
                f"{panel.name}/fold-{fold} learned from {sum(learned.values())} tracks, but these folds leave "
                f"{sum(left.values())} to it, so it may have heard their artists: give the --data that it was trained with"
            )


def ask(
    panel: Panel, tracks: TrackSet, folds: np.ndarray, label: str, change: Callable[[Clip], Clip | bytes] | None = None
) -> Judged:
    """Ask about each track as it is, or changed in some way."""
    clips = (load_audio(tracks[i].audio) for i in range(len(tracks)))
    guesses = panel.ask(map(change, clips) if change else clips, folds.tolist(), label)
    return Judged(
        genre_ids=np.array([panel.genres.index(genre) for genre in tracks.genre_names]),
        probabilities=np.array([[guess.probabilities[genre] for genre in panel.genres] for guess in guesses]),
        is_sure=np.array([guess.is_sure for guess in guesses]),
        known=np.array([guess.known for guess in guesses]),
        artists=artist_groups(tracks)[0],
        collections=np.array(tracks.sources),
    )


def summarise(judged: Judged) -> dict:
    """Accuracy by track, plain and balanced over genres, calibration, and how often it is sure."""
    hits, sure = judged.hits, judged.is_sure
    return {
        "n": len(hits),
        "n_artists": len(np.unique(judged.artists)),
        "accuracy": vars(judged.accuracy()),
        "balanced": vars(judged.estimate(lambda counts: mean_over_groups(hits, judged.genre_ids, counts))),
        "calibration_error": expected_calibration_error(judged.probabilities, judged.genre_ids),
        "sure": float(sure.mean()),
        "accuracy_where_sure": float(hits[sure].mean()) if sure.any() else None,
    }


def by_genre(judged: Judged, genres: tuple[str, ...]) -> dict[str, dict]:
    """Accuracy and number of tracks of each genre that occurs."""
    found = {genres[genre_id]: judged.pick(judged.genre_ids == genre_id) for genre_id in np.unique(judged.genre_ids)}
    return {genre: {"n": len(mine.hits), "accuracy": vars(mine.accuracy())} for genre, mine in found.items()}


def measure_robustness(panel: Panel, tracks: TrackSet, folds: np.ndarray, judged: Judged, per_genre: int) -> dict[str, dict]:
    """Balanced accuracy on up to `per_genre` tracks of each genre, spread evenly: as they are, as `judged`, and changed."""
    if per_genre == 0:
        return {}
    chosen = some_of_each_genre(tracks, per_genre)
    some, some_folds, plain = tracks.select(chosen), folds[chosen], judged.pick(chosen)

    def compare(changed: Judged) -> dict:
        def lost(counts: np.ndarray) -> float:
            before, after = (mean_over_groups(judged.hits, judged.genre_ids, counts) for judged in (plain, changed))
            return before - after

        turned = changed.guesses != plain.guesses
        return {
            "n": len(changed.hits),
            "balanced": mean_over_groups(changed.hits, changed.genre_ids),
            "lost": vars(bootstrap(lost, draw_clusters(changed.artists))),
            "turned": float(turned.mean()),
            "sure": float(changed.is_sure.mean()),
            "moved": float(np.abs(changed.probabilities - plain.probabilities).max(1).mean()),
        }

    changed = {name: ask(panel, some, some_folds, name, change) for name, change in CHANGES.items()}
    return {name: compare(found) for name, found in {"as it is": plain, **changed}.items()}


def load_rival(source: str, panel: Panel, tracks: TrackSet, folds: np.ndarray) -> Panel:
    """Another model or cross-validation to ask about the same tracks; its genres and folds must be the first one's."""
    rival = Panel(source)
    if rival.genres != panel.genres or len(rival.classifiers) != len(panel.classifiers):
        raise DataError(
            f"--compare {source} has {len(rival.classifiers)} model(s) of {', '.join(rival.genres)}; "
            f"--model has {len(panel.classifiers)} of {', '.join(panel.genres)}: they must be the same"
        )
    check_unheard(rival, tracks, folds)
    return rival


def compare(names: list[str], judged: Judged, rivals: list[Panel], tracks: TrackSet, folds: np.ndarray) -> dict[str, dict]:
    """The summaries of all models on the same tracks, and of each other one mixed with the first by averaging probabilities."""
    first, *others = names
    table = {first: summarise(judged)} if rivals else {}
    for name, rival in zip(others, rivals, strict=True):
        theirs = ask(rival, tracks, folds, name)
        mean = replace(judged, probabilities=(judged.probabilities + theirs.probabilities) / 2)
        table |= {name: summarise(theirs), f"{first} and {name}, averaged": summarise(mean)}
    return table


def run(args: argparse.Namespace) -> None:
    panel, not_music = Panel(args.model), recordings(args.not_music)
    usable = usable_tracks(args.data, args.cache_dir)
    tracks, folds, remarks = choose_tracks(usable, panel, args.split, args.seed)
    rivals = [load_rival(source, panel, tracks, folds) for source in args.compare]
    other_music = usable_tracks(args.other_genres, args.cache_dir) if args.other_genres else None
    rng = np.random.default_rng([args.seed, 99])
    asked = others_to_ask_about(panel.genres, not_music, other_music, args.synthetic, rng)
    others = {kind: panel.ask(sounds, their_folds, kind) for kind, sounds, their_folds in asked}
    judged = ask(panel, tracks, folds, "as it is")
    names = data_names(args.data)
    protocol = f"{len(panel.classifiers)} folds with artists apart" if panel.is_cross_validation else f"split {args.split}"
    results = {
        "command": launch_command(1),
        "protocol": protocol,
        "data": names,
        "remarks": remarks,
        "genres": panel.genres,
        "all": summarise(judged),
        "by_collection": {names[k]: summarise(judged.pick(judged.collections == k)) for k in np.unique(judged.collections)},
        "by_genre": by_genre(judged, panel.genres),
        "reliability": reliability(judged.probabilities, judged.genre_ids),
        "confusion": confusion_matrix(judged.genre_ids, judged.guesses, labels=range(len(panel.genres))).tolist(),
        "robustness": measure_robustness(panel, tracks, folds, judged, args.robustness_tracks),
        "named": named_shares(others),
        "curve": answer_curve(judged.known, others),
        "comparison": compare(data_names([args.model, *args.compare]), judged, rivals, tracks, folds),
        "speech_over_music": measure_speech_over_music(panel, tracks, folds, not_music),
    }
    print(write_results(results, args.output_dir))


def main(argv: list[str] | None = None) -> None:
    run_script(run, parse_args(argv))


if __name__ == "__main__":
    main()
