"""Checkpoints of accelerate's `save_state`, each written whole or not at all, and checked before it is loaded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError

from genre_gan.files import write_bytes
from training.arguments import TrainingError

_RECORD = "record.json"


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
        write_bytes(temporary / _RECORD, json.dumps({"step": step, "sha256": digests} | notes).encode())
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


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while part := file.read(2**24):
            digest.update(part)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Have the disk hold a file, or a folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
