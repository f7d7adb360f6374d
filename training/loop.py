"""What every training shares: arguments, processes, batches, checkpoints, signals, trackers and the loop itself.

Every random draw of step k comes from (seed, k) and is made for the whole batch before the ranks divide it. So a resumed run
and a run on several ranks go exactly where one that was never stopped, on one process, would have gone; a checkpoint needs
no generator states.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from genre_gan.audio import write_bytes
from genre_gan.dataset import DEFAULT_DATASET, PROTOCOLS, Split, TrackSet, load_tracks, split_segments, split_tracks
from genre_gan.features import FeatureConfig
from genre_gan.hub import CURVE_NAME, SETTINGS_NAME, check_can_push
from genre_gan.plots import learning_curve_figure, save_figure
from genre_gan.store import FeatureStore, LatentStore, Segments

TRACKERS = ("tensorboard", "trackio", "wandb", "none")
LOG_NAME = "log.jsonl"
# Arguments that may change between a run and its resumption.
_FREE_ON_RESUME = {
    "output_dir", "cache_dir", "max_steps", "epochs", "resume", "overwrite", "keep_checkpoints", "checkpoint_every",
    "preview_every", "log_every", "tracker", "push_to_hub", "private", "revision", "mixed_precision", "learning_rate", "autoencoder",
    "judge", "guidance", "vocoder",
}


class TrainingError(RuntimeError):
    """A run that cannot start or go on. The message is fit for users."""


def add_common_arguments(parser: argparse.ArgumentParser, epochs: int, batch_size: int | None) -> None:
    """The options that all training scripts have."""
    data = parser.add_argument_group("data")
    data.add_argument("--data", action="append", metavar="SOURCE", help="Hub data set id, folder of genres, tracks.csv or folder "
                      f"of parquet; repeat to combine several (default: {DEFAULT_DATASET})")
    data.add_argument("--genres", nargs="+", metavar="GENRE", help="train on these genres alone")
    data.add_argument("--split", choices=PROTOCOLS, default="track", help="what validation keeps apart (default: %(default)s)")
    data.add_argument("--cache-dir", type=Path, help="where features are kept (default: ~/.cache/genre_gan)")
    run = parser.add_argument_group("run")
    run.add_argument("--output-dir", type=Path, required=True, help="folder for checkpoints, logs, previews and weights")
    run.add_argument("--epochs", type=positive_int, default=epochs, help="passes over the data (default: %(default)s)")
    run.add_argument("--max-steps", type=positive_int, help="stop after so many steps, whatever --epochs says")
    run.add_argument("--batch-size", type=positive_int, default=batch_size, help="of all processes together (default: %(default)s)")
    run.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    run.add_argument("--mixed-precision", choices=("no", "bf16"), default="no", help="(default: %(default)s)")
    run.add_argument("--resume", action="store_true", help="go on from the newest good checkpoint in --output-dir, if there is one")
    run.add_argument("--overwrite", action="store_true", help="delete what an earlier run left in --output-dir")
    run.add_argument("--checkpoint-every", type=positive_int, default=500, metavar="STEPS", help="(default: %(default)s)")
    run.add_argument("--keep-checkpoints", type=positive_int, default=2, metavar="N", help="newest ones kept (default: %(default)s)")
    run.add_argument("--preview-every", type=positive_int, default=500, metavar="STEPS", help="(default: %(default)s)")
    run.add_argument("--log-every", type=positive_int, default=10, metavar="STEPS", help="(default: %(default)s)")
    run.add_argument("--tracker", choices=TRACKERS, default="tensorboard", help="(default: %(default)s)")
    add_hub_arguments(parser.add_argument_group("hub"), "the finished model")


def add_hub_arguments(group: argparse._ArgumentGroup, what: str) -> None:
    """The options of all scripts that can upload what they made."""
    group.add_argument("--push-to-hub", metavar="USER/REPO", help=f"upload {what} there")
    group.add_argument("--private", action="store_true", help="make the Hub repository private where it is new")
    group.add_argument("--revision", metavar="BRANCH", help="push to this branch, made where it is missing (default: main)")


def positive_int(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


class Task(Protocol):
    """What a script trains. `modules` and `optimizers` are what a checkpoint holds."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Do step number `step` and return what to log, as tensors that nobody has waited for."""

    def watch(self, values: dict[str, float], step: int) -> None:
        """Look at the logged numbers and say what is wrong, if anything."""

    def preview(self, step: int) -> None:
        """Write what people would look at or listen to; on the main process alone."""


