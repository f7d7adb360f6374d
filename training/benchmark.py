"""Measure how fast everything is, as one table.

    python training/benchmark.py
    python training/benchmark.py --json benchmark.json --markdown training/results/benchmark.md
    python training/benchmark.py --only features generation --threads 2

On one thread, the default, times are processor times of this process: other programs' load hardly changes them, and on an
idle machine they are what a clock shows. On more threads they are what the clock shows. What is compared is measured in turns
within one run. Music, where some is needed, is made of tones, so that nothing has to be downloaded.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
import psutil
import torch
from accelerate.state import AcceleratorState
from torch.utils.flop_counter import FlopCounterMode

from genre_gan import Clip, GenreClassifier, GenreGenerator
from genre_gan.audio import SAMPLE_RATE_HZ
from genre_gan.features import FeatureConfig, FeatureExtractor
from genre_gan.files import write_bytes
from genre_gan.hub import packaged_weights
from genre_gan.pretrained import CONFIG_NAME, read_config
from training.arguments import positive_int, run_script
from training.trainer import Task, Trainer

ROOT = Path(__file__).resolve().parents[1]
GENERATORS = ("spectral-gan", "waveform-gan")  # families of models that the generating pipeline loads
CLIP_S, GENERATED_S = 30.0, 10.0
TRAININGS = {
    "lstm": ("train_lstm", "--features log-mel --segment-s 3"),
    "fcn": ("train_cgan", "--model fcn --segment-s 4"),
    "cnn": ("train_cgan", "--model cnn --segment-s 4 --batch-size 16"),
    "mel": ("train_cgan", "--model mel"),
}
N_WARM_STEPS, N_STEPS = 2, 6


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


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--threads", type=positive_int, default=1, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    return parser.parse_args(argv)


def clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds(*functions: Callable[[], Any], repeats: int = 5) -> list[float]:
    """The shortest time that each function takes, after one call to warm up; they take turns, so that load meets all alike."""
    best = [float("inf")] * len(functions)
    for function in functions:
        function()
    for _ in range(repeats):
        for i, function in enumerate(functions):
            began = clock()
            function()
            best[i] = min(best[i], clock() - began)
    return best


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


def measure_features() -> Iterator[Row]:
    """The same values as librosa's, and how many times as fast."""
    import librosa

    samples = tones(CLIP_S)
    batch = torch.from_numpy(samples)[None]
    rate_hz = SAMPLE_RATE_HZ

    def librosa_log_mel() -> np.ndarray:
        return librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=rate_hz), amin=1e-10, top_db=None)

    def librosa_mfcc() -> np.ndarray:
        return librosa.feature.mfcc(y=samples, sr=rate_hz, n_mfcc=13)

    for name, theirs in (("log-mel", librosa_log_mel), ("mfcc", librosa_mfcc)):
        extractor = FeatureExtractor(FeatureConfig(name))
        difference = float(np.abs(extractor(batch)[0].numpy().T - theirs()).max())
        ours_s, theirs_s = seconds(lambda: extractor(batch), theirs)
        note = f"{1e3 * ours_s:.1f} ms against {1e3 * theirs_s:.1f} ms for {CLIP_S:.0f} s; largest difference {difference:.1g}"
        yield Row("features", f"{name} against librosa", theirs_s / ours_s, "times as fast", ">=5", note)


def measure_classification() -> Iterator[Row]:
    classifier = GenreClassifier.from_pretrained()
    clip = Clip(tones(CLIP_S), SAMPLE_RATE_HZ)
    for audio_format in ("wav", "mp3"):
        data = clip.encode(audio_format)
        (took_s,) = seconds(lambda: classifier.classify(data))
        note = f"{1e3 * took_s:.0f} ms to decode, extract and classify {CLIP_S:.0f} s"
        yield Row("classification", f"classify {audio_format}", CLIP_S / took_s, "times real time", "", note)


