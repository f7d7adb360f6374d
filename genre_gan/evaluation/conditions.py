"""Whether clips have the key and the tempo that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from genre_gan.clip import Clip
from genre_gan.evaluation.structure import HOP, RATE_HZ, find_beat, is_same_beat
from genre_gan.keys import key_agreement
from genre_gan.recipe import KEYS

ASKED_TEMPOS_BPM = (75.0, 160.0)
N_LIKELY_KEYS = 3


class Generator(Protocol):
    """A pipeline as `GenreGenerator` is one."""

    def generate(self, genre: str, duration_s: float, seed: int, *, tempo_bpm: float | None, key: str | None) -> Clip: ...


def measure_conditions(generator: Generator, genres: Sequence[str], duration_s: float, seed: int) -> dict[str, dict[str, float]]:
    """A clip for each entry of `genres`, with a key and a tempo drawn at random, and the same without: what is found in each.

    The second half of each clip is looked at. `agreement`: correlation of its pitch classes with the profile of the key;
    `best_key`, `likely_key`: share of clips in which no other key, and at most two, fit better; `tempo`: share of clips with the
    tempo, or half or twice that, within 4 %.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[tuple[float, bool, bool, bool]]] = {"asked for": [], "not asked for": []}
    for number, genre in enumerate(genres):
        key, tempo_bpm = int(rng.integers(len(KEYS))), float(rng.uniform(*ASKED_TEMPOS_BPM))
        asked = generator.generate(genre, duration_s, 1000 * seed + number, tempo_bpm=tempo_bpm, key=KEYS[key])
        found["asked for"].append(_look(asked, key, tempo_bpm))
        free = generator.generate(genre, duration_s, 1000 * seed + number, tempo_bpm=None, key=None)
        found["not asked for"].append(_look(free, key, tempo_bpm))
    names = ("agreement", "best_key", "likely_key", "tempo")
    return {name: dict(zip(names, np.mean(values, 0).tolist(), strict=True)) for name, values in found.items()}


def _look(clip: Clip, key: int, tempo_bpm: float) -> tuple[float, bool, bool, bool]:
    import librosa

    samples = librosa.resample(clip.samples[len(clip.samples) // 2 :], orig_sr=clip.sample_rate_hz, target_sr=RATE_HZ)
    agreement = key_agreement(samples, RATE_HZ)
    n_better = int((agreement > agreement[key]).sum())
    period, _ = find_beat(librosa.onset.onset_strength(y=samples, sr=RATE_HZ, hop_length=HOP))
    has_tempo = is_same_beat(60.0 * RATE_HZ / HOP / tempo_bpm, period)
    return float(agreement[key]), n_better == 0, n_better < N_LIKELY_KEYS, has_tempo
