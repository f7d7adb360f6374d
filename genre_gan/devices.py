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
        is_known = found.type in ("cpu", "cuda", "mps", "meta")  # on the last one nothing has a value: it is for checks
    except (RuntimeError, TypeError):
        is_known = False
    if not is_known:
        raise ValueError(f"device must be auto, cpu, cuda or mps, got {device!r}")
    is_missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if is_missing.get(found.type, False):
        raise ValueError(f"device {device!r} is not there: this machine, or this build of torch, has none; use auto or cpu")
    return found
