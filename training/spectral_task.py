"""What `train_cgan.py --model mel` trains: the two-dimensional GAN on the codec's latents.

Two discriminators look at what G makes: one at latents, in crops of 7.4 s and of 2.2 s, so that short tracks count too, and one
at the short crops through a frozen network that knows music (`genre_gan.models.projected`). Few data are stretched: tracks at
several pitches, and on real and generated latents alike a random gain and tilt, noise and masked moments (Zhao et al.,
"Differentiable augmentation for data-efficient GAN training", 2020). Left to both games alone, G plays too evenly: wrong details
cost less when they are small. So the mean and the movement of each coefficient, quick and slow, are held to what real clips have,
as is how much clips differ; and what the frozen network hears in clips of a label is held to what it hears in real ones.

Recordings of a low sample rate have nothing in the uppermost rows, to the last digit, and a discriminator of latents would look
at nothing else. So what is generated is cut off at the codec's floor, as real music is, before anything looks at it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genre_gan.data.latents import LatentStore, to_grid
from genre_gan.generate import GenreGenerator
from genre_gan.keys import UNKNOWN_KEY
from genre_gan.models.codec import CENTRE_DB, FLOOR_DB, UNIT_DB, Codec
from genre_gan.models.discriminator import LatentDiscriminator
from genre_gan.models.generator import ClipNoise, SpectralGANConfig, SpectralGenerator
from genre_gan.models.layers import GROUP_ROWS
from genre_gan.models.projected import MusiCNNOfLatents, ProjectedDiscriminator
from genre_gan.models.pulse import Pulse
from genre_gan.spectral import SpectralModel
from training.batches import Batch
from training.gan import energy_distance, frozen, gradient_penalty
from training.paired_crops import PairedCrops
from training.previews import write_previews
from training.spectral_fit import generator_config, read_beginning, remember_music
from training.trainer import Task, Trainer

D_ALONE_STEPS = 50
PENALTY_EVERY = 8
EMA_DECAY, EMA_ORDER = 0.9998, 3.0  # over thousands of steps: a mean of averages over hundreds was better than each of them
FALLING_SHARE = 0.4  # of the steps, the last ones, in which the learning rates fall to nothing
STATISTICS_WEIGHT = 4.0
ENERGY_WEIGHT = 16.0
DEPTH_WEIGHT = 1.0  # of what lies below the codec's floor
SAME_GENRE = 0.25  # of the labels that music is wrong as
SLOW_FRAMES = 8  # whose averages tell how the music moves slowly
HIDDEN_KEY_SHARE = 0.5  # of rows whose key G and D are not told
GAIN_DB, TILT_DB, NOISE, MASK_SHARE = 2.4, 2.4, 0.05, 0.3


class Conditions(NamedTuple):
    """What G is told, and D with it.

    Attributes:
        label_ids, key_ids: (B,).
        pulse: tempo and beat.
    """

    label_ids: Tensor
    key_ids: Tensor
    pulse: Pulse


class View(NamedTuple):
    """Crops Tensor[B x C x R x T] as the discriminator of latents sees them, and what it is told."""

    latents: Tensor
    conditions: Conditions


class SpectralGANTask(Task):
    """Non-saturating loss with a lazy gradient penalty (R1) in the game on latents, hinge loss in the projected one."""

    def __init__(self, trainer: Trainer, latents: LatentStore, listener: MusiCNNOfLatents, clusters: np.ndarray):
        args = trainer.args
        self.trainer, self.listener = trainer, listener.to(trainer.device)
        self.codec = codec = listener.codec
        self.n_long, self.n_short = args.crop_frames
        self.source = PairedCrops(
            latents, clusters, args.clusters, (self.n_long, self.n_short), trainer.rows_per_step, args.seed
        )
        self.config = generator_config(self.source.genres, args.widths, args.clusters, codec)
        begins_anew = args.start_from is None
        generator = SpectralGenerator(self.config) if begins_anew else read_beginning(args.start_from, self.config)
        remember_music(generator, self.source)
        discriminator = LatentDiscriminator(self.config)
        example = self.source.read(self.source.choose(0)).features[:, self.n_long :]
        heard = self.listener(self._grid(example).to(trainer.device))
        projected = ProjectedDiscriminator([layer.shape[1] for layer in heard], self.config.n_labels).to(trainer.device)
        projected.standardize(heard)
        self.average = trainer.average(generator, EMA_DECAY, EMA_ORDER)
        self.trained = SpectralModel(cast(SpectralGenerator, self.average.module), codec)
        prepared = trainer.prepare(
            generator,
            discriminator,
            projected,
            torch.optim.Adam(_groups(generator, args.learning_rate), args.learning_rate, betas=(0.0, 0.99), fused=True),
            torch.optim.Adam(discriminator.parameters(), 2.0 * args.learning_rate, betas=(0.0, 0.99), fused=True),
            torch.optim.Adam(projected.parameters(), 1.5 * args.learning_rate, betas=(0.0, 0.99), fused=True),
        )
        self.generator, self.discriminator, self.projected, self.optimizer_g, self.optimizer_d, self.optimizer_p = prepared
        self.of_short, self.of_slow = self._measure_real()
        self.loader = trainer.loader(self.source)

    def rate(self, progress: float) -> float:
        return min(1.0, (1.0 - progress) / FALLING_SHARE)

    def _measure_real(self, n_crops: int = 100) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """What `_statistics_error` expects of short crops, and of averages over time in long ones."""
        short, slow = [], []
        for label in range(self.config.n_labels):
            crops = (self.source.crops(label, length, n_crops) for length in (self.n_short, self.n_long))
            of_short, of_long = (self._grid(features).to(self.trainer.device) for features in crops)
            short.append(_moments(_statistics(of_short)))
            slow.append(_moments(_statistics(_averages(of_long, SLOW_FRAMES))))
        return _of_all_labels(short), _of_all_labels(slow)

    def _grid(self, features: Tensor) -> Tensor:
        """Latents Tensor[B x C x R x T] of features Tensor[B x T x F]."""
        return to_grid(features, self.codec.config.n_coefficients)

    def train_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        long, short = (self._grid(part) for part in batch.features.split([self.n_long, self.n_short], 1))
        hidden = batch.rand(draw=1) < HIDDEN_KEY_SHARE
        of_long, of_short = (self._conditions(part, batch.genre_ids, hidden) for part in batch.conditions.split(3, 1))
        fake, depth = self._generate(batch, of_long)
        starts = (batch.rand(draw=2) * (self.n_long - self.n_short + 1)).long()
        cropped = _crop(fake, starts, self.n_short)
        later = of_long._replace(pulse=of_long.pulse.later(starts / self.config.latent_rate_hz))
        reals, fakes = [View(long, of_long), View(short, of_short)], [View(fake, of_long), View(cropped, later)]
        heard = self.listener(self._equalized(cropped, batch, 30))
        values = self._train_discriminator(batch, reals, fakes, step % PENALTY_EVERY == 0)
        heard_real, projected_values = self._train_projected(batch, short, [layer.detach() for layer in heard])
        values |= projected_values
        return values | self._train_generator(batch, fakes, depth, heard, heard_real, learns=step >= D_ALONE_STEPS)

    def _conditions(self, values: Tensor, label_ids: Tensor, hidden: Tensor) -> Conditions:
        keys, tempo_bpm, beat = values.unbind(1)
        key_ids = torch.where(hidden, torch.full_like(keys, UNKNOWN_KEY), keys).long()
        return Conditions(label_ids, key_ids, Pulse(tempo_bpm, beat))

    def _generate(self, batch: Batch, conditions: Conditions) -> tuple[Tensor, Tensor]:
        weights = F.one_hot(conditions.label_ids, self.config.n_labels).float()
        noise = ClipNoise.draw(self.config, self.n_long, lambda part, *shape: batch.randn(*shape, draw=10 + part))
        return floored(self.codec, self.generator(noise, weights, conditions.key_ids, conditions.pulse).float())

    def _train_discriminator(self, batch: Batch, real: list[View], fake: list[View], penalize: bool) -> dict[str, Tensor]:
        real = self._augmented_views(real, batch, 40)
        for view in real:
            view.latents.requires_grad_(penalize)
        each_real = [self.discriminator(view.latents, *view.conditions).float() for view in real]
        on_real = torch.cat(each_real, 1)
        on_fake = self._logits(self.discriminator, self._augmented_views(fake, batch, 50, detach=True))
        loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        if penalize:
            accelerator = self.trainer.accelerator
            pairs = zip(each_real, real, strict=True)
            penalty = sum(gradient_penalty(accelerator, logits.mean(1), view.latents) for logits, view in pairs) / len(real)
            loss = loss + 0.5 * self.trainer.args.penalty * PENALTY_EVERY * penalty
        self.trainer.accelerator.backward(loss)
        self.optimizer_d.step()
        self.optimizer_d.zero_grad()
        return {"logit real": on_real.mean(), "logit fake": on_fake.mean()}

    def _train_projected(
        self, batch: Batch, real: Tensor, heard_fake: list[Tensor]
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Learn, also that real music of one label is wrong as another, and return what is heard in real music too.

        After Reed et al., "Generative adversarial text to image synthesis" (2016), section 4.2.
        """
        others = _other_labels(batch.genre_ids, self.config, batch.rand(2, draw=5))
        with torch.no_grad():
            heard_real = self.listener(self._equalized(real, batch, 35))
        on_real = self.projected(heard_real, batch.genre_ids).float()
        on_fake = self.projected(heard_fake, batch.genre_ids).float()
        on_other = self.projected(heard_real, others).float() if self.config.n_labels > 1 else on_fake
        loss = F.relu(1.0 - on_real).mean() + 0.5 * (F.relu(1.0 + on_fake).mean() + F.relu(1.0 + on_other).mean())
        self.trainer.accelerator.backward(loss)
        self.optimizer_p.step()
        self.optimizer_p.zero_grad()
        return heard_real, {"projected real": on_real.mean(), "projected fake": on_fake.mean(), "of another": on_other.mean()}

    def _train_generator(
        self, batch: Batch, fakes: list[View], depth: Tensor, heard: list[Tensor], heard_real: list[Tensor], learns: bool
    ) -> dict[str, Tensor]:
        discriminator = self.trainer.unwrap(self.discriminator)
        projected = cast(ProjectedDiscriminator, self.trainer.unwrap(self.projected))
        with frozen(discriminator, projected):
            with self.trainer.accelerator.autocast():
                on_fake = self._logits(discriminator, self._augmented_views(fakes, batch, 60))
            on_heard = projected(heard, batch.genre_ids).float()
            energy = energy_distance(_grouped(projected.pooled(heard)), _grouped(projected.pooled(heard_real)))
            apart = self._statistics_error(fakes[1].latents, batch.genre_ids, *self.of_short)
            apart = apart + self._statistics_error(_averages(fakes[0].latents, SLOW_FRAMES), batch.genre_ids, *self.of_slow)
            loss = F.softplus(-on_fake).mean() - self.trainer.args.projected * on_heard.mean()
            loss = loss + STATISTICS_WEIGHT * apart + ENERGY_WEIGHT * energy + DEPTH_WEIGHT * depth
            self.trainer.accelerator.backward(loss if learns else 0.0 * loss)
        if learns:  # else fp16's scaler, which clipping unscales, would wait for a step that does not come
            if self.trainer.accelerator.sync_gradients:
                self.trainer.accelerator.clip_grad_norm_(self.generator.parameters(), 10.0)
            self.optimizer_g.step()
        self.optimizer_g.zero_grad()
        return {"loss G": loss, "statistics": apart, "energy distance": energy, "below floor": depth}

    def _statistics_error(self, fake: Tensor, label_ids: Tensor, expected: Tensor, spread: Tensor) -> Tensor:
        """How far statistics of generated clips are from what their label has, in mean and in variance from clip to clip.

        Both are without bias for few clips: products of different clips estimate the square of the distance of means, and
        the variance is pushed by its error over the whole batch, of all processes, and no harder where it is many times too
        large: a few such clips would drown all else that G is told.
        """
        gaps = _grouped((_statistics(fake) - expected[label_ids]) / spread.sqrt()[..., None])  # (G, n, 2, C, R)
        n_clips = gaps.shape[1]
        of_means = (gaps.sum(1).square() - gaps.square().sum(1)) / (n_clips * (n_clips - 1))
        variance = gaps.var(1).mean((0, 3))  # (2, C), 1 where clips differ as real ones do
        found = self.trainer.accelerator.reduce(variance.detach(), "mean")
        push = (found - 1.0) / found.clamp_min(1.0)
        return of_means.mean() + (2.0 * push * variance).mean()

    def _logits(self, discriminator: nn.Module, views: list[View]) -> Tensor:
        """Logits of all views, one after the other."""
        return torch.cat([discriminator(view.latents, *view.conditions).float() for view in views], 1)

    def _augmented_views(self, views: list[View], batch: Batch, draw: int, detach: bool = False) -> list[View]:
        latents = [view.latents.detach() if detach else view.latents for view in views]
        seen = [self._augmented(each, batch, draw + 100 * number) for number, each in enumerate(latents)]
        return [view._replace(latents=each) for view, each in zip(views, seen, strict=True)]

    def _equalized(self, latents: Tensor, batch: Batch, draw: int) -> Tensor:
        """With another gain and tilt of the spectrum, from draws `draw` and the next."""
        slope = torch.linspace(-1.0, 1.0, latents.shape[2], device=latents.device)
        level_db = GAIN_DB * batch.randn(1, draw=draw) + TILT_DB * batch.randn(1, draw=draw + 1) * slope
        return self._add_level(latents, level_db)

    def _add_level(self, latents: Tensor, level_db: Tensor) -> Tensor:
        """Latents with all bands of a row louder by Tensor[B x R]: only a block's mean changes."""
        size = math.sqrt(self.codec.config.n_coefficients) / UNIT_DB  # the cosine transform is orthonormal
        added = level_db * size / self.codec.scale[0]
        return torch.cat([latents[:, :1] + added[:, None, :, None], latents[:, 1:]], 1)

    def _augmented(self, latents: Tensor, batch: Batch, draw: int) -> Tensor:
        """Another gain and tilt, a little noise, and a masked stretch of time and of frequency, often short and never long."""
        n_rows, n_frames = latents.shape[2:]
        latents = self._equalized(latents, batch, draw)
        latents = latents + NOISE * batch.randn(*latents.shape[1:], draw=draw + 2)
        frames, rows = _unmasked(n_frames, batch.rand(2, draw=draw + 3)), _unmasked(n_rows, batch.rand(2, draw=draw + 4))
        return latents * (rows[:, :, None] & frames[:, None])[:, None]

    def preview(self, folder: Path) -> None:
        """A clip and a spectrogram for each genre."""
        write_previews(GenreGenerator(self.trained), folder, 6.0)


