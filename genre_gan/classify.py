"""The genre of any sound: read in chunks, cut into slices, named slice by slice, and averaged."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from genre_gan.audio import AudioError, AudioSource, read_blocks, too_short
from genre_gan.devices import find_device
from genre_gan.features import FeatureExtractor, cut_evenly
from genre_gan.hub import load_model
from genre_gan.models.classifier import CLASSIFIERS, GenreNetwork

MIN_DURATION_S = 0.5
DEFAULT_SEGMENT_S = 3.0
SLICES_PER_CHUNK = 10  # features, and the level where they have one of their own, are of so many slices at once
SILENCE_RMS = 1e-4  # -80 dB full scale
HOP_S, HOPS_OF_SILENCE = 0.1, 5  # how finely silence is looked for, and how much of it is no rest in the music
_MOST_AGREEING = 10
_CHANGE_COST = 4.0  # what a change of genre has to win, in log-probability


class TimelinePoint(NamedTuple):
    """What was heard between two moments.

    Attributes:
        start_s, end_s: seconds from the beginning.
        genre: the most probable genre.
        probabilities: `{genre: p}`, summing to 1; all alike in silence.
    """

    start_s: float
    end_s: float
    genre: str
    probabilities: dict[str, float]


class Guess(NamedTuple):
    """What a classifier says of a sound.

    Attributes:
        genre: the most probable genre.
        probabilities: `{genre: p}`, summing to 1, if it is any of these; all alike in silence.
        timeline: what was heard in each slice, in order.
        is_sure: False where the sound is likely no music (silence, noise, speech, tones) or music of another genre.
        known: the probability that it is music of any of these genres.
        changes: moments in seconds at which the genre changes for good, not only for a slice.
    """

    genre: str
    probabilities: dict[str, float]
    timeline: tuple[TimelinePoint, ...]
    is_sure: bool
    known: float = 1.0
    changes: tuple[float, ...] = ()

    @property
    def verdict(self) -> str:
        """The genre, or "not sure"."""
        return self.genre if self.is_sure else "not sure"

    def top(self, n: int = 3) -> tuple[tuple[str, float], ...]:
        """The `n` likeliest genres with their probabilities, likeliest first."""
        return tuple(sorted(self.probabilities.items(), key=lambda item: -item[1])[:n])


class GenreClassifier:
    """Name the genre of recordings of any length; memory does not grow with it.

    Attributes:
        genres: the classes.
        source: where the weights came from.
    """

    def __init__(self, model: GenreNetwork, source: str = "memory"):
        self.model = model.eval()
        self.genres = model.config.genres
        self.source = source
        self._extractor = FeatureExtractor(model.config.features)

    @classmethod
    def from_pretrained(
        cls, source: str | os.PathLike | None = None, revision: str | None = None, device: str | torch.device = "cpu"
    ) -> GenreClassifier:
        """Load the weights inside the package (no argument), of a folder, or of a Hub id.

        Args:
            revision: a branch, tag or commit of the Hub repository.
            device: where to compute: `cpu`, `cuda`, `mps`, or `auto` for a GPU where there is one.

        Raises:
            genre_gan.pretrained.ModelError: nothing there, damaged, or of another family.
            ValueError: no such device.
        """
        device = find_device(device)
        model, _ = load_model(source, revision, "classifier", CLASSIFIERS)
        return cls(model, "packaged weights" if source is None else os.fspath(source)).to(device)

    def to(self, device: str | torch.device) -> GenreClassifier:
        """Compute on that device from now on: `cpu`, `cuda`, `mps`, or `auto` for a GPU where there is one."""
        self.model.to(find_device(device))
        self._extractor.to(find_device(device))
        return self

    def classify(self, audio: AudioSource, on_note: Callable[[str], None] | None = None) -> Guess:
        """Name the genre of a path, the bytes of a file, an open binary file, a `Clip` or `(samples, sample_rate_hz)`.

        `on_note` gets a sentence for each thing that should be known of the sound, such as that it ended early; see `load_audio`.

        Raises:
            genre_gan.AudioError: unreadable, or shorter than half a second.
            FileNotFoundError: no such file.
        """
        heard = [_Heard(chunk.spans(), chunk.is_silent, self._hear(chunk)) for chunk in self._chunks(audio, on_note)]
        return self._conclude(heard)

    def classify_many(
        self, sources: Iterable[AudioSource], on_note: Callable[[AudioSource, str], None] | None = None
    ) -> Iterator[Guess | Exception]:
        """Name the genres of many sounds: several at a time, on one processor core each, instead of one on all of them.

        `on_note` gets the source and a sentence for each thing that should be known of it, before its answer; see `classify`.

        Yields:
            For each source in order its `Guess`, or the `AudioError` or `OSError` that `classify` would raise.

        Raises:
            ValueError: one name or the bytes of one file, in place of several sources.
        """
        if isinstance(sources, (str, bytes, os.PathLike)):
            raise ValueError(f"sources must be several, such as a list of names, got {sources!r:.80}: use classify for one")
        n_threads = torch.get_num_threads()
        waiting: deque[tuple[AudioSource, Future]] = deque()

        def next_answer() -> Guess | Exception:
            source, future = waiting.popleft()
            answer, notes = future.result()
            if on_note is not None:
                for note in notes:
                    on_note(source, note)
            return answer

        pool = ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            for source in sources:
                waiting.append((source, pool.submit(self._answer, source)))
                if len(waiting) > 2 * n_threads:
                    yield next_answer()
            while waiting:
                yield next_answer()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(n_threads)  # threads that start later shall have as many as before

    def _answer(self, source: AudioSource) -> tuple[Guess | Exception, list[str]]:
        notes: list[str] = []
        try:
            return self.classify(source, notes.append), notes
        except (AudioError, OSError) as error:
            return error, notes

    @torch.inference_mode()
    def embed(self, audio: AudioSource) -> np.ndarray:
        """What the last layer reads, averaged over the slices with sound: near each other for what sounds alike [shape=(d,)]."""
        chunks = ((self.model.embed(chunk.slices).cpu().numpy(), chunk.is_silent) for chunk in self._chunks(audio))
        embedded, is_silent = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        return embedded[~is_silent | is_silent.all()].mean(0)

    def _chunks(self, audio: AudioSource, on_note: Callable[[str], None] | None = None) -> Iterator[_Chunk]:
        """Features of consecutive chunks; a rest shorter than half a slice is left out, unless nothing else was heard.

        Where silence begins or ends, so does a chunk: a slice that is part music, part silence sounds like neither.
        """
        rate_hz = self.model.config.features.sample_rate_hz
        slice_s = self.model.config.features.segment_s or DEFAULT_SEGMENT_S
        blocks = read_blocks(audio, rate_hz, on_note=on_note)
        parts = _cut_at_silence(blocks, SLICES_PER_CHUNK * round(slice_s * rate_hz), rate_hz)
        position, n_chunks, is_heard = 0, 0, False
        for samples, following in pairwise(chain(parts, [np.zeros(0, np.float32)])):
            needed_s = 0.5 * slice_s if len(following) == 0 and is_heard else MIN_DURATION_S
            if len(samples) >= needed_s * rate_hz:
                chunk = self._extract(samples, position)
                n_chunks, is_heard = n_chunks + 1, is_heard or not chunk.is_silent.all()
                yield chunk
            position += len(samples)
        if n_chunks == 0:
            raise AudioError(f"the audio is {too_short(position, rate_hz, MIN_DURATION_S)}")

    @torch.inference_mode()
    def _extract(self, samples: np.ndarray, position: int) -> _Chunk:
        config = self.model.config.features
        sound = torch.from_numpy(samples)[None].to(next(self.model.parameters()).device)
        features = self.model.compensate(self._extractor(sound)[0])
        slices = cut_evenly(features, round((config.segment_s or DEFAULT_SEGMENT_S) * config.frame_rate_hz))
        powers = [np.square(part).mean() for part in np.array_split(samples, len(slices))]
        is_silent = np.array(powers) < SILENCE_RMS**2
        return _Chunk(position / config.sample_rate_hz, len(samples) / config.sample_rate_hz, slices, is_silent)

    @torch.inference_mode()
    def _hear(self, chunk: _Chunk) -> np.ndarray:
        """Probabilities of a chunk's slices [shape=(n, n_classes)]."""
        return self.model.probabilities(chunk.slices).cpu().numpy()

    def _conclude(self, heard: list[_Heard]) -> Guess:
        config, n_genres = self.model.config, len(self.genres)
        spans = [span for part in heard for span in part.spans]
        slices = np.concatenate([part.probabilities for part in heard])
        is_silent = np.concatenate([part.is_silent for part in heard])
        lengths = np.array([end_s - start_s for start_s, end_s in spans])
        genres = slices[:, :n_genres] / slices[:, :n_genres].sum(1, keepdims=True)
        genres[is_silent] = 1 / n_genres
        known, overall = 0.0, np.full(n_genres, 1 / n_genres)
        if not is_silent.all():
            weights = np.where(is_silent, 0.0, lengths)
            mean = pool_slices(slices, weights, np.zeros(len(slices), np.int64), config.agreement)[0]
            known, overall = float(mean[:n_genres].sum()), mean[:n_genres] / mean[:n_genres].sum()
        points = zip(spans, genres, strict=True)
        timeline = tuple(TimelinePoint(*span, self.genres[int(row.argmax())], self._named(row)) for span, row in points)
        is_sure = known > 0.0 and known >= config.sure_above
        changes = tuple(spans[i][0] for i in find_changes(genres))
        return Guess(self.genres[int(overall.argmax())], self._named(overall), timeline, is_sure, known, changes)

    def _named(self, probabilities: np.ndarray) -> dict[str, float]:
        return {genre: float(p) for genre, p in zip(self.genres, probabilities, strict=True)}


