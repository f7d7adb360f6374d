"""Features computed once for each track, cached on disk by content, settings and code, and read through memory maps."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from genre_gan.audio import AudioError, load_audio, too_short
from genre_gan.data.tracks import DataError, Skipped, TrackSet
from genre_gan.features import FeatureConfig, FeatureExtractor
from genre_gan.files import cache_folder, write_bytes

MIN_TRACK_S = 1.0
SILENCE_RMS = 1e-4  # -80 dB full scale
_CODE = ("audio.py", "decode.py", "ffmpeg.py", "features.py", "data/cache.py")  # what cached values depend on
_HASHES_NAME = "hashes.json"
_STILL_CHANGING_S = 2.0  # of a file this young the time of its last change proves nothing


@dataclass(frozen=True)
class Segments:
    """Slices of tracks: three arrays of the same length [shape=(n,)].

    Attributes:
        track: index of the track in the store.
        start: first frame.
        n_frames: length in frames.
    """

    track: np.ndarray
    start: np.ndarray
    n_frames: np.ndarray

    def __len__(self) -> int:
        return len(self.track)


class FeatureStore:
    """Features of every usable track of a `TrackSet`.

    Opening it computes what the cache lacks; of several processes that open the same one, one works and the rest wait.
    Reading maps one file at a time, so memory does not grow with the data.

    Attributes:
        tracks: the usable tracks, in order.
        skipped: the others, each with its reason.
        n_frames: frames of each track [shape=(n_tracks,)].
        n_features, frame_rate_hz: values in a frame, and frames in a second.
    """

    def __init__(self, tracks: TrackSet, config: FeatureConfig, cache_dir: Path | None = None, progress: bool = False):
        self.config = config
        self.n_features, self.frame_rate_hz = config.n_features, config.frame_rate_hz
        root = cache_dir or cache_folder()
        settings = json.dumps([config.cache_key(), code_version()], sort_keys=True)
        self.folder = root / f"{config.name.removesuffix('-segment')}-{hashlib.sha256(settings.encode()).hexdigest()[:16]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        extractor = FeatureExtractor(config)

        with one_at_a_time(root), ThreadPoolExecutor(os.cpu_count()) as pool:
            hashes = ContentHashes(root)
            done = pool.map(lambda i: self._prepare(tracks, i, hashes, extractor), range(len(tracks)))
            if progress:
                from tqdm.auto import tqdm

                done = tqdm(done, total=len(tracks), desc=f"{config.name} features", unit="track", leave=False)
            prepared = list(done)
            hashes.save()
        _skip_repeated(tracks, prepared)
        usable = [i for i, result in enumerate(prepared) if not isinstance(result, Skipped)]
        self.skipped = [result for result in prepared if isinstance(result, Skipped)]
        if not usable:
            reasons = "; ".join(f"{item.id}: {item.reason}" for item in self.skipped[:3])
            raise DataError(f"none of the {len(tracks)} tracks can be used ({reasons})")
        self.tracks = tracks.select(usable)
        self._paths = [prepared[i] for i in usable]
        self.n_frames = np.array([len(self._open(i)) for i in range(len(usable))])

    def summary(self) -> str:
        """Such as "loaded 999 of 1000 tracks, skipped 1: jazz.00054 (damaged)"."""
        text = f"loaded {len(self.tracks)} of {len(self.tracks) + len(self.skipped)} tracks"
        if self.skipped:
            listed = "; ".join(f"{item.id} ({item.reason})" for item in self.skipped)
            text += f", skipped {len(self.skipped)}: {listed}"
        return text

    def read(self, track: int, start: int = 0, n_frames: int | None = None) -> np.ndarray:
        """Features float32 [shape=(n_frames, n_features)] of one track from frame `start` on."""
        stop = None if n_frames is None else start + n_frames
        values = self._open(track)[start:stop]
        if values.dtype == np.int16:
            return values.astype(np.float32) / 32768.0
        return np.array(values)

    def segments(self, tracks: np.ndarray | None = None) -> Segments:
        """Slice tracks (all, or these indices) by the config's `segment_s`; whole tracks where it is None."""
        chosen = np.arange(len(self.tracks)) if tracks is None else np.asarray(tracks)
        rows = [(int(track), *place) for track in chosen for place in slices(int(self.n_frames[track]), self.config)]
        if not rows:
            shortest_s = self.config.min_segment_s or self.config.segment_s
            raise DataError(f"no track is as long as min_segment_s ({shortest_s} s): use a smaller one")
        track, start, n_frames = np.array(rows, dtype=np.int64).T
        return Segments(track, start, n_frames)

    def content_key(self, track: int) -> str:
        """A name for a track's content, the same wherever its file lies."""
        return self._paths[track].stem

    def _open(self, index: int) -> np.ndarray:
        return np.load(self._paths[index], mmap_mode="r")

    def _prepare(self, tracks: TrackSet, index: int, hashes: ContentHashes, extractor: FeatureExtractor):
        try:
            path = self.folder / f"{hashes.of(tracks, index)}.npy"
            if not path.exists():
                samples = load_audio(tracks[index].audio, self.config.sample_rate_hz).samples
                check_usable(samples, self.config.sample_rate_hz)
                save_array(path, compute(samples, extractor))
        except (AudioError, OSError) as error:
            return Skipped(tracks.ids[index], str(error))
        return path


