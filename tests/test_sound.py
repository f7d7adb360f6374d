"""Levels, faults and structure of clips whose answers are known."""

import numpy as np
import pytest

from genre_gan import Clip
from genre_gan.evaluation.conditions import measure_conditions
from genre_gan.evaluation.sound import (
    hum_db,
    is_clipped,
    is_silent,
    loudness_lufs,
    spectral_convergence,
    spectral_error_db,
)
from genre_gan.evaluation.structure import find_beat, measure_structure
from genre_gan.loudness import true_peak_db
from genre_gan.recipe import KEYS

RATE_HZ = 22_050


def tone(pitch_hz: float, duration_s: float) -> np.ndarray:
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return sum(np.sin(2 * np.pi * k * pitch_hz * time_s) / k for k in range(1, 5)).astype(np.float32)


def chord(pitches_hz: list[float], duration_s: float) -> np.ndarray:
    return 0.1 * sum(tone(pitch_hz, duration_s) for pitch_hz in pitches_hz)


def clicks(bpm: float, duration_s: float) -> np.ndarray:
    samples = np.zeros(round(duration_s * RATE_HZ), np.float32)
    burst = np.random.default_rng(0).standard_normal(400).astype(np.float32) * np.exp(-np.arange(400) / 80).astype(np.float32)
    for start in np.arange(0, len(samples) - 400, 60 / bpm * RATE_HZ).astype(int):
        samples[start : start + 400] += 0.5 * burst
    return samples


def test_faults_of_clips():
    sine = np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    assert is_silent(Clip(1e-4 * sine, RATE_HZ)) and not is_silent(Clip(0.1 * sine, RATE_HZ))
    assert is_clipped(Clip(np.clip(4 * sine, -1, 1), RATE_HZ)) and not is_clipped(Clip(0.9 * sine, RATE_HZ))
    noise = [Clip(np.random.default_rng(i).standard_normal(RATE_HZ).astype(np.float32), RATE_HZ) for i in range(8)]
    humming = [Clip(clip.samples + sine, RATE_HZ) for clip in noise]
    assert hum_db(noise) < 4 and hum_db(humming) > 15


def test_levels_are_those_of_the_standard():
    """A sine of 997 Hz at full scale has -3.01 LUFS; between samples at 45 degrees its peak is 3 dB above them."""
    time_s = np.arange(3 * 48_000) / 48_000
    sine = Clip(np.sin(2 * np.pi * 997 * time_s).astype(np.float32), 48_000)
    assert loudness_lufs(sine) == pytest.approx(-3.01, abs=0.05)
    assert loudness_lufs(Clip(np.zeros(48_000, np.float32), 48_000)) == -70.0
    quarter = Clip(np.sin(2 * np.pi * 12_000 * time_s + np.pi / 4).astype(np.float32), 48_000)
    assert 20 * np.log10(np.abs(quarter.samples).max()) == pytest.approx(-3.01, abs=0.01)
    assert true_peak_db(quarter.samples) == pytest.approx(0.0, abs=0.3)


def test_a_copy_at_half_the_level_is_six_decibels_off():
    noise = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    assert spectral_error_db(Clip(0.5 * noise, RATE_HZ), Clip(noise, RATE_HZ)) == pytest.approx(6.02, abs=0.1)
    assert spectral_error_db(Clip(noise, RATE_HZ), Clip(noise, RATE_HZ)) == 0.0
    assert spectral_convergence(Clip(0.5 * noise, RATE_HZ), Clip(noise, RATE_HZ)) == pytest.approx(0.5, abs=1e-3)


def test_a_progression_has_chords_that_change_and_return():
    c, f, g = [261.6, 329.6, 392.0], [349.2, 440.0, 523.3], [392.0, 493.9, 587.3]
    bar = np.concatenate([chord(pitches, 2.0) for pitches in (c, f, g, c)])
    progression = measure_structure(Clip(np.tile(bar, 3), RATE_HZ))
    held = measure_structure(Clip(chord(c, 24.0), RATE_HZ))
    noise = measure_structure(Clip(0.1 * np.random.default_rng(0).standard_normal(24 * RATE_HZ).astype(np.float32), RATE_HZ))
    assert progression.chord_changes_hz == pytest.approx(8 / 24, abs=0.1)  # C to F, F to G, G to C: three a bar; C to C none
    assert held.chord_changes_hz < 0.1 and held.chroma_stability > 0.99 and held.chroma_stability > progression.chroma_stability
    assert progression.harmonic_share > 0.9 > 0.7 > noise.harmonic_share
    assert progression.self_similarity > 0.8 > 0.5 > noise.self_similarity
    assert noise.beat_strength < 0.2


def test_a_steady_beat_is_told_from_a_wandering_one():
    steady = measure_structure(Clip(clicks(120.0, 24.0), RATE_HZ))
    wandering = measure_structure(Clip(np.concatenate([clicks(bpm, 6.0) for bpm in (80.0, 104.0, 135.0, 175.0)]), RATE_HZ))
    assert steady.beat_strength > 0.7 > wandering.beat_strength
    assert steady.tempo_steadiness == 1.0 and wandering.tempo_steadiness < 0.6
    assert steady.harmonic_share < 0.3
    assert find_beat(np.zeros(500)) == (0.0, 0.0)
    with pytest.raises(ValueError, match=r"at least 8 s, got one of 5.0 s"):
        measure_structure(Clip(clicks(120.0, 5.0), RATE_HZ))


def test_clips_in_the_key_and_tempo_asked_for_are_told_from_others():
    class Player:
        def __init__(self, obeys: bool):
            self.obeys = obeys

        def generate(self, genre, duration_s, seed, *, tempo_bpm, key):
            if not self.obeys or key is None:
                tempo_bpm, key = 66.0, KEYS[(seed * 5) % 12]
            mode, tonic = divmod(KEYS.index(key), 12)
            scale = [0, 3, 7] if mode else [0, 4, 7]
            pitches = [[261.63 * 2 ** ((tonic + degree + note) / 12) for note in scale] for degree in (0, 5, 0, 7, 0)]
            music = np.concatenate([chord(each, 1.0) for each in pitches * 4])[: round(duration_s * RATE_HZ)]
            return Clip(music + clicks(tempo_bpm, duration_s)[: len(music)], RATE_HZ)

    asked, free = measure_conditions(Player(True), ["blues"] * 8, 20.0, seed=3).values()
    assert asked["agreement"] > 0.5 and asked["likely_key"] >= 0.8 and asked["tempo"] >= 0.8
    assert free["agreement"] < 0.3 and free["likely_key"] < 0.5 and free["tempo"] < 0.5
    assert measure_conditions(Player(False), ["blues"] * 8, 20.0, seed=3)["asked for"] == free