class Run:
    """One training run: its processes, its folder, its checkpoints and its tracker."""

    def __init__(self, args: argparse.Namespace, name: str):
        self.args = args
        if args.push_to_hub:
            check_can_push(args.push_to_hub)  # not after hours of training
        tracker = None if args.tracker == "none" else args.tracker
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision=args.mixed_precision,
            log_with=tracker,
            project_dir=str(args.output_dir),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(seconds=60))],
        )
        self.device = self.accelerator.device
        self.rank, self.world_size = self.accelerator.process_index, self.accelerator.num_processes
        self.command = f"python training/{Path(sys.argv[0]).name} {shlex.join(_lasting_arguments(sys.argv[1:]))}"
        self.checkpoint_dir = args.output_dir / "checkpoints"
        self._stop_signal: int | None = None
        self._announce_processes()
        if args.batch_size < self.world_size:
            raise TrainingError(f"--batch-size {args.batch_size} is smaller than the number of processes, {self.world_size}")
        self._prepare_folder()
        torch.manual_seed(args.seed)  # the same initial weights on every rank
        if tracker:
            self.accelerator.init_trackers(name)

    def say(self, message: str) -> None:
        """Print on the main process alone."""
        if self.accelerator.is_main_process:
            tqdm.write(message)

    def _announce_processes(self) -> None:
        word = "process" if self.world_size == 1 else "processes"
        self.say(f"training on {self.world_size} {word} ({self.device.type})")
        asked = _processes_asked_for()
        if asked > self.world_size:
            self.say(
                f"{asked} processes were asked for but {self.world_size} runs; on a CPU start several with:\n"
                f"  python -m torch.distributed.run --standalone --nproc_per_node {asked} {self.command.removeprefix('python ')}"
            )

    def _prepare_folder(self) -> None:
        args, settings_path = self.args, self.args.output_dir / SETTINGS_NAME
        restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
        self.resume = args.resume or restarted
        if self.accelerator.is_main_process:
            if args.overwrite and not restarted and settings_path.exists():
                shutil.rmtree(self.checkpoint_dir, ignore_errors=True)
                settings_path.unlink()
                (args.output_dir / LOG_NAME).unlink(missing_ok=True)
            args.output_dir.mkdir(parents=True, exist_ok=True)
        self.accelerator.wait_for_everyone()
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k not in _FREE_ON_RESUME}
        if settings_path.exists():
            if not self.resume:
                raise TrainingError(f"{args.output_dir} holds an earlier run: go on with --resume, or delete it with --overwrite")
            before = json.loads(settings_path.read_text())
            changed = sorted(key for key in settings if before.get(key) != settings[key])
            if changed:
                listed = ", ".join(f"{key} was {before.get(key)!r}, now {settings[key]!r}" for key in changed)
                raise TrainingError(f"the run in {args.output_dir} cannot be resumed with other settings: {listed}")
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            write_bytes(settings_path, json.dumps(settings, indent=2).encode())

    def load_features(self, config: FeatureConfig) -> FeatureStore:
        """The data that the arguments name, as features; the main process fills the cache first."""
        tracks = load_tracks(self.args.data or [DEFAULT_DATASET], self.args.genres)
        with self.accelerator.main_process_first():
            store = FeatureStore(tracks, config, self.args.cache_dir, progress=self.accelerator.is_main_process)
        self.say(store.summary())
        return store

    def average_gradients(self, module: nn.Module) -> None:
        """Replace each gradient by its mean over the ranks. Losses must be means over equal shares or weighted so."""
        if self.world_size == 1:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        flat = self.accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="mean")
        for gradient, values in zip(gradients, flat.split([g.numel() for g in gradients])):
            gradient.copy_(values.view_as(gradient))

    def fit(self, task: Task, n_steps: int) -> bool:
        """Train up to `n_steps`, from the newest good checkpoint on where asked; False if a signal stopped it before."""
        for module in task.modules.values():
            module.to(self.device)
        first = self.load_checkpoint(task) if self.resume else 0
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        bar = tqdm(total=n_steps, initial=first, unit="step", disable=not self.accelerator.is_main_process, mininterval=1.0)
        try:
            for step in range(first, n_steps):
                values = task.train_step(step)
                bar.update()
                done = step + 1
                if done % self.args.log_every == 0 or done == n_steps:
                    task.watch(self._log(values, done, bar), done)
                if self._should_stop():
                    self.save_checkpoint(task, done)
                    self.say(f"stopped by a signal after step {done}; go on with:\n  {self.command} --resume")
                    return False
                if done % self.args.checkpoint_every == 0 or done == n_steps:
                    self.save_checkpoint(task, done)
                if (done % self.args.preview_every == 0 or done == n_steps) and self.accelerator.is_main_process:
                    task.preview(done)
        finally:
            bar.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
            if self.args.tracker != "none":
                self.accelerator.end_training()
        if self.accelerator.is_main_process and (self.args.output_dir / LOG_NAME).exists():
            self._draw_learning_curve()
        return True

    def _draw_learning_curve(self) -> None:
        """Picture what was logged since step 0, through all resumptions; a step logged twice counts as logged last."""
        rows = {}
        for line in (self.args.output_dir / LOG_NAME).read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # a kill cut it off
            rows[row["step"]] = row
        save_figure(learning_curve_figure([rows[step] for step in sorted(rows)]), self.args.output_dir / CURVE_NAME)

    def _on_signal(self, number: int, frame: object) -> None:
        if self._stop_signal is not None:
            raise KeyboardInterrupt
        self._stop_signal = number

    def _should_stop(self) -> bool:
        if self.world_size == 1:
            return self._stop_signal is not None
        flag = torch.tensor(float(self._stop_signal is not None), device=self.device)
        return bool(self.accelerator.reduce(flag, reduction="sum") > 0)

    def _log(self, values: dict[str, Tensor], step: int, bar: tqdm) -> dict[str, float]:
        numbers = {name: float(value) for name, value in values.items()}
        bad = [name for name, number in numbers.items() if not np.isfinite(number)]
        if bad:
            raise TrainingError(
                f"training diverged at step {step}: {', '.join(bad)} is not a finite number. "
                f"The last good checkpoint stands in {self.checkpoint_dir}; try a lower learning rate"
            )
        bar.set_postfix({name: f"{number:.3g}" for name, number in numbers.items()})
        if self.accelerator.is_main_process:
            with open(self.args.output_dir / LOG_NAME, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step} | numbers) + "\n")
        if self.args.tracker != "none":
            self.accelerator.log(numbers, step=step)
        return numbers

    def save_checkpoint(self, task: Task, step: int) -> None:
        """Write modules and optimisers under a temporary name, sync, rename; then drop the oldest beyond those kept."""
        if self.accelerator.is_main_process:
            tensors, groups = _pack(task)
            if not all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point()):
                raise TrainingError(f"the weights at step {step} are not finite; the last good checkpoint was kept")
            self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=self.checkpoint_dir, prefix=".writing-"))
            try:
                save_file(tensors, temporary / "state.safetensors")
                digest = _digest(temporary / "state.safetensors")
                write_bytes(temporary / "state.json", json.dumps({"step": step, "groups": groups, "sha256": digest}).encode())
                with open(temporary / "state.safetensors", "rb") as file:
                    os.fsync(file.fileno())
                final = self.checkpoint_dir / f"step-{step:08d}"
                if final.exists():
                    shutil.rmtree(final)
                os.replace(temporary, final)
            except OSError as error:
                raise TrainingError(f"the checkpoint of step {step} cannot be written ({error}); the one before it is intact") from error
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            for old in self._checkpoints()[: -self.args.keep_checkpoints]:
                shutil.rmtree(old)
            for leftover in self.checkpoint_dir.glob(".writing-*"):
                shutil.rmtree(leftover, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def _checkpoints(self) -> list[Path]:
        return sorted(self.checkpoint_dir.glob("step-*"))

    def load_checkpoint(self, task: Task) -> int:
        """Restore the newest checkpoint that is whole and return its step; 0 where there is none."""
        for folder in reversed(self._checkpoints()):
            try:
                state = json.loads((folder / "state.json").read_text())
                if _digest(folder / "state.safetensors") != state["sha256"]:
                    raise ValueError("its checksum does not match")
            except (OSError, ValueError, KeyError) as error:
                self.say(f"checkpoint {folder.name} is damaged ({error}); trying the one before it")
                continue
            _unpack(task, load_file(folder / "state.safetensors"), state["groups"])
            self.say(f"resumed from step {state['step']}")
            return state["step"]
        self.say("no checkpoint to resume from: starting at step 0")
        return 0


def _processes_asked_for() -> int:
    """The `--num_processes` of the `accelerate launch` that started this process, else 1: nothing else tells of it.

    On a CPU `accelerate launch` runs one process whatever that option says, unless MPI is set up.
    """
    import psutil

    try:
        words = psutil.Process().parent().cmdline()
    except (psutil.Error, AttributeError):
        return 1
    for position, word in enumerate(words):
        name, _, value = word.replace("-", "_").partition("=")
        if name == "__num_processes":
            value = value or "".join(words[position + 1 : position + 2])
            return int(value) if value.isdigit() else 1
    return 1


def _lasting_arguments(argv: list[str]) -> list[str]:
    """A command line without what belongs to one machine or one attempt."""
    kept = [argument for argument in argv if argument not in ("--overwrite", "--resume")]
    if "--cache-dir" in kept:
        position = kept.index("--cache-dir")
        del kept[position : position + 2]
    return kept


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _pack(task: Task) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, groups = {}, {}
    for name, module in task.modules.items():
        for key, value in module.state_dict().items():
            tensors[f"module.{name}.{key}"] = value.detach().cpu().clone().contiguous()
    for name, optimizer in task.optimizers.items():
        state = optimizer.state_dict()
        groups[name] = state["param_groups"]
        for index, values in state["state"].items():
            for key, value in values.items():
                if value is not None:
                    tensors[f"optimizer.{name}.{index}.{key}"] = torch.as_tensor(value).detach().cpu().clone().contiguous()
    return tensors, groups


def _unpack(task: Task, tensors: dict[str, Tensor], groups: dict[str, Any]) -> None:
    for name, module in task.modules.items():
        prefix = f"module.{name}."
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}, strict=True)
    for name, optimizer in task.optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optimizer.{name}."):
                index, field = key.removeprefix(f"optimizer.{name}.").split(".", 1)
                state.setdefault(int(index), {})[field] = value
        optimizer.load_state_dict({"state": state, "param_groups": groups[name]})


