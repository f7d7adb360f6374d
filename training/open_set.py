"""What a classifier says of sound that it should not name: no music, and music of genres that it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from tqdm.auto import tqdm

from genre_gan.audio import AudioError, load_audio
from genre_gan.data.sources import DataError, TrackSet
from genre_gan.evaluation.changes import from_a_laptop_in_a_room, mix, over_a_telephone
from training.not_music import KINDS, folds_of_strangers, make_not_music, speak
from training.panel import Panel

RATE_HZ = 22_050
SENTENCES = (
    "The train to the coast leaves at seven in the morning, and there is no other before noon.",
    "Please leave your message after the tone, and we will call you back as soon as we can.",
    "In the year that followed, nobody in the village spoke of the storm or of the broken bridge.",
    "Add two cups of flour, a little salt and three eggs, and stir until the dough is smooth.",
)
VOICES = ("en", "en+f3", "de", "fr+f2", "es+m4")  # none of those that train_lstm.py learns from
MUSIC_TO_SPEECH_DB = (20.0, 10.0, 0.0, -10.0)
SPEECH_TRACKS_PER_GENRE = 3
N_THRESHOLDS = 99
OTHER_GENRES = "music of other genres"
CHANGED = {  # what is no music must not be named for the way on which it comes, either
    "all recordings, over a telephone": over_a_telephone,
    "all recordings, from a laptop in a room": from_a_laptop_in_a_room,
}


@dataclass(frozen=True)
class Answers:
    """What was said of n sounds.

    Attributes:
        is_named: whether a genre was named, not "not sure" [shape=(n,)].
        confidence: the probability that it is any of the genres [shape=(n,)].
    """

    is_named: np.ndarray
    confidence: np.ndarray


def ask_about_others(
    panel: Panel, not_music: dict[str, list[Path]], other_genres: Sequence[TrackSet], n_synthetic: int, seed: int
) -> dict[str, Answers]:
    """Answers by kind of sound: recordings that are no music, other genres, and made-up sounds. Models are asked in turn."""
    rng = np.random.default_rng([seed, 99])
    sounds: dict[str, list] = dict(not_music)
    folds: dict[str, list[int]] = {}
    recorded = [(path, fold) for paths in not_music.values() for fold, path in enumerate(paths)]
    for kind, change in CHANGED.items() if recorded else ():
        sounds[kind] = [change(load_audio(path)) for path, _ in recorded]
        folds[kind] = [fold for _, fold in recorded]
    for tracks in other_genres:
        unknown = [i for i, genre in enumerate(tracks.genre_names) if genre not in panel.genres]
        if not unknown:
            raise DataError(f"--other-genres has no genre that the classifier lacks, only {', '.join(tracks.genres)}")
        sounds.setdefault(OTHER_GENRES, []).extend(tracks[i].audio for i in unknown)
        folds.setdefault(OTHER_GENRES, []).extend(folds_of_strangers(tracks)[unknown].tolist())
    sounds["silence (made up)"] = [(np.zeros(round(s * RATE_HZ), np.float32), RATE_HZ) for s in (0.5, 3.0, 10.0)]
    for kind in KINDS:
        made = (make_not_music(kind, rng.uniform(2.0, 10.0), RATE_HZ, rng) for _ in range(n_synthetic))
        sounds[f"{kind} (made up)"] = [(samples, RATE_HZ) for samples in made]
    if spoken := speak(VOICES, SENTENCES):
        sounds["espeak-ng (made up)"] = list(spoken)
    answers = {kind: _ask(panel, sources, folds.get(kind, range(len(sources))), kind) for kind, sources in sounds.items()}
    return {kind: found for kind, found in answers.items() if len(found.is_named)}


def _ask(panel: Panel, sources: Sequence, folds: Sequence[int], label: str) -> Answers:
    guesses = []
    for source, fold in zip(tqdm(sources, desc=label, unit="sound", leave=False), folds, strict=True):
        try:
            guesses.append(panel.classify(source, fold))
        except AudioError as error:
            tqdm.write(f"left out one of {label}: {error}")
    return Answers(np.array([g.is_sure for g in guesses]), np.array([g.known for g in guesses]))


def named_shares(others: dict[str, Answers]) -> dict[str, dict]:
    """The share of each kind that was named, with its 95 % interval (Wilson 1927)."""
    table = {}
    for kind, answers in others.items():
        n_named, n = int(answers.is_named.sum()), len(answers.is_named)
        interval = binomtest(n_named, n).proportion_ci(method="wilson")
        table[kind] = {"n": n, "named": n_named / n, "low": float(interval.low), "high": float(interval.high)}
    return table


def answer_curve(music: Answers, others: dict[str, Answers]) -> list[dict[str, float]]:
    """Shares of music answered, of recorded sound that is no music named, and of other genres named, by threshold.

    Above a threshold on the confidence a genre is named. Made-up sounds and recordings that were changed do not count.
    """
    left_out = (OTHER_GENRES, *CHANGED)
    recorded = [a.confidence for kind, a in others.items() if kind not in left_out and not kind.endswith("(made up)")]
    confidences = {"answered": music.confidence, "not_music_named": np.concatenate([*recorded, np.zeros(0)])}
    confidences["other_genres_named"] = others[OTHER_GENRES].confidence if OTHER_GENRES in others else np.zeros(0)
    return [
        {"threshold": float(t)} | {name: float((c >= t).mean()) for name, c in confidences.items() if len(c)}
        for t in np.linspace(0.0, 1.0, N_THRESHOLDS + 2)[1:-1]
    ]


def some_of_each_genre(tracks: TrackSet, per_genre: int) -> np.ndarray:
    """Up to `per_genre` tracks of each genre, spread evenly [shape=(n,) of indices]."""
    names = np.array(tracks.genre_names)
    members = (np.flatnonzero(names == genre) for genre in tracks.genres)
    return np.concatenate([m[np.linspace(0, len(m) - 1, min(per_genre, len(m))).astype(int)] for m in members])


def measure_speech_over_music(
    panel: Panel, tracks: TrackSet, folds: np.ndarray, not_music: dict[str, list[Path]]
) -> dict[str, dict]:
    """What is said of music under recorded speech, by the level of the music relative to the speech."""
    spoken = [path for kind, paths in not_music.items() if kind.startswith("speech") for path in paths]
    if not spoken:
        return {}
    table, chosen = {}, some_of_each_genre(tracks, SPEECH_TRACKS_PER_GENRE).tolist()
    for level_db in MUSIC_TO_SPEECH_DB:
        named, right = [], []
        for k, i in enumerate(tqdm(chosen, desc=f"speech over music, {level_db:+.0f} dB", unit="track", leave=False)):
            mixed = mix(load_audio(tracks[i].audio), load_audio(spoken[k % len(spoken)]), level_db)
            guess = panel.classify(mixed, int(folds[i]))
            named.append(guess.is_sure)
            right.append(guess.is_sure and guess.genre == tracks.genre_names[i])
        table[f"{level_db:+.0f} dB"] = {"n": len(named), "named": float(np.mean(named)), "right": float(np.mean(right))}
    return table
