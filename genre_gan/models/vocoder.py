"""From log-mel spectrogram to sound: a ConvNeXt body with an inverse-STFT head, and the discriminator that trains it.

After Vocos (Siuzdak, "Vocos: Closing the gap between time-domain and Fourier-based neural vocoders", 2023): all layers run
at the frame rate, and one inverse transform makes the waveform, which is what makes it fast.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        features: the log-mel settings it inverts.
        dim, hidden_dim: width of the body, and inside each block.
        n_layers: ConvNeXt blocks.
    """

    features: FeatureConfig = field(default_factory=mel_features)
    dim: int = 320
    hidden_dim: int = 960
    n_layers: int = 7


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
        self.embed = nn.Conv1d(config.features.n_mels, config.dim, 7, padding=3)
        self.norm = nn.LayerNorm(config.dim)
        self.blocks = nn.ModuleList(
            [ConvNeXtBlock(config.dim, config.hidden_dim, 1.0 / config.n_layers) for _ in range(config.n_layers)]
        )
        self.final_norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.features.n_fft + 2)
        self.register_buffer("window", torch.hann_window(config.features.n_fft), persistent=False)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    @property
    def context_frames(self) -> int:
        """Frames on either side that one output frame depends on."""
        return 3 * (1 + self.config.n_layers) + self.config.features.n_fft // self.config.features.hop_length // 2

    def forward(self, log_mel: Tensor) -> Tensor:
        """Samples Tensor[B x (T-1)*hop_length] of normalised log-mel Tensor[B x T x n_mels]."""
        x = self.norm(self.embed(log_mel.transpose(1, 2)).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        log_magnitude, phase = self.head(self.final_norm(x)).float().transpose(1, 2).chunk(2, dim=1)
        magnitude = log_magnitude.clamp_max(6.0).exp()
        spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
        return torch.istft(spectrum, self.config.features.n_fft, self.config.features.hop_length, window=self.window)


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

    def forward(self, fake: Tensor, real: Tensor, n_ffts: Sequence[int] | None = None) -> Tensor:
        """One number for `fake` and `real` Tensor[B x n], over all of its resolutions or these `n_ffts`."""
        total = fake.new_zeros(())
        chosen = self.n_ffts if n_ffts is None else n_ffts
        for n_fft in chosen:
            window = getattr(self, f"window_{n_fft}")
            both = torch.stft(torch.cat([fake, real]), n_fft, n_fft // 4, window=window, return_complex=True)
            magnitude = torch.view_as_real(both).square().sum(-1).clamp_min(1e-8).sqrt()
            fake_magnitude, real_magnitude = magnitude.chunk(2)
            convergence = (fake_magnitude - real_magnitude).norm() / real_magnitude.norm().clamp_min(1e-3)
            total = total + convergence + F.l1_loss(fake_magnitude.log(), real_magnitude.log())
        return total / len(chosen)
