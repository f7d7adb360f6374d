"""What `train_cgan.py --model mel` trains: the two-dimensional GAN on the codec's latents.

Two discriminators look at what G makes: one at latents of 5.9 s, and one, at crops of 2.2 s so that short tracks count too,
through a frozen network that knows music (`genre_gan.models.projected`). Few data are stretched: tracks at several pitches, and
on real and generated latents alike a random gain and tilt, noise and masked moments (Zhao et al., "Differentiable augmentation
for data-efficient GAN training", 2020). Left to both games alone, G plays too evenly: wrong details cost less when they are
small. So the mean and the movement of each coefficient are held to what real clips have, and so is how much clips differ.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genre_gan.data.cache import FeatureStore, code_version, one_at_a_time, save_array
from genre_gan.data.latents import CODE, LatentStore, level
from genre_gan.features import musicnn_log_mel
from genre_gan.generate import GenreGenerator
from genre_gan.hub import packaged_weights
from genre_gan.models.codec import UNIT_DB, Codec
from genre_gan.models.generator import (
    N_KEYS,
    N_QUANTILES,
    UNKNOWN_KEY,
    ClipNoise,
    LatentDiscriminator,
    Pulse,
    SpectralGANConfig,
    SpectralGenerator,
)
from genre_gan.models.layers import GROUP_ROWS
from genre_gan.models.musicnn import MusiCNN
from genre_gan.models.projected import MusiCNNOfLatents, ProjectedDiscriminator
from genre_gan.spectral import SpectralModel
from training.batches import Batch, check_batch_size
from training.gan import frozen, gradient_penalty
from training.paired_crops import PairedCrops
from training.previews import write_previews
from training.trainer import Task, Trainer

SEMITONES = (-2, -1, 0, 1, 2)
D_ALONE_STEPS = 50
PENALTY_EVERY = 8
EMA_DECAY = 0.998
STATISTICS_WEIGHT = 0.5
HIDDEN_KEY_SHARE = 0.5  # of rows whose key G and D are not told
GAIN_DB, TILT_DB, NOISE, MASK_SHARE = 2.4, 2.4, 0.05, 0.3


class Conditions(NamedTuple):
    """What G is told, and D with it.

    Attributes:
        genre_ids, key_ids: (B,).
        pulse: tempo and beat.
    """

    genre_ids: Tensor
    key_ids: Tensor
    pulse: Pulse


class SpectralGANTask(Task):
    """Non-saturating loss with a lazy gradient penalty (R1) in the game on latents, hinge loss in the projected one."""

    def __init__(self, trainer: Trainer, latents: LatentStore, listener: MusiCNNOfLatents):
        args = trainer.args
        check_batch_size(args.batch_size, trainer.n_processes, GROUP_ROWS)
        self.trainer, self.listener = trainer, listener.to(trainer.device)
        self.codec = codec = listener.codec
        self.n_long, self.n_short = args.crop_frames
        self.source = PairedCrops(latents, (self.n_long, self.n_short), trainer.rows_per_step, args.seed)
        self.config = SpectralGANConfig(
            genres=self.source.genres,
            n_coefficients=codec.config.n_coefficients,
            n_rows=codec.config.n_rows,
            latent_rate_hz=codec.config.latent_rate_hz,
            widths=tuple(args.widths),
        )
        generator = SpectralGenerator(self.config)
        if args.start_from is not None:
            generator.load_state_dict(_beginning(args.start_from, self.config).state_dict())
        _remember_tempos_and_keys(generator, latents)
        discriminator = LatentDiscriminator(self.config)
        example = self._split(self.source.read(self.source.choose(0)).features.to(trainer.device))[1]
        heard = self.listener(example)
        projected = ProjectedDiscriminator([layer.shape[1] for layer in heard], len(self.config.genres)).to(trainer.device)
        projected.standardize(heard)
        self.average = trainer.average(generator, EMA_DECAY)
        self.trained = SpectralModel(self.average.module, codec)
        prepared = trainer.prepare(
            generator,
            discriminator,
            projected,
            torch.optim.Adam(generator.parameters(), args.learning_rate, betas=(0.0, 0.99)),
            torch.optim.Adam(discriminator.parameters(), 2e-3, betas=(0.0, 0.99)),
            torch.optim.Adam(projected.parameters(), 4e-4, betas=(0.0, 0.99)),
        )
        self.generator, self.discriminator, self.projected, self.optimizer_g, self.optimizer_d, self.optimizer_p = prepared
        self.expected, self.spread = self._measure_real()
        self.loader = trainer.loader(self.source)

    def _measure_real(self, n_crops: int = 100) -> tuple[Tensor, Tensor]:
        """The mean of each genre's statistics, Tensor[n_genres x 2 x C x R], and their variance from clip to clip [... x C]."""
        crops = (self.source.long_crops(genre, n_crops) for genre in range(len(self.config.genres)))
        of_genres = [_statistics(self._split(of_genre)[0]) for of_genre in crops]
        expected = torch.stack([of_genre.mean(0) for of_genre in of_genres])
        spread = torch.stack([of_genre.var(0, correction=0).mean(2) for of_genre in of_genres])
        return expected.to(self.trainer.device), spread.clamp_min(1e-3).to(self.trainer.device)

    def _split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The long and the short crops as latents Tensor[B x C x R x T]."""
        grid = features.unflatten(2, (self.codec.config.n_coefficients, -1)).permute(0, 2, 3, 1)
        return grid[..., : self.n_long].contiguous(), grid[..., self.n_long :].contiguous()

    def train_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        long, short = self._split(batch.features)
        keys, tempo_bpm, beat = batch.conditions.unbind(1)
        hidden = batch.rand(draw=1) < HIDDEN_KEY_SHARE
        key_ids = torch.where(hidden, torch.full_like(keys, UNKNOWN_KEY), keys).long()
        conditions = Conditions(batch.genre_ids, key_ids, Pulse(tempo_bpm, beat))
        fake = self._generate(batch, conditions)
        starts = (batch.rand(draw=2) * (self.n_long - self.n_short + 1)).long()
        heard = self.listener(self._with_gain(_crop(fake, starts, self.n_short), batch, 30))
        values = self._train_discriminator(batch, long, fake.detach(), conditions, penalize=step % PENALTY_EVERY == 0)
        values |= self._train_projected(batch, short, [layer.detach() for layer in heard])
        return values | self._train_generator(batch, fake, heard, conditions, learns=step >= D_ALONE_STEPS)

    def _generate(self, batch: Batch, conditions: Conditions) -> Tensor:
        config = self.config
        weights = F.one_hot(conditions.genre_ids, len(config.genres)).float()
        spans = enumerate(config.spans(0, self.n_long))
        grid = [batch.randn(last - first, config.level_rows(i), config.noise_dim, draw=10 + i) for i, (first, last) in spans]
        noise = ClipNoise(batch.randn(config.style_dim, draw=3), grid)
        return self.generator(noise, weights, conditions.key_ids, conditions.pulse).float()

    def _train_discriminator(
        self, batch: Batch, real: Tensor, fake: Tensor, conditions: Conditions, penalize: bool
    ) -> dict[str, Tensor]:
        real = self._augmented(real, batch, 40).requires_grad_(penalize)
        on_real = self.discriminator(real, *conditions).float()
        on_fake = self.discriminator(self._augmented(fake, batch, 50), *conditions).float()
        loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        if penalize:
            penalty = gradient_penalty(self.trainer.accelerator, on_real.mean(1), real)
            loss = loss + 0.5 * self.trainer.args.penalty * PENALTY_EVERY * penalty
        self.trainer.accelerator.backward(loss)
        self.optimizer_d.step()
        self.optimizer_d.zero_grad()
        return {"logit real": on_real.mean(), "logit fake": on_fake.mean()}

    def _train_projected(self, batch: Batch, real: Tensor, heard_fake: list[Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            heard_real = self.listener(self._with_gain(real, batch, 35))
        on_real = self.projected(heard_real, batch.genre_ids).float()
        on_fake = self.projected(heard_fake, batch.genre_ids).float()
        loss = F.relu(1.0 - on_real).mean() + F.relu(1.0 + on_fake).mean()
        self.trainer.accelerator.backward(loss)
        self.optimizer_p.step()
        self.optimizer_p.zero_grad()
        return {"projected real": on_real.mean(), "projected fake": on_fake.mean()}

    def _train_generator(
        self, batch: Batch, fake: Tensor, heard: list[Tensor], conditions: Conditions, learns: bool
    ) -> dict[str, Tensor]:
        discriminator, projected = self.trainer.unwrap(self.discriminator), self.trainer.unwrap(self.projected)
        with frozen(discriminator, projected):
            with self.trainer.accelerator.autocast():
                on_fake = discriminator(self._augmented(fake, batch, 60), *conditions).float()
            on_heard = projected(heard, batch.genre_ids).float()
            apart = self._statistics_error(fake, conditions.genre_ids)
            loss = F.softplus(-on_fake).mean() - self.trainer.args.projected * on_heard.mean() + STATISTICS_WEIGHT * apart
            self.trainer.accelerator.backward(loss if learns else 0.0 * loss)
        if self.trainer.accelerator.sync_gradients:
            self.trainer.accelerator.clip_grad_norm_(self.generator.parameters(), 10.0)
        if learns:
            self.optimizer_g.step()
        self.optimizer_g.zero_grad()
        return {"loss G": loss, "statistics": apart}

    def _statistics_error(self, fake: Tensor, genre_ids: Tensor) -> Tensor:
        """How far statistics of generated clips are from what their genre has, in mean and in variance from clip to clip.

        Both are without bias for few clips: products of different clips estimate the square of the distance of means, and
        the variance is pushed by its error over the whole batch, of all processes.
        """
        group = math.gcd(len(fake), GROUP_ROWS)
        gap = (_statistics(fake) - self.expected[genre_ids]) / self.spread[genre_ids].sqrt()[..., None]  # (B, 2, C, R)
        gaps = gap.unflatten(0, (-1, group))
        of_means = (gaps.sum(1).square() - gaps.square().sum(1)) / (group * (group - 1))
        variance = gaps.var(1).mean((0, 3))  # (2, C), 1 where clips differ as real ones do
        error = self.trainer.accelerator.reduce(variance.detach(), "mean") - 1.0
        return of_means.mean() + (2.0 * error * variance).mean()

    def _with_gain(self, latents: Tensor, batch: Batch, draw: int) -> Tensor:
        return self._add_level(latents, GAIN_DB * batch.randn(1, draw=draw))

    def _add_level(self, latents: Tensor, level_db: Tensor) -> Tensor:
        """Latents with all bands of a row louder by Tensor[B x R] or Tensor[B x 1]: only a block's mean changes."""
        size = math.sqrt(self.codec.config.n_coefficients) / UNIT_DB  # the cosine transform is orthonormal
        added = level_db * size / self.codec.scale[0]
        return torch.cat([latents[:, :1] + added[:, None, :, None], latents[:, 1:]], 1)

    def _augmented(self, latents: Tensor, batch: Batch, draw: int) -> Tensor:
        """Another gain and tilt, a little noise, and a masked stretch of time, often short and never long."""
        slope = torch.linspace(-1.0, 1.0, latents.shape[2], device=latents.device)
        latents = self._add_level(latents, GAIN_DB * batch.randn(1, draw=draw) + TILT_DB * batch.randn(1, draw=draw + 1) * slope)
        latents = latents + NOISE * batch.randn(*latents.shape[1:], draw=draw + 2)
        n_frames = latents.shape[3]
        width = MASK_SHARE * n_frames * batch.rand(1, draw=draw + 3).square()
        centre = n_frames * batch.rand(1, draw=draw + 4)
        keep = (torch.arange(n_frames, device=latents.device) - centre).abs() > width / 2  # (B, T)
        return latents * keep[:, None, None]

    def preview(self, folder: Path) -> None:
        """A clip and a spectrogram for each genre."""
        write_previews(GenreGenerator(self.trained), folder, 6.0)