def split_store(store: FeatureStore, protocol: str, seed: int) -> tuple[Split, Segments, Segments]:
    """Split a store by `protocol` and slice both sides: the split, the training and the validation segments."""
    if protocol == "segment":
        segments = store.segments()
        split = split_segments(len(segments), seed=seed)
        return split, pick(segments, split.train), pick(segments, split.valid)
    split = split_tracks(store.tracks, protocol, seed=seed)
    return split, store.segments(split.train), store.segments(split.valid)


def pick(segments: Segments, indices: np.ndarray) -> Segments:
    """Some of the segments, in the given order."""
    return Segments(segments.track[indices], segments.start[indices], segments.n_frames[indices])


class Batch(NamedTuple):
    """This rank's share of one step.

    Attributes:
        features: Tensor[B x T x F], zero beyond a slice's end.
        n_frames: (B,) lengths without that padding.
        genre_ids: (B,).
        noise_seed: from which draws for the whole batch come, the same on every rank.
        share: which rows of the whole batch these are.
        weight: of this rank's mean loss, so that the mean over ranks is the mean over the whole batch.
        n_everyone: size of the whole batch.
    """

    features: Tensor
    n_frames: Tensor
    genre_ids: Tensor
    noise_seed: int
    share: slice
    weight: float
    n_everyone: int

    def randn(self, *shape: int, draw: int = 0) -> Tensor:
        """Normal noise Tensor[B x *shape] for these rows; `draw` tells several draws of one step apart."""
        generator = torch.Generator().manual_seed(self.noise_seed + draw)
        return torch.randn(self.n_everyone, *shape, generator=generator)[self.share].to(self.features.device)


