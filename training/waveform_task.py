"""What `train_cgan.py --model fcn` and `--model cnn` train: the report's GANs on the waveform."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from genre_gan.audio import SAMPLE_RATE_HZ
from genre_gan.data.cache import FeatureStore
from genre_gan.generate import GenreGenerator, WaveformModel
from genre_gan.models.waveform import WaveformDiscriminator, WaveformGANConfig, WaveformGenerator
from training.batches import SegmentLoader, count_steps
from training.loop import Run
from training.previews import write_previews

WHOLE_TRACK_S = 30.0
# Mean logits this far apart mean that D no longer gives G anything to follow.
COLLAPSE_LOGIT_GAP = 15.0


class WaveformGANTask:
    """Each step: generate fakes, train D on real and fake, then train G (the report's order)."""

    def __init__(self, run: Run, store: FeatureStore):
        args = run.args
        self.run, self.genres = run, store.tracks.genres
        self.loader = SegmentLoader(store, store.segments(), args.batch_size, args.seed, run)
        length_s = WHOLE_TRACK_S if args.whole_track else args.segment_s
        self.config = WaveformGANConfig(
            model=args.model,
            n_samples=round(length_s * SAMPLE_RATE_HZ),
            genres=self.genres,
            latent_dim=args.latent_dim,
            width=args.width,
            output_activation=args.output_activation,
        )
        self.generator, self.discriminator = WaveformGenerator(self.config), WaveformDiscriminator(self.config)
        self.optimizer_g = torch.optim.Adam(self.generator.parameters(), args.learning_rate, betas=(0.5, 0.999))
        self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), args.learning_rate, betas=(0.5, 0.999))
        self.modules = {"generator": self.generator, "discriminator": self.discriminator}
        self.optimizers = {"generator": self.optimizer_g, "discriminator": self.optimizer_d}
        self.n_steps = count_steps(args, self.loader.batches_per_epoch)
        self.trained = WaveformModel(self.generator)
        self._warned = False

    def train_step(self, step: int) -> dict[str, Tensor]:
        batch = self.loader.batch(step)
        real = F.pad(batch.features[..., 0], (0, self.config.n_samples))[:, : self.config.n_samples]
        z_d, z_g = (batch.randn(self.config.latent_dim, draw=draw) for draw in range(2))
        labels = F.one_hot(batch.genre_ids, len(self.genres)).float()

        loss_d, real_logit, fake_logit = self._train_discriminator(real, z_d, batch.genre_ids, labels, batch.weight)
        loss_g = self._train_generator(z_g, batch.genre_ids, labels, batch.weight)
        return {"loss D": loss_d, "loss G": loss_g, "logit real": real_logit, "logit fake": fake_logit}

    def _train_discriminator(self, real: Tensor, z: Tensor, genre_ids: Tensor, labels: Tensor, weight: float) -> tuple[Tensor, ...]:
        with self.run.accelerator.autocast():
            with torch.no_grad():
                fake = self.generator(z, labels)
            real_logits, fake_logits = self.discriminator(real, genre_ids), self.discriminator(fake, genre_ids)
            loss = F.binary_cross_entropy_with_logits(real_logits, torch.ones_like(real_logits))
            loss = loss + F.binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))
        self.optimizer_d.zero_grad()
        (loss * weight).backward()
        self.run.average_gradients(self.discriminator)
        self.optimizer_d.step()
        return loss.detach(), real_logits.detach().float().mean(), fake_logits.detach().float().mean()

    def _train_generator(self, z: Tensor, genre_ids: Tensor, labels: Tensor, weight: float) -> Tensor:
        with self.run.accelerator.autocast():
            logits = self.discriminator(self.generator(z, labels), genre_ids)
            loss = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        self.optimizer_g.zero_grad()
        (loss * weight).backward()
        self.run.average_gradients(self.generator)
        self.optimizer_g.step()
        return loss.detach()

    def watch(self, values: dict[str, float], step: int) -> None:
        """Say it in words, once, when D wins outright."""
        gap = values["logit real"] - values["logit fake"]
        if gap > COLLAPSE_LOGIT_GAP and not self._warned:
            self._warned = True
            self.run.say(
                f"step {step}: D wins outright (its logits on real and fake are {gap:.0f} apart), so G gets no useful gradient. "
                "That is the report's situation too; a shorter training is as good as a longer one from here"
            )

    def preview(self, step: int) -> None:
        """A clip and a spectrogram for each genre."""
        write_previews(GenreGenerator(self.trained), self.run.args.output_dir / "previews" / f"step-{step:08d}", 4.0)
