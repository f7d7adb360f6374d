"""Run training scripts as real processes that can be killed, forked from one that has done the slow imports already."""

import faulthandler
import importlib
import multiprocessing
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from genre_gan.data.sources import load_tracks
from genre_gan.data.splits import split_tracks
from genre_gan.models.codec import Codec, CodecConfig
from genre_gan.models.generator import SpectralGANConfig, SpectralGenerator
from tests.conftest import TWO_GENRES, write_music_folder

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 120
_CONTEXT = multiprocessing.get_context("forkserver")
# What a training would import on its way, seconds of work each.
_SLOW_IMPORTS = ["datasets", "librosa.filters", "matplotlib.backends.backend_agg", "matplotlib.figure", "pytest", "torch._dynamo"]
_SLOW_IMPORTS += ["librosa.beat", "librosa.feature", "torch.distributed.fsdp", "torch.distributed.tensor"]
_SERVER_ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}

# The options that make each training tiny. A new script or model is one more line.
TINY = {
    "fcn": ["train_cgan.py", "--model", "fcn", "--segment-s", "1", "--width", "8"],
    "cnn": ["train_cgan.py", "--model", "cnn", "--segment-s", "1", "--width", "16"],
    "lstm": ["train_lstm.py", "--segment-s", "1", "--hidden-size", "8"],
    "toy": ["toy_training.py"],
    # A seed whose rows lie on no kink of a leaky ReLU, where rounding decides which gradient there is.
    "mel": [
        "train_cgan.py", "--widths", "8", "8", "8", "8", "--clusters", "2", "--crop-frames", "16", "8", "--batch-size", "8",
        "--seed", "1",
    ],
    "tuned": ["tune_cgan.py", "--network-steps", "2"],
}


