"""Where models run."""

from __future__ import annotations

import torch


def find_device(device: str | torch.device = "auto") -> torch.device:
    """The device of that name; `auto` is a GPU where there is one, else the CPU.

    Raises:
        ValueError: an unknown name, or one that is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be auto, cpu, cuda or mps, got {device!r}") from error
    is_missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if is_missing.get(found.type, False):
        raise ValueError(f"device {device!r} is not there: this machine, or this build of torch, has none; use auto or cpu")
    return found
