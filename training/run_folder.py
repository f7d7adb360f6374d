"""The folder of a run: its settings, its lock, and what it logs: numbers, sounds and pictures."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import shutil
import sys
from collections import ChainMap
from contextlib import suppress
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from genre_gan.files import write_bytes
from genre_gan.hub import CURVE_NAME, SETTINGS_NAME, check_can_push
from genre_gan.plots import learning_curve_figure, save_figure
from training.arguments import TrainingError

HISTORY_NAME = "history.json"
# Arguments that may change between a run and its resumption. The tracks themselves are compared, not where they lie.
_FREE_ON_RESUME = {
    "data", "output_dir", "cache_dir", "max_steps", "epochs", "keep_checkpoints", "checkpoint_every", "preview_every",
    "log_every", "tracker", "push_to_hub", "private", "revision", "mixed_precision", "learning_rate", "num_workers", "keep",
}  # fmt: skip
# What a run leaves in its folder, and --overwrite deletes.
_LEFT_BY_RUNS = ("checkpoints", "previews", "logs", "model", SETTINGS_NAME, HISTORY_NAME, CURVE_NAME, "result.json")
_NOT_DRAWN = {"learning rate", "samples per second", "waiting for data"}


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """All settings, as they stand in `args.json`; whether a run is begun or resumed is none."""
    settings = {name: value for name, value in vars(args).items() if name not in ("resume", "overwrite")}
    return json.loads(json.dumps(settings, default=str))


def check_run(args: argparse.Namespace, resume: bool) -> None:
    """Raise where a run would fail only later: its folder holds another run, its tracker or its Hub token is missing."""
    if args.tracker != "none" and importlib.util.find_spec(args.tracker) is None:
        # accelerate would go on without it, silently
        raise TrainingError(f"--tracker {args.tracker} needs `pip install {args.tracker}`; --tracker none goes without")
    if args.push_to_hub:
        check_can_push(args.push_to_hub)
    path = args.output_dir / SETTINGS_NAME
    if not path.exists() or (args.overwrite and not resume):
        return
    if not resume:
        raise TrainingError(f"{args.output_dir} holds an earlier run: go on with --resume, or delete it with --overwrite")
    before, now = json.loads(path.read_text()), settings_of(args)
    changed = sorted(key for key in now.keys() - _FREE_ON_RESUME if before.get(key) != now[key])
    if changed:
        listed = ", ".join(f"{key} was {before.get(key)!r}, now {now[key]!r}" for key in changed)
        raise TrainingError(f"the run in {args.output_dir} cannot be resumed with other settings: {listed}")


class RunFolder:
    """What the main process of a run writes, checkpoints apart.

    Attributes:
        rows: for each logged step, `step` and its numbers by name.
    """

    def __init__(self, args: argparse.Namespace, resume: bool):
        """Take the folder for this run alone."""
        self.args, self.path, self._resume = args, args.output_dir, resume
        self.rows: list[dict[str, float]] = []
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = _lock_folder(self.path)

    def _write_settings(self, first_step: int) -> None:
        """In `args.json`; what a resumption changes is added to `resumed`, beside the step that it goes on from."""
        path, settings = self.path / SETTINGS_NAME, settings_of(self.args)
        if path.exists():
            now, settings = settings, json.loads(path.read_text())
            resumed = settings.setdefault("resumed", [])
            latest = ChainMap(*reversed(resumed), settings)
            resumed.append({"step": first_step} | {key: value for key, value in now.items() if latest.get(key) != value})
        write_bytes(path, json.dumps(settings, indent=2).encode())

    def open(self, accelerator: Accelerator, name: str, first_step: int) -> None:
        """Delete what an earlier run left, where that was asked, and start the log behind `first_step`.

        What the log holds of later steps belongs to a run that was lost.
        """
        self.accelerator = accelerator
        if not self._resume and (self.path / SETTINGS_NAME).exists():  # which needs --overwrite
            for path in map(self.path.joinpath, _LEFT_BY_RUNS):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        self._write_settings(first_step)
        if first_step:
            with suppress(OSError, ValueError):
                self.rows = [row for row in json.loads((self.path / HISTORY_NAME).read_text()) if row["step"] <= first_step]
        if self.args.tracker != "none":
            options = {"tensorboard": {"purge_step": first_step + 1}} if self.args.tracker == "tensorboard" else {}
            simple = {key: value for key, value in vars(self.args).items() if isinstance(value, (int, float, str, bool))}
            accelerator.init_trackers(name, simple, init_kwargs=options)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Log numbers of one step; those of a step that already has some join them."""
        if self.rows and self.rows[-1]["step"] == step:
            self.rows[-1].update(numbers)
        else:
            self.rows.append({"step": step} | numbers)
        if self.args.tracker != "none":
            self.accelerator.log(numbers, step=step)

    def preview_folder(self, step: int) -> Path:
        return self.path / "previews" / f"step-{step:08d}"

    def log_previews(self, step: int) -> None:
        """Send the sounds and pictures of a step's preview to the tracker."""
        folder, tracker = self.preview_folder(step), self.args.tracker
        sounds, pictures = sorted(folder.glob("*.wav")), sorted(folder.glob("*.png"))
        if tracker == "tensorboard":
            self._to_tensorboard(step, sounds, pictures)
        elif tracker != "none" and sounds + pictures:
            library = importlib.import_module(tracker)
            media = {path.stem: library.Audio(str(path)) for path in sounds} | {p.stem: library.Image(str(p)) for p in pictures}
            self.accelerator.get_tracker(tracker).log(media, step=step)

    def _to_tensorboard(self, step: int, sounds: list[Path], pictures: list[Path]) -> None:
        import matplotlib.image
        import soundfile

        writer = self.accelerator.get_tracker("tensorboard", unwrap=True)
        for path in sounds:
            samples, sample_rate_hz = soundfile.read(path, dtype="float32")
            writer.add_audio(path.stem, samples[None], step, sample_rate_hz)
        for path in pictures:
            writer.add_image(path.stem, matplotlib.image.imread(path)[..., :3], step, dataformats="HWC")
        writer.flush()

    def write_history(self) -> None:
        """Write `history.json`, a list of rows."""
        write_bytes(self.path / HISTORY_NAME, json.dumps(self.rows, indent=1).encode())

    def close(self) -> None:
        """Write history and learning curve, and let the next run have the folder.

        The last lines of a log are not worth a run: where the disk is full, the checkpoint's error is the one to show.
        """
        with suppress(OSError):
            self.write_history()
            drawn = [{name: value for name, value in row.items() if name not in _NOT_DRAWN} for row in self.rows]
            if drawn:
                save_figure(learning_curve_figure(drawn), self.path / CURVE_NAME)
        if self._lock is not None:
            self._lock.close()


def _lock_folder(folder: Path) -> Any:
    """An open file whose lock ends with this process, however it ends."""
    if sys.platform == "win32":
        return None
    import fcntl

    file = open(folder / ".lock", "w")  # noqa: SIM115, it stays open as long as the run
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which the workers that read ahead do not inherit
    except (BlockingIOError, PermissionError) as error:
        raise TrainingError(f"another process is training into {folder} right now") from error
    return file
