"""What a classifier says of sound that it should not name: no music, and music of genres that it does not know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from genre_gan import Guess
from genre_gan.audio import AudioSource, load_audio
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


def others_to_ask_about(
    genres: tuple[str, ...],
    not_music: dict[str, list[Path]],
    other_music: TrackSet | None,
    n_synthetic: int,
    rng: np.random.Generator,
) -> Iterator[tuple[str, Iterable[AudioSource], Sequence[int]]]:
    """Kinds of sound, the sounds of each, and whom to ask: the fold of which no model learned from a recording or a track.

    Recordings that are no music, music of other genres than `genres`, and made-up sounds, about which all are asked in turn.
    """
    unknown = [i for i, genre in enumerate(other_music.genre_names) if genre not in genres] if other_music else []
    if other_music and not unknown:
        raise DataError(f"--other-genres has no genre that the classifier lacks, only {', '.join(other_music.genres)}")
    for kind, paths in not_music.items():
        yield kind, paths, range(len(paths))
    recorded = [(path, fold) for paths in not_music.values() for fold, path in enumerate(paths)]
    for kind, change in CHANGED.items() if recorded else ():
        yield kind, (change(load_audio(path)) for path, _ in recorded), [fold for _, fold in recorded]
    if other_music:
        yield OTHER_GENRES, (other_music[i].audio for i in unknown), folds_of_strangers(other_music)[unknown].tolist()
    silences = [(np.zeros(round(s * RATE_HZ), np.float32), RATE_HZ) for s in (0.5, 3.0, 10.0)]
    yield "silence (made up)", silences, range(len(silences))
    for kind in KINDS:
        made = ((make_not_music(kind, rng.uniform(2.0, 10.0), RATE_HZ, rng), RATE_HZ) for _ in range(n_synthetic))
        yield f"{kind} (made up)", made, range(n_synthetic)
    if spoken := speak(VOICES, SENTENCES):
        yield "espeak-ng (made up)", spoken, range(len(spoken))


def named_shares(others: dict[str, list[Guess]]) -> dict[str, dict]:
    """The share of each kind that was named, with its 95 % interval (Wilson 1927)."""
    table = {}
    for kind, guesses in others.items():
        n_named, n = sum(guess.is_sure for guess in guesses), len(guesses)
        interval = binomtest(n_named, n).proportion_ci(method="wilson")
        table[kind] = {"n": n, "named": n_named / n, "low": float(interval.low), "high": float(interval.high)}
    return table


def answer_curve(music: np.ndarray, others: dict[str, list[Guess]]) -> list[dict[str, float]]:
    """Shares of music answered, of recorded sound that is no music named, and of other genres named, by threshold.

    A genre is named where the probability that it is any of them is above a threshold; `music` has that of each track
    [shape=(n,)]. Made-up sounds and recordings that were changed do not count.
    """
    recorded = [kind for kind in others if kind not in (OTHER_GENRES, *CHANGED) and not kind.endswith("(made up)")]
    confidences = {
        "answered": music,
        "not_music_named": np.array([guess.known for kind in recorded for guess in others[kind]]),
        "other_genres_named": np.array([guess.known for guess in others.get(OTHER_GENRES, [])]),
    }
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
    """What is said of music under recorded speech, by the level of the music relative to the speech.

    A model is asked about speech that it never heard either.
    """
    n_models, table = len(panel.classifiers), {}
    spoken = [paths for kind, paths in not_music.items() if kind.startswith("speech")]
    unheard = [[path for paths in spoken for path in paths[fold::n_models]] for fold in range(n_models)]
    chosen = [i for i in some_of_each_genre(tracks, SPEECH_TRACKS_PER_GENRE) if unheard[folds[i] % n_models]]
    if not chosen:
        return {}
    pairs = []
    for k, i in enumerate(chosen):
        voices = unheard[folds[i] % n_models]
        pairs.append((tracks[i], voices[k % len(voices)]))
    for level_db in MUSIC_TO_SPEECH_DB:
        mixes = (mix(load_audio(track.audio), load_audio(voice), level_db) for track, voice in pairs)
        guesses = panel.ask(mixes, folds[chosen].tolist(), f"speech over music, {level_db:+.0f} dB")
        right = [guess.is_sure and guess.genre == track.genre for guess, (track, _) in zip(guesses, pairs, strict=True)]
        named = [guess.is_sure for guess in guesses]
        table[f"{level_db:+.0f} dB"] = {"n": len(named), "named": float(np.mean(named)), "right": float(np.mean(right))}
    return table
