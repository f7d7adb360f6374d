"""A slice of music as one vector of statistics, and a kernel machine on it: what little data can teach at once.

The statistics follow the block-level features of Seyerlehner et al. (2010): spectrum with its quantiles and its fine structure,
contrast, onsets, cepstrum, correlation between bands, dynamics, and fluctuation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genre_gan.features import dct_matrix

N_COARSE, N_WIDE, N_CEPSTRAL = 16, 8, 20
_NEIGHBOURS = 9  # bands, the middle one included, above whose mean a partial stands out
_ONSET_DB = 3.0  # a band that rises by more from one frame to the next starts something
_FLUCTUATION_SIZE, _FLUCTUATION_BINS, _FLUCTUATION_STEP = 256, 45, 3


def summary_sizes(n_mels: int) -> tuple[int, ...]:
    """Length of each group of statistics; `n_mels` must be a multiple of 16."""
    pairs, cepstral_pairs = N_COARSE * (N_COARSE - 1) // 2, N_CEPSTRAL * (N_CEPSTRAL - 1) // 2
    fluctuation = _FLUCTUATION_BINS // _FLUCTUATION_STEP * N_WIDE
    of_bands = (n_mels,) * 7
    return *of_bands, 3 * N_CEPSTRAL, pairs, pairs, cepstral_pairs, 2 * N_WIDE, 6, fluctuation


def summarise(level_db: Tensor) -> Tensor:
    """Statistics Tensor[B x sum(summary_sizes)] over the time of log-mel slices Tensor[B x T x F], T at least 4."""
    rises = level_db.diff(dim=1)
    cepstrum = level_db @ dct_matrix(level_db.shape[2], N_CEPSTRAL).to(level_db)
    coarse = level_db.unflatten(2, (N_COARSE, -1)).mean(3)
    ordered = level_db.unflatten(2, (N_WIDE, -1)).sort(3).values
    contrast = ordered[..., -2:].mean(3) - ordered[..., :3].mean(3)
    by_level = level_db.sort(1).values
    partials = level_db - F.avg_pool1d(level_db, _NEIGHBOURS, 1, _NEIGHBOURS // 2, count_include_pad=False)
    loudness_db = 10.0 * (10.0 ** (level_db / 10.0)).sum(2).clamp_min(1e-9).log10()
    starting = 10.0 * (rises > _ONSET_DB).to(rises.dtype).mean(2)  # tenths of the bands
    dynamics = (
        _deviation(loudness_db), loudness_db.quantile(0.95, 1) - loudness_db.mean(1), loudness_db.mean(1) - loudness_db.quantile(0.05, 1),
        starting.mean(1), _deviation(starting), starting.quantile(0.95, 1),
    )  # fmt: skip
    onsets = level_db.unflatten(2, (N_WIDE, -1)).mean(3).diff(dim=1).clamp_min(0.0)
    spectrum = torch.fft.rfft(onsets - onsets.mean(1, keepdim=True), _FLUCTUATION_SIZE, dim=1).abs()
    fluctuation = spectrum[:, 2 : 2 + _FLUCTUATION_BINS].unflatten(1, (-1, _FLUCTUATION_STEP)).mean(2).log1p()
    groups = (
        level_db.mean(1), _deviation(level_db), rises.clamp_min(0.0).mean(1), _share(by_level, 0.1), _share(by_level, 0.9),
        partials.clamp_min(0.0).mean(1), partials.mean(1),
        torch.cat([cepstrum.mean(1), _deviation(cepstrum), _deviation(cepstrum[:, 2:] - cepstrum[:, :-2])], 1),
        _correlations(coarse), _correlations(coarse.diff(dim=1)), _correlations(cepstrum),
        torch.cat([contrast.mean(1), _deviation(contrast)], 1), torch.stack(dynamics, 1), fluctuation.flatten(1),
    )  # fmt: skip
    return torch.cat(groups, 1)


def _deviation(sequence: Tensor) -> Tensor:
    return sequence.std(1, correction=0)


def _share(ordered: Tensor, share: float) -> Tensor:
    """What this share of the values along axis 1 stays below, of values in order."""
    return ordered[:, round(share * (ordered.shape[1] - 1))]


def _correlations(sequence: Tensor) -> Tensor:
    """Pearson correlation of each pair of features over time, Tensor[B x n * (n - 1) / 2]."""
    centred = sequence - sequence.mean(1, keepdim=True)
    centred = centred / (centred.square().sum(1, keepdim=True) + 1e-3).sqrt()
    first, second = torch.triu_indices(sequence.shape[2], sequence.shape[2], 1)
    return (centred.transpose(1, 2) @ centred)[:, first, second]


class SummaryKernel(nn.Module):
    """Kernel ridge regression from the statistics to one score for each class, with a Gaussian kernel.

    Each group of statistics has the same weight however many numbers it has. The centres are kept by their `dim` principal
    components (all where there are fewer) and in half precision.
    """

    def __init__(self, n_mels: int, n_centres: int, n_classes: int, dim: int = 512, width: float = 0.5):
        super().__init__()
        sizes = summary_sizes(n_mels)
        self.width = width
        dim = min(dim, sum(sizes))
        weights = torch.cat([torch.full((size,), math.sqrt(1.0 / (len(sizes) * size))) for size in sizes])
        self.register_buffer("group_weights", weights, persistent=False)
        self.register_buffer("mean", torch.zeros(sum(sizes)))
        self.register_buffer("deviation", torch.ones(sum(sizes)))
        self.register_buffer("projection", torch.zeros(sum(sizes), dim, dtype=torch.float16))
        self.register_buffer("centres", torch.zeros(n_centres, dim, dtype=torch.float16))
        self.register_buffer("coefficients", torch.zeros(n_centres, n_classes))

    def forward(self, level_db: Tensor) -> Tensor:
        """Scores Tensor[B x n_classes] of log-mel slices Tensor[B x T x F]: about 1 for the class that fits, 0 for the others."""
        return self._kernel(self._project(self._standardise(summarise(level_db)))) @ self.coefficients

    def fit(self, summaries: Tensor, targets: Tensor, weights: Tensor, ridge: float) -> None:
        """Solve for the coefficients that give `targets` Tensor[n x n_classes] for `summaries`, each counting by its weight."""
        self.mean.copy_(summaries.mean(0))
        self.deviation.copy_(summaries.std(0) + 1e-3)
        standard = self._standardise(summaries)
        self.projection.copy_(torch.linalg.eigh(standard.T @ standard).eigenvectors[:, -self.projection.shape[1] :])
        self.centres.copy_(self._project(standard))
        gram = self._kernel(self.centres.to(summaries.dtype))
        self.coefficients.copy_(torch.linalg.solve(gram + torch.diag(ridge / weights), targets))

    def _standardise(self, summaries: Tensor) -> Tensor:
        return (summaries - self.mean) / self.deviation * self.group_weights

    def _project(self, standard: Tensor) -> Tensor:
        return standard @ self.projection.to(standard.dtype)

    def _kernel(self, points: Tensor) -> Tensor:
        return (-self.width * torch.cdist(points, self.centres.to(points.dtype)).square()).exp()
