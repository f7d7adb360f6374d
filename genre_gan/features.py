"""The report's three preprocessings and the log-mel spectrogram, batched in torch and equal to librosa's results."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genre_gan.audio import SAMPLE_RATE_HZ

_FRAMES_AT_ONCE = 128  # what lies between the steps then stays in the processor's cache
_BAND_GROUPS = 8
MUSICNN_SAMPLE_RATE_HZ = 16_000
MUSICNN_SETTINGS: dict[str, Any] = {"sample_rate_hz": MUSICNN_SAMPLE_RATE_HZ, "n_fft": 512, "hop_length": 256, "n_mels": 96}
_MUSICNN_GAIN = 10_000.0
_MUSICNN_RMS = 0.2  # -14 dB full scale, about what published music has
_SILENCE_RMS = 1e-4
FEATURE_NAMES = ("decibel", "mfcc", "mfcc-segment", "log-mel", "musicnn", "waveform")


@dataclass(frozen=True)
class FeatureConfig:
    """Which features to compute, and how.

    Attributes:
        name: `decibel` (amplitude in dB, values under `threshold_db` set to zero, length untouched), `mfcc` (of the
            whole track), `mfcc-segment` (the same values, sliced), `log-mel` (dB of mel power), `musicnn` (what MusiCNN reads,
            at one level whatever the sound's; the other settings must be those of `MUSICNN_SETTINGS`) or `waveform`.
        sample_rate_hz: rate of the samples that go in.
        n_fft, hop_length: of the short-time Fourier transform, in samples. `decibel` and `waveform` use no transform.
        n_mels, n_mfcc: numbers of mel bands and of cepstral coefficients.
        htk: space the bands by HTK's formula, which is nearly logarithmic from 700 Hz on; else by Slaney's, linear up to 1 kHz.
        threshold_db: of `decibel`.
        segment_s: length of a slice in seconds; None leaves tracks whole.
        min_segment_s: a track's last slice counts only if it is at least this long; None means `segment_s`.
    """

    name: str = "log-mel"
    sample_rate_hz: int = SAMPLE_RATE_HZ
    n_fft: int = 2048
    hop_length: int = 512
    n_mels: int = 128
    n_mfcc: int = 13
    htk: bool = False
    threshold_db: float = -60.0
    segment_s: float | None = None
    min_segment_s: float | None = None

    def __post_init__(self) -> None:
        if self.name not in FEATURE_NAMES:
            raise ValueError(f"feature name must be one of {', '.join(FEATURE_NAMES)}, got {self.name!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and field.name not in ("threshold_db", "htk") and not value > 0:
                raise ValueError(f"{field.name} must be above 0, got {value!r}")
        wrong = {key: getattr(self, key) for key, value in MUSICNN_SETTINGS.items() if getattr(self, key) != value}
        if self.name == "musicnn" and wrong:
            raise ValueError(f"musicnn features need {MUSICNN_SETTINGS}, got {wrong}")
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc must be at most n_mels ({self.n_mels}), got {self.n_mfcc}")
        if self.min_segment_s is not None and (self.segment_s is None or self.min_segment_s > self.segment_s):
            raise ValueError(f"min_segment_s must be at most segment_s ({self.segment_s}), got {self.min_segment_s}")
        if self.name == "mfcc-segment" and self.segment_s is None:
            raise ValueError("mfcc-segment needs segment_s, the length of a slice in seconds")

    @property
    def n_features(self) -> int:
        """Values in one frame. `decibel` groups `hop_length` samples into a frame so that a sequence model can read it."""
        if self.name.startswith("mfcc"):
            return self.n_mfcc
        return {"decibel": self.hop_length, "log-mel": self.n_mels, "musicnn": self.n_mels, "waveform": 1}[self.name]

    @property
    def frame_rate_hz(self) -> float:
        return float(self.sample_rate_hz) if self.name == "waveform" else self.sample_rate_hz / self.hop_length

    @property
    def segment_frames(self) -> int | None:
        return None if self.segment_s is None else max(1, round(self.segment_s * self.frame_rate_hz))

    @property
    def min_segment_frames(self) -> int | None:
        if self.min_segment_s is None:
            return self.segment_frames
        return max(1, round(self.min_segment_s * self.frame_rate_hz))

    def cache_key(self) -> dict:
        """The settings that change the values: how they are sliced later does not."""
        settings = asdict(self)
        del settings["segment_s"], settings["min_segment_s"]
        settings["name"] = self.name.removesuffix("-segment")
        return settings


class FeatureExtractor(nn.Module):
    """Compute the features that a `FeatureConfig` describes.

    Equal to `librosa.amplitude_to_db(abs(y), amin=1e-5, top_db=None)` with zero fill, `librosa.feature.mfcc` and
    `librosa.power_to_db(librosa.feature.melspectrogram(y), amin=1e-10, top_db=None)` at the same settings.
    """

    window: Tensor
    dct: Tensor

    def __init__(self, config: FeatureConfig):
        super().__init__()
        self.config = config
        if config.name in ("decibel", "waveform"):
            return
        filters = mel_filters(config)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self._bin_ranges = []
        for group, bands in enumerate(filters.split(math.ceil(config.n_mels / _BAND_GROUPS))):
            used = bands.any(0).nonzero()[:, 0]
            low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
            self._bin_ranges.append((2 * low, 2 * high))
            # each bin twice, for the squares of its real and its imaginary part
            weights = bands[:, low:high].repeat_interleave(2, 1).T.contiguous()
            self.register_buffer(f"mel_filters_{group}", weights, persistent=False)
        self.register_buffer("dct", dct_matrix(config.n_mels, config.n_mfcc), persistent=False)  # (n_mels, n_mfcc)

    def forward(self, samples: Tensor) -> Tensor:
        """Features Tensor[B x T x F] of `samples` Tensor[B x n] in [-1, 1]; T is 1 + n // hop_length for spectral ones."""
        if self.config.name == "waveform":
            return samples[..., None]
        if self.config.name == "decibel":
            return self._decibel(samples)
        if self.config.name == "musicnn":
            rms = samples.square().mean(1)[:, None, None].sqrt().clamp_min(_SILENCE_RMS)
            return (_MUSICNN_GAIN * (_MUSICNN_RMS / rms).square() * self.mel_power(samples) + 1.0).log10()
        level_db = self._log_mel(samples)
        if self.config.name == "log-mel":
            return level_db
        # librosa's default: nothing more than 80 dB below the clip's loudest value
        level_db = level_db.maximum(level_db.amax(dim=(1, 2), keepdim=True) - 80.0)
        return level_db @ self.dct

    def _log_mel(self, samples: Tensor) -> Tensor:
        return 10.0 * self.mel_power(samples).clamp_min(1e-10).log10()

    def mel_power(self, samples: Tensor) -> Tensor:
        """The power in each mel band, Tensor[B x T x n_mels], of `samples` Tensor[B x n]."""
        config = self.config
        padded = nn.functional.pad(samples, (config.n_fft // 2, config.n_fft // 2))
        frames = padded.unfold(1, config.n_fft, config.hop_length)  # (B, T, n_fft), a view
        return torch.cat([self._power_of_frames(part) for part in frames.split(_FRAMES_AT_ONCE, 1)], 1)

    def _power_of_frames(self, frames: Tensor) -> Tensor:
        """Filter by groups of bands, each over the few bins that it needs: a full product would be mostly zeros."""
        squares = torch.view_as_real(torch.fft.rfft(frames * self.window)).flatten(2).square()  # (B, T, 2 * n_bins)
        groups = enumerate(self._bin_ranges)
        return torch.cat([squares[..., a:b] @ getattr(self, f"mel_filters_{group}") for group, (a, b) in groups], 2)

    def _decibel(self, samples: Tensor) -> Tensor:
        level_db = samples.abs().clamp_min_(1e-5).log10_().mul_(20.0)
        level_db.masked_fill_(level_db < self.config.threshold_db, 0.0)
        padding = -level_db.shape[1] % self.config.hop_length
        level_db = nn.functional.pad(level_db, (0, padding))
        return level_db.unflatten(1, (-1, self.config.hop_length))


def mel_filters(config: FeatureConfig, ratio: float = 1.0) -> Tensor:
    """Triangles of equal area between mel frequencies, all of them `ratio` times as high, Tensor[n_mels x n_bins].

    The same as `librosa.filters.mel`, whose import takes a second that every start of a program would wait for.
    """
    corners_hz = mel_frequencies(config.n_mels + 2, config.sample_rate_hz / 2, config.htk)[:, None] * ratio
    bins_hz = np.fft.rfftfreq(config.n_fft, 1.0 / config.sample_rate_hz)
    widths_hz = np.diff(corners_hz, axis=0)
    rising = (bins_hz - corners_hz[:-2]) / widths_hz[:-1]
    falling = (corners_hz[2:] - bins_hz) / widths_hz[1:]
    triangles = np.minimum(rising, falling).clip(0.0).astype(np.float32)
    return torch.from_numpy(triangles * (2.0 / (corners_hz[2:] - corners_hz[:-2]))).float()


def mel_frequencies(n: int, highest_hz: float, htk: bool = False) -> np.ndarray:
    """Frequencies in Hz from 0 to `highest_hz` [shape=(n,)], evenly spaced on a mel scale.

    Slaney's scale (Auditory Toolbox, 1998) is linear up to 1 kHz and logarithmic above; the other one is that of HTK.
    """
    if htk:
        return 700.0 * (10.0 ** (np.linspace(0.0, 2595.0 * math.log10(1.0 + highest_hz / 700.0), n) / 2595.0) - 1.0)
    mel_hz, knee_hz, step = 200.0 / 3.0, 1_000.0, math.log(6.4) / 27.0
    knee = knee_hz / mel_hz
    mels = np.linspace(0.0, knee + math.log(highest_hz / knee_hz) / step if highest_hz > knee_hz else highest_hz / mel_hz, n)
    return np.where(mels < knee, mel_hz * mels, knee_hz * np.exp(step * (mels - knee)))


def dct_matrix(n_mels: int, n_mfcc: int) -> Tensor:
    """The orthonormal type-2 discrete cosine transform as Tensor[n_mels x n_mfcc]."""
    angles = math.pi / n_mels * (torch.arange(n_mels) + 0.5)[:, None] * torch.arange(n_mfcc)[None, :]
    matrix = torch.cos(angles) * math.sqrt(2.0 / n_mels)
    matrix[:, 0] /= math.sqrt(2.0)
    return matrix


def musicnn_log_mel(samples: Tensor) -> Tensor:
    """What MusiCNN reads, Tensor[B x T x 96] of `samples` Tensor[B x n] at 16 kHz; T is 1 + n // 256, and gradients pass.

    Equal to `log10(10000 * m + 1)` where m is `librosa.feature.melspectrogram(sr=16000, n_fft=512, hop_length=256, n_mels=96)`.
    """
    power = _musicnn_mel(samples.device).mel_power(samples)
    return (_MUSICNN_GAIN * power + 1.0).log10()


@lru_cache
@torch.inference_mode(False)  # what is made in that mode could not pass gradients later
def _musicnn_mel(device: torch.device) -> FeatureExtractor:
    return FeatureExtractor(FeatureConfig("log-mel", **MUSICNN_SETTINGS)).to(device)


def cut_evenly(features: Tensor, n_frames: int) -> Tensor:
    """Slices Tensor[n x L x F] of features Tensor[T x F], all as long as each other and about `n_frames` long."""
    n_slices = max(1, round(len(features) / n_frames))
    length = len(features) // n_slices
    return features[: n_slices * length].unflatten(0, (n_slices, length))
