"""What every training shares: arguments, the run with its folder and its processes, and the loop itself.

Every random draw of step k comes from (seed, k) and is made for the whole batch before the ranks divide it. So a resumed run
and a run on several ranks go exactly where one that was never stopped, on one process, would have gone; a checkpoint needs
no generator states.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, ProjectConfiguration
from torch import Tensor, nn
from tqdm.auto import tqdm

from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import DEFAULT_DATASET, load_tracks
from genre_gan.data.splits import Split
from genre_gan.features import FeatureConfig
from genre_gan.files import write_bytes
from genre_gan.generate import SpectralModel, WaveformModel
from genre_gan.hub import CURVE_NAME, SETTINGS_NAME, check_can_push, push_model_folder
from genre_gan.pretrained import PretrainedModel
from training.arguments import TrainingError, add_common_arguments, add_hub_arguments, launch_command, positive_int, run_script  # noqa: F401
from training.loop_checkpoints import Checkpoint, Checkpoints, restore
from training.processes import COLLECTIVE_TIMEOUT, LifeSigns, meet_anew, processes_asked_for
from training.tracking import HISTORY_NAME, Log, check_tracker

# Arguments that may change between a run and its resumption. The tracks themselves are compared, not where they lie.
_FREE_ON_RESUME = {
    "data", "output_dir", "cache_dir", "max_steps", "epochs", "resume", "overwrite", "keep_checkpoints", "checkpoint_every",
    "preview_every", "log_every", "tracker", "push_to_hub", "private", "revision", "mixed_precision", "learning_rate", "autoencoder",
    "judge", "guidance", "vocoder", "adversarial_from",
}
# What a run leaves in its folder, and --overwrite deletes.
_LEFT_BY_RUNS = ("checkpoints", "previews", "logs", "model", SETTINGS_NAME, HISTORY_NAME, CURVE_NAME, "result.json")
# Signals this close together are one: a terminal's Ctrl-C reaches a process directly and through its launcher.
_ONE_SIGNAL_S = 2.0


class Task(Protocol):
    """What a script trains. `modules` and `optimizers` are what a checkpoint holds."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Do step number `step` and return what to log, as tensors that nobody has waited for."""

    def watch(self, values: dict[str, float], step: int) -> None:
        """Look at the logged numbers and say what is wrong, if anything."""

    def preview(self, step: int) -> dict[str, float] | None:
        """Write what people would look at or listen to into `previews/step-NNNNNNNN`; on the main process alone.

        Returned numbers, such as a validation accuracy, are logged too.
        """


