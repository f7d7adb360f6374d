"""Real clips of which fine-tuning tells the generator: what is heard in each is its target, and in short the instance."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from genre_gan.data.cache import FeatureStore
from genre_gan.data.splits import N_FOLDS, artist_groups
from genre_gan.models.generator import SpectralGANConfig
from training.batches import Rows
from training.hearing import EMBEDDING, Hearing
from training.launch import is_main_process

PAIR = 2  # rows of one instance, which stand side by side
INVERSE_PENALTY = 0.003  # of the probe that says how typical clips are: C of scikit-learn
LEAST_TYPICAL = 0.02  # so that no clip is never drawn
TYPICAL_POWER = 0.25  # of how typical clips are, by which they are drawn: those of a genre should still differ


class Instances:
    """Rows in pairs, each pair of one real clip. Genres are drawn alike, and within them tracks by how typical they are.

    `features` are what is heard in the clip, all groups joined and standardised; `genre_ids` the labels; `conditions` what the
    generator is told.

    Attributes:
        sizes: of the groups.
        mean, deviation: by which they are standardised (D,).
        vectors: what the generator is told of each clip, as far as it is from the mean of its label, Tensor[n x instance_dim].
        labels, shares: of each clip (n,); the shares sum to 1.
        label_means: what was taken away, Tensor[n_labels x instance_dim].
        copies: log-mel of each clip's copy through the codec, Tensor[n x T x F], float16.
    """

    def __init__(
        self,
        store: FeatureStore,
        tracks: np.ndarray,
        track_labels: np.ndarray,
        config: SpectralGANConfig,
        hearing: Hearing,
        n_rows: int,
        seed: int,
    ):
        """`track_labels` are those of `tracks`, which are of `store`."""
        self.n_rows, self.seed = n_rows, seed
        heard: list[list[Tensor]] = []
        copies: list[Tensor] = []
        places, labels = [], []
        for place, track in enumerate(tqdm(tracks, desc="listening", unit="track", leave=False, disable=not is_main_process())):
            clips = hearing.levelled.clips(store, int(track))
            if not len(clips):
                continue
            with torch.no_grad():
                clips = clips.to(hearing.window.device)
                heard.append([group.float().cpu() for group in hearing(clips)])
                copies.append(hearing.levelled(hearing.listener.codec.copied(clips)).half().cpu())
            places += [place] * len(clips)
            labels += [int(track_labels[place])] * len(clips)
        lacking = set(range(len(config.genres))) - {label // config.n_clusters for label in labels}
        if lacking:
            seconds = hearing.levelled.n_samples / hearing.levelled.rate_hz
            names = ", ".join(config.genres[i] for i in sorted(lacking))
            raise ValueError(f"no track of {names} lasts {seconds:.1f} s, which is what fine-tuning listens to")
        self.labels, self.copies = torch.tensor(labels), torch.cat(copies)
        self.sizes = [group.shape[1] for group in heard[0]]
        values = torch.cat([torch.cat(groups, 1) for groups in heard])
        spreads = [part + 0.1 * part.mean() for part in values.std(0).split(self.sizes)]
        self.mean, self.deviation = values.mean(0), torch.cat(spreads)
        self.targets = (values - self.mean) / self.deviation
        genres, artists = self.labels.numpy() // config.n_clusters, artist_groups(store.tracks)[0][tracks[places]]
        typical = typicality(torch.cat([groups[EMBEDDING] for groups in heard]).numpy(), genres, artists)
        self.shares = _shares(np.array(places), genres, typical**TYPICAL_POWER)
        alike = [group / group.shape[1] ** 0.5 for group in self.targets.split(self.sizes, 1)]
        points = _principal(torch.cat(alike, 1), config.instance_dim)
        weighted = _shares_within(self.shares, self.labels, config.n_labels)[:, None] * points
        self.label_means = torch.zeros(config.n_labels, config.instance_dim).index_add(0, self.labels, weighted)
        self.vectors = points - self.label_means[self.labels]
        self.steps_per_epoch = max(1, PAIR * len(points) // n_rows)

    def choose(self, step: int) -> np.ndarray:
        chances = self.shares.double().numpy()
        rng = np.random.default_rng([self.seed, step])
        return rng.choice(len(chances), self.n_rows // PAIR, p=chances / chances.sum()).repeat(PAIR)[:, None]

    def read(self, picks: np.ndarray) -> Rows:
        rows = torch.from_numpy(picks[:, 0].copy())
        return Rows(self.targets[rows][:, None], torch.ones_like(rows), self.labels[rows], self.vectors[rows])


def _principal(points: Tensor, n: int) -> Tensor:
    """The first principal components, half whitened, of unit size on the whole, Tensor[m x n]; zeros beyond what there are."""
    left, sizes, _ = torch.linalg.svd(points - points.mean(0), full_matrices=False)
    scores = (left * sizes)[:, :n]
    scores = scores / scores.std(0).clamp_min(1e-6).sqrt()
    scores = scores / scores.square().mean().sqrt().clamp_min(1e-6)
    return F.pad(scores, (0, n - scores.shape[1]))


def typicality(embeddings: np.ndarray, genres: np.ndarray, artists: np.ndarray) -> np.ndarray:
    """How surely clips are heard as their genre by a linear probe that learned from other artists [shape=(n,)].

    From MusiCNN's embeddings [shape=(n, D)], genres and artists (n,); alike where there are too few artists. Labels are of
    artists or albums, and part of what carries one sounds like another genre (Northcutt et al., "Confident learning", 2021).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names = np.unique(genres)
    if len(names) < 2 or min(len(np.unique(artists[genres == name])) for name in names) < N_FOLDS:
        return np.ones(len(genres), np.float32)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=1000, class_weight="balanced"))
    folds = StratifiedGroupKFold(N_FOLDS)
    found = cross_val_predict(probe, embeddings, genres, groups=artists, cv=folds, method="predict_proba")
    return found[np.arange(len(genres)), np.searchsorted(names, genres)].clip(LEAST_TYPICAL).astype(np.float32)


def _shares(places: np.ndarray, genres: np.ndarray, weights: np.ndarray) -> Tensor:
    """How often each clip is drawn: genres alike, tracks of a genre and their clips by these weights (n,); they sum to 1."""
    of_clip = torch.from_numpy(weights / np.bincount(places)[places]).float()
    _, numbers = np.unique(genres, return_inverse=True)
    return _shares_within(of_clip, torch.from_numpy(numbers), numbers.max() + 1) / (numbers.max() + 1)


def _shares_within(weights: Tensor, labels: Tensor, n_labels: int) -> Tensor:
    """Weights (n,) that sum to 1 over the clips of each label or genre."""
    return weights / torch.zeros(n_labels).index_add(0, labels, weights).clamp_min(1e-12)[labels]
