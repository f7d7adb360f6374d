"""What the linear probe learns from: music with its genre, other music, and sound that is no music, all heard in the same ways.

Each recording is heard as it is and in excerpts that are degraded at random, come over a telephone, or from a loudspeaker in a
room. Music and what is none go through all of these alike, so that none of them tells the one from the other. Music is also
heard with speech over it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from genre_gan.audio import load_audio
from genre_gan.data.cache import FeatureStore
from genre_gan.data.splits import N_FOLDS, artist_groups
from genre_gan.features import MUSICNN_SETTINGS, FeatureConfig, FeatureExtractor, cut_evenly
from genre_gan.hub import packaged_weights
from genre_gan.models.classifier import LinearProbe, ProbeConfig
from genre_gan.models.musicnn import MusiCNN
from training.arguments import data_names
from training.degrade import degrade, play_in_a_room, talk_over, telephone
from training.not_music import KINDS, make_not_music, speak, variations

FEATURES = FeatureConfig("musicnn", **MUSICNN_SETTINGS, segment_s=3.0)
RATE_HZ = FEATURES.sample_rate_hz
COPIES, EXCERPT_S = (degrade, telephone, play_in_a_room), 9.0
SYNTHETIC_OF_KIND = 20
NOT_MUSIC = "not music"  # the collection of its recordings
_TALK_STREAM = 7  # of random numbers, apart from those of the other copies
ALWAYS = -1  # the fold of what every model learns from
# Voices and sentences other than those of evaluate_classifier.py.
VOICES = ("en-us+m1", "en-us+f1", "it", "pl+f4", "nl+m3", "pt+f5", "sv+m7", "en-gb+m2", "ru", "tr+f2", "hi", "ja+m1", "fi+f3")
SENTENCES = (
    "Good evening. Here is the news: the council has agreed to open the old bridge again in spring.",
    "I never thought that I would say this, but the second chapter is far better than the first one.",
    "Turn left after the station, walk for ten minutes, and you will see the library on your right.",
)


@dataclass(frozen=True)
class Recording:
    """What one recording teaches.

    Attributes:
        statistics: of its slices and those of its copies, Tensor[n x D].
        n_asked: how many of them a model that never heard it is asked about: those of the recording as it is, which come first;
            0 for what is made up.
        class_id: a genre's number, or the number of genres for none of these.
        group: what shares a weight: a collection's genre, or a source of sound that is no music.
        weight: of the recording within its group.
        fold: which model of the cross-validation never hears it.
        collection: where it is from.
    """

    statistics: Tensor
    n_asked: int
    class_id: int
    group: str
    weight: float
    fold: int
    collection: str


class FrontEnd:
    """Sound to what the linear head reads, by the path that the classifier takes."""

    def __init__(self, genres: tuple[str, ...]):
        musicnn = MusiCNN.load(packaged_weights("musicnn"))
        self.network = LinearProbe(ProbeConfig(FEATURES, genres, musicnn=musicnn.config, none_of_these=True)).eval()
        self.network.musicnn.load_state_dict(musicnn.state_dict())
        self.extractor = FeatureExtractor(FEATURES)

    @torch.inference_mode()
    def fit_channel(self, music: Iterable[np.ndarray]) -> None:
        """Learn what music sounds like over a good channel, from samples of tracks at 16 kHz."""
        self.network.channel.fit(self._features(samples) for samples in music)

    def _features(self, samples: np.ndarray) -> Tensor:
        return self.extractor(torch.from_numpy(samples)[None])[0]

    @torch.inference_mode()
    def hear(self, samples: np.ndarray) -> Tensor:
        """Statistics of its slices, Tensor[n x D], of samples at 16 kHz [shape=(n_samples,)]."""
        assert FEATURES.segment_frames is not None  # they have a length of slices
        slices = cut_evenly(self.network.compensate(self._features(samples)), FEATURES.segment_frames)
        return self.network.statistics(self.network.hear(slices)).clone()

    def hear_with_copies(self, samples: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Statistics as it is and of an excerpt changed in each way of `COPIES`, and how many are of the first kind."""
        heard = [self.hear(samples)]
        for change in COPIES:
            heard.append(self.hear(change(excerpt(samples, rng), RATE_HZ, rng)))
        return torch.cat(heard), len(heard[0])