class Run:
    """One training run: its processes, its folder, its checkpoints and its log."""

    def __init__(self, args: argparse.Namespace, name: str):
        self.args, self.name = args, name
        _keep_freed_memory()
        check_tracker(args.tracker)
        if args.push_to_hub:
            check_can_push(args.push_to_hub)  # not after hours of training
        meet_anew()
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision=args.mixed_precision,
            log_with=None if args.tracker == "none" else args.tracker,
            project_config=ProjectConfiguration(str(args.output_dir), str(args.output_dir / "logs")),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=COLLECTIVE_TIMEOUT)],
        )
        self.device = self.accelerator.device
        self.rank, self.world_size = self.accelerator.process_index, self.accelerator.num_processes
        self.command = launch_command(self.world_size)
        self.checkpoints = Checkpoints(args.output_dir / "checkpoints", args.keep_checkpoints)
        self.log = Log(self.accelerator, args.tracker, args.output_dir)
        self._data_digest = ""
        self._stop_signal, self._stop_asked = 0, 0.0
        self._n_samples, self._waited_s, self._counted_from = 0, 0.0, time.perf_counter()
        if self.world_size > 1:
            self._life_signs = LifeSigns(self.rank, self.world_size, f"{self.command} --resume")
        self._announce_processes()
        if args.batch_size < self.world_size:
            raise TrainingError(f"--batch-size {args.batch_size} is smaller than the number of processes, {self.world_size}")
        self.resume = args.resume or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
        self._on_main(self._prepare_folder)
        torch.manual_seed(args.seed)  # the same initial weights on every rank

    def say(self, message: str) -> None:
        """Print on the main process alone."""
        if self.accelerator.is_main_process:
            tqdm.write(message)

    def _announce_processes(self) -> None:
        word = "process" if self.world_size == 1 else "processes"
        self.say(f"training on {self.world_size} {word} ({self.device.type})")
        asked = processes_asked_for()
        if asked > self.world_size:
            self.say(
                f"{asked} processes were asked for but {self.world_size} runs; on a CPU start several with:\n"
                f"  {launch_command(asked)}"
            )

    def _prepare_folder(self) -> None:
        """Take the folder for this run alone, and refuse or delete what an earlier run left there."""
        args, settings_path = self.args, self.args.output_dir / SETTINGS_NAME
        args.output_dir.mkdir(parents=True, exist_ok=True)
        self._lock = _lock_folder(args.output_dir)
        if args.overwrite and not self.resume and settings_path.exists():
            for path in map(args.output_dir.joinpath, _LEFT_BY_RUNS):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k not in _FREE_ON_RESUME}
        if settings_path.exists():
            if not self.resume:
                raise TrainingError(f"{args.output_dir} holds an earlier run: go on with --resume, or delete it with --overwrite")
            before = json.loads(settings_path.read_text())
            changed = sorted(key for key in settings if before.get(key) != settings[key])
            if changed:
                listed = ", ".join(f"{key} was {before.get(key)!r}, now {settings[key]!r}" for key in changed)
                raise TrainingError(f"the run in {args.output_dir} cannot be resumed with other settings: {listed}")
        write_bytes(settings_path, json.dumps(settings, indent=2).encode())

    def load_features(self, config: FeatureConfig) -> FeatureStore:
        """The data that the arguments name, as features; one process of each host fills the cache first."""
        tracks = load_tracks(self.args.data or [DEFAULT_DATASET], self.args.genres)
        self.say(tracks.describe())
        with self.accelerator.local_main_process_first():
            store = FeatureStore(tracks, config, self.args.cache_dir, progress=self.accelerator.is_main_process)
        self.say(store.summary())
        described = [store.tracks.ids, store.tracks.genre_names, store.n_frames.tolist()]
        self._data_digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()
        return store

    def average_gradients(self, module: nn.Module) -> None:
        """Replace each gradient by its mean over the ranks. Losses must be means over equal shares or weighted so."""
        if self.world_size == 1:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        with self._contact():
            flat = self.accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="mean")
        for gradient, values in zip(gradients, flat.split([g.numel() for g in gradients])):
            gradient.copy_(values.view_as(gradient))

    def mean_over_ranks(self, values: Tensor, weight: float) -> Tensor:
        """The whole batch's means, where `values` are this rank's and `weight` its share's; gradients are of its own part.

        Losses that divide one mean by another need it: a mean of ratios is not the ratio of means.
        """
        if self.world_size == 1:
            return values
        with self._contact():
            means = self.accelerator.reduce(values.detach() * weight, reduction="mean")
        return means + (values - values.detach())

    def count_batch(self, n_samples: int, waited_s: float) -> None:
        """Note a batch for the log: its size over all ranks, and how long this process waited for it."""
        self._n_samples += n_samples
        self._waited_s += waited_s

    def fit(self, task: Task, n_steps: int) -> bool:
        """Train up to `n_steps`, from the newest good checkpoint on where asked.

        Returns True on the main process, which is to save the model, and False on the others.

        Raises:
            TrainingError: values are not finite, the disk is full, or another process is lost.
            SystemExit: a signal stopped the training; a checkpoint was saved, and how to go on was said.
        """
        for module in task.modules.values():
            module.to(self.device)
        first = self._load_checkpoint(task) if self.resume else 0
        if self.accelerator.is_main_process:
            self.log.open(self.name, first, vars(self.args))
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        bar = tqdm(total=n_steps, initial=first, unit="step", disable=not self.accelerator.is_main_process, mininterval=1.0)
        self._n_samples, self._waited_s, self._counted_from = 0, 0.0, time.perf_counter()
        try:
            for step in range(first, n_steps):
                values = task.train_step(step)
                bar.update()
                self._after_step(task, values, step + 1, n_steps, bar)
        finally:
            bar.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
            self.log.close()
        self._on_main(self.log.write)
        if self.world_size > 1:
            self._life_signs.stop()
            dist.destroy_process_group()
        return self.accelerator.is_main_process

    def _after_step(self, task: Task, values: dict[str, Tensor], done: int, n_steps: int, bar: tqdm) -> None:
        args, last = self.args, done == n_steps
        if done % args.log_every == 0 or last:
            numbers = self._log(task, values, done)
            bar.set_postfix({name: f"{number:.3g}" for name, number in numbers.items()})
            task.watch(numbers, done)
        # asking the others makes a GPU wait, so there it is done when the log has made it wait anyway
        asks = self.world_size == 1 or self.device.type == "cpu" or done % args.log_every == 0 or last
        stop = self._stop_signal_of_any() if asks else 0
        if (done % args.preview_every == 0 or last) and not stop:
            self._on_main(lambda: self._preview(task, done))
        if done % args.checkpoint_every == 0 or last or stop:
            self._save_checkpoint(task, done)
        if stop and not last:
            self._on_main(self.log.write)
            self.say(f"stopped by {signal.Signals(stop).name} after step {done}; go on with:\n  {self.command} --resume")
            raise SystemExit(128 + stop)

    def _on_signal(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if not self._stop_signal:
            self._stop_signal, self._stop_asked = number, now
        elif now - self._stop_asked > _ONE_SIGNAL_S:
            raise KeyboardInterrupt

    def _stop_signal_of_any(self) -> int:
        """The signal that any of the processes got, so that all stop after the same step; 0 for none."""
        if self.world_size == 1:
            return self._stop_signal
        number = torch.tensor(self._stop_signal, device=self.device)
        with self._contact():
            dist.all_reduce(number, dist.ReduceOp.MAX)
        return int(number)

    def _log(self, task: Task, values: dict[str, Tensor], step: int) -> dict[str, float]:
        """Wait for the step's values, average them over the ranks, check them, and log them with rate and speed."""
        means = torch.stack([value.detach().float() for value in values.values()])
        if self.world_size > 1:
            with self._contact():
                means = self.accelerator.reduce(means, reduction="mean")
        numbers = dict(zip(values, means.tolist()))
        bad = [name for name, number in numbers.items() if not np.isfinite(number)]
        if bad:
            raise TrainingError(
                f"training diverged: {', '.join(bad)} at step {step} is not a finite number. The last good checkpoint stands in "
                f"{self.checkpoints.folder}; try a lower --learning-rate"
            )
        elapsed_s = time.perf_counter() - self._counted_from
        rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in task.optimizers.items()}
        logged = numbers | {
            "learning rate": max(rates.values()),
            "samples per second": self._n_samples / elapsed_s,
            "waiting for data": self._waited_s / elapsed_s,
        }
        self._n_samples, self._waited_s, self._counted_from = 0, 0.0, time.perf_counter()
        if self.accelerator.is_main_process:
            self.log.add(step, logged)
        return numbers

    def _preview(self, task: Task, step: int) -> None:
        numbers = task.preview(step)
        if numbers:
            self.log.add(step, numbers)
        self.log.add_previews(step)

    def _save_checkpoint(self, task: Task, step: int) -> None:
        tensors = [tensor for module in task.modules.values() for tensor in module.state_dict().values()]
        if not all(bool(tensor.isfinite().all()) for tensor in tensors if tensor.is_floating_point()):
            raise TrainingError(
                f"training diverged: the weights after step {step} are not finite numbers. The last good checkpoint stands in "
                f"{self.checkpoints.folder}; try a lower --learning-rate"
            )
        learning_rate = getattr(self.args, "learning_rate", None)
        notes = {"data": self._data_digest, "learning_rate": learning_rate, "history": self.log.rows}
        self._on_main(lambda: self.checkpoints.write(task, step, notes))

    def _load_checkpoint(self, task: Task) -> int:
        """Restore the newest whole checkpoint, which the main process reads for all, and return its step; 0 for none."""
        checkpoint: Checkpoint | None = self._on_main(lambda: self.checkpoints.newest(self.say))
        if checkpoint is None:
            self.say("no checkpoint to resume from: starting at step 0")
            return 0
        if checkpoint.record.get("data", self._data_digest) != self._data_digest:
            raise TrainingError(f"the data is not what the run in {self.args.output_dir} began with (other tracks, genres or lengths)")
        learning_rate = getattr(self.args, "learning_rate", None)
        restore(task, checkpoint, new_rates=checkpoint.record.get("learning_rate", learning_rate) != learning_rate)
        self.log.rows = checkpoint.record.get("history", [])
        self.say(f"resumed from step {checkpoint.record['step']}")
        return checkpoint.record["step"]

    def _on_main(self, function: Callable[[], Any]) -> Any:
        """Call `function` on the main process; all get its result, or its error."""
        outcome = [None, None]
        if self.accelerator.is_main_process:
            try:
                outcome[0] = function()
            except (TrainingError, OSError) as error:
                if self.world_size == 1:
                    raise
                outcome[1] = str(error)
        if self.world_size > 1:
            with self._contact():
                dist.broadcast_object_list(outcome, src=0, device=self.device)
            if outcome[1] is not None:
                raise TrainingError(outcome[1])
        return outcome[0]

    @contextmanager
    def _contact(self) -> Iterator[None]:
        """Say it in words where what the processes do together fails."""
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, TrainingError) or self.world_size == 1:
                raise
            raise TrainingError(
                f"process {self.rank} lost contact with another process ({str(error).splitlines()[0]}); the last good "
                f"checkpoint stands in {self.checkpoints.folder}, go on with:\n  {self.command} --resume"
            ) from error


