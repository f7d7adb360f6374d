"""What is heard in a clip, as numbers through which gradients pass: what fine-tuning compares with what is heard in music.

Several kinds, so that a generator cannot please one at the cost of what people hear: layers of MusiCNN and its embedding, the
same of a network that learned from the training side alone, levels and movement of log-mel bands, random filters of several
sizes, which tell textures apart as well as trained ones (Ustyuzhaninov et al., "What does it take to generate natural textures?",
ICLR 2017), how clear its tones and chords are, which log-mel bands are too wide to tell, how it comes back to its chords, and how
surely its onsets come back.

Axes: B batch, C channels, T frames, F bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from librosa.filters import chroma
from torch import Tensor, nn
from torch.nn import functional as F

from genre_gan.features import MUSICNN_SAMPLE_RATE_HZ, MUSICNN_SETTINGS, dct_matrix
from genre_gan.models.projected import MusiCNNOfLatents
from training.feature_network import TunedThrough
from training.levelled import N_PATCHES, Levelled

FILTER_SIZES = ((3, 3), (7, 7), (15, 7), (7, 15), (31, 5), (47, 1))  # (frames, bands)
N_CEPSTRA = 40
N_FILTERS, N_REGIONS = 24, 6  # filters of each size; regions of bands whose texture is one
N_NETWORK_REGIONS = 3  # of bands, in what the network's layers find
TONE_FFT, TONE_HOP, CHORD_FRAMES = 4096, 1024, 8  # samples at MusiCNN's rate; frames in half a second
PHRASE_CHORDS = 4  # half seconds in a phrase
OCTAVES = tuple(2**k for k in range(4, 12))  # bins between which an octave lies, from 62.5 Hz up to 8 kHz
EMBEDDING = 1  # the place of MusiCNN's among what `Hearing` gives
MOVES = (1, 4, 8, 16)  # frames from chroma to chroma
N_PULSE_REGIONS = 4  # of bands, each with onsets of its own
PULSE_LAGS = (8, 16, 31, 62, 125)  # frames between which a beat comes back: from an eighth of a second to two, in octaves


class Hearing(nn.Module):
    """Samples Tensor[B x levelled.n_samples] to groups of numbers, each Tensor[B x D]."""

    pitch_classes: Tensor
    window: Tensor
    cosines: Tensor

    def __init__(self, listener: MusiCNNOfLatents, levelled: Levelled, network: TunedThrough):
        super().__init__()
        self.listener, self.levelled, self.network = listener, levelled, network
        pitch_classes = torch.from_numpy(chroma(sr=MUSICNN_SAMPLE_RATE_HZ, n_fft=TONE_FFT, tuning=0.0)).float()
        self.register_buffer("pitch_classes", pitch_classes.T.contiguous(), persistent=False)
        self.register_buffer("cosines", dct_matrix(MUSICNN_SETTINGS["n_mels"], 1 + N_CEPSTRA)[:, 1:], persistent=False)
        self.register_buffer("window", torch.hann_window(TONE_FFT), persistent=False)
        generator = torch.Generator().manual_seed(0)
        for number, size in enumerate(FILTER_SIZES):
            filters = torch.randn(N_FILTERS, 1, *size, generator=generator)
            filters = filters - filters.mean((2, 3), keepdim=True)
            filters = filters / filters.flatten(1).norm(dim=1)[:, None, None, None]
            self.register_buffer(f"filters_{number}", filters, persistent=False)

    def forward(self, samples: Tensor) -> list[Tensor]:
        levelled = self.levelled.samples(samples)
        return self.hear(levelled, self.levelled.log_mel(levelled))

    def hear(self, levelled: Tensor, log_mel: Tensor) -> list[Tensor]:
        """The same from what `Levelled` makes of samples."""
        patches = patches_of(log_mel)
        layers = self.listener.layers(patches)
        embedding = _of_clips(self.listener.musicnn.embed(torch.cat(layers, 1))).mean(1)
        whole = [_of_clips(layer).transpose(1, 2).flatten(2) for layer in layers]  # (B, C, T) each
        moments = torch.cat([part for layer in whole for part in _moments(layer, 2)], 1)
        spectrum = torch.stft(levelled, TONE_FFT, TONE_HOP, window=self.window, return_complex=True).transpose(1, 2)
        power = spectrum.real.square() + spectrum.imag.square() + 1e-3  # (B, T, bins), on a floor of some 50 dB below the music
        classes = F.normalize(power.sqrt() @ self.pitch_classes, dim=2)
        chords = F.normalize(_blocks(classes).mean(2), dim=2)
        tone = torch.cat([_clarity(power), _tonality(classes), _tonality(chords)], 1)
        movement = _movement(log_mel, log_mel @ self.cosines)
        in_time = [self._texture(log_mel), tone, _form(chords), _pulse(log_mel)]
        return [moments, embedding, movement, *in_time, *self._by_network(patches)]

    def _by_network(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Means and deviations over time of the network's layers, in regions of bands; its embedding and the logits of genres."""
        layers = self.network.layers(patches)
        parts = []
        for layer in layers:
            regions = layer.float().unflatten(3, (N_NETWORK_REGIONS, -1)).mean(4)  # (B * N_PATCHES, C, T, regions)
            whole = _of_clips(regions).transpose(1, 2).flatten(2, 3)  # (B, C, N_PATCHES * T, regions)
            parts += [part.flatten(1) for part in _moments(whole, 2)]
        embedding = self.network.embed(self.network.pool(layers[-1]))
        return torch.cat(parts, 1), _of_clips(torch.cat([embedding, self.network.genres(embedding)], 1)).mean(1)

    def _texture(self, log_mel: Tensor) -> Tensor:
        """Mean and deviation over time of random filters' outputs, by regions of bands."""
        parts = []
        for number, (n_frames, n_bands) in enumerate(FILTER_SIZES):
            filters, stride = getattr(self, f"filters_{number}"), (2 if n_frames < 7 else 4, 2)
            found = F.conv2d(log_mel[:, None], filters, stride=stride, padding=(n_frames // 2, n_bands // 2)).relu()
            parts += [part.flatten(1) for part in _moments(found.unflatten(3, (N_REGIONS, -1)).mean(4), 2)]
        return torch.cat(parts, 1)


def patches_of(log_mel: Tensor) -> Tensor:
    """Those of each clip, Tensor[B*N_PATCHES x PATCH_FRAMES x F], one after the other."""
    return log_mel.unflatten(1, (N_PATCHES, -1)).flatten(0, 1)


def _of_clips(patches: Tensor) -> Tensor:
    """Patches one after the other as Tensor[B x N_PATCHES x ...]."""
    return patches.unflatten(0, (-1, N_PATCHES))


def _moments(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation over one dimension."""
    variance, mean = torch.var_mean(values, dim, correction=0)
    return mean, (variance + 1e-4).sqrt()


def _movement(log_mel: Tensor, cepstra: Tensor) -> Tensor:
    """Of each band the level, and the logarithms of how far it and averages of it move; and how far neighbours differ.

    Of cepstra, which tell how fast the shape of the spectrum changes as a whole, the movement alone.
    """
    parts = [log_mel.mean(1), (log_mel[:, :, 1:] - log_mel[:, :, :-1]).abs().mean(1)]
    for values, n_frames in ((log_mel, 1), (log_mel, 4), (log_mel, 16), (cepstra, 1), (cepstra, 4)):
        averages = values[:, : values.shape[1] // n_frames * n_frames].unflatten(1, (-1, n_frames)).mean(2)
        steps = (averages[:, 1:] - averages[:, :-1]).square().mean(1)
        parts += [0.5 * (variance + 1e-3).log() for variance in (averages.var(1), steps)]
    return torch.cat(parts, 1)


def _blocks(values: Tensor) -> Tensor:
    """Half seconds, Tensor[B x n x CHORD_FRAMES x ...]."""
    n = values.shape[1] // CHORD_FRAMES
    return values[:, : n * CHORD_FRAMES].unflatten(1, (n, CHORD_FRAMES))


def _clarity(power: Tensor) -> Tensor:
    """How far a spectrum is from flat, in octaves, and from frame to frame, each in the mean and in its deviation over time."""
    logs = power.log()
    parts: list[Tensor] = []
    steady = _blocks(power).mean(2).log() - _blocks(logs).mean(2)
    for low, high in pairwise(OCTAVES):
        parts += _moments(power[..., low:high].mean(2).log() - logs[..., low:high].mean(2), 1)
        parts += _moments(steady[..., low:high].mean(2), 1)
    return torch.stack(parts, 1)


def _tonality(classes: Tensor) -> Tensor:
    """How few pitch classes sound at once and in the whole clip, in which intervals, and how fast they change; in any key."""
    whole = F.normalize(classes.mean(1), dim=1)
    intervals = [(classes * classes.roll(k, 2)).sum(2).mean(1) for k in range(1, 7)]
    moves = [(classes[:, lag:] - classes[:, :-lag]).norm(dim=2).mean(1) for lag in MOVES if lag < classes.shape[1] - 1]
    return torch.cat([classes.sort(2).values.mean(1), whole.sort(1).values, torch.stack(intervals + moves, 1)], 1)


def _form(chords: Tensor) -> Tensor:
    """How alike half seconds, and phrases of four of them, are in their pitch classes, for each lag between them."""
    variance, mean = torch.var_mean(chords, 1, keepdim=True, correction=0)
    chords = (chords - mean) / (variance + 1e-4).sqrt()
    parts = []
    for x in (chords, chords.unfold(1, PHRASE_CHORDS, 1).flatten(2)):
        likeness = (unit := F.normalize(x, dim=2)) @ unit.transpose(1, 2)
        diagonals = [likeness.diagonal(lag, 1, 2) for lag in range(1, x.shape[1] - 1)]
        parts += [diagonal.mean(1) for diagonal in diagonals]
        parts.append(torch.cat(diagonals[PHRASE_CHORDS - 1 :], 1).amax(1))  # of what does not overlap
    return torch.stack(parts, 1)


def _pulse(log_mel: Tensor) -> Tensor:
    """How surely onsets come back after some time, of any tempo, in all bands and in regions of them, and how sharp they are."""
    rises = (log_mel[:, 1:] - log_mel[:, :-1]).relu().unflatten(2, (N_PULSE_REGIONS, -1)).mean(3)
    onsets = torch.cat([rises, rises.mean(2, keepdim=True)], 2).transpose(1, 2)  # (B, 1 + N_PULSE_REGIONS, T)
    mean, spread = _moments(onsets, 2)
    centred = (onsets - mean[..., None]) / spread[..., None]
    n = centred.shape[2]
    power = torch.fft.rfft(centred, 2 * n).abs().square()
    likeness = torch.fft.irfft(power, 2 * n)[..., : PULSE_LAGS[-1]] / (n - torch.arange(PULSE_LAGS[-1], device=power.device))
    strengths = [likeness[..., low:high].amax(2) for low, high in pairwise(PULSE_LAGS)]
    return torch.cat([(spread / (mean + 0.01)).log(), *strengths], 1)


def energy_score(pairs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """How far from a target each of two clips is that were made for it, less how far they are from each other.

    The mean over targets, summed over the kinds of numbers, each Tensor[2n x D], the pairs side by side, and Tensor[n x D]. Its
    expectation is lowest where clips are spread around what they are told as music is: a mean of all would be punished as
    much as one of them alone (Gneiting & Raftery, "Strictly proper scoring rules, prediction, and estimation", 2007).
    """
    total = targets[0].new_zeros(())
    for pair, target in zip(pairs, targets, strict=True):
        one, other = pair.unflatten(0, (-1, 2)).unbind(1)
        apart = [(one - target).norm(dim=1), (other - target).norm(dim=1), -(one - other).norm(dim=1)]
        total = total + torch.stack(apart).sum(0).mean() / target.shape[1] ** 0.5
    return total