def excerpt(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`EXCERPT_S` from anywhere in a recording, or all of a shorter one."""
    length = round(EXCERPT_S * RATE_HZ)
    start = int(rng.integers(0, max(1, len(samples) - length)))
    return samples[start : start + length]


def spoken() -> list[np.ndarray]:
    """Sentences of espeak-ng at 16 kHz; none where that program is missing."""
    return [load_audio(sound, RATE_HZ).samples for sound in speak(VOICES, SENTENCES)]


def learn_music(
    args: argparse.Namespace, front_end: FrontEnd, store: FeatureStore, folds: np.ndarray, extra: bool
) -> Iterator[Recording]:
    """The recordings of labelled music: of `--data`, in folds with artists apart, or of `--extra-data`."""
    genres, tracks = front_end.network.config.genres, store.tracks
    artists = artist_groups(tracks)[0]
    of_artist = Counter(zip(artists, tracks.genre_names, strict=True))
    speech = [] if extra else spoken()
    names = data_names(args.extra_data if extra else args.data)
    for i in tqdm(range(len(tracks)), desc="extra music" if extra else "music", unit="track", leave=False):
        is_known = tracks.genre_names[i] in genres
        if folds[i] < 0 and not extra:
            continue  # faulty or repeated
        rng = np.random.default_rng([args.seed, i, extra])
        samples = store.read(i)[:, 0]
        statistics, n_asked = front_end.hear_with_copies(samples, rng)
        if speech:
            rng = np.random.default_rng([args.seed, i, _TALK_STREAM])
            part = excerpt(samples, rng)
            talk = front_end.hear(talk_over(part, speech[rng.integers(len(speech))], rng))
            statistics = torch.cat([statistics, talk])
        n_of_artist = of_artist[artists[i], tracks.genre_names[i]]
        yield Recording(
            statistics=statistics,
            n_asked=n_asked,
            class_id=genres.index(tracks.genre_names[i]) if is_known else len(genres),
            group=f"{'extra ' if extra else ''}{tracks.genre_names[i] if is_known else 'other genres'}",
            weight=n_of_artist**-0.5,
            fold=ALWAYS if extra and is_known else int(folds[i]),
            collection=names[tracks.sources[i]],
        )


def learn_not_music(
    args: argparse.Namespace, front_end: FrontEnd, found: dict[str, list[Path]]
) -> Iterator[Recording]:
    """Recordings that are no music and variations of them, in folds by their place in their source; synthetic sounds."""
    rng, none = np.random.default_rng([args.seed, 1]), len(front_end.network.config.genres)

    def learn(sound: np.ndarray, source: str, fold: int, collection: str) -> Recording:
        statistics, n_asked = front_end.hear_with_copies(sound, rng)
        return Recording(statistics, n_asked if collection == NOT_MUSIC else 0, none, source, 1.0, fold, collection)

    for source, paths in found.items():
        sounds = [load_audio(path, RATE_HZ).samples for path in paths]
        for fold in tqdm(range(N_FOLDS), desc=source, unit="fold", leave=False):
            mine = sounds[fold::N_FOLDS]
            yield from (learn(sound, source, fold, NOT_MUSIC) for sound in mine)
            yield from (learn(sound, source, fold, "variation") for sound in variations(mine, RATE_HZ, rng))
    for kind in tqdm(KINDS, desc="synthetic", unit="kind", leave=False):
        for _ in range(SYNTHETIC_OF_KIND):
            yield learn(make_not_music(kind, rng.uniform(2.0, 6.0), RATE_HZ, rng), "synthetic", ALWAYS, "synthetic")
    speech = spoken()
    for sound in tqdm([*speech, *variations(speech[::3], RATE_HZ, rng)], desc="espeak-ng", unit="sound", leave=False):
        yield learn(sound, "synthetic speech", ALWAYS, "synthetic")
