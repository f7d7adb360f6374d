"""Changes of a log-mel that leave what is heard in it: a network that has few examples learns less of them by heart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WARP, EQUALISER, NOISE = 0.08, 0.3, 0.1  # largest share, and deviations in log10 of power
LONGEST_MASKS = (30, 14)  # frames, bands
N_UNIFORM, N_NORMAL = 6, 5


def changed(log_mel: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
    """Slightly faster, higher or otherwise equalised, with parts hidden (Park et al., "SpecAugment", 2019).

    Args:
        log_mel: MusiCNN's, Tensor[B x T x F].
        uniform: random numbers in [0, 1), Tensor[B x N_UNIFORM].
        normal: the same, normal, Tensor[B x N_NORMAL].
    """
    n_frames, n_bands = log_mel.shape[1:]
    scales = 1.0 + WARP * (2.0 * uniform[:, :2] - 1.0)
    times = torch.linspace(-1.0, 1.0, n_frames, device=log_mel.device) * scales[:, :1]
    bands = torch.linspace(0.0, 2.0, n_bands, device=log_mel.device) * scales[:, 1:] - 1.0  # the lowest stays where it is
    grid = torch.stack([bands[:, None].expand(-1, n_frames, -1), times[:, :, None].expand(-1, -1, n_bands)], 3)
    x = F.grid_sample(log_mel[:, None], grid, padding_mode="border", align_corners=True)[:, 0]
    curve = F.interpolate(EQUALISER * normal[:, None], n_bands, mode="linear", align_corners=True)
    x = x + curve * (x / 2.0).clamp(0.0, 1.0)  # silence stays silent
    mean = x.mean((1, 2), keepdim=True)
    for dim, longest in enumerate(LONGEST_MASKS, 1):
        length = longest * uniform[:, 1 + dim, None]
        place = torch.arange(x.shape[dim], device=x.device) - uniform[:, 3 + dim, None] * (x.shape[dim] - length)
        x = torch.where(((place >= 0.0) & (place < length)).unsqueeze(3 - dim), mean, x)
    return x


def changed_at_random(log_mel: Tensor) -> Tensor:
    """Changed by numbers that torch draws, and noisy."""
    n = len(log_mel)
    x = changed(log_mel, torch.rand(n, N_UNIFORM), torch.randn(n, N_NORMAL))
    return x + NOISE * torch.rand(n, 1, 1) * torch.randn_like(x)
