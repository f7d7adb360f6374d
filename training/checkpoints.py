"""Checkpoints of accelerate's `save_state`, each written whole or not at all, and checked before it is loaded.

Models, moving averages among them, are safetensors; the states of optimisers and generators of random numbers are read with
`weights_only`, which accelerate does of itself. Its custom states are unpickled, so there are none.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError
from torch import nn

from training.arguments import TrainingError

_RECORD = "record.json"
_FORMAT = 2  # raised when older checkpoints cannot be resumed from any more


def keep_plain_models(accelerator: Accelerator) -> None:
    """Have checkpoints hold the models without wrappers, so that one of two processes can be resumed on one."""

    def save(models: list[nn.Module], weights: list[dict], folder: str) -> None:
        weights[:] = [accelerator.unwrap_model(model).state_dict() for model in models]

    def load(models: list[nn.Module], folder: str) -> None:
        models[:] = [accelerator.unwrap_model(model) for model in models]

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)


def write_checkpoint(accelerator: Accelerator, folder: Path, step: int, notes: dict[str, Any], keep: int) -> None:
    """Save the state under a temporary name, sync, rename, sync the folder; then delete all but the newest `keep`.

    To be called by the main process alone: all ranks hold the same weights, and no step depends on a generator's state.

    Raises:
        TrainingError: the disk is full or refuses; the checkpoints that stood there before still do.
    """
    temporary, final = folder / f".writing-{step:08d}", folder / f"step-{step:08d}"
    try:
        for leftover in folder.glob(".writing-*"):
            shutil.rmtree(leftover)
        accelerator.save_state(str(temporary))
        digests = {path.name: _digest(path) for path in sorted(temporary.iterdir())}
        record = {"format": _FORMAT, "step": step, "sha256": digests} | notes
        (temporary / _RECORD).write_text(json.dumps(record))
        for path in [*temporary.iterdir(), temporary]:
            _sync(path)
        if final.exists():  # a damaged one, or the run would not have come back to this step
            shutil.rmtree(final)
        os.replace(temporary, final)
        _sync(folder)
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save says a full disk with the last
        shutil.rmtree(temporary, ignore_errors=True)
        raise TrainingError(
            f"the checkpoint of step {step} cannot be written: {error}. Those in {folder} are intact; "
            "make room and go on with --resume"
        ) from error
    older = [path for path in checkpoints(folder) if path <= final]
    for path in set(checkpoints(folder)) - set(older[-keep:]):
        shutil.rmtree(path)


def checkpoints(folder: Path) -> list[Path]:
    """The finished ones, oldest first."""
    return sorted(folder.glob("step-*"))


def newest_checkpoint(folder: Path, say: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The newest one that is whole and what it notes, among it its `step`; None without any. `say` hears of damaged ones."""
    for path in reversed(checkpoints(folder)):
        try:
            record = json.loads((path / _RECORD).read_text())
            for name, digest in record["sha256"].items():
                if _digest(path / name) != digest:
                    raise ValueError(f"the checksum of {name} does not match")
            if path.name != f"step-{record['step']:08d}":
                raise ValueError(f"it says that it is of step {record['step']}")
            return path, record
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"checkpoint {path.name} is damaged ({error}); trying the one before it")
    return None


def load_checkpoint(accelerator: Accelerator, path: Path, record: dict[str, Any]) -> None:
    """Restore everything from a checkpoint that `newest_checkpoint` found.

    Raises:
        TrainingError: this host does not see it, it is of other models, or an older version of these scripts wrote it.
    """
    if record.get("format") != _FORMAT:
        raise TrainingError(
            f"{path} was written by another version of these scripts: end that run with them, or begin anew with --overwrite"
        )
    if not path.is_dir():
        raise TrainingError(f"this host does not see {path}: put --output-dir on a disk that all hosts share")
    try:
        accelerator.load_state(str(path))
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError) as error:
        raise TrainingError(f"{path} cannot be loaded into this training: {error}") from error
    accelerator.step = 0  # of the batches whose gradients are added; a checkpoint is behind the last of them


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sync(path: Path) -> None:
    """Have the disk hold a file, or a folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
