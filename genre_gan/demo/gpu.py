"""GPUs that are lent for single calls: on a ZeroGPU Space a function gets one where the package `spaces` has marked it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable)


def on_gpu(function: Function) -> Function:
    """The function, marked as one that needs the GPU; itself where there is no such package.

    On such a Space it runs in a process of its own: what goes in and comes out is pickled.
    """
    if importlib.util.find_spec("spaces") is None:
        return function
    import spaces

    return spaces.GPU(function)
