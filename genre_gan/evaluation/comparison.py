"""Sets of clips measured against one reference of real music, in one embedding, by one probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from genre_gan.evaluation import metrics
from genre_gan.evaluation.clips import ClipSet
from genre_gan.evaluation.embeddings import Embedder
from genre_gan.evaluation.metrics import Estimate, bootstrap
from genre_gan.evaluation.probe import GenreProbe
from genre_gan.evaluation.sound import (
    hum_db,
    is_clipped,
    is_silent,
    loudness_lufs,
    spectral_convergence,
    spectral_error_db,
)
from genre_gan.evaluation.structure import Structure, measure_structure
from genre_gan.loudness import true_peak_db


@dataclass(frozen=True)
class Row:
    """What is said of one set of clips.

    Attributes:
        name, n: of the set, and its size.
        consistency: share of clips in which the probe hears the genre asked for.
        kernel, frechet: distances to the reference.
        precision, recall: share of clips that lie where the reference does, and the other way round.
        diversity: mean distance of two clips of one genre.
        copied: share of clips nearer to some 3 s of the training set than 95 % of unseen real clips are.
        by_genre: consistency of each genre.
    """

    name: str
    n: int
    consistency: Estimate
    kernel: Estimate
    frechet: Estimate
    precision: Estimate
    recall: Estimate
    diversity: Estimate
    copied: Estimate
    by_genre: dict[str, float]


@dataclass(frozen=True)
class SoundRow:
    """What can be said of a set of clips without knowing music.

    Attributes:
        loudness_lufs, loudness_spread_lu: median, and distance between its 10th and 90th percentile.
        peak_db: the largest true peak of all.
        silent, clipped: shares of clips.
        hum_db: the strongest lasting peak of the average spectrum.
        error_db, convergence: distance of copies' spectrograms to their originals', None for what is no copy.
    """

    name: str
    loudness_lufs: float
    loudness_spread_lu: float
    peak_db: float
    silent: float
    clipped: float
    hum_db: float
    error_db: float | None
    convergence: float | None


class Comparison:
    """Measures sets of clips against the same reference.

    Args:
        embedder: gives the embeddings that are compared.
        probe: hears genres in embeddings of the same embedder; it learned from real training-side music alone.
        reference: real clips.
        training_patches: embeddings of all 3 s patches of what the generator learned from [shape=(n, d)].
        unseen: real clips of artists that it did not learn from; their distance to `training_patches` is no copying.
    """

    def __init__(
        self, embedder: Embedder, probe: GenreProbe, reference: ClipSet, training_patches: np.ndarray, unseen: ClipSet
    ):
        self.embedder, self.probe = embedder, probe
        self.reference = metrics.Reference(embedder.clips(reference.clips))
        self._training_patches = training_patches.astype(np.float32)
        self._unseen_nearest = self._nearest(self._patches(unseen))

    def measure(self, name: str, clips: ClipSet) -> Row:
        """Everything about one set; intervals draw its clips anew within each genre, the reference staying as it is."""
        patches = self._patches(clips)
        x = np.stack([part.mean(0) for part in patches]).astype(np.float64)
        genre_ids = np.unique(clips.genres, return_inverse=True)[1]
        hits = self.probe.predict(x) == np.array(clips.genres)
        nearest = self._nearest(patches)
        estimate = partial(bootstrap, draws=list(metrics.draw_within(genre_ids)))
        share = partial(estimate, limits=(0.0, 1.0))
        return Row(
            name=name,
            n=len(clips),
            consistency=share(lambda counts: metrics.mean_over_groups(hits, genre_ids, counts)),
            kernel=estimate(lambda counts: self.reference.kernel_distance(x, counts)),
            frechet=estimate(lambda counts: self.reference.frechet_distance(x, counts), limits=(0.0, np.inf)),
            precision=share(lambda counts: self.reference.precision(x, counts)),
            recall=share(lambda counts: self.reference.recall(x, counts), n_apart=len(self.reference.embeddings)),
            diversity=estimate(lambda counts: metrics.within_genre_distance(x, genre_ids, counts), limits=(0.0, np.inf)),
            copied=share(lambda counts: metrics.copied_share(nearest, self._unseen_nearest, counts)),
            by_genre={genre: float(hits[genre_ids == i].mean()) for i, genre in enumerate(np.unique(clips.genres).tolist())},
        )

    def _patches(self, clips: ClipSet) -> list[np.ndarray]:
        return [self.embedder.patches(clip) for clip in clips.clips]

    def _nearest(self, patches: Sequence[np.ndarray]) -> np.ndarray:
        """Distance of the nearest patch of each clip to the nearest of training [shape=(n_clips,)]."""
        distances = metrics.nearest_distances(np.concatenate(patches), self._training_patches)
        return np.array([part.min() for part in np.split(distances, np.cumsum([len(p) for p in patches])[:-1])])


def measure_sound(name: str, clips: ClipSet) -> SoundRow:
    """Levels and faults of one set of clips."""
    loudness = np.array([loudness_lufs(clip) for clip in clips.clips])
    low, middle, high = np.quantile(loudness, (0.1, 0.5, 0.9))
    copies = list(zip(clips.clips, clips.originals, strict=True)) if clips.originals else None
    return SoundRow(
        name=name,
        loudness_lufs=float(middle),
        loudness_spread_lu=float(high - low),
        peak_db=max(true_peak_db(clip.samples) for clip in clips.clips),
        silent=float(np.mean([is_silent(clip) for clip in clips.clips])),
        clipped=float(np.mean([is_clipped(clip) for clip in clips.clips])),
        hum_db=hum_db(clips.clips),
        error_db=float(np.mean([spectral_error_db(*pair) for pair in copies])) if copies else None,
        convergence=float(np.mean([spectral_convergence(*pair) for pair in copies])) if copies else None,
    )


def mean_structure(clips: ClipSet) -> dict[str, dict[str, float]]:
    """`{genre: {measure: mean over its clips}}`, and under "all" the mean over genres."""
    found = [measure_structure(clip) for clip in clips.clips]
    genres, names = np.array(clips.genres), [field.name for field in fields(Structure)]
    values = {name: np.array([getattr(structure, name) for structure in found]) for name in names}
    table = {
        genre: {name: float(values[name][genres == genre].mean()) for name in names} for genre in dict.fromkeys(clips.genres)
    }
    return table | {"all": {name: float(np.mean([row[name] for row in table.values()])) for name in names}}
