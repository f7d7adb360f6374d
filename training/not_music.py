"""Sound that is no music, from formulas, from recordings and mixed of these: what the classifier learns to be unsure about."""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genre_gan.audio import SUFFIXES, AudioError, load_audio, too_short
from genre_gan.classify import MIN_DURATION_S
from genre_gan.data.sources import DataError, TrackSet
from genre_gan.data.splits import N_FOLDS, artist_groups
from training.degrade import coloured_noise, limit_band

# First three formants of vowels in Hz (Peterson & Barney 1952, men).
_FORMANTS_HZ = np.array(
    [(270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410), (730, 1090, 2440), (570, 840, 2410),
     (440, 1020, 2240), (300, 870, 2240), (640, 1190, 2390), (490, 1350, 1690)]
)  # fmt: skip


def make_not_music(kind: str, duration_s: float, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """One sound of a kind out of `KINDS`, float32 [shape=(n,)] with a peak of 0.5."""
    n = round(duration_s * sample_rate_hz)
    sound = KINDS[kind](n, sample_rate_hz, rng) + 1e-4 * rng.standard_normal(n)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def _noise(n: int, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Of any colour, swelling a little."""
    swell = 1.0 + rng.uniform(0, 0.5) * np.sin(2 * np.pi * rng.uniform(0.1, 2) * np.arange(n) / sample_rate_hz)
    return coloured_noise(n, rng.uniform(-1.2, 0.5), rng) * swell


def _tone(n: int, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Up to three harmonics."""
    phase = 2 * np.pi * 2 ** rng.uniform(np.log2(50), np.log2(5000)) * np.arange(n) / sample_rate_hz
    return np.sum([np.sin(k * phase) * rng.uniform(0, 1) ** k for k in range(1, 1 + rng.integers(1, 4))], axis=0)


def _sweep(n: int, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    start, end = np.log2(rng.uniform(40, 6000, 2))
    return np.sin(2 * np.pi * np.cumsum(2 ** np.linspace(start, end, n) / sample_rate_hz))


def _hum(n: int, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """A buzz like that of mains, in noise."""
    phase = 2 * np.pi * 50 * rng.uniform(0.9, 1.3) * np.arange(n) / sample_rate_hz
    return sum(np.sin(k * phase) / k for k in range(1, 12)) + coloured_noise(n, -0.5, rng)


def _clicks(n: int, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """At irregular moments."""
    sound = np.zeros(n)
    sound[rng.integers(0, n, max(1, round(rng.uniform(1, 15) * n / sample_rate_hz)))] = rng.uniform(-1, 1)
    return np.convolve(sound, np.exp(-np.arange(200) / rng.uniform(5, 60)), "same")


def _applause(n: int, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Many claps, from a few hands to a hall."""
    claps = np.zeros(n)
    claps[rng.integers(0, n, max(1, round(rng.uniform(20, 400) * n / sample_rate_hz)))] = 1.0
    clap = rng.standard_normal(300) * np.exp(-np.arange(300) / rng.uniform(20, 60))
    return limit_band(np.convolve(claps, clap, "same"), sample_rate_hz, rng.uniform(300, 900), rng.uniform(3000, 7500))


def _machine(n: int, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """A motor of wandering speed, with noise."""
    wander = np.cumsum(rng.standard_normal(n)) / np.sqrt(n)
    phase = 2 * np.pi * np.cumsum(rng.uniform(15, 120) * (1 + 0.01 * wander)) / sample_rate_hz
    sound = sum(rng.uniform(0, 1) * k**-0.7 * np.sin(k * phase + rng.uniform(0, 6)) for k in range(1, 25))
    return sound + coloured_noise(n, -0.5, rng) * rng.uniform(0.2, 2)


def _alarm(n: int, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Beeps of one pitch or of two."""
    time_s, rate_hz, pitch_hz = np.arange(n) / sample_rate_hz, rng.uniform(0.5, 8), rng.uniform(400, 3000)
    pitches_hz = np.where(np.sin(np.pi * rate_hz * time_s) > 0, pitch_hz, pitch_hz * rng.choice([1.0, 1.25, 1.5, 0.8]))
    return np.sin(2 * np.pi * pitches_hz * time_s) * (np.sin(2 * np.pi * rate_hz * time_s) > rng.uniform(-0.5, 0.5))


def _speech(n: int, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """A source-filter voice with a moving pitch, vowels, hisses and pauses at the pace of syllables."""
    from scipy.signal import lfilter

    voice_hz, formant_scale = 2 ** rng.uniform(np.log2(85), np.log2(240)), rng.uniform(0.9, 1.25)
    parts, made = [], 0
    while made < n:
        length = round(rng.uniform(0.06, 0.28) * sample_rate_hz)
        kind = rng.choice(3, p=(0.7, 0.18, 0.12))  # vowel, hiss, pause
        envelope = np.sin(np.pi * np.arange(length) / length) ** 0.5 * rng.uniform(0.4, 1.0)
        if kind == 0:
            start, end = rng.uniform(-0.35, 0.35, 2)
            pitch_hz = voice_hz * 2 ** np.linspace(start, end, length)
            phase = np.cumsum(pitch_hz / sample_rate_hz)
            sound = np.diff(np.floor(phase), prepend=0.0) + 0.03 * rng.standard_normal(length)
            for formant_hz in _FORMANTS_HZ[rng.integers(len(_FORMANTS_HZ))] * formant_scale:
                radius = np.exp(-np.pi * rng.uniform(60, 130) / sample_rate_hz)
                cosine = np.cos(2 * np.pi * formant_hz / sample_rate_hz)
                sound = lfilter([1.0], [1.0, -2.0 * radius * cosine, radius**2], sound)
            sound = sound / (np.abs(sound).max() + 1e-9)
        elif kind == 1:
            sound = coloured_noise(length, rng.uniform(0.3, 1.0), rng) * 0.12
        else:
            sound = np.zeros(length)
        parts.append(sound * envelope)
        made += length
    return np.concatenate(parts)[:n]


KINDS = {
    "noise": _noise, "tone": _tone, "sweep": _sweep, "hum": _hum, "clicks": _clicks, "applause": _applause,
    "machine": _machine, "alarm": _alarm, "speech": _speech,
}  # fmt: skip


def speech_program() -> str:
    """What makes speech, and its version, for records; empty where espeak-ng is not installed."""
    if shutil.which("espeak-ng") is None:
        return ""
    return subprocess.run(["espeak-ng", "--version"], capture_output=True, check=True, text=True).stdout.partition("  ")[0]


def speak(voices: Sequence[str], sentences: Sequence[str]) -> list[bytes]:
    """Each sentence by each voice of espeak-ng, as wav files; none where that program is missing."""
    if not speech_program():
        print("espeak-ng is not installed: made-up speech is left out, so weights and figures are not the project's", flush=True)
        return []
    commands = (["espeak-ng", "-v", voice, "--stdout", text] for voice in voices for text in sentences)
    return [subprocess.run(command, capture_output=True, check=True).stdout for command in commands]


def recordings(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """`{"kind, source": paths}` of the recordings in folders by kind; the source where a `files.csv` names it.

    What cannot be read, or is too short to be classified, is told of and left out.
    """
    found: dict[str, list[Path]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"--not-music {folder} is no folder")
        sources = {}
        if (folder / "files.csv").is_file():
            with (folder / "files.csv").open(newline="") as file:
                sources = {row["file_name"]: row["source"] for row in csv.DictReader(file)}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES and _can_be_classified(path):
                kind, source = path.parent.name, sources.get(path.relative_to(folder).as_posix())
                found.setdefault(f"{kind}, {source}" if source else kind, []).append(path)
    return found


def _can_be_classified(path: Path) -> bool:
    try:
        samples, sample_rate_hz = load_audio(path)
        if len(samples) < MIN_DURATION_S * sample_rate_hz:
            raise AudioError(too_short(len(samples), sample_rate_hz, MIN_DURATION_S))
    except (AudioError, OSError) as error:
        print(f"{path} left out: {error}", flush=True)
        return False
    return True


def folds_of_strangers(tracks: TrackSet) -> np.ndarray:
    """The fold of each track of music that no model knows by name, artists apart [shape=(n_tracks,)].

    Training and evaluation must agree on it, so it depends on the tracks of a track's own source alone.
    """
    sources, folds = np.array(tracks.sources), np.zeros(len(tracks), np.int64)
    for source in np.unique(sources):
        members = np.flatnonzero(sources == source)
        folds[members] = artist_groups(tracks.select(members))[0] % N_FOLDS
    return folds


def repeat(sound: np.ndarray, n_samples: int, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """A sound again and again with short pauses, float32 [shape=(n_samples,)]."""
    parts, length = [], 0
    while length < n_samples:
        pause = 1e-4 * rng.standard_normal(round(rng.uniform(0.05, 0.8) * sample_rate_hz))
        parts += [sound, pause]
        length += len(sound) + len(pause)
    return np.concatenate(parts)[:n_samples].astype(np.float32)


def variations(sounds: Sequence[np.ndarray], sample_rate_hz: int, rng: np.random.Generator) -> list[np.ndarray]:
    """For each sound: repeated, in a conversation with others, and in a babble of them."""
    made = []
    for sound in sounds:
        n_samples = round(rng.uniform(3.0, 6.0) * sample_rate_hz)
        made.append(repeat(sound, n_samples, sample_rate_hz, rng))
        others = [sounds[k] for k in rng.integers(0, len(sounds), 6)]
        turns = [repeat(other, len(other) + 1000, sample_rate_hz, rng) * rng.uniform(0.3, 1.0) for other in others]
        made.append(np.resize(np.concatenate(turns), n_samples))
        babble = [repeat(o, n_samples, sample_rate_hz, rng) * rng.uniform(0.2, 1.0) for o in others[: rng.integers(3, 7)]]
        made.append(np.sum(babble, axis=0))
    return [sound.astype(np.float32) for sound in made]
