"""The codec: sound to a small grid of latents and back, without a network.

A log-mel spectrogram is cut into blocks of a few bands by a few frames, and each block becomes the coefficients of its
two-dimensional cosine transform, scaled. So the latents have a frequency axis, on which a chord a tone higher is the same
chord a little higher up, and nothing is lost. On the way back, magnitudes are found by non-negative least squares
(multiplicative updates, Lee & Seung 2001), phases first advance with the frequencies of the spectral peaks (Beauregard, Harish
& Wyse, "Single pass spectrogram inversion", 2015) and are then made consistent by a few steps of fast Griffin-Lim (Perraudin et
al. 2013).

Axes: B batch, C coefficients, R rows of blocks (frequency, low to high), T blocks in time; N frames, F bands, K bins.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from genre_gan.features import FeatureConfig, FeatureExtractor, dct_matrix, mel_filters
from genre_gan.pretrained import PretrainedModel

FLOOR_DB, MAX_DB = -70.0, 50.0  # a sine of full scale has about 35 dB
CENTRE_DB, UNIT_DB = -15.0, 20.0  # bring levels in dB to about unit size
_LEAST_SQUARES_STEPS = 6
_MOMENTUM = 0.99
_N_BLOCKS = 8  # of bins, each of which overlaps with few bands


def codec_features() -> FeatureConfig:
    """128 bands, close enough for semitones above 400 Hz, at 86 frames a second, close enough for drums."""
    return FeatureConfig(name="log-mel", n_fft=1024, hop_length=256, n_mels=128, htk=True)


@dataclass(frozen=True)
class CodecConfig:
    """Shape of a `Codec`.

    Attributes:
        features: the log-mel settings; `hop_length` must be a quarter of `n_fft`.
        block_bands, block_frames: size of a block.
        whitening: 1 gives every coefficient the same size, 0 its natural one.
        n_iterations: steps of fast Griffin-Lim.
    """

    features: FeatureConfig = field(default_factory=codec_features)
    block_bands: int = 4
    block_frames: int = 8
    whitening: float = 0.5
    n_iterations: int = 2

    def __post_init__(self) -> None:
        if self.features.n_fft != 4 * self.features.hop_length:
            raise ValueError(f"hop_length must be n_fft / 4, got {self.features.hop_length} and n_fft {self.features.n_fft}")
        if self.features.n_mels % self.block_bands:
            raise ValueError(f"n_mels must be a multiple of block_bands ({self.block_bands}), got {self.features.n_mels!r}")

    @property
    def n_rows(self) -> int:
        return self.features.n_mels // self.block_bands

    @property
    def n_coefficients(self) -> int:
        return self.block_bands * self.block_frames

    @property
    def latent_rate_hz(self) -> float:
        return self.features.frame_rate_hz / self.block_frames

    @property
    def samples_per_latent(self) -> int:
        """Samples that one column of blocks stands for."""
        return self.block_frames * self.features.hop_length


class Codec(PretrainedModel):
    """Samples to latents Tensor[B x C x R x T] and back. `fit` sets the scales from music."""

    config_class = CodecConfig
    family = "codec"
    mean: Tensor
    scale: Tensor
    basis: Tensor
    window: Tensor
    filters: Tensor
    inverse_filters: Tensor
    bins: Tensor

    def __init__(self, config: CodecConfig):
        super().__init__(config)
        features = config.features
        self.register_buffer("mean", torch.zeros(config.n_coefficients, config.n_rows))
        self.register_buffer("scale", torch.ones(config.n_coefficients, config.n_rows))
        self.extractor, self.hop_length = FeatureExtractor(features), features.hop_length
        transforms = [dct_matrix(size, size) for size in (config.block_frames, config.block_bands)]
        basis = torch.einsum("nu,fv->uvnf", *transforms)  # (frames, bands) of each coefficient
        kept = {
            "basis": basis.flatten(2).flatten(0, 1),  # (C, block_frames * block_bands)
            "window": torch.hann_window(features.n_fft),
            "bins": torch.arange(features.n_fft // 2 + 1, dtype=torch.int32),
        }
        for name, value in kept.items():
            self.register_buffer(name, value, persistent=False)
        self._hear_by(mel_filters(features))

    def _hear_by(self, filters: Tensor) -> None:
        """Take these filters, Tensor[F x K], to be those of the bands."""
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("inverse_filters", torch.linalg.pinv(filters).T.contiguous(), persistent=False)
        self._blocks = []  # slices of bins, and of the bands that overlap with them
        for bins in torch.arange(filters.shape[1]).tensor_split(_N_BLOCKS):
            bands = filters[:, bins].any(1).nonzero().flatten()
            self._blocks.append((_from_to(bins), _from_to(bands)))

    def transposed(self, semitones: int) -> Codec:
        """A codec whose sound is so many semitones higher, at the same tempo: its bands are taken to be higher."""
        if not semitones:
            return self
        other = copy.copy(self)
        other._buffers = dict(self._buffers)
        other._hear_by(mel_filters(self.config.features, 2 ** (semitones / 12)).to(self.mean.device))
        return other

    def hurried(self, speed: float) -> Codec:
        """A codec whose sound is so many times faster, to the nearest whole hop length, at the same pitch; it only decodes."""
        other = copy.copy(self)
        other.hop_length = round(self.hop_length / speed)
        return other

    def copied(self, samples: Tensor) -> Tensor:
        """What is left of samples Tensor[B x n] on the way through latents, of the same length."""
        around = self.config.samples_per_latent  # silence, as whole latents would end before the sound does
        made = self.decode(self.encode(F.pad(samples, (around, 2 * around))))
        return made[:, around : around + samples.shape[1]]

    @torch.no_grad()
    def fit(self, log_mel: Tensor) -> None:
        """Set mean and scale of each coefficient in each row from normalised log-mel Tensor[B x N x F]."""
        coefficients = self._to_coefficients(log_mel)
        self.mean.copy_(coefficients.mean((0, 3)))
        deviation = coefficients.std((0, 3)).clamp_min(1e-3)
        scale = deviation**self.config.whitening
        self.scale.copy_(scale * (deviation / scale).square().mean().sqrt())  # latents of unit size on the whole

    @torch.no_grad()
    def analyze(self, samples: Tensor) -> Tensor:
        """Normalised log-mel Tensor[B x N x F] of samples Tensor[B x n]; N is n // hop_length cut to whole blocks."""
        level_db = self.extractor(samples)
        n_frames = samples.shape[1] // self.config.features.hop_length // self.config.block_frames * self.config.block_frames
        return (level_db[:, :n_frames].clamp_min(FLOOR_DB) - CENTRE_DB) / UNIT_DB

    def encode(self, samples: Tensor) -> Tensor:
        """Latents Tensor[B x C x R x T] of samples Tensor[B x n]."""
        return self.encode_log_mel(self.analyze(samples))

    def encode_log_mel(self, log_mel: Tensor) -> Tensor:
        """Latents Tensor[B x C x R x T] of normalised log-mel Tensor[B x T*block_frames x F]."""
        return (self._to_coefficients(log_mel) - self.mean[..., None]) / self.scale[..., None]

    def _to_coefficients(self, log_mel: Tensor) -> Tensor:
        config = self.config
        blocks = log_mel.unflatten(2, (-1, config.block_bands)).unflatten(1, (-1, config.block_frames))  # (B, T, n, R, f)
        return torch.einsum("btnrf,cnf->bcrt", blocks, self.basis.unflatten(1, (config.block_frames, -1)))

    def decode_log_mel(self, latents: Tensor) -> Tensor:
        """Normalised log-mel Tensor[B x T*block_frames x F] of latents Tensor[B x C x R x T]; differentiable."""
        config = self.config
        coefficients = latents * self.scale[..., None] + self.mean[..., None]
        blocks = torch.einsum("bcrt,cnf->btnrf", coefficients, self.basis.unflatten(1, (config.block_frames, -1)))
        return blocks.flatten(3).flatten(1, 2)

    def decode_power(self, latents: Tensor) -> Tensor:
        """Mel power Tensor[B x T*block_frames x F] of latents Tensor[B x C x R x T]; nothing is louder than 50 dB."""
        return 10.0 ** ((self.decode_log_mel(latents.float()) * UNIT_DB + CENTRE_DB).clamp_max(MAX_DB) / 10.0)

    @property
    def samples_per_latent(self) -> int:
        """Samples of what is decoded that one column of blocks stands for."""
        return self.config.block_frames * self.hop_length

    @property
    def margin(self) -> int:
        """Columns of latents behind a sample that it depends on, as on those before it."""
        n_before = -(-self.config.features.n_fft // self.hop_length) - 1  # frames with which one overlaps
        return -(-n_before * (1 + self.config.n_iterations) // self.config.block_frames)

    def decode(self, latents: Tensor) -> Tensor:
        """Samples Tensor[B x T*samples_per_latent] of latents Tensor[B x C x R x T]."""
        return torch.cat(list(self.stream([latents])), 1)

    def decode_with_gradient(self, latents: Tensor) -> Tensor:
        """Samples Tensor[B x (T*block_frames-1)*hop_length] of latents, as `decode` has them, through which gradients pass.

        For gradients, the magnitude of a bin follows the bands that hear it, and phases stay as they are.
        """
        power = self.decode_power(latents)
        with torch.no_grad():
            magnitude = self.estimate_magnitude(power)
            spectrum = self._find_phases(magnitude, self._accumulate(magnitude, None))
            shares = self.filters / self.filters.sum(0).clamp_min(1e-9)
        level = 0.5 * power.clamp_min(1e-9).log()
        return self._inverse(spectrum * ((level - level.detach()) @ shares).exp())

    @torch.no_grad()
    def stream(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Decode latents that come in consecutive parts Tensor[B x C x R x T], to consecutive samples Tensor[B x n].

        What comes is what `decode` gives for all parts joined, but for rounding: the last `margin` columns of a part are held
        back until the next part is there, and the phase is carried along.
        """
        per_column, step = self.samples_per_latent, self.config.block_frames
        held, n_given, cycles = None, 0, None  # of the columns held, how many have been given out as sound
        for part in itertools.chain(parts, [None]):
            if part is not None:
                held = part if held is None else torch.cat([held, part], 3)
            stop = 0 if held is None else held.shape[3] - (0 if part is None else self.margin)
            if held is None or stop <= n_given:
                continue
            magnitude = self.estimate_magnitude(self.decode_power(held))
            turned = self._accumulate(magnitude, cycles)
            samples = self._inverse(self._find_phases(magnitude, turned))[:, n_given * per_column : stop * per_column]
            yield F.pad(samples, (0, (stop - n_given) * per_column - samples.shape[1]))  # the last frame has no successor
            n_dropped = max(0, stop - self.margin)
            if n_dropped:
                cycles = turned[:, n_dropped * step - 1]
            held, n_given = held[..., n_dropped:], stop - n_dropped

    def estimate_magnitude(self, mel_power: Tensor) -> Tensor:
        """Magnitudes Tensor[B x N x K] whose mel power Tensor[B x N x F] is nearest to this one."""
        power = (mel_power @ self.inverse_filters).clamp_min_(1e-9)
        wanted = mel_power @ self.filters
        for _ in range(_LEAST_SQUARES_STEPS):
            had = self._seen(power)
            power.mul_(wanted).div_(had.add_(1e-12))
        return power.sqrt_()

    def _seen(self, power: Tensor) -> Tensor:
        """`power @ filters.T @ filters`, Tensor[B x N x K], by blocks of bins and the few bands that overlap with each."""
        mel_power = power.new_zeros(*power.shape[:2], len(self.filters))
        for bins, bands in self._blocks:
            mel_power[..., bands] += power[..., bins] @ self.filters[bands, bins].T
        return torch.cat([mel_power[..., bands] @ self.filters[bands, bins] for bins, bands in self._blocks], -1)

    def _accumulate(self, magnitude: Tensor, cycles: Tensor | None) -> Tensor:
        """Phase in cycles, without whole ones, Tensor[B x N x K]: a bin turns with the frequency of the peak nearest to it.

        `cycles` Tensor[B x K] is where it stood before.
        """
        below = torch.cat([magnitude[..., :1], magnitude[..., :-1]], -1)
        above = torch.cat([magnitude[..., 1:], magnitude[..., -1:]], -1)
        is_peak = (magnitude > below) & (magnitude >= above)
        # the top of the parabola through a peak and its neighbours
        offset = (0.5 * (below - above)).div_(below.add_(above).sub_(magnitude, alpha=2.0).sub_(1e-9)).clamp_(-0.5, 0.5)
        n_bins, bins = magnitude.shape[-1], self.bins.expand_as(magnitude)
        left = torch.where(is_peak, bins, -n_bins).cummax(-1).values
        right = torch.where(is_peak, bins, 2 * n_bins).flip(-1).cummin(-1).values.flip(-1)
        nearest = torch.where(bins - left <= right - bins, left, right).clamp_(0, n_bins - 1).long()
        frequency = offset.gather(-1, nearest).add_(nearest)  # in bins
        turned = frequency.mul_(self.hop_length / self.config.features.n_fft).frac_()
        if cycles is not None:
            turned[:, 0] += cycles
        return turned.cumsum(1).frac_()

    def _find_phases(self, magnitude: Tensor, cycles: Tensor) -> Tensor:
        """A spectrum Tensor[B x N x K] of these magnitudes, whose frames agree with each other."""
        # neighbouring bins of one peak have opposite signs
        angle, before = (cycles + 0.5 * (self.bins % 2)).mul_(2.0 * torch.pi), None
        spectrum = torch.complex(magnitude * angle.cos(), magnitude * angle.sin())  # twice as fast as `torch.polar`
        for _ in range(self.config.n_iterations):
            consistent = self._transform(self._inverse(spectrum))
            # fast Griffin-Lim: overshoot along the last change
            ahead = consistent if before is None else consistent.add(consistent - before, alpha=_MOMENTUM)
            power = ahead.real.square().addcmul_(ahead.imag, ahead.imag)  # twice as fast as `ahead.abs()`
            spectrum, before = ahead * power.clamp_min_(1e-16).rsqrt_().mul_(magnitude), consistent
        return spectrum

    def _inverse(self, spectrum: Tensor) -> Tensor:
        """Samples Tensor[B x (N-1)*hop_length] by overlap and add: as `torch.istft`, which takes six times as long."""
        n_frames, middle = spectrum.shape[1], self.config.features.n_fft // 2
        total = self._overlap(torch.fft.irfft(spectrum) * self.window)
        n_over = total.shape[1] - n_frames  # hop lengths in which the last frame goes on
        few = min(n_frames, 2 * n_over + 1)
        weight = self._overlap(self.window.square().expand(1, few, -1))  # alike in all hop lengths but the outermost
        alike = weight[:, n_over : n_over + 1].expand(-1, n_frames - few, -1)
        weight = torch.cat([weight[:, :n_over], alike, weight[:, n_over:]], 1)
        within = slice(middle, middle + (n_frames - 1) * self.hop_length)
        return (total / weight.clamp_min(1e-9)).flatten(1)[:, within]

    def _overlap(self, frames: Tensor) -> Tensor:
        """Frames Tensor[B x N x n_fft] added up, each a hop length after the one before, Tensor[B x n x hop_length]."""
        hop, n_frames = self.hop_length, frames.shape[1]
        n_parts = -(-frames.shape[2] // hop)
        parts = F.pad(frames, (0, n_parts * hop - frames.shape[2])).unflatten(2, (n_parts, hop))
        total = frames.new_zeros(len(frames), n_frames + n_parts - 1, hop)
        for number, part in enumerate(parts.unbind(2)):
            total[:, number : number + n_frames] += part
        return total

    def _transform(self, samples: Tensor) -> Tensor:
        settings = self.config.features
        spectrum = torch.stft(samples, settings.n_fft, self.hop_length, window=self.window, return_complex=True)
        return spectrum.transpose(1, 2)


def _from_to(numbers: Tensor) -> slice:
    """From the first to the last of some numbers in order, nothing where there are none."""
    return slice(int(numbers[0]), int(numbers[-1]) + 1) if len(numbers) else slice(0, 0)