class _Chunk(NamedTuple):
    """Some seconds of a sound as slices of features Tensor[n x L x F], and which of them are silent [shape=(n,)]."""

    start_s: float
    duration_s: float
    slices: Tensor
    is_silent: np.ndarray

    def spans(self) -> list[tuple[float, float]]:
        """Start and end of each slice in seconds."""
        edges = self.start_s + self.duration_s * np.arange(len(self.slices) + 1) / len(self.slices)
        return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


class _Heard(NamedTuple):
    """What is kept of a chunk: spans of its slices in seconds, which are silent, and probabilities [shape=(n, n_classes)]."""

    spans: list[tuple[float, float]]
    is_silent: np.ndarray
    probabilities: np.ndarray


def _cut_at_silence(blocks: Iterable[np.ndarray], n_most: int, rate_hz: int) -> Iterator[np.ndarray]:
    """The sound in parts of at most `n_most` samples, each of them silence, or without any but for short rests."""
    pending = np.zeros(0, np.float32)
    for block in blocks:
        pending = np.concatenate([pending, block])
        while len(pending) >= n_most:
            part, pending = np.split(pending, [_first_change(pending[:n_most], rate_hz)])
            yield part
    while len(pending):
        part, pending = np.split(pending, [_first_change(pending, rate_hz)])
        yield part


