"""Checkpoints: modules, optimisers and history of a run, each written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from genre_gan.files import write_bytes
from training.arguments import TrainingError


class Trained(Protocol):
    """What a checkpoint holds."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]


class Checkpoint(NamedTuple):
    """A checkpoint that was read and found whole.

    Attributes:
        record: `step`, `groups` of the optimisers, and what the run noted.
        tensors: the safetensors file.
    """

    record: dict[str, Any]
    tensors: bytes


class Checkpoints:
    """The folder of a run's checkpoints, of which the newest `keep` stay."""

    def __init__(self, folder: Path, keep: int):
        self.folder, self.keep = folder, keep

    def write(self, task: Trained, step: int, notes: dict[str, Any]) -> None:
        """Write under a temporary name, sync, rename, sync the folder; then delete what is too old.

        Raises:
            TrainingError: the disk is full or refuses; the checkpoints that stood there before still do.
        """
        temporary = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(".writing-*"):
                shutil.rmtree(leftover)
            temporary = Path(tempfile.mkdtemp(dir=self.folder, prefix=".writing-"))
            tensors, groups = _pack(task)
            save_file(tensors, temporary / "state.safetensors")
            digest = hashlib.sha256((temporary / "state.safetensors").read_bytes()).hexdigest()
            record = {"step": step, "groups": groups, "sha256": digest} | notes
            write_bytes(temporary / "state.json", json.dumps(record).encode())
            _sync(temporary / "state.safetensors")
            _sync(temporary)
            final = self.folder / f"step-{step:08d}"
            if final.exists():  # a damaged one, or the run would not have come back to this step
                shutil.rmtree(final)
            os.replace(temporary, final)
            _sync(self.folder)
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"the checkpoint of step {step} cannot be written: {error}. Those in {self.folder} are intact; "
                "make room and go on with --resume"
            ) from error
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
        older = [path for path in self.paths() if path <= final]
        for path in set(self.paths()) - set(older[-self.keep :]):
            shutil.rmtree(path)

    def paths(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.folder.glob("step-*"))

    def newest(self, say: Callable[[str], None]) -> Checkpoint | None:
        """The newest one that is whole; None where there is none. `say` hears of damaged ones."""
        for path in reversed(self.paths()):
            try:
                record = json.loads((path / "state.json").read_text())
                tensors = (path / "state.safetensors").read_bytes()
                if hashlib.sha256(tensors).hexdigest() != record["sha256"]:
                    raise ValueError("its checksum does not match")
                if path.name != f"step-{record['step']:08d}":
                    raise ValueError(f"it says that it is of step {record['step']}")
                return Checkpoint(record, tensors)
            except (OSError, ValueError, KeyError, TypeError) as error:
                say(f"checkpoint {path.name} is damaged ({error}); trying the one before it")
        return None


def restore(task: Trained, checkpoint: Checkpoint, new_rates: bool) -> None:
    """Put a checkpoint's values into the modules and optimisers of `task`, which keeps its learning rates if they are new."""
    tensors = load(checkpoint.tensors)
    for name, module in task.modules.items():
        prefix = f"module.{name}."
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}, strict=True)
    for name, optimizer in task.optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optimizer.{name}."):
                index, field = key.removeprefix(f"optimizer.{name}.").split(".", 1)
                state.setdefault(int(index), {})[field] = value
        rates = [group["lr"] for group in optimizer.param_groups]
        optimizer.load_state_dict({"state": state, "param_groups": checkpoint.record["groups"][name]})
        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = rate if new_rates else group["lr"]


def _pack(task: Trained) -> tuple[dict[str, Tensor], dict[str, Any]]:
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


def _sync(path: Path) -> None:
    """Have the disk hold a file, or a folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