def packaged_generators() -> list[str]:
    """Names of the generators that ship inside the package."""
    folders = sorted(path.parent for path in packaged_weights("").glob(f"*/{CONFIG_NAME}"))
    return [folder.name for folder in folders if read_config(folder)["family"] in GENERATORS]


def measure_generation() -> Iterator[Row]:
    for name in packaged_generators():
        pipeline = GenreGenerator.from_pretrained(name)
        genre = pipeline.genres[0]
        whole_s, first_s = seconds(
            lambda: pipeline.generate(genre, GENERATED_S, seed=1),
            lambda: next(pipeline.generate(genre, GENERATED_S, seed=1, stream=True)),
        )
        note = f"{1e3 * whole_s:.0f} ms for {GENERATED_S:.0f} s"
        yield Row("generation", f"generate with {name}", GENERATED_S / whole_s, "times real time", ">=100", note)
        yield Row("generation", f"first chunk from {name}", 1e3 * first_s, "ms", "", "until the stream's first sound")


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
    peak = {"no": _matmul_flops(torch.float32), "bf16": _matmul_flops(torch.bfloat16)}
    for precision, name in (("no", "fp32"), ("bf16", "bf16")):
        yield Row("training", f"{name} product of 2048 x 2048 matrices", peak[precision] / 1e9, "GFLOP/s")
    with tempfile.TemporaryDirectory() as folder:
        music = write_music(Path(folder) / "music", 24, CLIP_S)
        for kind, (script_name, options) in TRAININGS.items():
            if kind == "mel" and "mel" not in packaged_generators():
                continue
            results = {precision: _measure_steps(kind, script_name, options, precision, music) for precision in ("no", "bf16")}
            plain, mixed = results["no"], results["bf16"]
            for precision, result in (("fp32", plain), ("bf16", mixed)):
                share = result["flops"] / result["step_s"] / peak["no" if precision == "fp32" else "bf16"]
                note = f"{result['flops'] / 1e9:.1f} GFLOP a step, {share:.0%} of the matrix product's rate"
                if kind == "lstm":  # torch's counter does not see into LSTM layers
                    note = ""
                yield Row("training", f"{kind} in {precision}", 1.0 / result["step_s"], "steps a second", "", note)
            target = ">=1.7" if _has_fast_bf16() else ""
            yield Row("training", f"{kind}: bf16 against fp32", plain["step_s"] / mixed["step_s"], "times as fast", target)
            yield Row("training", f"{kind}: waiting for data", 100 * max(plain["waited"], mixed["waited"]), "% of the time", "<5")


def _measure_steps(kind: str, script_name: str, options: str, precision: str, music: Path) -> dict[str, float]:
    script = importlib.import_module(f"training.{script_name}")
    AcceleratorState._reset_state(reset_partial_state=True)  # or it would refuse another precision
    words = ["--data", music, "--cache-dir", music.parent / "cache", "--output-dir", music.parent / f"{kind}-{precision}"]
    args = script.parse_args([*map(str, words), *options.split(), "--mixed-precision", precision, "--tracker", "none"])
    original = script.Trainer
    try:
        script.Trainer = _MeasuredTrainer
        script.train(args)
    except _Measured as measured:
        return measured.args[0]
    finally:
        script.Trainer = original
    raise RuntimeError(f"{script_name} trained nothing")


def _matmul_flops(dtype: torch.dtype) -> float:
    a, b = torch.randn(2, 2048, 2048).to(dtype)
    (took_s,) = seconds(lambda: a @ b)
    return 2 * 2048**3 / took_s


