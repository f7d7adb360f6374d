"""What `train_cgan.py --model fcn` and `--model cnn` train: the report's GANs on the waveform."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from genre_gan.audio import SAMPLE_RATE_HZ
from genre_gan.generate import GenreGenerator, WaveformModel
from genre_gan.models.waveform import WaveformDiscriminator, WaveformGANConfig, WaveformGenerator
from training.batches import Batch, Loader, StreamLoader
from training.gan import frozen
from training.previews import write_previews
from training.trainer import Task, Trainer

WHOLE_TRACK_S = 30.0
# Mean logits this far apart mean that D no longer gives G anything to follow.
COLLAPSE_LOGIT_GAP = 15.0


class WaveformGANTask(Task):
    """Each step: generate fakes, train D on real and fake, then train G (the report's order)."""

    def __init__(self, trainer: Trainer, genres: tuple[str, ...], loader: Loader | StreamLoader):
        args = trainer.args
        self.trainer, self.genres, self.loader = trainer, genres, loader
        length_s = WHOLE_TRACK_S if args.whole_track else args.segment_s
        self.config = WaveformGANConfig(
            model=args.model,
            n_samples=round(length_s * SAMPLE_RATE_HZ),
            genres=self.genres,
            latent_dim=args.latent_dim,
            width=args.width,
            output_activation=args.output_activation,
        )
        generator, discriminator = WaveformGenerator(self.config), WaveformDiscriminator(self.config)
        self.trained = WaveformModel(generator)
        self.generator, self.discriminator, self.optimizer_g, self.optimizer_d = trainer.prepare(
            generator,
            discriminator,
            torch.optim.Adam(generator.parameters(), args.learning_rate, betas=(0.5, 0.999), fused=True),
            torch.optim.Adam(discriminator.parameters(), args.learning_rate, betas=(0.5, 0.999), fused=True),
        )
        self._warned = False

    def train_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        real = F.pad(batch.features[..., 0], (0, self.config.n_samples - batch.features.shape[1]))
        labels = F.one_hot(batch.genre_ids, len(self.genres)).float()
        z_d, z_g = (batch.randn(self.config.latent_dim, draw=draw) for draw in range(2))
        with torch.no_grad():
            fake = self.generator(z_d, labels)
        values = self._train_discriminator(real, fake, batch.genre_ids)
        return values | self._train_generator(z_g, labels, batch.genre_ids)

    def _train_discriminator(self, real: Tensor, fake: Tensor, genre_ids: Tensor) -> dict[str, Tensor]:
        logits = self.discriminator(torch.cat([real, fake]), genre_ids.repeat(2))
        on_real, on_fake = logits.chunk(2)
        loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()  # binary cross-entropy
        self.trainer.accelerator.backward(loss)
        self.optimizer_d.step()
        self.optimizer_d.zero_grad()
        return {"loss D": loss, "logit real": on_real.mean(), "logit fake": on_fake.mean()}

    def _train_generator(self, z: Tensor, labels: Tensor, genre_ids: Tensor) -> dict[str, Tensor]:
        with frozen(self.discriminator):
            loss = F.softplus(-self.discriminator(self.generator(z, labels), genre_ids)).mean()
            self.trainer.accelerator.backward(loss)
        self.optimizer_g.step()
        self.optimizer_g.zero_grad()
        return {"loss G": loss}

    def watch(self, numbers: dict[str, float], step: int) -> None:
        """Say it in words, once, when D wins outright."""
        gap = numbers["logit real"] - numbers["logit fake"]
        if gap > COLLAPSE_LOGIT_GAP and not self._warned:
            self._warned = True
            self.trainer.say(
                f"step {step}: D wins outright (its logits on real and fake are {gap:.0f} apart), so G gets no useful gradient. "
                "That is the report's situation too; a shorter training is as good as a longer one from here"
            )

    def preview(self, folder: Path) -> None:
        """A clip and a spectrogram for each genre."""
        write_previews(GenreGenerator(self.trained), folder, 4.0)
