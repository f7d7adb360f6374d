"""What a generator and its discriminator need on accelerate, whatever they make."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor, nn


@contextmanager
def frozen(*models: nn.Module) -> Iterator[None]:
    """While it lasts these models learn nothing: a discriminator, while its generator is trained through it."""
    for model in models:
        model.requires_grad_(False)
    try:
        yield
    finally:
        for model in models:
            model.requires_grad_(True)


def gradient_penalty(accelerator: Accelerator, logits: Tensor, inputs: Tensor) -> Tensor:
    """The mean squared length of the gradient of `logits` (B,) by `inputs` Tensor[B x ...], which require gradients.

    R1 where the inputs are real (Mescheder et al. 2018, "Which training methods for GANs do actually converge?"), to be
    weighed by half its factor. In fp16 a gradient this small would be rounded to nothing, so it is computed scaled up.
    """
    scale = accelerator.scaler.get_scale() if accelerator.scaler is not None else 1.0
    (gradient,) = torch.autograd.grad(logits.sum() * scale, inputs, create_graph=True)
    return (gradient.float() / scale).flatten(1).square().sum(1).mean()


def energy_distance(these: Tensor, those: Tensor) -> Tensor:
    """How far two distributions are apart, from groups of their points Tensor[G x n x D], n at least 2; without bias.

    Twice the mean distance between them, less that within each, over the root of D (Székely & Rizzo, "Energy statistics", 2013):
    nearer to the others and as far from each other as they are. It can be below zero by chance.
    """

    def within(points: Tensor) -> Tensor:
        return torch.cdist(points, points).sum() / (points.shape[0] * points.shape[1] * (points.shape[1] - 1))

    return (2.0 * torch.cdist(these, those).mean() - within(these) - within(those)) / these.shape[2] ** 0.5
