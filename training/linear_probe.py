"""What `train_lstm.py --preset shipped` makes: softmax regression on MusiCNN's features, calibrated with artists apart.

The fit has one solution, so it needs no steps, seeds or checkpoints, and gives the same weights on one process and on many:
the first one works. Every genre weighs the same, and within it artists with many tracks less than their share (by the root of
their number). Labelled music of `--extra-data`, whose labels may be cut otherwise, weighs little and takes part in no figure;
its genres that the other data lacks, and sound that is no music, form one more class: none of these.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from genre_gan.classify import pool_slices
from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import DEFAULT_DATASET, load_tracks
from genre_gan.data.splits import N_FOLDS, artist_folds
from genre_gan.features import FeatureConfig
from genre_gan.files import write_bytes
from genre_gan.hub import push_model_folder
from genre_gan.models.classifier import LinearProbe
from training.arguments import data_names, launch_command
from training.launch import is_main_process, n_processes
from training.not_music import folds_of_strangers, recordings, speech_program
from training.probe_examples import NOT_MUSIC, RATE_HZ, FrontEnd, Recording, learn_music, learn_not_music
from training.run_folder import check_run
from training.scores import balanced_accuracy, check_genres, expected_calibration_error

L2 = 0.03  # weight of the squared coefficients beside the mean cross-entropy
EXTRA_SHARE = 0.15  # of a genre's weight, for what --extra-data has of it
# A genre weighs 1. The latter is divided among all kinds of none of these, of which other genres have the former instead.
OTHER_GENRES_WEIGHT, NOT_MUSIC_WEIGHT = 1.0, 4.0
HIGHEST_THRESHOLD = 0.9999  # rounded to 1, nothing would reach it
UNSURE_SHARE = 0.08  # of unheard music, that which looks least like any of the genres


def fit(front_end: FrontEnd, examples: Sequence[Recording]) -> LinearProbe:
    """A network whose linear head has the least cross-entropy on `examples`, with a penalty on its squared coefficients."""
    network, none = copy.deepcopy(front_end.network), len(front_end.network.config.genres)
    totals: dict[str, float] = {}
    for example in examples:
        totals[example.group] = totals.get(example.group, 0.0) + example.weight
    of_none = {e.group for e in examples if e.class_id == none}
    masses = dict.fromkeys(totals, 1.0) | dict.fromkeys(of_none, NOT_MUSIC_WEIGHT / max(1, len(of_none)))
    masses |= {group: EXTRA_SHARE for group in totals if group.startswith("extra ")}
    masses |= {group: OTHER_GENRES_WEIGHT for group in totals if group == "extra other genres"}
    statistics = torch.cat([e.statistics for e in examples])
    classes = torch.cat([torch.full((len(e.statistics),), e.class_id) for e in examples])
    shares = [masses[e.group] * e.weight / totals[e.group] / len(e.statistics) for e in examples]
    weights = np.repeat(shares, [len(e.statistics) for e in examples])
    network.fit_statistics(statistics)
    x, w = network.standardise(statistics).double(), torch.from_numpy(weights)
    solution = minimise(x, classes, w / w.sum(), network.config.n_classes)
    with torch.no_grad():
        network.output.weight.copy_(solution[:-1].T)
        network.output.bias.copy_(solution[-1])
    return network


def minimise(x: Tensor, classes: Tensor, weights: Tensor, n_classes: int) -> Tensor:
    """Coefficients float64 Tensor[D + 1 x n_classes], the last row the biases, of softmax regression by L-BFGS."""
    coefficients = torch.zeros(x.shape[1] + 1, n_classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([coefficients], max_iter=200, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = x @ coefficients[:-1] + coefficients[-1]
        value = weights @ F.cross_entropy(logits, classes, reduction="none") + L2 * coefficients[:-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return coefficients.detach()


@dataclass(frozen=True)
class Answer:
    """Log-probabilities of a recording's slices at temperature 1 [shape=(n, n_classes)] by a model that never heard it."""

    recording: Recording
    logits: np.ndarray


