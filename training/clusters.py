"""Clusters of the music of each genre, which the spectral generator and its discriminators are told beside the genre.

Liu et al., "Diverse image generation via self-conditioned GANs" (CVPR 2020): of labels that the data itself suggests none can be
left out, as a generator leaves out most of what its noise could mean. Here the features are MusiCNN's.
"""

from __future__ import annotations

import numpy as np
import torch

from genre_gan.data.latents import LatentStore, to_grid
from genre_gan.models.projected import MusiCNNOfLatents

N_CROPS, CROP_FRAMES = 4, 32  # of each track, 3 s long, on which MusiCNN was trained
MIN_TRACKS = 3  # of a cluster: one track alone would be learned by heart, so it joins the nearest cluster


def find_clusters(latents: LatentStore, listener: MusiCNNOfLatents, n_clusters: int, seed: int) -> np.ndarray:
    """The cluster of each track of `latents` among those of its genre, from 0 [shape=(n,)]; the same at every pitch.

    k-means of the embeddings that MusiCNN has of the tracks at the middle one of their pitches. Some may have no track.
    """
    from sklearn.cluster import KMeans

    if n_clusters == 1:
        return np.zeros(len(latents.tracks), int)
    tracks = np.array_split(np.arange(len(latents.tracks)), latents.n_speeds)[latents.n_speeds // 2]
    points = np.stack([_embedding(latents, listener, int(track)) for track in tracks])
    names, clusters = np.array(latents.tracks.genre_names)[tracks], np.zeros(len(tracks), int)
    for genre in latents.tracks.genres:
        members = np.flatnonzero(names == genre)
        k_means = KMeans(min(n_clusters, len(members)), n_init=20, random_state=seed)
        distances = k_means.fit_transform(points[members])
        is_small = np.bincount(distances.argmin(1), minlength=distances.shape[1]) < MIN_TRACKS
        if not is_small.all():
            distances[:, is_small] = np.inf
        clusters[members] = distances.argmin(1)
    return np.tile(clusters, latents.n_speeds)


@torch.no_grad()  # not inference mode: what the listener keeps for this length may be used in training
def _embedding(latents: LatentStore, listener: MusiCNNOfLatents, track: int) -> np.ndarray:
    """The mean embedding of some crops of a track [shape=(embedding_dim,)]."""
    values = torch.from_numpy(latents.read(track))
    length = min(len(values), CROP_FRAMES)
    starts = np.unique(np.linspace(0, len(values) - length, N_CROPS).round().astype(int))
    crops = torch.stack([values[start : start + length] for start in starts])
    heard = listener(to_grid(crops, listener.codec.config.n_coefficients))
    return listener.musicnn.embed(torch.cat(heard, 1)).mean(0).numpy()
