"""Limits for models from strangers: what a config may say, and how much memory building from it may take."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

MAX_NUMBER, MAX_TEXT, MAX_ITEMS = 2**24, 1_000, 1_024
SPARE_ELEMENTS = 2**24  # of tensors that a model makes beside those in its file, such as windows and filters
MAX_TENSORS = 200_000
_WEIGHT_MAKERS = (torch.empty, torch.zeros, torch.ones, torch.randn)


class TooLarge(ValueError):
    """A config that describes more than its weights can fill. The message is fit for users."""


def dataclass_from_dict(config_class: type, values: Mapping[str, Any]) -> Any:
    """Rebuild a (nested) dataclass strictly: an unknown or missing name, another type or a value beyond sense is an error."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{config_class.__name__} must be an object, got {type(values).__name__}")
    known = {field.name for field in fields(config_class)}
    if set(values) != known:
        wrong = ", ".join(sorted(set(values) ^ known))
        raise ValueError(f"{config_class.__name__} does not match: {wrong}")
    hints = get_type_hints(config_class)
    return config_class(**{name: _checked(name, value, hints[name]) for name, value in values.items()})


def _checked(name: str, value: Any, hint: Any) -> Any:
    if isinstance(hint, type) and is_dataclass(hint):
        return dataclass_from_dict(hint, value)
    if get_origin(hint) in (Union, types.UnionType):
        choices = [choice for choice in get_args(hint) if choice is not type(None)]
        return None if value is None and len(choices) < len(get_args(hint)) else _checked(name, value, choices[0])
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)) or len(value) > MAX_ITEMS:
            raise ValueError(f"{name} must be a list of at most {MAX_ITEMS} items")
        return tuple(_checked(name, item, get_args(hint)[0]) for item in value)
    wanted = (int, float) if hint is float else hint
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{name} must be of type {getattr(hint, '__name__', hint)}, got {str(value)[:60]!r}")
    if isinstance(value, str) and (len(value) > MAX_TEXT or not value.isprintable()):
        raise ValueError(f"{name} must be plain text of at most {MAX_TEXT} letters")
    if isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) <= MAX_NUMBER):
        raise ValueError(f"{name} must be a number of at most {MAX_NUMBER}, got {value!r:.40}")
    return value


def check_size(build: Callable[[], nn.Module], n_bytes: int) -> None:
    """Build a model whose weights stay without values, to see whether `n_bytes` in its file can fill them.

    Raises:
        TooLarge: they cannot.
    """
    with _Count(n_bytes + SPARE_ELEMENTS):
        build()


class _Count(TorchFunctionMode):
    """Count the elements of new tensors, in this thread alone, and stop before there are too many.

    Memory that nobody writes to takes none, so weights are made empty. (The meta device is no way out: for it torch imports
    its compiler, which takes a second.)
    """

    def __init__(self, max_elements: int):
        super().__init__()
        self.n_left, self.n_tensors = max_elements, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"]
        makes_weights = function in _WEIGHT_MAKERS
        if makes_weights:
            function, size = torch.empty, args or (kwargs["size"],)
            self._count(math.prod(size if isinstance(size[0], int) else size[0]))
        result = function(*args, **kwargs)
        if isinstance(result, torch.Tensor) and not makes_weights and not any(isinstance(item, torch.Tensor) for item in args):
            self._count(result.numel())
        return result

    def _count(self, n_elements: int) -> None:
        self.n_tensors += 1
        self.n_left -= n_elements
        if self.n_left < 0 or self.n_tensors > MAX_TENSORS:
            raise TooLarge("it describes a far larger network than its weights can fill")
