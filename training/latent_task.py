"""What `train_cgan.py --model mel` trains: the conditional GAN on latents of an autoencoder."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genre_gan.data.cache import LatentStore
from genre_gan.generate import GenreGenerator, SpectralModel
from genre_gan.models.autoencoder import Autoencoder
from genre_gan.models.judge import LatentJudge
from genre_gan.models.latent_gan import ClipLatents, LatentDiscriminator, LatentGANConfig, LatentGenerator, noise_shapes
from genre_gan.models.vocoder import Vocoder
from training.loop_batches import Batch, CropLoader, count_steps
from training.loop import Run, update_average
from training.previews import write_previews

SPEEDS = (0.95, 1.0, 1.05)
EMA_DECAY = 0.999
PENALTY_EVERY = 8
LABEL_FROM, LABEL_FULL = 200, 1500  # steps between which the label comes in
LONG_FRAMES, SHORT_FRAMES = 64, 16
MASK_SHARE, NOISE = 0.25, 0.1


class LatentGANTask:
    """Two projection discriminators, on crops of 6 s and of 1.5 s; non-saturating loss with a lazy gradient penalty (R1).

    A judge that learned from real music adds how well it hears the genre asked for, as in AC-GAN (Odena et al. 2017).
    """

    def __init__(self, run: Run, store: LatentStore, autoencoder: Autoencoder, judge: LatentJudge, vocoder: Vocoder):
        args = run.args
        self.run, self.genres = run, store.tracks.genres
        self.config = LatentGANConfig(
            genres=self.genres,
            latent_dim=store.n_features,
            latent_rate_hz=store.frame_rate_hz,
            width=args.width,
        )
        self.generator = LatentGenerator(self.config)
        self.average = copy.deepcopy(self.generator).eval()  # exponential moving average of the weights
        self.judge = judge.requires_grad_(False).to(run.device)
        self.trained = SpectralModel(self.average, autoencoder, judge, vocoder)
        everything = np.arange(len(store.tracks))
        self.loaders, self.discriminators = {}, {}
        for name, length in (("long", LONG_FRAMES), ("short", SHORT_FRAMES)):
            self.loaders[name] = CropLoader(store, everything, length, args.batch_size, args.seed, run)
            self.discriminators[name] = LatentDiscriminator(self.config, length, args.d_width if name == "long" else args.d_width // 2)
        self.modules = {"generator": self.generator, "average": self.average} | self.discriminators
        self.optimizer_g = torch.optim.Adam(self.generator.parameters(), args.learning_rate, betas=(0.0, 0.99))
        self.optimizer_d = torch.optim.Adam(
            [p for d in self.discriminators.values() for p in d.parameters()], args.learning_rate, betas=(0.0, 0.99)
        )
        self.optimizers = {"generator": self.optimizer_g, "discriminators": self.optimizer_d}
        self.n_steps = count_steps(args, self.loaders["long"].batches_per_epoch)

    def train_step(self, step: int) -> dict[str, Tensor]:
        batches = {name: loader.batch(step) for name, loader in self.loaders.items()}
        strength = min(1.0, max(0.0, (step - LABEL_FROM) / (LABEL_FULL - LABEL_FROM)))
        with self.run.accelerator.autocast():
            fake = self._fake(batches["long"], strength).float()
        values = self._train_discriminators(batches, fake.detach(), strength, penalize=step % PENALTY_EVERY == 0)
        values["loss G"] = self._train_generator(batches["long"], fake, strength)
        update_average(self.average, self.generator, step, EMA_DECAY)
        return values

    def _fake(self, batch: Batch, strength: float) -> Tensor:
        labels = F.one_hot(batch.genre_ids, len(self.genres)).float()
        noise = [batch.randn(*shape, draw=2 + level) for level, shape in enumerate(noise_shapes(self.config, LONG_FRAMES))]
        latents = ClipLatents(batch.randn(self.config.style_dim), batch.randn(2, draw=1), noise)
        return self.generator(latents, labels, strength)

    def _train_discriminators(
        self, batches: dict[str, Batch], fake: Tensor, strength: float, penalize: bool
    ) -> dict[str, Tensor]:
        long = batches["long"]
        loss, values = torch.zeros((), device=self.run.device), {}
        for number, (name, discriminator) in enumerate(self.discriminators.items()):
            batch = batches[name]
            real = spoil(batch.features, batch, draw=20 + 10 * number)
            made = spoil(_crop(fake, batch.features.shape[1], long), batch, draw=25 + 10 * number)
            real.requires_grad_(penalize)
            with self.run.accelerator.autocast():
                on_real = discriminator(real, batch.genre_ids, strength)
                on_fake = discriminator(made, long.genre_ids, strength)
            loss = loss + F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
            if penalize:
                (gradient,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
                penalty = gradient.float().square().sum((1, 2)).mean()
                loss = loss + 0.5 * self.run.args.penalty * PENALTY_EVERY * penalty
            values |= {f"logit real {name}": on_real.detach().mean(), f"logit fake {name}": on_fake.detach().mean()}
        self.optimizer_d.zero_grad()
        (loss * long.weight).backward()
        for discriminator in self.discriminators.values():
            self.run.average_gradients(discriminator)
        self.optimizer_d.step()
        return values

    def _train_generator(self, batch: Batch, fake: Tensor, strength: float) -> Tensor:
        for discriminator in self.discriminators.values():
            discriminator.requires_grad_(False)
        with self.run.accelerator.autocast():
            loss = torch.zeros((), device=self.run.device)
            for number, (name, discriminator) in enumerate(self.discriminators.items()):
                made = spoil(_crop(fake, self.loaders[name].length, batch), batch, draw=60 + 10 * number)
                loss = loss + F.softplus(-discriminator(made, batch.genre_ids, strength)).mean()
            heard = F.cross_entropy(self.judge(spoil(fake, batch, draw=80)).float(), batch.genre_ids)
            loss = loss + self.run.args.guidance * strength * heard
        for discriminator in self.discriminators.values():
            discriminator.requires_grad_(True)
        self.optimizer_g.zero_grad()
        (loss * batch.weight).backward()
        self.run.average_gradients(self.generator)
        self.optimizer_g.step()
        return loss.detach()

    def watch(self, values: dict[str, float], step: int) -> None:
        """The gradient penalty keeps D in reach; the logged logits show it."""

    def preview(self, step: int) -> None:
        """A clip and a spectrogram for each genre."""
        write_previews(GenreGenerator(self.trained), self.run.args.output_dir / "previews" / f"step-{step:08d}", 6.0)


def _crop(latents: Tensor, length: int, batch: Batch) -> Tensor:
    """A crop of `length` frames from each row, at a place of its own."""
    extra = latents.shape[1] - length
    if extra == 0:
        return latents
    uniform = 0.5 * (1.0 + torch.erf(batch.randn(1, draw=19) / 2**0.5))
    starts = (uniform * (extra + 1)).long().clamp_max(extra)  # (B, 1)
    index = starts + torch.arange(length, device=latents.device)
    return latents.gather(1, index[..., None].expand(-1, -1, latents.shape[2]))


def spoil(latents: Tensor, batch: Batch, draw: int) -> Tensor:
    """Noise and a masked stretch of time, on real and made latents alike, so that D cannot learn the few real ones by heart.

    After Zhao et al., "Differentiable augmentation for data-efficient GAN training" (2020).
    """
    n_frames = latents.shape[1]
    width = MASK_SHARE * n_frames * batch.randn(1, draw=draw).abs().clamp_max(2.0) / 2.0  # often short, never long
    centre = n_frames * 0.5 * (1.0 + torch.erf(batch.randn(1, draw=draw + 1) / 2**0.5))
    frame = torch.arange(n_frames, device=latents.device)
    keep = ((frame - centre).abs() > width / 2).to(latents.dtype)  # (B, T)
    return (latents + NOISE * batch.randn(*latents.shape[1:], draw=draw + 2)) * keep[..., None]