class Calibration(NamedTuple):
    """How the classifier turns logits into answers; see `ClassifierConfig`."""

    temperature: float
    agreement: float
    sure_above: float


@torch.no_grad()
def answer(network: LinearProbe, examples: Sequence[Recording]) -> list[Answer]:
    """What the network says of recordings as they are."""
    asked = [e for e in examples if e.n_asked]
    return [Answer(e, network.output(network.standardise(e.statistics[: e.n_asked])).numpy()) for e in asked]


def answer_unheard(networks: Sequence[LinearProbe], examples: Sequence[Recording]) -> list[Answer]:
    """What the network of each fold says of the recordings of that fold, which it never heard."""
    return [a for fold, network in enumerate(networks) for a in answer(network, [e for e in examples if e.fold == fold])]


def pooled(answers: Sequence[Answer], temperature: float, agreement: float) -> np.ndarray:
    """Probabilities of each recording [shape=(n, n_classes)], as the classifier would pool them."""
    rows = []
    for item in answers:
        slices = torch.from_numpy(item.logits / temperature).softmax(1).numpy()
        rows.append(pool_slices(slices, np.ones(len(slices)), np.zeros(len(slices), np.int64), agreement)[0])
    return np.array(rows)


def among_genres(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities given that it is one of the genres [shape=(n, n_genres)]."""
    return probabilities[:, :-1] / probabilities[:, :-1].sum(1, keepdims=True)


def choose_calibration(answers: Sequence[Answer]) -> Calibration:
    """Temperature and agreement that make unheard music's genres likeliest, and the threshold of being sure."""
    truth = np.array([item.recording.class_id for item in answers])
    found = []
    for agreement in (0.0, 0.1, 0.2, 0.3):
        for temperature in np.exp(np.linspace(np.log(0.3), np.log(2.0), 20)).round(3).tolist():
            likelihood = among_genres(pooled(answers, temperature, agreement))[np.arange(len(truth)), truth]
            found.append((float(-np.log(likelihood + 1e-9).mean()), temperature, agreement))
    _, temperature, agreement = min(found)
    threshold = float(np.quantile(1.0 - pooled(answers, temperature, agreement)[:, -1], UNSURE_SHARE).round(4))
    return Calibration(temperature, agreement, min(threshold, HIGHEST_THRESHOLD))


def score(music: Sequence[Answer], others: Sequence[Answer], calibrations: Sequence[Calibration]) -> dict:
    """How good the answers are, by the calibration of each fold, which is chosen on the others."""
    probabilities, is_sure = np.zeros((len(music), music[0].logits.shape[1])), np.zeros(len(music), bool)
    folds = np.array([item.recording.fold for item in music])
    named: dict[str, list[bool]] = {}
    for fold, settings in enumerate(calibrations):
        sharpness = settings.temperature, settings.agreement
        mine = np.flatnonzero(folds == fold)
        probabilities[mine] = pooled([music[i] for i in mine.tolist()], *sharpness)
        is_sure[mine] = 1.0 - probabilities[mine, -1] >= settings.sure_above
        strange = [item for item in others if item.recording.fold == fold]
        for item, row in zip(strange, pooled(strange, *sharpness), strict=True):
            named.setdefault(item.recording.group, []).append(bool(1.0 - row[-1] >= settings.sure_above))
    truth = np.array([item.recording.class_id for item in music])
    collections = np.array([item.recording.collection for item in music])
    of_collections = [(c, collections == c) for c in np.unique(collections)]
    genres = among_genres(probabilities)
    guesses = genres.argmax(1)
    hits = guesses == truth
    return {
        "balanced_track_accuracy": balanced_accuracy(truth, guesses),
        "track_accuracy": float(hits.mean()),
        "by_collection": {str(c): balanced_accuracy(truth[mine], guesses[mine]) for c, mine in of_collections},
        "expected_calibration_error": expected_calibration_error(genres, truth),
        "answered": float(is_sure.mean()),
        "accuracy_where_answered": float(hits[is_sure].mean()),
        "named": {group: float(np.mean(values)) for group, values in named.items()},
        "n_tracks": len(music),
    }


def without_a_source(front_end: FrontEnd, examples: Sequence[Recording], settings: Calibration) -> dict[str, float]:
    """The share named of each source of recordings that are no music by a model that heard nothing of that source."""
    named = {}
    for source in sorted({e.group for e in examples if e.collection == NOT_MUSIC}):
        kept = [e for e in examples if e.group != source]
        answers = answer(fit(front_end, kept), [e for e in examples if e.group == source])
        known = 1.0 - pooled(answers, settings.temperature, settings.agreement)[:, -1]
        named[source] = float((known >= settings.sure_above).mean())
    return named


def train(args: argparse.Namespace) -> None:
    """Cross-validate, calibrate, fit on everything, and save the model and those of the folds."""
    if not is_main_process():
        return
    if n_processes() > 1:
        print("one process fits the linear probe; the others have nothing to do", flush=True)
    check_run(args, args.resume)
    waveform = FeatureConfig("waveform", RATE_HZ)
    store = FeatureStore(load_tracks(args.data or [DEFAULT_DATASET], args.genres), waveform, args.cache_dir, progress=True)
    not_music = recordings(args.not_music)
    print(store.summary(), flush=True)
    check_genres(store.tracks.genres)
    front_end, folds = FrontEnd(store.tracks.genres), artist_folds(store.tracks)
    sound = tqdm(np.flatnonzero(folds >= 0).tolist(), desc="channel", unit="track", leave=False)
    front_end.fit_channel(store.read(i)[:, 0] for i in sound)
    music = list(learn_music(args, front_end, store, folds, extra=False))
    others = list(learn_not_music(args, front_end, not_music))
    if args.extra_data:
        extra_store = FeatureStore(load_tracks(args.extra_data), waveform, args.cache_dir, progress=True)
        others += learn_music(args, front_end, extra_store, folds_of_strangers(extra_store.tracks), extra=True)
    networks = [fit(front_end, [e for e in (*music, *others) if e.fold != fold]) for fold in range(N_FOLDS)]
    answers, strange = answer_unheard(networks, music), answer_unheard(networks, others)
    calibrations = [choose_calibration([a for a in answers if a.recording.fold != fold]) for fold in range(N_FOLDS)]
    for fold, network in enumerate(networks):
        network.config = replace(network.config, **calibrations[fold]._asdict())
        learned = store.tracks.select(np.flatnonzero((folds >= 0) & (folds != fold)))
        network.training_record = {
            "command": launch_command(1),
            "split": f"fold {fold} of {N_FOLDS} unheard",
            "tracks_per_genre": learned.tracks_per_genre,
        }
        network.save_pretrained(args.output_dir / f"fold-{fold}" / "model")
    settings, scores = choose_calibration(answers), score(answers, strange, calibrations)
    scores["named of a source never heard"] = without_a_source(front_end, [*music, *others], settings)
    network = fit(front_end, [*music, *others])
    network.config = replace(network.config, **settings._asdict())
    network.training_record = describe(args, store, scores)
    folder = network.save_pretrained(args.output_dir / "model")
    write_bytes(args.output_dir / "result.json", json.dumps(network.training_record, indent=2).encode())
    print(json.dumps(scores, indent=2), f"saved to {folder}", sep="\n", flush=True)
    if args.push_to_hub:
        print(f"pushed to {push_model_folder(folder, args.push_to_hub, args.private, args.revision)}", flush=True)


def describe(args: argparse.Namespace, store: FeatureStore, scores: dict) -> dict:
    """What the finished model says of its origin."""
    return {
        "command": launch_command(1),
        "data": data_names(args.data),
        "extra_data": data_names(args.extra_data),
        "made_up_speech": speech_program() or "none",
        "tracks": len(store.tracks),
        "skipped": len(store.skipped),
        "tracks_per_genre": store.tracks.tracks_per_genre,
        "split": f"all tracks; judged by {N_FOLDS} folds with artists apart",
        "seed": args.seed,
        "cross_validation": scores,
    }
