"""The genre of any sound: read in blocks, sliced, judged by the LSTM, and averaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from genre_gan.audio import AudioError, AudioSource, read_blocks
from genre_gan.features import FeatureExtractor
from genre_gan.hub import packaged_weights, resolve_model_folder
from genre_gan.models.lstm import GenreLSTM

MIN_DURATION_S = 0.5
DEFAULT_SEGMENT_S = 3.0
SILENCE_RMS = 1e-4  # -80 dB full scale
_BATCH = 16
_MOST_AGREEING = 10


class TimelinePoint(NamedTuple):
    """What was heard between two moments.

    Attributes:
        start_s, end_s: seconds from the beginning.
        genre: the most probable genre.
        probabilities: `{genre: p}`, summing to 1.
    """

    start_s: float
    end_s: float
    genre: str
    probabilities: dict[str, float]


class Guess(NamedTuple):
    """What a classifier says of a sound.

    Attributes:
        genre: the most probable genre.
        probabilities: `{genre: p}`, summing to 1; all alike where the sound is likely no music.
        timeline: what was heard in each slice, in order.
        is_sure: False where the sound is likely no music (silence, noise, speech, tones) or of no clear genre.
    """

    genre: str
    probabilities: dict[str, float]
    timeline: tuple[TimelinePoint, ...]
    is_sure: bool

    @property
    def verdict(self) -> str:
        """The genre, or "not sure"."""
        return self.genre if self.is_sure else "not sure"


class GenreClassifier:
    """Name the genre of recordings of any length; memory does not grow with it.

    Attributes:
        genres: the classes.
        source: where the weights came from.
    """

    def __init__(self, model: GenreLSTM, source: str = "memory"):
        self.model = model.eval()
        self.genres = model.config.genres
        self.source = source
        self._extractor = FeatureExtractor(model.config.features)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike | None = None, revision: str | None = None) -> GenreClassifier:
        """Load the weights inside the package (no argument), of a folder, or of a Hub id.

        Raises:
            genre_gan.pretrained.ModelError: nothing there, damaged, or of another family.
        """
        if source is None:
            return cls(GenreLSTM.load(packaged_weights("lstm")), "packaged weights")
        return cls(GenreLSTM.load(resolve_model_folder(source, revision)), os.fspath(source))

    def classify(self, audio: AudioSource, on_note: Callable[[str], None] | None = None) -> Guess:
        """Judge a path, the bytes of a file, an open binary file, a `Clip` or `(samples, sample_rate_hz)`.

        `on_note` gets a sentence for each thing that should be known of the sound, such as that it ended early; see `load_audio`.

        Raises:
            genre_gan.AudioError: unreadable, or shorter than half a second.
            FileNotFoundError: no such file.
        """
        spans, rows, batch = [], [], []
        is_silent = True
        for start_s, end_s, samples in self._slices(audio, on_note):
            spans.append((start_s, end_s))
            is_silent = is_silent and float(np.sqrt(np.mean(np.square(samples)))) < SILENCE_RMS
            if batch and (len(batch) == _BATCH or len(batch[0]) != len(samples)):
                rows.append(self._judge(batch))
                batch = []
            batch.append(samples)
        rows.append(self._judge(batch))
        judged, n_genres = np.concatenate(rows), len(self.genres)
        lengths = np.array([end_s - start_s for start_s, end_s in spans])
        mean = pool_slices(judged, lengths, np.zeros(len(judged), np.int64), self.model.config.agreement)[0]
        is_music = not is_silent and mean[:n_genres].sum() >= 0.5
        overall = mean[:n_genres] / mean[:n_genres].sum() if is_music else np.full(n_genres, 1 / n_genres)
        timeline = []
        for (start_s, end_s), row in zip(spans, judged[:, :n_genres] / judged[:, :n_genres].sum(1, keepdims=True)):
            timeline.append(TimelinePoint(start_s, end_s, self.genres[int(row.argmax())], self._named(row)))
        is_sure = bool(is_music and overall.max() >= self.model.config.sure_above)
        return Guess(self.genres[int(mean[:n_genres].argmax())], self._named(overall), tuple(timeline), is_sure)

    @torch.inference_mode()
    def embed(self, audio: AudioSource) -> np.ndarray:
        """What the network heard, before it names a genre: the mean over slices of its pooled outputs [shape=(d,)]."""
        slices = (torch.from_numpy(samples)[None] for _, _, samples in self._slices(audio))
        return np.mean([self.model.embed(self._extractor(samples))[0].numpy() for samples in slices], axis=0)

    def _slices(
        self, audio: AudioSource, on_note: Callable[[str], None] | None = None
    ) -> Iterator[tuple[float, float, np.ndarray]]:
        """Consecutive slices; a rest shorter than half a slice joins no slice, unless it is all there is."""
        rate_hz = self.model.config.features.sample_rate_hz
        length = round((self.model.config.features.segment_s or DEFAULT_SEGMENT_S) * rate_hz)
        pending, position = np.zeros(0, np.float32), 0
        for block in read_blocks(audio, rate_hz, on_note=on_note):
            pending = np.concatenate([pending, block])
            while len(pending) >= length:
                yield position / rate_hz, (position + length) / rate_hz, pending[:length]
                pending, position = pending[length:], position + length
        if len(pending) < (length // 2 if position else MIN_DURATION_S * rate_hz):
            if position:
                return
            raise AudioError(f"the audio is too short: {len(pending) / rate_hz:.2f} s, at least {MIN_DURATION_S} s needed")
        yield position / rate_hz, (position + len(pending)) / rate_hz, pending

    @torch.inference_mode()
    def _judge(self, batch: list[np.ndarray]) -> np.ndarray:
        features = self._extractor(torch.from_numpy(np.stack(batch)))
        return self.model.probabilities(features).numpy()

    def _named(self, probabilities: np.ndarray) -> dict[str, float]:
        return {genre: float(p) for genre, p in zip(self.genres, probabilities)}


def pool_slices(probabilities: np.ndarray, lengths: np.ndarray, tracks: np.ndarray, agreement: float) -> np.ndarray:
    """What the slices of a track say together: their geometric mean, longer slices counting more, sharpened by their number.

    Args:
        probabilities: of each slice [shape=(n, n_classes)].
        lengths: of each slice, in any unit [shape=(n,)].
        tracks: the track of each slice, numbered from 0 without gaps [shape=(n,)].
        agreement: see `LSTMConfig`; more than ten slices count as ten.

    Returns:
        Probabilities of each track [shape=(n_tracks, n_classes)], summing to 1.
    """
    logits = np.zeros((int(tracks.max()) + 1, probabilities.shape[1]))
    np.add.at(logits, tracks, np.log(probabilities + 1e-9) * lengths[:, None])
    logits /= np.bincount(tracks, lengths)[:, None]
    logits *= np.minimum(np.bincount(tracks), _MOST_AGREEING)[:, None] ** agreement
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)
