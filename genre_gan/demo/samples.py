"""Sounds to try the classifier on that nobody owns: music long in the public domain, played here by synthesized strings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from genre_gan import Clip
from genre_gan.audio import SAMPLE_RATE_HZ

# Beethoven's "Ode to Joy", its first eight bars: melody, middle voice and bass as MIDI numbers, and lengths in beats
ODE = (
    (64, 55, 48, 1), (64, 55, 48, 1), (65, 57, 50, 1), (67, 59, 52, 1), (67, 59, 55, 1), (65, 59, 55, 1), (64, 55, 48, 1),
    (62, 55, 55, 1), (60, 52, 48, 1), (60, 52, 48, 1), (62, 55, 43, 1), (64, 55, 48, 1), (64, 55, 55, 1.5), (62, 55, 55, 0.5),
    (62, 55, 43, 2),
    (64, 55, 48, 1), (64, 55, 48, 1), (65, 57, 50, 1), (67, 59, 52, 1), (67, 59, 55, 1), (65, 59, 55, 1), (64, 55, 48, 1),
    (62, 55, 55, 1), (60, 52, 48, 1), (60, 52, 48, 1), (62, 55, 43, 1), (64, 55, 48, 1), (62, 55, 55, 1.5), (60, 52, 48, 0.5),
    (60, 52, 48, 2),
)  # fmt: skip
BEAT_S, ATTACK_S, RELEASE_S = 0.55, 0.12, 0.15
REVERBERATION_S, WET = 2.4, 0.4  # time in which a hall's echo falls by 60 dB, and its share


def strings(midi: float, duration_s: float, n_players: int, seed: int) -> np.ndarray:
    """Bowed strings in unison, each a little out of tune and with a vibrato of its own, float32 [shape=(n,)]."""
    random = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    total = np.zeros_like(time_s)
    for _ in range(n_players):
        pitch_hz = 440.0 * 2.0 ** ((midi - 69.0 + random.normal(0.0, 0.06)) / 12.0)
        vibrato_hz, start = random.uniform(4.5, 6.0), random.uniform(0.0, 2.0 * np.pi)
        vibrato = 0.005 / (2.0 * np.pi * vibrato_hz) * np.sin(2.0 * np.pi * vibrato_hz * time_s + start)
        harmonics = np.arange(1, min(16, int(9_000.0 / pitch_hz) + 1))
        weights = harmonics**-1.2 * np.exp(2j * np.pi * random.uniform(size=len(harmonics)))
        total += np.polyval([*weights[::-1], 0.0], np.exp(2j * np.pi * pitch_hz * (time_s + vibrato))).imag
    envelope = np.clip(np.minimum(time_s / ATTACK_S, (duration_s - time_s) / RELEASE_S), 0.0, 1.0)
    return (envelope * total).astype(np.float32)


def in_a_hall(samples: np.ndarray) -> np.ndarray:
    """A sound with the echo of a hall, which is noise that dies away (Moorer, "About this reverberation business", 1979)."""
    from scipy.signal import fftconvolve, lfilter

    time_s = np.arange(round(REVERBERATION_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    echo = np.random.default_rng(0).standard_normal(len(time_s)) * 10.0 ** (-3.0 * time_s / REVERBERATION_S)
    echo = lfilter([0.3], [1.0, -0.7], echo)  # air and walls take the high tones
    echo /= np.sqrt((echo**2).sum())
    return (1.0 - WET) * samples + WET * fftconvolve(samples, echo)[: len(samples)]


@cache
def ode_to_joy() -> Clip:
    """The theme once, growing and fading every four bars, by two violins above an orchestra."""
    n_beats = sum(beats for *_, beats in ODE)
    total = np.zeros(round((n_beats * BEAT_S + REVERBERATION_S / 2) * SAMPLE_RATE_HZ))
    beat = 0.0
    for melody, middle, bass, beats in ODE:
        start, loudness = round(beat * BEAT_S * SAMPLE_RATE_HZ), 0.5 + 0.5 * np.sin(np.pi * (beat % 16.0) / 16.0)
        parts = [2.0 * strings(melody + 12, beats * BEAT_S + 0.1, 2, melody)]
        parts += [0.7 * strings(midi, beats * BEAT_S + 0.25, 6, midi) for midi in (melody, middle, bass, bass - 12)]
        for part in parts:
            total[start : start + len(part)] += loudness * part
        beat += beats
    heard = in_a_hall(total)
    return Clip((0.6 * heard / np.abs(heard).max()).astype(np.float32), SAMPLE_RATE_HZ)


def noise() -> Clip:
    """White noise, which is no music."""
    return Clip(0.1 * np.random.default_rng(0).standard_normal(6 * SAMPLE_RATE_HZ).astype(np.float32), SAMPLE_RATE_HZ)


def silence() -> Clip:
    """Nothing at all."""
    return Clip(np.zeros(6 * SAMPLE_RATE_HZ, np.float32), SAMPLE_RATE_HZ)


SAMPLES: dict[str, Callable[[], Clip]] = {
    "Ode to Joy (synthesized strings)": ode_to_joy,
    "White noise": noise,
    "Silence": silence,
}
