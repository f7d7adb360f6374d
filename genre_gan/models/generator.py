"""The spectral generator: a two-dimensional style-based GAN on the codec's latent grid.

After StyleGAN2 (Karras et al. 2020) as applied to mel spectrograms of loops (Hung et al., "A benchmarking initiative for
audio-domain music generation using the FreeSound Loop Dataset", ISMIR 2021). Time has no borders here: every layer is a
convolution over frames without padding, from noise that goes on beyond both ends, so that a clip can be of any length and be
made in pieces that are exactly those of the whole. Rows have borders: each has an embedding of its own, and a mixer lets
the partials of a chord know of each other.

What is played follows the beat and the bar, by `genre_gan.models.pulse`.

Axes: B batch, C channels, R rows (frequency, low to high), T frames (time).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genre_gan.genres import GENRES
from genre_gan.models.layers import GAIN, EqualConv2d, EqualLinear, RowMixer, StyleConv2d
from genre_gan.models.pulse import CYCLE_BEATS, HALF_BAR_BEATS, MAX_TEMPO_BPM, N_TURNED, Pulse
from genre_gan.pretrained import PretrainedModel
from genre_gan.recipe import BEATS_PER_BAR

N_KEYS = 24  # twelve major, then twelve minor, each from C upwards
N_QUANTILES = 17
HALF_BAR_GAIN = 0.35  # at the beginning, of what the beat weighs
N_COLOURS = 4  # directions in which the spectra of clips of one label differ
INSTANCE_NOISE = 0.25  # added to each number that tells of an instance, which are of about unit size


@dataclass(frozen=True)
class SpectralGANConfig:
    """Shape of a `SpectralGenerator`.

    Attributes:
        genres: the labels, in the order of the weights.
        n_coefficients, n_rows, latent_rate_hz: of the codec's latent grid.
        widths: channels at each level, from the coarsest; each further level doubles rows and frames.
        n_layers: convolutions at each level.
        style_dim: of the style of a clip.
        noise_dim: of the noise at each place of the grid.
        n_clusters: of the music of each genre; each is a label of its own, those of a genre one after the other.
        n_instances: of real music that the generator remembers; 0 for none.
        instance_dim: numbers that tell of one.
    """

    genres: tuple[str, ...] = GENRES
    n_coefficients: int = 32
    n_rows: int = 32
    latent_rate_hz: float = 22050 / 256 / 8
    widths: tuple[int, ...] = (256, 256, 192, 128)
    n_layers: int = 2
    style_dim: int = 128
    noise_dim: int = 8
    n_clusters: int = 1
    n_instances: int = 0
    instance_dim: int = 64

    def __post_init__(self) -> None:
        if self.n_rows % self.stride:
            raise ValueError(f"n_rows must be a multiple of {self.stride} for {self.n_levels} levels, got {self.n_rows!r}")
        if not self.genres or len(set(self.genres)) != len(self.genres):
            raise ValueError(f"genres must be different names, got {self.genres!r}")
        if self.n_clusters < 1:
            raise ValueError(f"n_clusters must be at least 1, got {self.n_clusters!r}")

    @property
    def n_labels(self) -> int:
        return len(self.genres) * self.n_clusters

    @property
    def n_levels(self) -> int:
        return len(self.widths)

    @property
    def stride(self) -> int:
        """Frames of the grid in one frame of the coarsest level."""
        return 2 ** (self.n_levels - 1)

    def kernel_frames(self, level: int) -> int:
        """Width of the level's convolutions in time."""
        return 5 if level == 0 else 3

    def spans(self, start: int, stop: int) -> list[tuple[int, int]]:
        """For each level, from the coarsest, the first and the last frame but one that latents from `start` to `stop` depend on.

        In frames of the level, frame 0 being where the clip begins; before it they are negative. `start` must be a multiple
        of the stride.
        """
        if start % self.stride or stop <= start:
            raise ValueError(f"start must be a multiple of {self.stride} below stop, got {start!r} and {stop!r}")
        spans = []
        for level in reversed(range(self.n_levels)):
            margin = self.n_layers * (self.kernel_frames(level) // 2)
            start, stop = start - margin, stop + margin
            spans.append((start, stop))
            start, stop = start // 2, -(-stop // 2)
        return spans[::-1]

    def level_rows(self, level: int) -> int:
        return self.n_rows >> (self.n_levels - 1 - level)

    @property
    def lead_s(self) -> float:
        """How long before a clip its earliest noise begins."""
        return -self.spans(0, self.stride)[0][0] * self.stride / self.latent_rate_hz

    def n_bars(self, n_frames: int) -> int:
        """How many bars latents of so many frames depend on, at the fastest tempo."""
        return math.ceil((n_frames / self.latent_rate_hz + 3 * self.lead_s) * MAX_TEMPO_BPM / 60.0 / BEATS_PER_BAR) + 1


class ClipNoise(NamedTuple):
    """All that is random in a clip, normally distributed.

    Attributes:
        style: Tensor[B x style_dim].
        bars: Tensor[B x n_bars x N_TURNED x 2], of which only directions matter: where in its longest cycles each bar is. The
            first one is that of the earliest noise.
        half_bars: Tensor[B x 2*n_bars x noise_dim], of the two halves of each of these bars.
        grid: for each level, from the coarsest, Tensor[B x T_level x R_level x noise_dim]; see `SpectralGANConfig.spans`.
    """

    style: Tensor
    bars: Tensor
    half_bars: Tensor
    grid: list[Tensor]

    @classmethod
    def draw(cls, config: SpectralGANConfig, n_frames: int, normal: Callable[..., Tensor]) -> ClipNoise:
        """For latents of `n_frames`; `normal(part, *shape)` draws Tensor[B x *shape], other numbers for each part from 0 on."""
        spans = enumerate(config.spans(0, n_frames))
        grid = [normal(3 + level, last - first, config.level_rows(level), config.noise_dim) for level, (first, last) in spans]
        n_bars = config.n_bars(n_frames)
        return cls(normal(0, config.style_dim), normal(1, n_bars, N_TURNED, 2), normal(2, 2 * n_bars, config.noise_dim), grid)


class SpectralGenerator(PretrainedModel):
    """Noise, weights of the labels, key, pulse and an instance to latents of the codec.

    A label is a cluster of a genre's music: told the genre alone, a generator makes one kind of music of each (Liu et al.,
    "Diverse image generation via self-conditioned GANs", 2020). An instance is a real clip of that label, of which the generator
    is told a few numbers, so that its clips differ as real ones do (Casanova et al., "Instance-conditioned GAN", NeurIPS 2021).

    It also remembers what music it learned from: `cluster_shares` Tensor[n_genres x n_clusters] where there are several, and for
    each label tempos, `tempo_quantiles_bpm` Tensor[n_labels x 17], from the slowest to the fastest, keys, `key_shares`
    Tensor[n_labels x 25]. Where it knows instances, `instances` Tensor[n_instances x instance_dim], each as far as it is from the
    mean of its label, `instance_labels` (n_instances,) and how often each is drawn, `instance_shares`. And how much
    more music moves than what is generated, `gain` Tensor[n_labels x C x R], which stretches latents about `centre`
    Tensor[n_labels x C x R], and how much more its spectrum differs from clip to clip, in a few directions, `colours`
    Tensor[n_labels x R x N_COLOURS].
    """

    config_class = SpectralGANConfig
    family = "spectral-gan"
    cluster_shares: Tensor
    tempo_quantiles_bpm: Tensor
    key_shares: Tensor
    gain: Tensor
    centre: Tensor
    colours: Tensor
    instances: Tensor
    instance_labels: Tensor
    instance_shares: Tensor

    def __init__(self, config: SpectralGANConfig):
        super().__init__(config)
        dim, n_labels = config.style_dim, config.n_labels
        self.genre_embedding = nn.Embedding(n_labels, dim)  # of each cluster of each genre
        self.key_embedding = nn.Embedding(N_KEYS + 1, dim)
        self.mapping = nn.ModuleList([EqualLinear(n_in, 2 * dim, GAIN) for n_in in (3 * dim, 2 * dim, 2 * dim)])
        self.levels = nn.ModuleList([_Level(config, level) for level in range(config.n_levels)])
        if config.n_clusters > 1:
            self.register_buffer("cluster_shares", torch.full((len(config.genres), config.n_clusters), 1.0 / config.n_clusters))
        self.register_buffer("tempo_quantiles_bpm", torch.full((n_labels, N_QUANTILES), 120.0))
        self.register_buffer("key_shares", torch.full((n_labels, N_KEYS + 1), 1.0 / (N_KEYS + 1)))
        self.register_buffer("gain", torch.ones(n_labels, config.n_coefficients, config.n_rows))
        self.register_buffer("centre", torch.zeros(n_labels, config.n_coefficients, config.n_rows))
        self.register_buffer("colours", torch.zeros(n_labels, config.n_rows, N_COLOURS))
        if config.n_instances:
            self.instance_embedding = EqualLinear(config.instance_dim, dim)
            self.register_buffer("instances", torch.zeros(config.n_instances, config.instance_dim))
            self.register_buffer("instance_labels", torch.zeros(config.n_instances, dtype=torch.long))
            self.register_buffer("instance_shares", torch.zeros(config.n_instances))
        self.output = StyleConv2d(config.widths[-1], config.n_coefficients, 2 * dim, (1, 1), demodulate=False)

    def draw_labels(self, genre_weights: Tensor, uniform: Tensor) -> Tensor:
        """Weights of labels Tensor[B x n_labels], one of each genre's clusters, for uniform numbers Tensor[B x n_genres] to 1."""
        n_clusters = self.config.n_clusters
        if n_clusters == 1:
            return genre_weights
        clusters = (self.cluster_shares.cumsum(1) <= uniform[..., None]).sum(2).clamp_max(n_clusters - 1)
        return (genre_weights[..., None] * F.one_hot(clusters, n_clusters)).flatten(1)

    def draw_instances(self, weights: Tensor, uniform: Tensor, noise: Tensor) -> Tensor | None:
        """Instances Tensor[B x instance_dim] of labels; None where the generator knows none.

        For weights Tensor[B x n_labels], uniform numbers Tensor[B x n_genres] in [0, 1] and normally distributed ones
        Tensor[B x instance_dim]. Of several labels it is their mean, by their weights.
        """
        config = self.config
        if not config.n_instances:
            return None
        shares = (F.one_hot(self.instance_labels, config.n_labels) * self.instance_shares[:, None]).T.cumsum(1).contiguous()
        wanted = shares[:, -1] * uniform.clamp_max(1.0 - 1e-6).repeat_interleave(config.n_clusters, 1)
        places = torch.searchsorted(shares, wanted.T.contiguous(), right=True).T.clamp_max(config.n_instances - 1)  # (B, L)
        known = weights * (shares[:, -1] > 0.0)
        return torch.einsum("bl,bld->bd", known, self.instances[places]) + INSTANCE_NOISE * noise

    def draw_tempo_bpm(self, weights: Tensor, uniform: Tensor) -> Tensor:
        """Tempos (B,) as the labels have them, for weights Tensor[B x n_labels] and uniform numbers (B,) in [0, 1]."""
        quantiles = weights @ self.tempo_quantiles_bpm  # (B, N_QUANTILES)
        place = uniform * (N_QUANTILES - 1)
        below = place.long().clamp_max(N_QUANTILES - 2)
        pair = quantiles.gather(1, torch.stack([below, below + 1], 1))
        return torch.lerp(pair[:, 0], pair[:, 1], place - below)

    def draw_key(self, weights: Tensor, uniform: Tensor) -> Tensor:
        """Keys (B,) from 0 to 24 as the labels have them, in the same way."""
        return ((weights @ self.key_shares).cumsum(1) <= uniform[:, None]).sum(1).clamp_max(N_KEYS)

    def map_style(
        self, style: Tensor, weights: Tensor, key_ids: Tensor, instances: Tensor | None = None, label_scale: float = 1.0
    ) -> Tensor:
        """Mapped styles Tensor[B x 2*style_dim] of styles, weights Tensor[B x n_labels] (rows sum to 1), keys (B,), instances.

        What stands for labels lies `label_scale` times as far from the mean of all labels as in training.
        """
        middle = self.genre_embedding.weight.mean(0)
        labels = middle + label_scale * (weights @ self.genre_embedding.weight - middle)
        if instances is not None:
            labels = labels + self.instance_embedding(instances)
        x = torch.cat([style, labels, self.key_embedding(key_ids)], 1)
        x = x * (x.square().mean(1, keepdim=True) + 1e-6).rsqrt()
        for layer in self.mapping:
            x = F.leaky_relu(layer(x), 0.2)
        return x

    def forward(
        self, noise: ClipNoise, weights: Tensor, key_ids: Tensor, pulse: Pulse, start: int = 0, instances: Tensor | None = None
    ) -> Tensor:
        """Latents Tensor[B x C x R x T] for weights Tensor[B x n_labels], keys (B,) from 0 to 24 (unknown) and a pulse.

        `noise` holds the frames that `config.spans(start, start + T)` asks for; `instances` Tensor[B x instance_dim] are of those
        that the generator remembers.
        """
        return self.synthesize(noise, self.map_style(noise.style, weights, key_ids, instances), pulse, start)

    def synthesize(self, noise: ClipNoise, mapped: Tensor, pulse: Pulse, start: int = 0) -> Tensor:
        """The same from mapped styles, so that they can be moved first."""
        n_frames = noise.grid[-1].shape[1] - 2 * self.config.n_layers * (self.config.kernel_frames(self.config.n_levels - 1) // 2)
        x, before = None, 0
        spans = self.config.spans(start, start + n_frames)
        for level, (layers, values, (first, last)) in enumerate(zip(self.levels, noise.grid, spans, strict=True)):
            rate_hz = self.config.latent_rate_hz / 2 ** (self.config.n_levels - 1 - level)
            lead_s = self.config.lead_s
            phases = pulse.turned_phases(noise.bars, lead_s, first, last, rate_hz)
            halves = pulse.spread(noise.half_bars, HALF_BAR_BEATS, lead_s, first, last, rate_hz)
            x = layers(x, first - 2 * before, values, phases, halves, mapped)
            before = first + self.config.n_layers * (self.config.kernel_frames(level) // 2)
        return self.output(x, mapped)

    def calibrate(self, latents: Tensor, weights: Tensor, colour: Tensor) -> Tensor:
        """Latents Tensor[B x C x R x T] that move and differ as music of their labels does.

        For weights Tensor[B x n_labels] and normally distributed numbers Tensor[B x N_COLOURS], which are those of a clip.
        """
        gain, centre = (torch.einsum("bl,lcr->bcr", weights, values) for values in (self.gain, self.centre))
        offset = centre - gain * centre
        offset[:, 0] += torch.einsum("bl,lrk,bk->br", weights, self.colours, colour)  # to the means of blocks
        return latents * gain[..., None] + offset[..., None]


class _Level(nn.Module):
    """One resolution of the generator."""

    def __init__(self, config: SpectralGANConfig, level: int):
        super().__init__()
        width, n_rows, style_dim = config.widths[level], config.level_rows(level), 2 * config.style_dim
        self.rows = nn.Parameter(torch.randn(width, n_rows))
        self.inject = EqualLinear(config.noise_dim, width)
        self.beat = EqualLinear(2 * len(CYCLE_BEATS), width)
        self.half_bar = EqualLinear(config.noise_dim, width, HALF_BAR_GAIN)
        n_in = config.widths[level - 1] if level else width
        self.widen = EqualConv2d(n_in, width, (1, 1)) if n_in != width else None
        kernel = (3, config.kernel_frames(level))
        self.layers = nn.ModuleList([StyleConv2d(width, width, style_dim, kernel, GAIN) for _ in range(config.n_layers)])
        self.mixer = RowMixer(width, n_rows)

    def forward(
        self, x: Tensor | None, skipped: int, grid: Tensor, phases: Tensor, halves: Tensor, mapped: Tensor
    ) -> Tensor:
        """Features of the level below, of whose doubled frames `skipped` are left out first; noise, phases, noise of half bars,
        mapped styles."""
        given = self.inject(grid.transpose(1, 2).contiguous())  # (B, R, T, width): channels last in memory, which is fastest
        alike = self.beat(phases.transpose(1, 2)) + self.half_bar(halves)  # in all rows
        given = given + self.rows.T[:, None].to(given.dtype) + alike[:, None].to(given.dtype)
        given = given.permute(0, 3, 1, 2)
        if x is not None:
            if self.widen is not None:
                x = self.widen(x)
            given = F.interpolate(x, scale_factor=2, mode="nearest")[..., skipped : skipped + given.shape[3]] + given
        x = given
        for number, layer in enumerate(self.layers):
            x = F.leaky_relu(layer(x, mapped), 0.2)
            if number == 0:
                x = self.mixer(x)
        return x
