"""Clips as fine-tuning hears them: stretches of tracks, and what MusiCNN reads of them when all are equally loud."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from genre_gan.data.cache import FeatureStore
from genre_gan.features import MUSICNN_SAMPLE_RATE_HZ, MUSICNN_SETTINGS, musicnn_log_mel
from genre_gan.loudness import TARGET_LUFS, k_weights
from genre_gan.models.musicnn import PATCH_FRAMES

N_PATCHES = 2  # of PATCH_FRAMES, in a clip
MAX_CLIPS = 5  # of a track
MAX_GAIN_DB = 40.0


class Levelled(nn.Module):
    """Samples Tensor[B x n_samples] at `rate_hz` to MusiCNN's log-mel Tensor[B x T x F], as loud as generated clips are.

    Attributes:
        n_samples: of a clip, about 6 s, which is N_PATCHES * PATCH_FRAMES frames.
    """

    weights: Tensor

    def __init__(self, rate_hz: int):
        super().__init__()
        self.rate_hz = rate_hz
        n_there = (PATCH_FRAMES * N_PATCHES - 1) * MUSICNN_SETTINGS["hop_length"]
        self.n_samples = round(n_there * rate_hz / MUSICNN_SAMPLE_RATE_HZ)
        weights = torch.from_numpy(k_weights(self.n_samples, rate_hz)).float()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        return self.log_mel(self.samples(samples))

    def samples(self, samples: Tensor) -> Tensor:
        """At MusiCNN's rate, and as loud as generated clips: where a clip is quiet, nothing else about it is."""
        spectrum = torch.fft.rfft(samples)
        power = 2.0 * ((spectrum.real.square() + spectrum.imag.square()) * self.weights).sum(1) / samples.shape[1] ** 2
        gain = (10.0 ** ((TARGET_LUFS + 0.691) / 10.0) / power.clamp_min(1e-12)).sqrt().clamp_max(10.0 ** (MAX_GAIN_DB / 20.0))
        n_there = round(samples.shape[1] * MUSICNN_SAMPLE_RATE_HZ / self.rate_hz)
        resampled = torch.fft.irfft(spectrum[:, : n_there // 2 + 1], n=n_there)
        return resampled * (gain * n_there / samples.shape[1])[:, None]

    def log_mel(self, levelled: Tensor) -> Tensor:
        """Of what `samples` gave."""
        return musicnn_log_mel(levelled)[:, : PATCH_FRAMES * N_PATCHES]

    def clips(self, store: FeatureStore, track: int) -> Tensor:
        """The first `MAX_CLIPS` stretches of a track of a waveform store, Tensor[n x n_samples]; n is 0 where it is too short."""
        starts = range(0, int(store.n_frames[track]) - self.n_samples + 1, self.n_samples)[:MAX_CLIPS]
        clips = [store.read(track, start, self.n_samples)[:, 0] for start in starts]
        return torch.from_numpy(np.stack(clips)) if clips else torch.zeros(0, self.n_samples)