def _has_fast_bf16() -> bool:
    """Whether this processor has instructions for it."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def measure_memory() -> Iterator[Row]:
    """Peak memory of a training on some music and on ten times as much."""
    peaks_mb = {}
    for scale in (1, 10):
        with tempfile.TemporaryDirectory() as folder:
            music = write_music(Path(folder) / "music", 40 * scale, 10.0)
            words = ["train_cgan.py", "--model", "fcn", "--data", music, "--cache-dir", Path(folder) / "cache"]
            words += ["--output-dir", Path(folder) / "run", "--max-steps", 20, "--tracker", "none", "--preview-every", 1000]
            peaks_mb[scale] = _peak_memory_mb([sys.executable, ROOT / "training" / words[0], *words[1:]])
    growth = 100 * (peaks_mb[10] / peaks_mb[1] - 1)
    note = f"{peaks_mb[1]:.0f} MB and {peaks_mb[10]:.0f} MB at most, with 18 MB and 176 MB of sound"
    yield Row("memory", "training on ten times the data", growth, "% more memory", "<10", note)


def _peak_memory_mb(command: list[object]) -> float:
    """Looked at many times a second: what the system keeps for its children begins with the memory of this process."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, psutil.Process(process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    if process.wait():
        raise RuntimeError(f"{command} failed")
    return peak / 2**20


def measure_start() -> Iterator[Row]:
    torch_s = min(_processor_seconds("import torch") for _ in range(3))
    package_s = min(_processor_seconds("import torch, genre_gan") for _ in range(3))
    note = f"{package_s:.2f} s with torch, {torch_s:.2f} s for torch alone"
    yield Row("start", "import genre_gan", package_s - torch_s, "s beyond torch's", "<1", note)
    yield Row("start", "python app.py until it answers", _app_start_s(), "s", "", "processor time")


def _processor_seconds(code: str) -> float:
    usage = _usage([sys.executable, "-c", code])
    return usage.ru_utime + usage.ru_stime


def _usage(command: list[object]):
    """Run a command to its end; what it used comes back."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT, env=environment)
    error = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} failed: {error}")
    return usage


def _app_start_s() -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        while process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).close()
                return sum(psutil.Process(process.pid).cpu_times()[:2])
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("app.py ended before it answered")
    finally:
        process.terminate()
        process.wait()


GROUPS = {
    "features": measure_features,
    "classification": measure_classification,
    "generation": measure_generation,
    "training": measure_training,
    "memory": measure_memory,
    "start": measure_start,
}


def table(rows: list[Row]) -> str:
    """The rows as markdown."""
    lines = ["| what | figure | unit | target | met | how |", "|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row.what} | {row.value:.3g} | {row.unit} | {row.target} | {row.verdict} | {row.note} |")
    return "\n".join(lines)


def heading(args: argparse.Namespace) -> str:
    """The machine and the command that the figures belong to."""
    kind = "processor time" if args.threads == 1 else "time on the clock"
    only = "" if args.only == list(GROUPS) else f" --only {' '.join(args.only)}"
    return (
        f"# Benchmark\n\n`python training/benchmark.py{only} --threads {args.threads}`: {kind}, {args.threads} thread(s), torch {torch.__version__}, "
        f"Python {platform.python_version()}, {_processor_name()}.\n"
    )


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    features = [flag for flag in ("avx512_bf16", "amx_bf16") if any(flag in line for line in lines)]
    return f"{name} with {' and '.join(features)}" if features else name


def run_benchmark(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(True)
    rows = []
    for group in args.only:
        for row in GROUPS[group]():
            print(f"{row.what}: {row.value:.3g} {row.unit} {row.note}", file=sys.stderr)
            rows.append(row)
    print(f"{heading(args)}\n{table(rows)}")
    if args.json is not None:
        record = {"machine": _processor_name(), "threads": args.threads, "rows": [row._asdict() for row in rows]}
        write_bytes(args.json, (json.dumps(record, indent=1) + "\n").encode())
    if args.markdown is not None:
        write_bytes(args.markdown, f"{heading(args)}\n{table(rows)}\n".encode())


def main(argv: list[str] | None = None) -> None:
    run_script(run_benchmark, parse_args(argv))


if __name__ == "__main__":
    main()