class Loader:
    """Batches of slices, the next one read in the background while this one is used.

    Batch k is a function of (seed, k) alone. Subclasses choose its slices.
    """

    def __init__(self, store: FeatureStore | LatentStore, length: int, seed: int, run: Run):
        self.store, self.length, self.seed, self.run = store, length, seed, run
        genre_id = {genre: i for i, genre in enumerate(store.tracks.genres)}
        self.track_genre_ids = np.array([genre_id[genre] for genre in store.tracks.genre_names])
        self._pool = ThreadPoolExecutor(1)
        self._next: tuple[int, Any] | None = None

    def choose(self, step: int) -> Segments:
        """The slices of the whole batch number `step`."""
        raise NotImplementedError

    def batch(self, step: int) -> Batch:
        """This rank's share of batch number `step`."""
        future = self._next[1] if self._next and self._next[0] == step else self._pool.submit(self._read, step)
        result = future.result()
        self._next = (step + 1, self._pool.submit(self._read, step + 1))
        return result

    def _read(self, step: int) -> Batch:
        everyone = self.choose(step)
        rows = np.array_split(np.arange(len(everyone)), self.run.world_size)[self.run.rank]
        mine = pick(everyone, rows)
        device = self.run.device
        return Batch(
            self.read(mine).to(device),
            torch.from_numpy(mine.n_frames).to(device),
            torch.from_numpy(self.track_genre_ids[mine.track]).to(device),
            int(np.random.SeedSequence([self.seed, step, 1]).generate_state(1)[0]) << 8,
            slice(int(rows[0]), int(rows[-1]) + 1),
            len(mine) * self.run.world_size / len(everyone),
            len(everyone),
        )


    def read(self, segments: Segments) -> Tensor:
        """Features Tensor[B x T x F] of these slices, zero beyond a slice's end."""
        features = torch.zeros(len(segments), self.length, self.store.n_features)
        for row, (track, start, n_frames) in enumerate(zip(segments.track, segments.start, segments.n_frames)):
            features[row, :n_frames] = torch.from_numpy(self.store.read(int(track), int(start), int(n_frames)))
        return features


