"""The trainer: it runs a script's task on accelerate, keeps its checkpoints, its log and its previews, and ends in order.

A script loads its features, which may take long, before it makes a `Trainer`: from then on the processes need each other. Its
`Task` prepares all models and optimisers that learn by `trainer.prepare`, and takes its batches from `trainer.loader`; see
`waveform_task.py`. `optimizer.zero_grad()` stands behind `optimizer.step()`, since gradients of several batches may make one.

Losses are means over rows, so that the mean over processes, which each have as many rows, is the mean over the batch. Random
numbers come from the batch, whose rows have the same ones whatever process they are on; torch's own generators are seeded anew
for each step and process (dropout). Models that only help, such as a frozen network in a loss, are not prepared but moved
to `trainer.device`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from genre_gan.data.cache import FeatureStore
from genre_gan.data.splits import Split
from genre_gan.data.stream import SliceStream
from genre_gan.features import FeatureConfig
from genre_gan.hub import push_model_folder
from training.arguments import TrainingError, data_names, launch_command
from training.batches import Batch, Loader, Source, StreamLoader, check_batch_size
from training.checkpoints import keep_plain_models, load_checkpoint, newest_checkpoint, write_checkpoint
from training.launch import StopSignals, is_resumed, start_accelerator, what_runs
from training.run_folder import RunFolder, check_run


class Task:
    """What a script trains; see this module's docstring."""

    loader: Loader | StreamLoader

    def train_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Learn from a batch, and return what to log, as tensors that nobody has waited for."""
        raise NotImplementedError

    def rate(self, progress: float) -> float:
        """What the learning rates are multiplied by when this share of all steps is done, from 0 to below 1."""
        return 1.0

    def preview(self, folder: Path) -> dict[str, float] | None:
        """Write what people would look at or listen to into `folder`; returned numbers are logged. On the main process."""

    def watch(self, numbers: dict[str, float], step: int) -> None:
        """Look at the logged numbers and say what is wrong, if anything."""


class Trainer:
    """One training run: its accelerator, its folder, its checkpoints and its log.

    Attributes:
        rows_per_step: rows that make one step, over all processes and all batches whose gradients are added.
        command: how to start this run again.
    """

    def __init__(
        self, args: argparse.Namespace, name: str, store: FeatureStore | None = None, clusters: np.ndarray | None = None
    ):
        """`clusters` are those of the tracks, where models are told them: a run cannot go on with others."""
        self.args, self.name, self.resume = args, name, is_resumed(args)
        check_run(args, self.resume)
        self.accelerator = start_accelerator(args)
        keep_plain_models(self.accelerator)
        self.device, self.is_main = self.accelerator.device, self.accelerator.is_main_process
        self.n_processes = self.accelerator.num_processes
        self.command = launch_command(self.n_processes)
        self.rows_per_step = args.batch_size * self.accelerator.gradient_accumulation_steps
        self._data_digest = "" if store is None else _digest(store, clusters)
        self._models: list[nn.Module] = []
        self._optimizers: list[torch.optim.Optimizer] = []
        self._averages: list[tuple[AveragedModel, nn.Module]] = []
        self._stop = StopSignals()
        self.say(what_runs(self.accelerator))
        check_batch_size(args.batch_size, self.n_processes)
        if self.is_main:
            self.folder = RunFolder(args, self.resume)
        self.checkpoints = args.output_dir / "checkpoints"
        torch.manual_seed(args.seed)  # the same initial weights on every process

    def say(self, message: str) -> None:
        """Print on the main process alone."""
        if self.is_main:
            tqdm.write(message)

    def average(self, model: nn.Module, decay: float, order: float = 9.0) -> AveragedModel:
        """An exponential moving average of a model's weights, on this device and in the checkpoints.

        It follows the weights behind each step, as a mean over about the last one of `order` parts of all steps until the decay
        forgets sooner (Shamir & Zhang, "Stochastic gradient descent for non-smooth optimization", 2013).
        """

        def update(averages: Any, values: Any, n_averaged: Any) -> None:  # two lists of tensors, and a tensor
            share = 1.0 - ((1.0 + n_averaged) / (1.0 + order + n_averaged)).clamp_max(decay)
            torch._foreach_lerp_(averages, values, share)

        averaged = AveragedModel(model, self.device, multi_avg_fn=update).eval().requires_grad_(False)
        self.accelerator.prepare_model(averaged, evaluation_mode=True)  # for the checkpoints alone
        self._averages.append((averaged, model))
        return averaged

    def prepare(self, *objects: Any) -> tuple[Any, ...]:
        """accelerate's `prepare`, for all models and optimisers that learn and are to be in the checkpoints."""
        prepared = tuple(self.accelerator.prepare(item) for item in objects)
        self._models += [item for item in prepared if isinstance(item, nn.Module)]
        self._optimizers += [item for item in prepared if isinstance(item, torch.optim.Optimizer)]
        return prepared

    def unwrap(self, model: nn.Module) -> nn.Module:
        """The model itself, without what accelerate put around it."""
        return self.accelerator.unwrap_model(model)

    def loader(self, source: Source) -> Loader:
        """The batches of a source, divided among the processes and moved to the device."""
        return Loader(source, self.accelerator, self.args)

    def open_stream(self, config: FeatureConfig) -> SliceStream:
        """This process's part of the stream that the arguments name."""
        args, rank = self.args, self.accelerator.process_index
        if args.data is None or len(args.data) != 1 or args.max_steps is None:
            raise TrainingError("--streaming needs --max-steps and one --data: a folder of parquet files or a Hub data set")
        return SliceStream(args.data[0], config, genres=args.genres, rank=rank, n_ranks=self.n_processes, seed=args.seed)

    def n_steps(self, loader: Loader | StreamLoader) -> int:
        """Steps that `--epochs` and `--max-steps` allow."""
        if loader.steps_per_epoch is None:
            return self.args.max_steps
        n_steps = self.args.epochs * loader.steps_per_epoch
        return n_steps if self.args.max_steps is None else min(n_steps, self.args.max_steps)

    def fit(self, task: Task) -> None:
        """Train, from the newest good checkpoint on where asked.

        Raises:
            TrainingError: values are not finite, the disk is full, or another process is lost.
            SystemExit: a signal stopped the training; a checkpoint was saved, and how to go on was said.
        """
        n_steps = self.n_steps(task.loader)
        rates = [group["lr"] for group in self._groups()]  # as the arguments say, whatever a checkpoint had
        first = self._load_checkpoint(task.loader) if self.resume else 0
        if self.is_main:
            self.folder.open(self.accelerator, self.name, first)
        batches = task.loader.batches(first)
        bar = tqdm(total=n_steps, initial=first, unit="step", disable=not self.is_main, mininterval=1.0)
        self._counted_from, self._n_counted, self._waited_s = time.perf_counter(), 0, 0.0
        try:
            with self._stop:
                for step in range(first, n_steps):
                    for group, rate in zip(self._groups(), rates, strict=True):
                        group["lr"] = rate * task.rate(step / n_steps)
                    with self._contact():
                        values = self._step(task, batches, step)
                        bar.update()
                        self._after_step(task, values, step + 1, n_steps, bar)
        finally:
            batches.close()  # ends the workers
            bar.close()
            if self.is_main:
                self.folder.close()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    def _step(self, task: Task, batches: Iterator[Batch], step: int) -> dict[str, Tensor]:
        torch.manual_seed(hash((self.args.seed, step, self.accelerator.process_index)) % 2**63)
        n_batches = self.accelerator.gradient_accumulation_steps
        means: dict[str, Tensor] = {}
        for _ in range(n_batches):
            asked = time.perf_counter()
            batch = next(batches)
            self._waited_s += time.perf_counter() - asked
            with self.accelerator.accumulate(*self._models):
                values = task.train_step(batch, step)
            means = {name: means.get(name, 0.0) + value.detach().float() / n_batches for name, value in values.items()}
        for average, model in self._averages:
            average.update_parameters(model)
        self._n_counted += self.rows_per_step
        return means

    def _after_step(self, task: Task, values: dict[str, Tensor], done: int, n_steps: int, bar: tqdm) -> None:
        args, last = self.args, done == n_steps
        if done % args.log_every == 0 or last:
            numbers = self._log(values, done)
            bar.set_postfix({name: f"{number:.3g}" for name, number in numbers.items()})
            if self.is_main:
                task.watch(numbers, done)
        # asking the others makes a GPU wait, so there it is done when the log has made it wait anyway
        asks = self.n_processes == 1 or self.device.type == "cpu" or done % args.log_every == 0 or last
        stop = self._signal_of_any() if asks else 0
        if done % args.checkpoint_every == 0 or last or stop:
            self._save_checkpoint(task.loader, done)
        if stop and not last:
            self.say(f"stopped by {signal.Signals(stop).name} after step {done}; go on with:\n  {self.command} --resume")
            raise SystemExit(128 + stop)
        if self.is_main and (done % args.preview_every == 0 or last):
            self._preview(task, done)

    def _signal_of_any(self) -> int:
        """The signal that any of the processes got, so that all stop after the same step; 0 for none."""
        if self.n_processes == 1:
            return self._stop.number
        return int(self.accelerator.gather(torch.tensor([self._stop.number], device=self.device)).max())

    def _log(self, values: dict[str, Tensor], step: int) -> dict[str, float]:
        """Wait for the step's values, average them over the processes, check them, and log them with rate and speed."""
        means = self.accelerator.gather_for_metrics(torch.stack(list(values.values()))[None]).mean(0)
        numbers = dict(zip(values, means.tolist(), strict=True))
        bad = [name for name, number in numbers.items() if not abs(number) < float("inf")]
        if bad:
            self._diverged(f"{', '.join(bad)} at step {step} is not a finite number")
        elapsed_s = time.perf_counter() - self._counted_from
        if self.is_main:
            self.folder.log(step, numbers | {
                "learning rate": max(group["lr"] for group in self._groups()),
                "samples per second": self._n_counted / elapsed_s,
                "waiting for data": self._waited_s / elapsed_s,
            })  # fmt: skip
        self._counted_from, self._n_counted, self._waited_s = time.perf_counter(), 0, 0.0
        return numbers

    def _diverged(self, how: str) -> None:
        raise TrainingError(
            f"training diverged: {how}. The last good checkpoint stands in {self.checkpoints}; try a lower --learning-rate"
        )

    def _preview(self, task: Task, step: int) -> None:
        """Previews are for people: one that fails must not end hours of training."""
        folder = self.folder.preview_folder(step)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            numbers = task.preview(folder)
            if numbers:
                self.folder.log(step, numbers)
                self.folder.write_history()
            self.folder.log_previews(step)
        except Exception as error:
            self.say(f"the preview of step {step} failed ({type(error).__name__}: {error}); the training goes on")

    def _save_checkpoint(self, loader: Loader | StreamLoader, step: int) -> None:
        tensors = [tensor for model in self._models for tensor in model.state_dict().values()]
        if not all(bool(tensor.isfinite().all()) for tensor in tensors if tensor.is_floating_point()):
            self._diverged(f"the weights after step {step} are not finite numbers")
        positions = gather_object([loader.positions])  # of each process in its stream
        if self.is_main:
            self.folder.write_history()
            notes = {"data": self._data_digest, "positions": positions}
            write_checkpoint(self.accelerator, self.checkpoints, step, notes, self.args.keep_checkpoints)

    def _load_checkpoint(self, loader: Loader | StreamLoader) -> int:
        """Restore the newest whole checkpoint, which the main process finds for all, and return its step; 0 for none."""
        found = [newest_checkpoint(self.checkpoints, self.say) if self.is_main else None]
        broadcast_object_list(found)
        if found[0] is None:
            self.say("no checkpoint to resume from: starting at step 0")
            return 0
        path, record = found[0]
        if record["data"] != self._data_digest:
            raise TrainingError(
                f"the data is not what the run in {self.args.output_dir} began with (other tracks, genres, lengths or clusters)"
            )
        load_checkpoint(self.accelerator, path, record)
        if loader.positions is not None and len(record["positions"]) == self.n_processes:  # else the stream begins anew
            loader.positions.update(record["positions"][self.accelerator.process_index])
        self.say(f"resumed from step {record['step']}")
        return record["step"]

    @contextmanager
    def _contact(self) -> Iterator[None]:
        """Say it in words where what the processes do together fails."""
        try:
            yield
        except RuntimeError as error:
            if self.n_processes == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            raise TrainingError(
                f"process {self.accelerator.process_index} lost contact with another process ({str(error).splitlines()[0]}); the "
                f"last good checkpoint stands in {self.checkpoints}, go on with:\n  {self.command} --resume"
            ) from error

    def record(self, loader: Loader | StreamLoader, store: FeatureStore | None, split: Split | None = None) -> dict:
        """What a finished model says of its origin.

        Without a store it learned from a stream; without a split from all tracks of the store. Counted are those that trained.
        """
        record = {
            "command": self.command,
            "data": data_names(self.args.data),
            "split": "none: trained on all tracks" if split is None else split.summary(),
            "steps": self.n_steps(loader),
            "seed": self.args.seed,
        }
        if store is not None:
            trained = store.tracks if split is None else split.trained(store.tracks)
            record |= {"tracks": len(trained), "skipped": len(store.skipped), "tracks_per_genre": trained.tracks_per_genre}
        return record

    def finish(self, save_pretrained: Callable[[Path], Path]) -> None:
        """Write the finished model into the run's folder, upload it where the arguments say so, and part."""
        if self.is_main:
            folder = save_pretrained(self.args.output_dir / "model")
            self.say(f"saved to {folder}")
        self.accelerator.end_training()
        if self.is_main and self.args.push_to_hub:
            self.say(f"pushed to {push_model_folder(folder, self.args.push_to_hub, self.args.private, self.args.revision)}")


def _digest(store: FeatureStore, clusters: np.ndarray | None) -> str:
    described = [store.tracks.ids, store.tracks.genre_names, store.n_frames.tolist()]
    if clusters is not None:
        described.append(clusters.tolist())
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()
