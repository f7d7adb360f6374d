"""Clips to measure: cut from real music, and what stands beside generated ones as ceiling and floor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
from tqdm.auto import tqdm

from genre_gan.clip import Clip
from genre_gan.data.cache import FeatureStore, save_array
from genre_gan.evaluation.sound import loudness_lufs

GRIFFIN_LIM_STEPS = 32
N_MELS, N_FFT, HOP = 128, 1024, 256  # of Griffin-Lim's copy


@dataclass
class ClipSet:
    """Clips of one origin, with the genre that each is or was asked to be; `originals` are what copies were made of."""

    clips: list[Clip]
    genres: list[str]
    originals: list[Clip] | None = None

    def __len__(self) -> int:
        return len(self.clips)


class RealMusic:
    """Clips of fixed length cut from some tracks: the first stretch of every track before the second of any."""

    def __init__(self, store: FeatureStore, tracks: np.ndarray, duration_s: float, seed: int):
        self._store, self._length = store, round(duration_s * store.config.sample_rate_hz)
        order = np.random.default_rng(seed).permutation(tracks)
        places = ((start, rank, int(i)) for rank, i in enumerate(order) for start in self._starts(int(i)))
        self._places: dict[str, list[tuple[int, int]]] = {}
        for start, _, i in sorted(places):
            self._places.setdefault(store.tracks.genre_names[i], []).append((i, start))

    def _starts(self, track: int) -> range:
        return range(0, int(self._store.n_frames[track]) - self._length + 1, self._length)

    def count(self, genre: str) -> int:
        return len(self._places.get(genre, []))

    def take(self, genres: tuple[str, ...], n: int) -> ClipSet:
        """`n` clips of each genre."""
        rate_hz, found = self._store.config.sample_rate_hz, ClipSet([], [])
        for genre in genres:
            for i, start in self._places[genre][:n]:
                found.clips.append(Clip(self._store.read(i, start, self._length)[:, 0], rate_hz))
                found.genres.append(genre)
        return found


def divide_tracks(store: FeatureStore, tracks: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A share of the tracks of each genre, and the others."""
    order = np.random.default_rng(seed).permutation(tracks)
    names = np.array(store.tracks.genre_names)[order]
    first = np.concatenate([(part := order[names == g])[: max(1, round(share * len(part)))] for g in np.unique(names)])
    return first, np.setdiff1d(tracks, first)


def griffin_lim_copy(clip: Clip, cache_dir: Path | None = None) -> Clip:
    """What people do without a network: a mel spectrogram, non-negative least squares, fast Griffin-Lim from random phases.

    It takes seconds a clip, so copies are kept in `cache_dir`, where one is given.
    """
    rate_hz = clip.sample_rate_hz
    if cache_dir is not None:
        settings = f"{rate_hz} {N_FFT} {HOP} {N_MELS} {GRIFFIN_LIM_STEPS} {version('librosa')}"
        name = hashlib.sha256(settings.encode() + clip.samples.tobytes()).hexdigest()[:32]
        path = cache_dir / "griffin-lim" / f"{name}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            save_array(path, griffin_lim_copy(clip).samples)
        return Clip(np.load(path), rate_hz)
    mel = librosa.feature.melspectrogram(y=clip.samples, sr=rate_hz, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS)
    magnitude = librosa.feature.inverse.mel_to_stft(mel, sr=rate_hz, n_fft=N_FFT)
    samples = librosa.griffinlim(magnitude, n_iter=GRIFFIN_LIM_STEPS, hop_length=HOP, random_state=0, length=len(clip.samples))
    return Clip(samples.astype(np.float32), rate_hz)


def codec_copy(model: Any, sample_rate_hz: int) -> Callable[[Clip], Clip] | None:
    """A function that copies a clip through the latents of a generator's model; None for models without latents of sound."""
    if not hasattr(model, "codec"):
        return None

    @torch.inference_mode()
    def copy(clip: Clip) -> Clip:
        samples = librosa.resample(clip.samples, orig_sr=clip.sample_rate_hz, target_sr=sample_rate_hz)
        return Clip(model.codec.copied(torch.from_numpy(samples)[None])[0].numpy(), sample_rate_hz)

    return copy


def copy_clips(source: ClipSet, copy: Callable[[Clip], Clip], name: str) -> ClipSet:
    """Copies of all clips, with a progress bar of this name."""
    return ClipSet([copy(clip) for clip in tqdm(source.clips, desc=name, unit="clip", leave=False)], source.genres, source.clips)


def as_loud_as(those: ClipSet, clips: ClipSet) -> ClipSet:
    """The clips, each as loud as that at its place among `those`, or as loud as fits full scale."""

    def change(clip: Clip, other: Clip) -> Clip:
        gain = 10.0 ** ((loudness_lufs(other) - loudness_lufs(clip)) / 20.0)
        return Clip(clip.samples * np.float32(min(gain, 1.0 / max(1e-9, np.abs(clip.samples).max()))), clip.sample_rate_hz)

    return ClipSet(list(map(change, clips.clips, those.clips)), clips.genres)


def white_noise(like: ClipSet) -> ClipSet:
    """White noise at -20 dB full scale."""
    rng = np.random.default_rng(0)
    clips = [Clip(0.1 * rng.standard_normal(len(c.samples), dtype=np.float32), c.sample_rate_hz) for c in like.clips]
    return ClipSet(clips, like.genres)