class TrainingProcess:
    """A training script at work; `log` is what it prints."""

    def __init__(self, arguments: list[object], log: Path, environment: dict[str, str] | None = None):
        words = [str(word) for word in arguments]
        before = {name: os.environ.get(name) for name in _SERVER_ENVIRONMENT}
        os.environ.update(_SERVER_ENVIRONMENT)  # the server is started by the first process, and keeps what it finds
        scripts = {f"training.{Path(tiny[0]).stem}" for tiny in TINY.values()}
        _CONTEXT.set_forkserver_preload([*scripts, *_SLOW_IMPORTS])
        self.log_path = log
        log.touch()
        self._process = _CONTEXT.Process(target=_work, args=(words, str(log), environment or {}))
        self._process.start()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        self.pid = self._process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    def wait(self) -> int:
        """Its exit code, negative where a signal ended it."""
        self._process.join(TIMEOUT_S)
        if self.is_running:
            self._process.kill()
            raise AssertionError(f"still running after {TIMEOUT_S} s:\n{self.log}")
        return self._process.exitcode

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Whether `condition` came true while the process was running."""
        while self.is_running:
            if condition():
                return True
            time.sleep(0.001)
        return False

    def wait_for(self, duration_s: float) -> None:
        """Let it work for so long, or to its end."""
        self._process.join(duration_s)

    def signal(self, number: int, with_children: bool = False) -> None:
        if self.is_running:
            os.killpg(self.pid, number) if with_children else os.kill(self.pid, number)


def _work(words: list[str], log: str, environment: dict[str, str]) -> None:
    os.setpgrp()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.dump_traceback_later(TIMEOUT_S - 20)
    os.environ.update(environment)
    torch.set_num_threads(1)
    if "ADAM_EPSILON" in environment:
        set_adam_epsilon(float(environment["ADAM_EPSILON"]))
    if "STILL_PHASES" in environment:  # which else jump where the last digit makes another bin a peak
        Codec._accumulate = lambda self, magnitude, cycles: torch.zeros_like(magnitude)
    if "FILE_SIZE_LIMIT" in environment:  # as on a disk that is nearly full
        limit = int(environment["FILE_SIZE_LIMIT"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if "DRAW" not in environment:  # which takes longer than these trainings
        for name in ("training.run_folder", "training.previews"):
            importlib.import_module(name).save_figure = lambda figure, path: None
    sys.argv = words
    if "MAX_RESTARTS" in environment:  # what `python -m torch.distributed.run` does, without its imports
        config = LaunchConfig(1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork",
                              max_restarts=int(environment["MAX_RESTARTS"]), monitor_interval=0.05)
        elastic_launch(config, _train)(words)
    else:
        _train(words)


def _train(words: list[str]) -> None:
    folder = "tests" if words[0].startswith("toy_") else "training"
    importlib.import_module(f"{folder}.{Path(words[0]).stem}").main(words[1:])
    print("trackers imported:", [name for name in ("tensorboard", "trackio", "wandb") if name in sys.modules])


def set_adam_epsilon(epsilon: float) -> None:
    """Have every Adam of this process damp gradients far below `epsilon`, which are nothing but rounding."""
    original = torch.optim.Optimizer.__init__

    def initialize(self: torch.optim.Optimizer, params: object, defaults: dict) -> None:
        original(self, params, defaults | ({"eps": epsilon} if "eps" in defaults else {}))

    torch.optim.Optimizer.__init__ = initialize


def tiny_arguments(kind: str, data: Path, output_dir: Path, n_steps: int, *more: object) -> list[object]:
    """A tiny training of `kind` on what `write_tiny_data` wrote, with a checkpoint after each step."""
    options: list[object] = [*TINY[kind]]
    options += [] if "--batch-size" in options else ["--batch-size", 4]
    options += ["--start-from", data / "start"] if kind == "tuned" else []
    options += ["--data", data / "music", "--cache-dir", data / "cache", "--output-dir", output_dir]
    options += ["--max-steps", n_steps, "--checkpoint-every", 1, "--preview-every", 1000, "--tracker", "none", "--num-workers", 0]
    return [*options, *more]


def write_tiny_data(folder: Path) -> Path:
    """Music, and a spectral generator of its genres to start from."""
    write_music_folder(folder / "music", tracks_per_genre=3, duration_s=7.0)
    torch.manual_seed(0)
    generator = SpectralGenerator(SpectralGANConfig(TWO_GENRES, widths=(8, 8, 8, 8), n_clusters=2))
    split = split_tracks(load_tracks([str(folder / "music")]), "track", seed=0)
    generator.training_record = {"split": split.summary()}
    generator.save_pretrained(folder / "start")
    Codec(CodecConfig()).save_pretrained(folder / "start" / "codec")
    return folder


def train(arguments: list[object], log: Path, environment: dict[str, str] | None = None) -> str:
    """Train to the end and return what was printed."""
    process = TrainingProcess(arguments, log, environment)
    code = process.wait()
    assert code == 0, process.log
    return process.log


def start_ranks(arguments: list[object], folder: Path, environment: dict[str, str] | None = None) -> list[TrainingProcess]:
    """Start two processes, the ranks of one training over gloo."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    shared |= environment or {}
    return [
        TrainingProcess(arguments, folder / f"rank-{rank}.log", shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]


def newest_state(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of the newest checkpoint in a run's folder, each named by its file and its place there."""
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    tensors = {f"{path.stem}.{name}": tensor for path in newest.glob("*.safetensors") for name, tensor in load_file(path).items()}
    for path in newest.glob("optimizer*.bin"):
        for index, state in torch.load(path, weights_only=True)["state"].items():
            tensors |= {f"{path.stem}.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    return tensors


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], tolerance: float = 0.0) -> None:
    """To the bit unless a tolerance is given."""
    assert first.keys() == second.keys()
    for name in first:
        difference = (first[name].double() - second[name].double()).abs().max().item() if first[name].numel() else 0.0
        assert difference <= tolerance, f"{name} differs by {difference:.3g}"