class SegmentLoader(Loader):
    """Epochs of fixed segments: epoch e is a permutation of all of them, so that none is lost and none comes twice.

    A last batch too small for all ranks joins the one before it.
    """

    def __init__(self, store: FeatureStore, segments: Segments, batch_size: int, seed: int, run: Run):
        super().__init__(store, int(segments.n_frames.max()), seed, run)
        self.segments, self.batch_size = segments, min(batch_size, len(segments))
        full, rest = divmod(len(segments), self.batch_size)
        self.batches_per_epoch = full + (rest >= run.world_size)
        self.genre_ids = self.track_genre_ids[segments.track]

    def choose(self, step: int) -> Segments:
        epoch, position = divmod(step, self.batches_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.segments))
        stop = None if position == self.batches_per_epoch - 1 else (position + 1) * self.batch_size
        return pick(self.segments, order[position * self.batch_size : stop])


class CropLoader(Loader):
    """Random crops of one length: genres as even as the batch size allows, in each genre every source of data as often as
    the others, and in each source longer tracks more often than short ones.
    """

    def __init__(self, store: FeatureStore | LatentStore, tracks: np.ndarray, length: int, batch_size: int, seed: int, run: Run):
        super().__init__(store, length, seed, run)
        tracks = tracks[store.n_frames[tracks] >= length]
        if len(tracks) == 0:
            raise ValueError(f"no track is as long as a crop of {length / store.frame_rate_hz:.1f} s; use a shorter one")
        self.batch_size = batch_size
        self.batches_per_epoch = max(1, int(store.n_frames[tracks].sum()) // (length * batch_size))
        genre_ids, sources = self.track_genre_ids[tracks], np.array(store.tracks.sources)[tracks]
        self.by_genre = []
        for genre in np.unique(genre_ids):
            chances = np.zeros(len(tracks))
            for source in np.unique(sources[genre_ids == genre]):
                members = (genre_ids == genre) & (sources == source)
                chances[members] = store.n_frames[tracks[members]] / store.n_frames[tracks[members]].sum()
            chosen = chances > 0
            self.by_genre.append((tracks[chosen], chances[chosen] / chances.sum()))

    def choose(self, step: int) -> Segments:
        rng = np.random.default_rng([self.seed, step])
        genres = np.resize(rng.permutation(len(self.by_genre)), self.batch_size)
        tracks = np.array([rng.choice(self.by_genre[genre][0], p=self.by_genre[genre][1]) for genre in genres])
        starts = rng.integers(0, self.store.n_frames[tracks] - self.length + 1)
        return Segments(tracks, starts, np.full(self.batch_size, self.length))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move an exponential moving average of weights; the first steps count for more."""
    decay = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(average.parameters(), model.parameters()):
        mean.lerp_(value, 1.0 - decay)


def count_steps(args: argparse.Namespace, batches_per_epoch: int) -> int:
    """Steps that `--epochs` and `--max-steps` allow."""
    n_steps = args.epochs * batches_per_epoch
    return n_steps if args.max_steps is None else min(n_steps, args.max_steps)


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
        "steps": n_steps,
        "seed": run.args.seed,
    }


def run_script(main_function, args: argparse.Namespace) -> None:
    """Run a script's work; errors that users can mend end it with one line instead of a traceback."""
    try:
        main_function(args)
    except (TrainingError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
