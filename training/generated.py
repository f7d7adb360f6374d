"""Tracks that generators make, to train a classifier on beside real ones."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from genre_gan.data.cache import FeatureStore, Segments, slices
from genre_gan.data.splits import Split
from genre_gan.data.tracks import DataError, Row
from genre_gan.features import FeatureConfig
from genre_gan.generate import GenreGenerator
from training.arguments import positive_float
from training.launch import is_main_process


def add_generated_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that add generated slices to the training side."""
    generated = parser.add_argument_group("generated data")
    generated.add_argument("--generated", action="append", default=[], metavar="MODEL",
                           help="train on clips of this generator too: packaged name, folder or Hub id; may be repeated")
    generated.add_argument("--generated-amount", type=positive_float, default=1.0, metavar="X",
                           help="generated slices for each real one (default: %(default)s)")
    generated.add_argument("--generated-spread", choices=("even", "matched"), default="even",
                           help="as many of each genre, or in each genre as many as it has real ones (default: %(default)s)")
    generated.add_argument("--generated-clip-s", type=positive_float, default=8.0, metavar="S",
                           help="length of a generated clip in seconds (default: %(default)s)")


def add_generated(
    args: argparse.Namespace, store: FeatureStore, split: Split, train: Segments, fold: int
) -> tuple[FeatureStore, Segments]:
    """The store with generated tracks behind the real ones, and the training slices with theirs.

    Raises:
        DataError: a generator may have heard validation tracks, or knows none of the genres.
    """
    generators = [GenreGenerator.from_pretrained(source) for source in args.generated]
    for source, generator in zip(args.generated, generators, strict=True):
        if not split.leaks and (doubt := split.doubt(generator.model.training_record, store.tracks, fold)):
            raise DataError(f"the generator {source!r} may have heard validation tracks: {doubt}")
    wanted = wanted_slices(args, store, train, generators)
    rows = list(_rows(generators, wanted, store.config, args.generated_clip_s))
    joined = FeatureStore(store.tracks.joined(rows), store.config, args.cache_dir, progress=is_main_process())
    made = joined.segments(np.arange(len(store.tracks), len(joined.tracks)))
    names = np.array(joined.tracks.genre_names)[made.track]
    kept = np.concatenate([np.flatnonzero(names == genre)[:n] for genre, n in wanted.items()])
    parts = zip((train.track, train.start, train.n_frames), (made.track, made.start, made.n_frames), strict=True)
    return joined, Segments(*(np.concatenate([real, generated[kept]]) for real, generated in parts))


def wanted_slices(
    args: argparse.Namespace, store: FeatureStore, train: Segments, generators: list[GenreGenerator]
) -> dict[str, int]:
    """How many slices of each genre to add, of those that can be generated."""
    names = np.array(store.tracks.genre_names)[train.track]
    able = [genre for genre in store.tracks.genres if any(genre in generator.genres for generator in generators)]
    if not able:
        raise DataError(f"--generated: {', '.join(args.generated)} know none of the genres {', '.join(store.tracks.genres)}")
    if args.generated_spread == "even":
        return {genre: round(args.generated_amount * len(train) / len(able)) for genre in able}
    return {genre: round(args.generated_amount * int((names == genre).sum())) for genre in able}


def _rows(
    generators: list[GenreGenerator], wanted: Mapping[str, int], config: FeatureConfig, clip_s: float
) -> Iterator[Row]:
    """As many clips as give the slices that are wanted, by the generators that know their genre in turn."""
    n_frames = 1 + math.floor(clip_s * config.sample_rate_hz) // config.hop_length
    per_clip = len(list(slices(n_frames, config)))
    if per_clip == 0:
        raise DataError(f"--generated-clip-s must be at least the length of a slice, {config.segment_s:g} s, got {clip_s:g}")
    for genre, n_slices in wanted.items():
        makers = [generator for generator in generators if genre in generator.genres]
        for seed in range(-(-n_slices // per_clip)):
            sound = GeneratedSound(makers[seed % len(makers)], genre, clip_s, seed)
            yield Row(f"generated {genre} {seed}", genre, "", "", sound)


@dataclass(frozen=True, eq=False)
class GeneratedSound:
    """A clip that is generated when its sound is asked for; called it gives the bytes of a file."""

    generator: GenreGenerator
    genre: str
    clip_s: float
    seed: int

    @property
    def key(self) -> str:
        """What changes whenever the sound may have: the weights, and what is asked of them."""
        return f"generated/{self.generator.name}/{self.generator.revision}/{self.genre}/{self.clip_s:g}/{self.seed}"

    def __call__(self) -> bytes:
        return _encoded(self)


@lru_cache(maxsize=32)  # a cache of features asks twice: for the hash and for the sound
def _encoded(sound: GeneratedSound) -> bytes:
    return sound.generator.generate(sound.genre, sound.clip_s, sound.seed).encode("wav")