def _unmasked(n: int, uniform: Tensor) -> Tensor:
    """Which of `n` places stay, Tensor[B x n], where uniform numbers Tensor[B x 2] say how many do not, and where."""
    width, centre = MASK_SHARE * n * uniform[:, :1].square(), n * uniform[:, 1:]
    return (torch.arange(n, device=uniform.device) - centre).abs() >= width / 2


def floored(codec: Codec, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Latents Tensor[B x C x R x T] of what is left of others at the codec's floor, where real music ends too, and the mean depth
    below it that was cut off.

    G is to keep that depth small: nothing else calls back a row that has fallen silent, or keeps it from falling for ever.
    """
    level, floor = codec.decode_log_mel(latents), (FLOOR_DB - CENTRE_DB) / UNIT_DB
    return codec.encode_log_mel(level.clamp_min(floor)), F.relu(floor - level).mean()


def _other_labels(labels: Tensor, config: SpectralGANConfig, uniform: Tensor) -> Tensor:
    """Another label for each (B,), for uniform numbers Tensor[B x 2]; a share `SAME_GENRE` of them is of the same genre."""
    n_clusters, n_others = config.n_clusters, config.n_labels - config.n_clusters
    cluster = labels % n_clusters
    within = labels - cluster + (cluster + 1 + (uniform[:, 1] * (n_clusters - 1)).long()) % n_clusters
    beyond = (labels - cluster + n_clusters + (uniform[:, 1] * n_others).long()) % config.n_labels
    is_within = (uniform[:, 0] < SAME_GENRE) & (n_clusters > 1) | (n_others == 0)
    return torch.where(is_within, within, beyond)


def _averages(latents: Tensor, n_frames: int) -> Tensor:
    """Means over so many frames each, Tensor[B x C x R x T/n_frames], of latents Tensor[B x C x R x T]."""
    return latents.unflatten(3, (-1, n_frames)).mean(4)


def _grouped(rows: Tensor) -> Tensor:
    """Rows Tensor[B x ...] by groups of one label, Tensor[G x n x ...]."""
    return rows.unflatten(0, (-1, math.gcd(len(rows), GROUP_ROWS)))


def _statistics(latents: Tensor) -> Tensor:
    """Mean over time and logarithm of the deviation from it, Tensor[B x 2 x C x R], of latents Tensor[B x C x R x T]."""
    variance, mean = torch.var_mean(latents.float(), 3, correction=0)
    return torch.stack([mean, 0.5 * (variance + 1e-4).log()], 1)


def _moments(statistics: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over a label's crops of their statistics, Tensor[2 x C x R], and the variance, Tensor[2 x C]."""
    variance, mean = torch.var_mean(statistics, 0, correction=0)
    return mean, variance.mean(2)


def _of_all_labels(moments: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The mean of each label, Tensor[n_labels x 2 x C x R], and one variance, Tensor[2 x C], as some have too few tracks."""
    means, variances = zip(*moments, strict=True)
    return torch.stack(means), torch.stack(variances).mean(0).clamp_min(1e-3)


def _crop(latents: Tensor, starts: Tensor, length: int) -> Tensor:
    """`length` frames from each row of Tensor[B x C x R x T], at a place of its own."""
    index = starts[:, None] + torch.arange(length, device=latents.device)
    return latents.gather(3, index[:, None, None].expand(-1, *latents.shape[1:3], -1))


def _groups(generator: SpectralGenerator, learning_rate: float) -> list[dict]:
    """The generator's parameters, as Adam takes them. What stands for a cluster learns faster: few rows of a batch are of it."""
    labels = list(generator.genre_embedding.parameters())
    others = [parameter for name, parameter in generator.named_parameters() if not name.startswith("genre_embedding")]
    return [{"params": others}, {"params": labels, "lr": generator.config.n_clusters * learning_rate}]
