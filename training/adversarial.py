"""The hinge game against discriminators that also show their layers' outputs, shared by vocoder and autoencoder.

A discriminator maps Tensor[B x ...] to its logits and a list of its layers' outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.loop import Run


def train_discriminator(
    run: Run, judge: nn.Module, optimizer: torch.optim.Optimizer, real: Tensor, fake: Tensor, weight: float
) -> dict[str, Tensor]:
    """One step of D on `real` and on `fake`, which is detached here; what to log comes back."""
    with run.accelerator.autocast():
        logits, _ = judge(torch.cat([real, fake.detach()]))
    on_real, on_fake = logits.float().chunk(2)
    loss = F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
    optimizer.zero_grad()
    (loss * weight).backward()
    run.average_gradients(judge)
    optimizer.step()
    return {"loss D": loss.detach(), "logit real": on_real.detach().mean(), "logit fake": on_fake.detach().mean()}


def adversarial_losses(run: Run, judge: nn.Module, real: Tensor, fake: Tensor, weight: float = 1.0) -> tuple[Tensor, Tensor]:
    """The hinge loss of whoever made `fake`, and how far D's layers are apart on real and fake, relative to their size."""
    judge.requires_grad_(False)
    with run.accelerator.autocast():
        with torch.no_grad():
            _, real_features = judge(real)
        fake_logits, fake_features = judge(fake)
    judge.requires_grad_(True)
    distances = torch.stack([F.l1_loss(f.float(), r.float()) for f, r in zip(fake_features, real_features)])
    sizes = run.mean_over_ranks(torch.stack([r.float().abs().mean() for r in real_features]), weight)
    return -fake_logits.float().mean(), (distances / sizes.clamp_min(1e-3)).mean()
