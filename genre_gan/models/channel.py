"""Undo what telephones, small loudspeakers and rooms do to the spectrum of music before a network listens to it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from genre_gan.features import MUSICNN_SAMPLE_RATE_HZ, mel_frequencies

MIDDLE_HZ = (400.0, 3000.0)  # what any channel of speech or music lets through
ALLOWED_STD = 2.0  # how many deviations a band may differ from its mean over music
MAX_GAIN_DB = 20.0  # noise would come up with more
_FLOOR = 1e-5
_FRAME_STEP = 8  # neighbours say the same


class ChannelCompensation(nn.Module):
    """Bring the long-term spectrum of MusiCNN's log-mel spectrogram near that of music, and guess bands that are lost.

    The level of the middle bands becomes that of music. A band whose long-term power, relative to them, lies more than
    `ALLOWED_STD` deviations from its mean over music is moved to that distance, by at most `MAX_GAIN_DB`. A band that would need
    more lifting is lost: in each frame the conditional mean of a normal distribution, given the other bands, takes its place
    (Raj, Seltzer & Stern, "Reconstruction of missing features for robust speech recognition", 2004).

    Until `fit` has heard music, the statistics are those of no music, and of no use.
    """

    middle: Tensor
    level_db: Tensor
    band_mean_db: Tensor
    band_std_db: Tensor
    frame_mean: Tensor
    frame_covariance: Tensor

    def __init__(self, n_mels: int):
        super().__init__()
        frequencies = torch.from_numpy(mel_frequencies(n_mels + 2, MUSICNN_SAMPLE_RATE_HZ / 2)[1:-1])
        self.register_buffer("middle", (frequencies > MIDDLE_HZ[0]) & (frequencies < MIDDLE_HZ[1]), persistent=False)
        self.register_buffer("level_db", torch.zeros(()))
        self.register_buffer("band_mean_db", torch.zeros(n_mels))
        self.register_buffer("band_std_db", torch.ones(n_mels))
        self.register_buffer("frame_mean", torch.zeros(n_mels))
        self.register_buffer("frame_covariance", torch.eye(n_mels))

    def forward(self, log_mel: Tensor) -> Tensor:
        """The spectrogram of one sound, Tensor[T x n_mels], as over a channel that changes nothing."""
        heard = power(log_mel)
        equalised, is_lost = self._equalise(heard, long_term_db(heard))
        kept = (~is_lost).to(log_mel.dtype)
        # rows and columns of lost bands are those of the unit matrix, so that they have no say
        covariance = self.frame_covariance * kept * kept[:, None] + torch.diag(1.0 - kept)
        explained = torch.linalg.solve(covariance, ((equalised - self.frame_mean) * kept).T)
        guessed = (self.frame_mean + explained.T @ self.frame_covariance).clamp_min(0.0)
        return torch.where(is_lost, guessed, equalised)

    @torch.no_grad()
    def fit(self, log_mels: Iterable[Tensor]) -> None:
        """Take the statistics of music, from its spectrograms Tensor[T x n_mels]."""
        heard = [(long_term_db(frames), frames[::_FRAME_STEP].clone()) for frames in map(power, log_mels)]
        levels = torch.stack([level_db for level_db, _ in heard])
        middle = levels[:, self.middle].mean(1, keepdim=True)
        self.level_db.copy_(middle.mean())
        self.band_mean_db.copy_((levels - middle).mean(0))
        self.band_std_db.copy_((levels - middle).std(0))
        frames = torch.cat([self._equalise(frames, level_db)[0] for level_db, frames in heard])
        self.frame_mean.copy_(frames.mean(0))
        self.frame_covariance.copy_(torch.cov(frames.T) + 1e-3 * torch.eye(frames.shape[1]))

    def _equalise(self, heard: Tensor, level_db: Tensor) -> tuple[Tensor, Tensor]:
        """The log-mel of frames of power of a sound with these long-term levels, equalised; and which bands are lost."""
        middle_db = level_db[self.middle].mean()
        beyond_db = level_db - middle_db - self.band_mean_db
        allowed_db = ALLOWED_STD * self.band_std_db
        gain_db = beyond_db.clamp(-allowed_db, allowed_db) - beyond_db
        to_level_db = (self.level_db - middle_db).clamp(-MAX_GAIN_DB, MAX_GAIN_DB)
        gain = 10.0 ** ((gain_db.clamp(-MAX_GAIN_DB, MAX_GAIN_DB) + to_level_db) / 10.0)
        return (heard * gain + 1.0).log10(), gain_db > MAX_GAIN_DB


def power(log_mel: Tensor) -> Tensor:
    """The power, in MusiCNN's unit, of its log-mel spectrogram, whose values are log10(1 + power)."""
    return 10.0**log_mel - 1.0


def long_term_db(heard: Tensor) -> Tensor:
    """The level of each band, of frames of power Tensor[T x n_mels]."""
    return 10.0 * (heard.mean(0) + _FLOOR).log10()
