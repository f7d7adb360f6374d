"""The numbers, sounds and pictures of a run: sent to its tracker, and kept as `history.json` and `learning_curve.png`."""

from __future__ import annotations

import importlib
import importlib.util
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from genre_gan.files import write_bytes
from genre_gan.hub import CURVE_NAME
from genre_gan.plots import learning_curve_figure, save_figure
from training.arguments import TrainingError

TRACKERS = ("tensorboard", "trackio", "wandb", "none")
HISTORY_NAME = "history.json"
_NOT_DRAWN = {"learning rate", "samples per second", "waiting for data"}


def check_tracker(name: str) -> None:
    """Raise `TrainingError` where the tracker is not installed: accelerate would go on without it, silently."""
    if name != "none" and importlib.util.find_spec(name) is None:
        raise TrainingError(f"--tracker {name} needs `pip install {name}`; --tracker none goes without")


class Log:
    """What a run logs, on the main process alone.

    Attributes:
        rows: for each logged step, `step` and its numbers by name.
    """

    def __init__(self, accelerator: Accelerator, tracker: str, folder: Path):
        self.accelerator, self.tracker, self.folder = accelerator, tracker, folder
        self.rows: list[dict[str, float]] = []

    def open(self, name: str, first_step: int, settings: dict[str, Any]) -> None:
        """Start the tracker; what it holds of later steps belongs to a run that was lost."""
        if self.tracker == "none":
            return
        options = {"tensorboard": {"purge_step": first_step + 1}} if self.tracker == "tensorboard" else {}
        simple = {key: value for key, value in settings.items() if isinstance(value, (int, float, str, bool))}
        self.accelerator.init_trackers(name, simple, init_kwargs=options)

    def add(self, step: int, numbers: dict[str, float]) -> None:
        """Log numbers of one step; those of a step that already has some join them."""
        if self.rows and self.rows[-1]["step"] == step:
            self.rows[-1].update(numbers)
        else:
            self.rows.append({"step": step} | numbers)
        if self.tracker != "none":
            self.accelerator.log(numbers, step=step)

    def add_previews(self, step: int) -> None:
        """Send the sounds and pictures that the task has left in `previews/step-NNNNNNNN` to the tracker."""
        folder = self.folder / "previews" / f"step-{step:08d}"
        sounds, pictures = sorted(folder.glob("*.wav")), sorted(folder.glob("*.png"))
        if self.tracker == "tensorboard":
            self._to_tensorboard(step, sounds, pictures)
        elif self.tracker != "none" and sounds + pictures:
            library = importlib.import_module(self.tracker)
            media = {path.stem: library.Audio(str(path)) for path in sounds} | {p.stem: library.Image(str(p)) for p in pictures}
            self.accelerator.get_tracker(self.tracker).log(media, step=step)

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

    def write(self) -> None:
        """Write `history.json`, a list of rows, and `learning_curve.png`."""
        write_bytes(self.folder / HISTORY_NAME, json.dumps(self.rows, indent=1).encode())
        drawn = [{name: value for name, value in row.items() if name not in _NOT_DRAWN} for row in self.rows]
        if drawn:
            save_figure(learning_curve_figure(drawn), self.folder / CURVE_NAME)

    def close(self) -> None:
        # The last lines of a log are not worth a run: where the disk is full, the checkpoint's error is the one to show.
        with suppress(OSError):
            for tracker in self.accelerator.trackers:
                tracker.finish()
