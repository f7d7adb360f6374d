"""The codec's latents of tracks, at their own pitch and at others, with beats and key: what the generator learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from genre_gan.data.cache import FeatureStore, code_version, one_at_a_time, save_array
from genre_gan.files import cache_folder
from genre_gan.keys import find_key, transpose_key
from genre_gan.loudness import integrated_lufs
from genre_gan.models.pulse import MAX_TEMPO_BPM, MIN_TEMPO_BPM

if TYPE_CHECKING:
    from genre_gan.models.codec import Codec

CODE = ("data/latents.py", "keys.py", "loudness.py", "models/codec.py")  # what cached values depend on, beside the features' own
LOUDNESS_LUFS = -16.0


class LatentStore:
    """Latents of some tracks of a waveform store, each at several playing speeds, read through memory maps.

    A track played faster is higher and quicker, as on a record player: the same few hours show more of what music can be.
    Opening it computes what the cache lacks; of several processes that open the same one, one works and the rest wait.

    Attributes:
        folder: of the cached files, which belongs to this codec.
        tracks: the tracks, once for each speed.
        n_speeds: how many these are.
        n_frames: latent frames of each [shape=(n,)].
        n_features, frame_rate_hz: values in a latent frame, coefficients times rows, and frames in a second.
        keys: the key of each, from 0 to 23 (major, then minor, each from C upwards), or 24 where it is unknown [shape=(n,)].
        beats_s: the moments of each one's beats.
    """

    def __init__(
        self,
        store: FeatureStore,
        tracks: np.ndarray,
        codec: Codec,
        semitones: Sequence[int] = (0,),
        cache_dir: Path | None = None,
        progress: bool = False,
    ):
        config = codec.config
        self.n_features, self.frame_rate_hz = config.n_coefficients * config.n_rows, config.latent_rate_hz
        key = hashlib.sha256(f"{config!r} {code_version(*CODE)}".encode())
        for tensor in (codec.mean, codec.scale):  # all that encoding depends on
            key.update(tensor.cpu().numpy().tobytes())
        self.folder = (cache_dir or cache_folder()) / f"latents-{key.hexdigest()[:16]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tracks, self.n_speeds = store.tracks.select(np.tile(tracks, len(semitones))), len(semitones)
        work = [int(track) for track in tracks]
        if progress:
            from tqdm.auto import tqdm

            work = tqdm(work, desc="latents", unit="track", leave=False)
        with one_at_a_time(self.folder):
            made = [_prepare(store, track, codec, semitones, self.folder) for track in work]
        self._paths = [paths[i] for i in range(len(semitones)) for paths, _, _ in made]
        self.n_frames = np.array([len(np.load(path, mmap_mode="r")) for path in self._paths])
        self.keys = np.array([transpose_key(key, shift) for shift in semitones for _, _, key in made])
        self.beats_s = [beats_s / 2 ** (shift / 12) for shift in semitones for _, beats_s, _ in made]

    def read(self, track: int, start: int = 0, n_frames: int | None = None) -> np.ndarray:
        """Latents float32 [shape=(n_frames, n_features)] of one track from frame `start` on."""
        stop = None if n_frames is None else start + n_frames
        return np.load(self._paths[track], mmap_mode="r")[start:stop].astype(np.float32)

    def tempo_bpm(self, track: int) -> float:
        """Of the whole track, halved or doubled into the range from 60 to 180; 120 where too few beats are heard."""
        return _tempo_bpm(self.beats_s[track])

    def pulse(self, track: int, start: int, n_frames: int) -> tuple[float, float]:
        """Tempo in beats a minute and the beat, from 0 to 1, at which a crop begins; its beat is right in the crop's middle."""
        beats_s, begin_s = self.beats_s[track], start / self.frame_rate_hz
        if len(beats_s) < 4:
            return 120.0, 0.0
        middle_s = begin_s + 0.5 * n_frames / self.frame_rate_hz
        near = int(np.clip(np.searchsorted(beats_s, begin_s), 1, len(beats_s) - 3))
        tempo_bpm = _tempo_bpm(beats_s[max(0, near - 2) : near + 8])
        beat = np.interp(middle_s, beats_s, np.arange(len(beats_s))) - (middle_s - begin_s) * tempo_bpm / 60.0
        return tempo_bpm, float(beat % 1.0)


def _tempo_bpm(beats_s: np.ndarray) -> float:
    if len(beats_s) < 4:
        return 120.0
    tempo_bpm = 60.0 / float(np.median(np.diff(beats_s)))
    while tempo_bpm >= MAX_TEMPO_BPM:
        tempo_bpm /= 2.0
    while tempo_bpm < MIN_TEMPO_BPM:
        tempo_bpm *= 2.0
    return tempo_bpm


def _prepare(
    store: FeatureStore, track: int, codec: Codec, semitones: Sequence[int], folder: Path
) -> tuple[list[Path], np.ndarray, int]:
    """The files of a track's latents, its beats and its key; made where the cache lacks them."""
    name = store.content_key(track)
    paths = [folder / f"{name}-{shift:+d}.npy" for shift in semitones]
    facts_path = folder / f"{name}-facts.npy"
    if not facts_path.exists() or not all(path.exists() for path in paths):
        rate_hz = codec.config.features.sample_rate_hz
        samples = level(store.read(track)[:, 0], rate_hz)
        for path, shift in zip(paths, semitones, strict=True):
            save_array(path, _encode(samples, 2 ** (shift / 12), codec))
        save_array(facts_path, np.concatenate([[float(find_key(samples, rate_hz))], find_beats_s(samples, rate_hz)]))
    facts = np.load(facts_path)
    return paths, facts[1:], int(facts[0])


def level(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Samples float32 [shape=(n,)] brought to an integrated loudness of -16 LUFS."""
    loudness_lufs = max(-60.0, integrated_lufs(samples, sample_rate_hz))
    return (samples * 10 ** ((LOUDNESS_LUFS - loudness_lufs) / 20)).astype(np.float32)


@torch.inference_mode()
def _encode(samples: np.ndarray, speed: float, codec: Codec) -> np.ndarray:
    """Latents float16 [shape=(n_frames, n_features)], which hold them to a thousandth."""
    import soxr

    rate_hz = codec.config.features.sample_rate_hz
    if speed != 1.0:
        samples = soxr.resample(samples, rate_hz * speed, rate_hz)
    latents = codec.encode(torch.from_numpy(samples)[None].to(codec.mean.device))[0]  # (C, R, T)
    return latents.flatten(0, 1).T.cpu().numpy().astype(np.float16)


def to_grid(frames: torch.Tensor, n_coefficients: int) -> torch.Tensor:
    """Latents Tensor[B x C x R x T] of frames Tensor[B x T x C*R], as a `LatentStore` reads them."""
    return frames.unflatten(2, (n_coefficients, -1)).permute(0, 2, 3, 1).contiguous()


def find_beats_s(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Moments of beats [shape=(n,)] by librosa's tracker (Ellis 2007)."""
    from librosa.beat import beat_track

    return np.asarray(beat_track(y=samples, sr=sample_rate_hz, units="time")[1], dtype=np.float64)
