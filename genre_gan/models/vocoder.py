"""From log-mel spectrogram to sound: a first guess by signal processing, a ConvNeXt body that corrects it, an inverse STFT.

After Vocos (Siuzdak, "Vocos: Closing the gap between time-domain and Fourier-based neural vocoders", 2023): all layers run
at the frame rate, and one inverse transform makes the waveform, which is what makes it fast. Vocos invents the phase of each
frame from spectrograms alone; a steady tone looks the same in every frame, so its phase cannot advance, and it buzzes at the
frame rate. Here the phase advances by the frequencies of the spectral peaks (Beauregard, Harish & Wyse, "Single pass
spectrogram inversion", 2015), a few steps of fast Griffin-Lim (Perraudin et al. 2013) make it consistent, and the network,
which sees how it turns, corrects magnitude and phase. An untrained network leaves the first guess as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genre_gan.features import FeatureConfig
from genre_gan.pretrained import PretrainedModel

# Mean and deviation of music's log-mel values in dB, to bring them to about unit scale.
LOG_MEL_MEAN_DB = -12.0
LOG_MEL_STD_DB = 20.0
LOG_MEL_FLOOR_DB = -70.0
_LEAST_SQUARES_STEPS = 10
_MOMENTUM = 0.5


def normalize_log_mel(level_db: Tensor) -> Tensor:
    """Scale log-mel values in dB to about zero mean and unit deviation; what lies under the floor is raised to it."""
    return (level_db.clamp_min(LOG_MEL_FLOOR_DB) - LOG_MEL_MEAN_DB) / LOG_MEL_STD_DB


def denormalize_log_mel(normalized: Tensor) -> Tensor:
    """The inverse of `normalize_log_mel`, in dB."""
    return normalized * LOG_MEL_STD_DB + LOG_MEL_MEAN_DB


def mel_features(n_mels: int = 96) -> FeatureConfig:
    """The log-mel settings that generator and vocoder share: 86 frames a second."""
    return FeatureConfig(name="log-mel", n_fft=1024, hop_length=256, n_mels=n_mels)


@dataclass(frozen=True)
class VocoderConfig:
    """Size of a `Vocoder`.

    Attributes:
        features: the log-mel settings it inverts; `hop_length` must be a quarter of `n_fft`.
        dim, hidden_dim: width of the body, and inside each block.
        n_layers: ConvNeXt blocks.
        n_iterations: steps of fast Griffin-Lim before the network.
    """

    features: FeatureConfig = field(default_factory=mel_features)
    dim: int = 256
    hidden_dim: int = 768
    n_layers: int = 6
    n_iterations: int = 1

    def __post_init__(self) -> None:
        if self.features.n_fft != 4 * self.features.hop_length:
            raise ValueError(f"hop_length must be n_fft / 4, got {self.features.hop_length} and n_fft {self.features.n_fft}")


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a pointwise two-layer network, added to the input (Liu et al. 2022)."""

    def __init__(self, dim: int, hidden_dim: int, scale: float):
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, hidden_dim)
        self.project = nn.Linear(hidden_dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[B x T x dim] to the same shape."""
        hidden = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return x + self.scale * self.project(F.gelu(self.expand(self.norm(hidden))))


class Vocoder(PretrainedModel):
    """Log-mel frames to samples."""

    config_class = VocoderConfig
    family = "vocoder"

    def __init__(self, config: VocoderConfig):
        super().__init__(config)
        from librosa.filters import mel

        features = config.features
        n_bins = features.n_fft // 2 + 1
        self.embed = nn.Conv1d(features.n_mels, config.dim, 7, padding=3)
        self.embed_guess = nn.Linear(5 * n_bins, config.dim, bias=False)
        self.norm = nn.LayerNorm(config.dim)
        self.blocks = nn.ModuleList(
            [ConvNeXtBlock(config.dim, config.hidden_dim, 1.0 / config.n_layers) for _ in range(config.n_layers)]
        )
        self.final_norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, 2 * n_bins)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.head.weight)
        filters = torch.from_numpy(mel(sr=features.sample_rate_hz, n_fft=features.n_fft, n_mels=features.n_mels))
        self.register_buffer("window", torch.hann_window(features.n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)  # (n_mels, n_bins)
        self.register_buffer("inverse_filters", torch.linalg.pinv(filters).T.contiguous(), persistent=False)
        quarter_turns = torch.tensor([1, -1j, -1, 1j], dtype=torch.complex64)[torch.arange(n_bins) % 4]
        self.register_buffer("quarter_turns", quarter_turns, persistent=False)  # what a bin's own frequency turns in a hop

    @property
    def context_frames(self) -> int:
        """Frames on either side that one output frame depends on, apart from the phase that has accumulated before."""
        return 3 * (1 + self.config.n_layers) + 1 + 3 * (1 + self.config.n_iterations)

    def forward(self, log_mel: Tensor, cycles: Tensor | None = None) -> Tensor:
        """Samples Tensor[B x (T-1)*hop_length] of normalised log-mel Tensor[B x T x n_mels].

        `cycles` Tensor[B x n_bins] is the phase, in cycles, that had accumulated before the first frame; see `accumulate`.
        """
        kind = "cpu" if log_mel.is_meta else log_mel.device.type
        with torch.no_grad(), torch.autocast(kind, enabled=False):  # signal processing, without weights
            magnitude = self.estimate_magnitude(log_mel)
            spectrum = self._first_guess(magnitude, self.accumulate(magnitude, cycles))
            turn, size = _unit(spectrum)  # (B, T, n_bins)
            seen = self._describe(turn, size, magnitude)
        x = self.embed(log_mel.transpose(1, 2)).transpose(1, 2) + self.embed_guess(seen)
        x = self.norm(x)
        for block in self.blocks:
            x = block(x)
        gain, phase = self.head(self.final_norm(x)).float().chunk(2, dim=2)
        # the network may quieten freely, and amplify by 10 dB at most
        corrected = magnitude * gain.clamp_max(1.2).exp() * turn * torch.complex(phase.cos(), phase.sin())
        return self._inverse(corrected)

    def estimate_level_db(self, log_mel: Tensor) -> Tensor:
        """Root mean square of each frame's sound in dB full scale, Tensor[B x T], of normalised log-mel Tensor[B x T x n_mels]."""
        power = (_mel_power(log_mel) @ self.inverse_filters).clamp_min_(0.0).sum(-1)
        size = self.window.square().sum() * len(self.window) / 2  # Parseval: both halves of the spectrum, windowed
        return 10.0 * (power / size).clamp_min(1e-10).log10()

    def estimate_magnitude(self, log_mel: Tensor) -> Tensor:
        """Magnitudes Tensor[B x T x n_bins] by non-negative least squares, with multiplicative updates (Lee & Seung 2001)."""
        mel_power = _mel_power(log_mel)
        power = (mel_power @ self.inverse_filters).clamp_min_(1e-9)
        wanted = mel_power @ self.filters
        for _ in range(_LEAST_SQUARES_STEPS):
            had = (power @ self.filters.T) @ self.filters
            power.mul_(wanted).div_(had.add_(1e-12))
        return power.sqrt_()

    def accumulate(self, magnitude: Tensor, cycles: Tensor | None = None) -> Tensor:
        """Phase in cycles, without whole ones, Tensor[B x T x n_bins]: a bin turns with the frequency of the peak nearest to it.

        `cycles` Tensor[B x n_bins] is where it stood before.
        """
        below = torch.cat([magnitude[..., :1], magnitude[..., :-1]], -1)
        above = torch.cat([magnitude[..., 1:], magnitude[..., -1:]], -1)
        is_peak = (magnitude > below) & (magnitude >= above)
        # the top of the parabola through a peak and its neighbours
        offset = (0.5 * (below - above)).div_(below.add_(above).sub_(magnitude, alpha=2.0).sub_(1e-9)).clamp_(-0.5, 0.5)
        n_bins = magnitude.shape[-1]
        bins = torch.arange(n_bins, device=magnitude.device, dtype=torch.int32).expand_as(magnitude)
        left = torch.where(is_peak, bins, -n_bins).cummax(-1).values
        right = torch.where(is_peak, bins, 2 * n_bins).flip(-1).cummin(-1).values.flip(-1)
        nearest = torch.where(bins - left <= right - bins, left, right).clamp_(0, n_bins - 1).long()
        frequency = offset.gather(-1, nearest).add_(nearest)  # in bins
        turned = frequency.mul_(self.config.features.hop_length / self.config.features.n_fft).frac_()
        if cycles is not None:
            turned[:, 0] += cycles
        return turned.cumsum(1).frac_()

    def _first_guess(self, magnitude: Tensor, cycles: Tensor) -> Tensor:
        """A complex spectrogram Tensor[B x T x n_bins] whose phases fit together."""
        # neighbouring bins of one peak have opposite signs
        odd = torch.arange(magnitude.shape[-1], device=magnitude.device) % 2
        angle = (cycles + 0.5 * odd).mul_(2.0 * torch.pi)
        spectrum, before = torch.polar(magnitude, angle), None
        for _ in range(self.config.n_iterations):
            consistent = self._transform(self._inverse(spectrum))
            # fast Griffin-Lim: overshoot along the last change
            ahead = consistent if before is None else consistent + _MOMENTUM * (consistent - before)
            spectrum, before = magnitude * _unit(ahead)[0], consistent
        return self._transform(self._inverse(spectrum))

    def _describe(self, turn: Tensor, size: Tensor, magnitude: Tensor) -> Tensor:
        """What the network sees of the guess, Tensor[B x T x 5*n_bins]: turns over time and over bins, and where sizes differ."""
        over_time = torch.zeros_like(turn)
        over_time[:, 1:] = turn[:, 1:] * turn[:, :-1].conj() * self.quarter_turns
        over_bins = torch.zeros_like(turn)
        over_bins[..., 1:] = turn[..., 1:] * turn[..., :-1].conj()
        ratio = ((size + 1e-5).log() - (magnitude + 1e-5).log()).clamp(-3.0, 3.0)
        return torch.cat([over_time.real, over_time.imag, over_bins.real, over_bins.imag, ratio], -1)

    def _inverse(self, spectrum: Tensor) -> Tensor:
        settings = self.config.features
        return torch.istft(spectrum.transpose(1, 2), settings.n_fft, settings.hop_length, window=self.window)

    def _transform(self, samples: Tensor) -> Tensor:
        settings = self.config.features
        spectrum = torch.stft(samples, settings.n_fft, settings.hop_length, window=self.window, return_complex=True)
        return spectrum.transpose(1, 2)


def _mel_power(log_mel: Tensor) -> Tensor:
    return 10.0 ** (denormalize_log_mel(log_mel.float()).clamp_max(50.0) / 10.0)


def _unit(values: Tensor) -> tuple[Tensor, Tensor]:
    """Complex values brought to size 1, and their sizes."""
    size = torch.view_as_real(values).square().sum(-1).clamp_min_(1e-16).sqrt_()
    return values / size, size


class SpectrogramDiscriminator(nn.Module):
    """Judges the complex spectrogram at one resolution (after UnivNet's, Jang et al. 2021).

    Groups of neighbouring bins enter through one linear layer, so that the convolutions have channels enough to be fast.
    """

    bins_per_group = 8

    def __init__(self, n_fft: int, width: int = 32):
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.embed = nn.Linear(3 * self.bins_per_group, width)
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(width, 2 * width, (3, 5), stride=(1, 2), padding=(1, 2)),
                nn.Conv2d(2 * width, 2 * width, (3, 3), stride=(2, 2), padding=(1, 1)),
                nn.Conv2d(2 * width, 2 * width, (3, 3), padding=(1, 1)),
            ]
        )
        self.judge = nn.Conv2d(2 * width, 1, (3, 3), padding=(1, 1))

    def forward(self, samples: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits Tensor[B x 1 x T x bands] and the layers' outputs, of `samples` Tensor[B x n]."""
        spectrum = torch.stft(samples, self.n_fft, self.n_fft // 4, window=self.window, return_complex=True)[:, :-1]
        level = spectrum.abs().clamp_min(1e-5).log()
        values = torch.stack([spectrum.real, spectrum.imag, level], -1).transpose(1, 2)  # (B, T, n_bins, 3)
        grouped = values.unflatten(2, (-1, self.bins_per_group)).flatten(3)  # (B, T, n_groups, 3 * bins_per_group)
        x = F.leaky_relu(self.embed(grouped), 0.1).permute(0, 3, 1, 2)
        features = [x]
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.judge(x), features


class VocoderDiscriminator(nn.Module):
    """One `SpectrogramDiscriminator` for each transform size."""

    def __init__(self, n_ffts: tuple[int, ...] = (2048, 1024, 512), width: int = 32):
        super().__init__()
        self.members = nn.ModuleList([SpectrogramDiscriminator(n_fft, width) for n_fft in n_ffts])


class SpectralLoss(nn.Module):
    """Distance between sounds: L1 of log magnitudes plus spectral convergence, averaged over several resolutions.

    After Yamamoto et al., "Parallel WaveGAN" (2020), section 2.2.
    """

    def __init__(self, n_ffts: tuple[int, ...] = (2048, 256, 1024, 128, 512)):
        super().__init__()
        self.n_ffts = n_ffts
        for n_fft in n_ffts:
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)

    def forward(
        self,
        fake: Tensor,
        real: Tensor,
        n_ffts: Sequence[int] | None = None,
        over_all: Callable[[Tensor], Tensor] = lambda means: means,
    ) -> Tensor:
        """One number for `fake` and `real` Tensor[B x n], over all of its resolutions or these `n_ffts`.

        `over_all` turns means over this batch into means over the batches of all processes.
        """
        total = fake.new_zeros(())
        chosen = self.n_ffts if n_ffts is None else n_ffts
        for n_fft in chosen:
            window = getattr(self, f"window_{n_fft}")
            both = torch.stft(torch.cat([fake, real]), n_fft, n_fft // 4, window=window, return_complex=True)
            magnitude = torch.view_as_real(both).square().sum(-1).clamp_min(1e-8).sqrt()
            fake_magnitude, real_magnitude = magnitude.chunk(2)
            difference = (fake_magnitude - real_magnitude).square().mean().clamp_min(1e-12)
            difference, size = over_all(torch.stack([difference, real_magnitude.square().mean()]))
            convergence = (difference / size).sqrt()
            total = total + convergence + F.l1_loss(fake_magnitude.log(), real_magnitude.log())
        return total / len(chosen)