def _beginning(folder: Path, config: SpectralGANConfig) -> SpectralGenerator:
    """The generator in `folder`; `ValueError` unless its shape and its genres are those of this training."""
    generator = SpectralGenerator.load(folder)
    theirs, ours = asdict(generator.config), asdict(config)
    differing = [f"{name} {theirs[name]!r} there, {ours[name]!r} here" for name in ours if theirs[name] != ours[name]]
    if differing:
        raise ValueError(
            f"--start-from {folder}: it cannot be gone on from, its {'; '.join(differing)}. Choose the same with --genres and "
            "--widths, or begin without --start-from"
        )
    return generator


def _statistics(latents: Tensor) -> Tensor:
    """Mean over time and logarithm of the deviation from it, Tensor[B x 2 x C x R], of latents Tensor[B x C x R x T]."""
    variance, mean = torch.var_mean(latents.float(), 3, correction=0)
    return torch.stack([mean, 0.5 * (variance + 1e-4).log()], 1)


def _crop(latents: Tensor, starts: Tensor, length: int) -> Tensor:
    """`length` frames from each row of Tensor[B x C x R x T], at a place of its own."""
    index = starts[:, None] + torch.arange(length, device=latents.device)
    return latents.gather(3, index[:, None, None].expand(-1, *latents.shape[1:3], -1))


