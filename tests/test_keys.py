"""Which key music is in, and music that is brought to a key."""

from dataclasses import replace

import numpy as np
import pytest

from genre_gan import spectral
from genre_gan.keys import UNKNOWN_KEY, find_key, semitones_to, transpose_key
from genre_gan.recipe import KEYS, Recipe
from tests.test_models import tiny_spectral_model

RATE_HZ = 22_050
MAJOR_CADENCE, MINOR_CADENCE = ((0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7)), ((0, 3, 7), (5, 8, 12), (7, 10, 14), (0, 3, 7))


def cadence(chords, tonic: int) -> np.ndarray:
    """A second of each chord, from so many semitones above middle C."""
    time_s = np.arange(RATE_HZ) / RATE_HZ
    pitches = [[261.63 * 2 ** ((tonic + note) / 12) for note in chord] for chord in chords]
    return np.concatenate([sum(np.sin(2 * np.pi * pitch * time_s) for pitch in chord) for chord in pitches]).astype(np.float32)


@pytest.mark.parametrize("tonic", [0, 5, 9])
def test_a_cadence_is_heard_in_its_key(tonic):
    assert KEYS[find_key(cadence(MAJOR_CADENCE, tonic), RATE_HZ)] == f"{KEYS[tonic].split()[0]} major"
    assert KEYS[find_key(cadence(MINOR_CADENCE, tonic), RATE_HZ)] == f"{KEYS[tonic].split()[0]} minor"


def test_what_has_no_key_is_told():
    noise = np.random.default_rng(0).normal(0.0, 0.1, 4 * RATE_HZ).astype(np.float32)
    assert find_key(noise, RATE_HZ) == find_key(np.zeros(RATE_HZ, np.float32), RATE_HZ) == UNKNOWN_KEY
    assert -6 <= semitones_to(3, np.zeros(RATE_HZ, np.float32), RATE_HZ) <= 5


@pytest.mark.parametrize("asked", ["C major", "F# major", "A minor", "D minor"])
def test_the_shortest_way_to_a_key_is_taken(asked):
    key = KEYS.index(asked)
    for chords in (MAJOR_CADENCE, MINOR_CADENCE):
        semitones = semitones_to(key, cadence(chords, 2), RATE_HZ)
        assert -6 <= semitones <= 5
        moved = cadence(chords, 2 + semitones)
        assert semitones_to(key, moved, RATE_HZ) == 0
        if (chords is MAJOR_CADENCE) == asked.endswith("major"):
            assert find_key(moved, RATE_HZ) == key and transpose_key(find_key(cadence(chords, 2), RATE_HZ), semitones) == key
    assert transpose_key(UNKNOWN_KEY, 3) == UNKNOWN_KEY


def test_a_clip_is_transposed_to_the_key_asked_for_and_longer_begins_as_shorter(monkeypatch):
    model, heard = tiny_spectral_model(), []
    monkeypatch.setattr(spectral, "semitones_to", lambda key, samples, rate_hz: heard.append((key, samples)) or 3)
    recipe = Recipe({"blues": 1.0}, 5, 1.0, key="E minor", model="mel")
    short = np.concatenate(list(model.chunks(recipe, 20_000)))
    long = np.concatenate(list(model.chunks(replace(recipe, duration_s=3.0), 60_000)))
    assert np.array_equal(short[:20_000], long[:20_000])
    (key, samples), (_, again) = heard
    assert KEYS[key] == "E minor" and len(samples) / model.sample_rate_hz == pytest.approx(10.4, abs=0.1)
    assert np.array_equal(samples, again)
    as_made = np.concatenate(list(model.chunks(replace(recipe, key=None), 20_000)))
    assert len(heard) == 2 and not np.allclose(as_made[:20_000], short[:20_000])
