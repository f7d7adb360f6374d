"""The pulse that the spectral generator plays to: where each frame is in the beat, the bar and longer cycles.

Were a frame's place in cycles of four and eight beats the true one, a clip would be a loop of eight beats. So each bar begins at
a place of its own in the longer cycles, which is drawn, and each half of a bar has noise of its own.

Axes: B batch, C channels, T frames.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from genre_gan.recipe import BEATS_PER_BAR

CYCLE_BEATS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # lengths of the cycles whose phases G is told
N_TURNED = 2  # so many of the longest cycles begin anew in each bar, at random
HALF_BAR_BEATS = BEATS_PER_BAR // 2
MIN_TEMPO_BPM, MAX_TEMPO_BPM = 60.0, 180.0
GRID_FRAMES = (4, 5, 6)  # in a beat


class Pulse(NamedTuple):
    """Tempo (B,) in beats a minute, and the beat of its bar at which the clip begins (B,), from 0 to 4."""

    tempo_bpm: Tensor
    beat: Tensor

    def later(self, by_s: Tensor) -> Pulse:
        """The same pulse as a clip has it that begins by so many seconds (B,) later."""
        return Pulse(self.tempo_bpm, self.beat + self.tempo_bpm / 60.0 * by_s)

    def beats(self, first: int, last: int, rate_hz: float) -> Tensor:
        """The beat at each frame from `first` up to `last`, Tensor[B x (last - first)]."""
        time_s = (torch.arange(first, last, device=self.beat.device) + 0.5) / rate_hz
        return self.beat[:, None] + self.tempo_bpm[:, None] / 60.0 * time_s

    def phases(self, cycles: tuple[float, ...], first: int, last: int, rate_hz: float) -> Tensor:
        """Sines and cosines of the position in cycles of so many beats, in frames from `first` up to `last`.

        Tensor[B x 2*len(cycles) x (last - first)]. A cycle too quick for the frame rate at the fastest tempo is left at zero.
        """
        return torch.cat(_circles(self.beats(first, last, rate_hz), cycles, rate_hz), 1)

    def turned_phases(self, bars: Tensor, lead_s: float, first: int, last: int, rate_hz: float) -> Tensor:
        """`phases` of `CYCLE_BEATS`, of which each bar turns the longest ones by angles of its own.

        The first of `bars` Tensor[B x n_bars x N_TURNED x 2] is the bar that is `lead_s` seconds before the clip.
        """
        beats = self.beats(first, last, rate_hz)
        turns = F.normalize(bars, dim=3).flatten(2)
        x, y = self.spread(turns, BEATS_PER_BAR, lead_s, first, last, rate_hz).unflatten(2, (N_TURNED, 2)).permute(3, 0, 2, 1)
        quick_sine, quick_cosine = _circles(beats, CYCLE_BEATS[:-N_TURNED], rate_hz)
        sine, cosine = _circles(beats % BEATS_PER_BAR, CYCLE_BEATS[-N_TURNED:], rate_hz)
        return torch.cat([quick_sine, sine * x + cosine * y, quick_cosine, cosine * x - sine * y], 1)

    def spread(self, values: Tensor, length_beats: int, lead_s: float, first: int, last: int, rate_hz: float) -> Tensor:
        """What stretches of so many beats have, Tensor[B x n x C], at each frame, Tensor[B x (last - first) x C].

        The first is where the bar begins that is `lead_s` seconds before the clip; a bar has whole stretches.
        """
        bar = torch.floor((self.beat - self.tempo_bpm / 60.0 * lead_s) / BEATS_PER_BAR)
        number = torch.floor(self.beats(first, last, rate_hz) / length_beats) - (bar * (BEATS_PER_BAR // length_beats))[:, None]
        return values[torch.arange(len(values), device=values.device)[:, None], number.long()]


def grid_tempo(tempo_bpm: Tensor, rate_hz: float) -> tuple[Tensor, Tensor]:
    """The nearest tempo (B,) whose beats have a whole number of frames, and how many times faster `tempo_bpm` (B,) is.

    Tempos half or twice as fast count as the same. Where beats fall between frames, each is another pattern to learn, and what is
    learned is weak.
    """
    grid = 60.0 * rate_hz / torch.tensor(GRID_FRAMES, device=tempo_bpm.device)
    octaves = torch.log2(tempo_bpm[:, None] / grid)
    away = octaves - octaves.round()
    nearest = away.abs().argmin(1)
    return grid[nearest], 2.0 ** away.gather(1, nearest[:, None])[:, 0]


def _circles(beats: Tensor, cycles: tuple[float, ...], rate_hz: float) -> tuple[Tensor, Tensor]:
    """Sine and cosine, Tensor[B x n_cycles x T] each, of where beats Tensor[B x T] are in cycles; see `Pulse.phases`."""
    lengths = torch.tensor(cycles, device=beats.device)
    angle = 2 * math.pi * beats[:, None] / lengths[:, None]
    audible = (MAX_TEMPO_BPM / 60.0 / lengths <= rate_hz / 2).to(angle.dtype)[:, None]
    return angle.sin() * audible, angle.cos() * audible