def _remember_tempos_and_keys(generator: SpectralGenerator, latents: LatentStore) -> None:
    """What tempos and keys each genre has, every track counting once at each pitch."""
    names = np.array(latents.tracks.genre_names)
    for number, genre in enumerate(generator.config.genres):
        members = np.flatnonzero(names == genre)
        tempos_bpm = [latents.tempo_bpm(track) for track in members if len(latents.beats_s[track]) >= 4] or [120.0]
        quantiles = np.quantile(tempos_bpm, np.linspace(0.0, 1.0, N_QUANTILES))
        generator.tempo_quantiles_bpm[number] = torch.from_numpy(quantiles)
        counts = np.bincount(latents.keys[members], minlength=N_KEYS + 1)
        generator.key_shares[number] = torch.from_numpy(counts / counts.sum())


def fit_codec(codec: Codec, store: FeatureStore, tracks: np.ndarray, seed: int, n_crops: int = 250) -> None:
    """Set the codec's scales from crops of these tracks."""
    codec.fit(codec.analyze(torch.from_numpy(_draw_crops(store, tracks, 2.2, seed, n_crops))))


def fitted_listener(
    store: FeatureStore, latents: LatentStore, codec: Codec, seed: int, dtype: torch.dtype, n_crops: int = 200
) -> MusiCNNOfLatents:
    """MusiCNN behind filters that make of the codec's spectrograms what it knows; they are fitted once and kept in the cache."""
    import soxr

    listener = MusiCNNOfLatents(codec, MusiCNN.load(packaged_weights("musicnn")), dtype)
    content = [code_version(*CODE, "models/musicnn.py", "models/projected.py"), seed, n_crops]
    content += [store.content_key(track) for track in range(len(store.tracks))]
    path = latents.folder / f"listener-{hashlib.sha256(repr(content).encode()).hexdigest()[:16]}.npy"
    with one_at_a_time(latents.folder):
        if not path.exists():
            settings = codec.config.features
            crops = _draw_crops(store, np.arange(len(store.tracks)), 3.0, seed, n_crops)
            wanted = np.stack([soxr.resample(crop, settings.sample_rate_hz, 16_000) for crop in crops])
            log_mel = torch.cat([codec.analyze(part) for part in torch.from_numpy(crops).split(20)])
            heard = torch.cat([musicnn_log_mel(part) for part in torch.from_numpy(wanted).split(20)])
            error = listener.fit(log_mel, heard)
            print(f"MusiCNN hears the codec's spectrograms to within {error:.3f} of its own", flush=True)
            save_array(path, listener.filters.numpy())
    listener.filters.copy_(torch.from_numpy(np.load(path)))
    return listener


def _draw_crops(store: FeatureStore, tracks: np.ndarray, duration_s: float, seed: int, n_crops: int) -> np.ndarray:
    """Levelled samples float32 [shape=(n, n_samples)], one crop of a track that is long enough."""
    rng, rate_hz = np.random.default_rng(seed), store.config.sample_rate_hz
    n_samples, crops = round(duration_s * rate_hz), []
    for track in rng.permutation(tracks):
        if store.n_frames[track] >= n_samples and len(crops) < n_crops:
            start = int(rng.integers(0, store.n_frames[track] - n_samples + 1))
            crops.append(level(store.read(int(track), start, n_samples)[:, 0], rate_hz))
    if not crops:
        raise ValueError(f"no track lasts {duration_s:g} s, which is what the codec and the listener are fitted on")
    return np.stack(crops)