def _first_change(samples: np.ndarray, rate_hz: int) -> int:
    """The sample at which the silence that they begin with ends, or else one begins; their number where neither happens."""
    hop = math.ceil(HOP_S * rate_hz)
    hops = samples[: len(samples) // hop * hop].reshape(-1, hop)
    if len(hops) <= HOPS_OF_SILENCE:
        return len(samples)
    is_quiet = np.square(hops).mean(1) < SILENCE_RMS**2
    begins_silence = np.all(np.lib.stride_tricks.sliding_window_view(is_quiet, HOPS_OF_SILENCE), axis=1)
    is_change = ~is_quiet if begins_silence[0] else begins_silence
    (places,) = np.nonzero(is_change[HOPS_OF_SILENCE:])  # no part is shorter than that
    return (HOPS_OF_SILENCE + int(places[0])) * hop if len(places) else len(samples)


def find_changes(probabilities: np.ndarray) -> list[int]:
    """The slices at which the genre changes: the likeliest path through the slices where each change costs something (Viterbi).

    Args:
        probabilities: of each slice [shape=(n, n_genres)].
    """
    gains = np.log(probabilities + 1e-9)
    total, came_from = gains[0], []
    for gain in gains[1:]:
        stays = total >= total.max() - _CHANGE_COST
        came_from.append(np.where(stays, np.arange(len(total)), total.argmax()))
        total = np.where(stays, total, total.max() - _CHANGE_COST) + gain
    path = [int(total.argmax())]
    for origin in reversed(came_from):
        path.append(int(origin[path[-1]]))
    path.reverse()
    return [i for i in range(1, len(path)) if path[i] != path[i - 1]]


def pool_slices(probabilities: np.ndarray, lengths: np.ndarray, tracks: np.ndarray, agreement: float) -> np.ndarray:
    """What the slices of a track say together: their geometric mean, longer slices counting more, sharpened by their number.

    Args:
        probabilities: of each slice [shape=(n, n_classes)].
        lengths: of each slice, in any unit [shape=(n,)]; those of length 0 do not count.
        tracks: the track of each slice, numbered from 0 without gaps [shape=(n,)].
        agreement: see `ClassifierConfig`; more than ten slices count as ten.

    Returns:
        Probabilities of each track [shape=(n_tracks, n_classes)], summing to 1.
    """
    logits = np.zeros((int(tracks.max()) + 1, probabilities.shape[1]))
    np.add.at(logits, tracks, np.log(probabilities + 1e-9) * lengths[:, None])
    logits /= np.bincount(tracks, lengths)[:, None]
    logits *= np.clip(np.bincount(tracks, lengths > 0), 1, _MOST_AGREEING)[:, None] ** agreement
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)