def _skip_repeated(tracks: TrackSet, prepared: list[Path | Skipped]) -> None:
    """Leave out the very same file under another name: it would stand on both sides of a split."""
    first: dict[Path, int] = {}
    for i, result in enumerate(prepared):
        if not isinstance(result, Skipped) and (kept := first.setdefault(result, i)) != i:
            prepared[i] = Skipped(tracks.ids[i], f"the same sound as {tracks.ids[kept]}")


def slices(n_frames: int, config: FeatureConfig) -> Iterator[tuple[int, int]]:
    """Start and length of each slice of a track of `n_frames`, by the config's `segment_s`; one slice where that is None."""
    length = config.segment_frames or n_frames
    for start in range(0, n_frames, length):
        part = min(length, n_frames - start)
        if part >= (config.min_segment_frames or 1):
            yield start, part


class ContentHashes:
    """The hash of each track's sound, remembered so that no start has to read all of it again.

    A file is known by its path, size and time of change; sound inside a data set by the data set's fingerprint and the row.
    """

    def __init__(self, root: Path):
        self._path = root / _HASHES_NAME
        try:
            self._known: dict[str, str] = json.loads(self._path.read_text())
        except (OSError, ValueError):
            self._known = {}
        self._new: dict[str, str] = {}

    def of(self, tracks: TrackSet, index: int) -> str:
        """The hash of one track's file or bytes; `OSError` for a file that cannot be read."""
        sound, key = tracks.sound(index), None
        if isinstance(sound, str):
            status = os.stat(sound)
            if time.time() - status.st_mtime > _STILL_CHANGING_S:
                key = f"{os.path.abspath(sound)}/{status.st_size}/{status.st_mtime_ns}"
        else:
            key = getattr(sound, "key", None)
        if key in self._known:
            return self._known[key]
        digest = hashlib.blake2b(Path(sound).read_bytes() if isinstance(sound, str) else sound(), digest_size=16).hexdigest()
        if key is not None:
            self._new[key] = digest
        return digest

    def save(self) -> None:
        if self._new:
            write_bytes(self._path, json.dumps(self._known | self._new).encode())


@cache
def code_version(*more: str) -> str:
    """A hash of the code that computes features, and of `more` files of this package: what older code has cached is not used."""
    digest = hashlib.sha256()
    for name in _CODE + more:
        digest.update((files("genre_gan") / name).read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process after the other work in `folder`, however long each takes; where nothing can be locked, all at once."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        with suppress(OSError):  # a network disk without locks: what is computed twice is the same, and appears whole
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield  # closing the file unlocks


def check_usable(samples: np.ndarray, sample_rate_hz: int) -> None:
    """Raise `AudioError` for samples [shape=(n,)] that are too short or silent to learn from."""
    if len(samples) < MIN_TRACK_S * sample_rate_hz:
        raise AudioError(too_short(len(samples), sample_rate_hz, MIN_TRACK_S))
    if float(np.sqrt(np.mean(np.square(samples)))) < SILENCE_RMS:
        raise AudioError("silent")


@torch.no_grad()
def compute(samples: np.ndarray, extractor: FeatureExtractor) -> np.ndarray:
    if extractor.config.name == "waveform":
        return np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)[:, None]
    return extractor(torch.from_numpy(samples)[None])[0].numpy()


def save_array(path: Path, values: np.ndarray) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, values)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