def _keep_freed_memory() -> None:
    """Have the C library keep large blocks that are freed, instead of asking the system for zeroed pages each step."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError, OSError):  # not glibc
        return
    for option, value in ((-3, 2**30), (-1, 2**31 - 1), (-2, 2**26)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD
        mallopt(option, value)


def _lock_folder(folder: Path) -> Any:
    """An open file whose lock ends with this process, however it ends."""
    if sys.platform == "win32":
        return None
    import fcntl

    file = open(folder / ".lock", "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TrainingError(f"another process is training into {folder} right now") from error
    return file


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move an exponential moving average of weights; the first steps count for more."""
    decay = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(average.parameters(), model.parameters()):
        mean.lerp_(value, 1.0 - decay)


def training_record(run: Run, store: FeatureStore, split: Split, n_steps: int) -> dict:
    """What a finished model says of its origin."""
    genres: Sequence[str] = store.tracks.genre_names
    return {
        "command": run.command,
        "data": [Path(source).name if Path(source).exists() else source for source in run.args.data or [DEFAULT_DATASET]],
        "tracks": len(store.tracks),
        "skipped": len(store.skipped),
        "tracks_per_genre": {genre: genres.count(genre) for genre in store.tracks.genres},
        "split": split.protocol + (" (slices of a track on both sides)" if split.leaks else ""),
        "split_summary": split.summary(),
        "steps": n_steps,
        "seed": run.args.seed,
    }


def save_and_push(run: Run, trained: PretrainedModel | SpectralModel | WaveformModel) -> None:
    """Write the finished model into the run's folder, and upload it where the arguments say so."""
    folder = trained.save_pretrained(run.args.output_dir / "model")
    run.say(f"saved to {folder}")
    if run.args.push_to_hub:
        run.say(f"pushed to {push_model_folder(folder, run.args.push_to_hub, run.args.private, run.args.revision)}")
