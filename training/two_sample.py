"""How well a network tells generated clips from copies of music through the codec, having learned for nothing else.

A classifier two-sample test (Lopez-Paz & Oquab, "Revisiting classifier two-sample tests", ICLR 2017). Embeddings hear what others
wanted told apart, this network whatever gives clips away. It begins from scratch each time, and is asked about music of artists
whom it has not heard. All clips are as the codec makes them, before a limiter.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm, trange

from genre_gan import GenreGenerator
from genre_gan.data.cache import FeatureStore
from genre_gan.data.splits import Split
from genre_gan.models.musicnn import PATCH_FRAMES
from training.changes import changed_at_random
from training.feature_network import Examples, HeldOut, examples_of
from training.hearing import patches_of
from training.levelled import N_PATCHES, Levelled

N_STEPS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 300, 48, 2e-3, 0.05
N_CLIPS, ASKED_SHARE, N_NETWORKS = 60, 0.25, 2  # generated for each genre; of those asked about alone


def told_apart(generator: GenreGenerator, store: FeatureStore, split: Split, seed: int) -> dict:
    """Area under the ROC curve of each of `N_NETWORKS` networks, the mean over genres; 0.5 where a network can tell nothing.

    Nothing where the generator has no codec, or a genre has no track on one side that is long enough.
    """
    codec = getattr(generator.model, "codec", None)
    levelled = Levelled(generator.sample_rate_hz)
    names = np.array(store.tracks.genre_names)
    long_enough = store.n_frames >= levelled.n_samples
    sides = [side[long_enough[side]] for side in (split.train, split.valid)]
    if codec is None or any(set(names[side]) != set(generator.genres) for side in sides):
        return {}
    learned, unseen = (examples_of(store, side, levelled, codec) for side in sides)
    made, genres = _generated(generator, levelled, seed)
    asked = torch.arange(len(made)) % N_CLIPS >= round((1.0 - ASKED_SHARE) * N_CLIPS)
    areas = []
    for number in range(N_NETWORKS):
        network = _learn(learned, made[~asked], genres[~asked], len(generator.genres), seed + number)
        real, fake = _logits(network, unseen.copies, unseen.genres), _logits(network, made[asked], genres[asked])
        areas.append(_area(real, unseen.genres, fake, genres[asked]))
    return {"generated": len(made), "asked": [len(unseen.copies), int(asked.sum())], "areas": areas}


@torch.no_grad()
def _generated(generator: GenreGenerator, levelled: Levelled, seed: int) -> tuple[Tensor, Tensor]:
    """Log-mel Tensor[n x T x F] of `N_CLIPS` clips of each genre, float16, and their genres (n,)."""
    found, genre_ids = [], torch.arange(len(generator.genres)).repeat_interleave(N_CLIPS)
    for number, genre_id in enumerate(tqdm(genre_ids.tolist(), desc="generating, two samples", unit="clip", leave=False)):
        duration_s = levelled.n_samples / levelled.rate_hz
        recipe = generator.make_recipe(generator.genres[genre_id], duration_s, seed=1000 * seed + 500_000 + number)
        samples = np.concatenate(list(generator.model.chunks(recipe, levelled.n_samples)))[: levelled.n_samples]
        found.append(levelled(torch.from_numpy(samples)[None]).half())
    return torch.cat(found), genre_ids


def _learn(real: Examples, made: Tensor, genres: Tensor, n_genres: int, seed: int) -> HeldOut:
    """A network whose logit of a clip's genre is high where the clip is real; both kinds and all genres come as often."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = HeldOut(n_genres, 1)
        optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=N_STEPS, pct_start=0.15)
        truth = torch.arange(BATCH_SIZE).lt(BATCH_SIZE // 2).float()
        for _ in trange(N_STEPS, desc="telling apart", unit="step", leave=False):
            ours = torch.multinomial(real.shares, BATCH_SIZE // 2, replacement=True)
            theirs = torch.randint(len(made), (BATCH_SIZE // 2,))
            start = int(torch.randint(made.shape[1] - PATCH_FRAMES + 1, ()))
            patches = torch.cat([real.copies[ours], made[theirs]])[:, start : start + PATCH_FRAMES].float()
            labels = torch.cat([real.genres[ours], genres[theirs]])
            logits = network(changed_at_random(patches))[0].gather(1, labels[:, None])[:, 0]
            F.binary_cross_entropy_with_logits(logits, truth).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def _logits(network: HeldOut, log_mel: Tensor, genres: Tensor) -> np.ndarray:
    """How real each clip is as one of its genre (n,), the mean over its patches."""
    found = []
    for clips, labels in zip(log_mel.split(BATCH_SIZE), genres.split(BATCH_SIZE), strict=True):
        logits = network(patches_of(clips.float()))[0].unflatten(0, (-1, N_PATCHES)).mean(1)
        found.append(logits.gather(1, labels[:, None])[:, 0])
    return torch.cat(found).numpy()


def _area(real: np.ndarray, real_genres: Tensor, fake: np.ndarray, fake_genres: Tensor) -> float:
    """The mean over genres of how often a real clip of a genre seems more real than a generated one."""
    pairs = [(real[real_genres == genre], fake[fake_genres == genre]) for genre in fake_genres.unique()]
    return float(np.mean([(ours[:, None] > theirs).mean() + 0.5 * (ours[:, None] == theirs).mean() for ours, theirs in pairs]))
