"""The benchmark's rows on training: steps a second in both precisions, waiting for data, and memory."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import torch
from accelerate.state import AcceleratorState
from torch.utils.flop_counter import FlopCounterMode

from training.stopwatch import ROOT, Row, clock, processor_name, seconds, write_music
from training.trainer import Task, Trainer

TRACK_S = 30.0
TRAININGS = {
    "lstm": ("train_lstm", "--features log-mel --segment-s 3"),
    "fcn": ("train_cgan", "--model fcn --segment-s 4"),
    "cnn": ("train_cgan", "--model cnn --segment-s 4 --batch-size 16"),
    "mel": ("train_cgan", "--model mel"),
}
N_WARM_STEPS, N_STEPS = 2, 6


class _Measured(Exception):
    """Ends a script whose steps have been timed; it holds the result."""


class _MeasuredTrainer(Trainer):
    """A trainer that times its task's steps instead of training it."""

    def fit(self, task: Task) -> None:
        batches = task.loader.batches(0)
        self._n_counted, self._waited_s = 0, 0.0
        for step in range(N_WARM_STEPS):
            self._step(task, batches, step)
        with FlopCounterMode(display=False) as counter:
            self._step(task, batches, N_WARM_STEPS)
        self._waited_s = 0.0
        began, times_s = time.perf_counter(), []
        for step in range(N_WARM_STEPS + 1, N_WARM_STEPS + 1 + N_STEPS):
            step_began = clock()
            self._step(task, batches, step)
            times_s.append(clock() - step_began)
        waited = self._waited_s / (time.perf_counter() - began)
        batches.close()
        raise _Measured({"step_s": min(times_s), "flops": counter.get_total_flops(), "waited": waited})


def measure_training() -> Iterator[Row]:
    """Steps as the scripts do them, in both precisions, against what a large matrix product reaches on this machine."""
    torch.set_float32_matmul_precision("highest")
    peak = {"fp32": _matmul_flops(torch.float32), "bf16": _matmul_flops(torch.bfloat16)}
    for precision, flops in peak.items():
        yield Row("training", f"{precision} product of 2048 x 2048 matrices", flops / 1e9, "GFLOP/s")
    with tempfile.TemporaryDirectory() as folder:
        music = write_music(Path(folder) / "music", 24, TRACK_S)
        for kind, (script_name, options) in TRAININGS.items():
            plain, mixed = (_measure_steps(kind, script_name, options, precision, music) for precision in ("no", "bf16"))
            for (precision, peak_flops), result in zip(peak.items(), (plain, mixed), strict=True):
                share = result["flops"] / result["step_s"] / peak_flops
                note = f"{result['flops'] / 1e9:.1f} GFLOP a step, {share:.0%} of the matrix product's rate"
                if kind == "lstm":  # torch's counter does not see into LSTM layers
                    note = ""
                yield Row("training", f"{kind} in {precision}", 1.0 / result["step_s"], "steps a second", "", note)
            target = ">=1.5" if "bf16" in processor_name() else ""
            yield Row("training", f"{kind}: bf16 against fp32", plain["step_s"] / mixed["step_s"], "times as fast", target)
            yield Row("training", f"{kind}: waiting for data", 100 * max(plain["waited"], mixed["waited"]), "% of the time", "<1")


def _measure_steps(kind: str, script_name: str, options: str, precision: str, music: Path) -> dict[str, float]:
    script: Any = importlib.import_module(f"training.{script_name}")
    AcceleratorState._reset_state(reset_partial_state=True)  # or it would refuse another precision
    words = ["--data", music, "--cache-dir", music.parent / "cache", "--output-dir", music.parent / f"{kind}-{precision}"]
    args = script.parse_args([*map(str, words), *options.split(), "--mixed-precision", precision, "--tracker", "none"])
    with patch.object(script, "Trainer", _MeasuredTrainer):
        try:
            script.train(args)
        except _Measured as measured:
            return measured.args[0]
    raise RuntimeError(f"{script_name} trained nothing")


def _matmul_flops(dtype: torch.dtype) -> float:
    a, b = torch.randn(2, 2048, 2048).to(dtype)
    (took_s,) = seconds(lambda: a @ b)
    return 2 * 2048**3 / took_s


def measure_memory() -> Iterator[Row]:
    """Peak memory of a training on some music and on ten times as much, from features on disk and from a stream of parquet."""
    for name, options in (("training", []), ("streaming", ["--streaming"])):
        peaks_mb = {}
        for scale in (1, 10):
            with tempfile.TemporaryDirectory() as folder:
                music = write_music(Path(folder) / "music", 40 * scale, 10.0)
                data = Path(folder) / "parquet" if options else music
                if options:
                    _peak_memory_mb("prepare_data.py", "--data", music, "--output-dir", data)
                words = ["--model", "fcn", "--data", data, "--cache-dir", Path(folder) / "cache", *options]
                words += ["--output-dir", Path(folder) / "run", "--max-steps", 20, "--tracker", "none", "--preview-every", 1000]
                peaks_mb[scale] = _peak_memory_mb("train_cgan.py", *words)
        growth = 100 * (peaks_mb[10] / peaks_mb[1] - 1)
        note = f"{peaks_mb[1]:.0f} MB and {peaks_mb[10]:.0f} MB at most, with 18 MB and 176 MB of sound"
        yield Row("memory", f"{name} on ten times the data", growth, "% more memory", "<10", note)


def _peak_memory_mb(script: str, *words: object) -> float:
    """Of a script, looked at many times a second: what the system keeps for its children begins with this process's memory."""
    command = [sys.executable, f"training/{script}", *map(str, words)]
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    peak = 0
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):  # it has just ended
            peak = max(peak, process.memory_info().rss)
        time.sleep(0.02)
    if process.wait():
        raise RuntimeError(f"{command} failed")
    return peak / 2**20
