"""What the parts of the benchmark share: a line of its table, the processor, a stopwatch, and music made of tones."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from timeit import timeit
from typing import Any, NamedTuple

import numpy as np
import torch

from genre_gan import Clip
from genre_gan.audio import SAMPLE_RATE_HZ

ROOT = Path(__file__).resolve().parents[1]  # of the project, where its scripts are started


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        group, what: which part of the benchmark, and what was measured.
        value, unit: the figure.
        target: a number that the value should reach (or stay under, where it begins with <); empty for none.
        note: what it was compared with.
    """

    group: str
    what: str
    value: float
    unit: str
    target: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        if not self.target:
            return ""
        limit = float(self.target.lstrip("<>="))
        return "yes" if (self.value < limit if self.target.startswith("<") else self.value >= limit) else "no"


def processor_name() -> str:
    """Its name, and which of its instructions for bf16 count."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    features = [flag for flag in ("avx512_bf16", "amx_bf16") if any(flag in line for line in lines)]
    return f"{name} with {' and '.join(features)}" if features else name


def clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds(*functions: Callable[[], Any]) -> list[float]:
    """The shortest time that each function takes, after one call to warm up; they take turns, so that load meets all alike."""
    for function in functions:
        function()
    turns = [[timeit(function, timer=clock, number=1) for function in functions] for _ in range(5)]
    return [min(times) for times in zip(*turns, strict=True)]


def tones(duration_s: float, seed: int = 0) -> np.ndarray:
    """Something with harmonics, beats and noise, float32 [shape=(n,)]."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * SAMPLE_RATE_HZ), dtype=np.float32) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * rng.uniform(80, 400) * time_s
    sound = (np.sin(phase) + 0.5 * np.sin(2 * phase)) * np.exp(-3 * (time_s * rng.uniform(1, 3) % 1.0))
    return (0.2 * sound + 0.02 * rng.standard_normal(len(time_s), dtype=np.float32)).astype(np.float32)


def write_music(folder: Path, n_tracks: int, duration_s: float) -> Path:
    """`folder/<genre>/<genre>.NNNNN.wav` for two genres."""
    for number in range(n_tracks):
        genre = ("blues", "metal")[number % 2]
        (folder / genre).mkdir(parents=True, exist_ok=True)
        Clip(tones(duration_s, number), SAMPLE_RATE_HZ).save(folder / genre / f"{genre}.{number:05d}.wav")
    return folder
