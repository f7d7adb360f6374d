"""Models as folders or Hub repositories: one `config.json`, one `model.safetensors`, loaded strictly."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from torch import nn

from genre_gan.bounds import check_size, dataclass_from_dict
from genre_gan.files import write_bytes

CONFIG_VERSION = 1
CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
MAX_CONFIG_BYTES, MAX_WEIGHTS_BYTES = 2**22, 2**31
FETCH_AGAIN = "Copy it anew, or fetch it with `hf download USER/REPO --force-download`"

Model = TypeVar("Model", bound="PretrainedModel")


class ModelError(ValueError):
    """A folder or repository that does not hold the model asked for. The message is fit for users."""


class PretrainedModel(nn.Module):
    """A network built from one frozen dataclass, `config`, that is saved beside its weights.

    Subclasses name their `config_class` and their `family`, which the saved config repeats so that a wrong folder is noticed.
    `training_record` says how the weights came to be (data, split, steps, command, metrics) and travels in `config.json`.
    """

    config_class: ClassVar[type]
    family: ClassVar[str]

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.training_record: dict = {}
        self._loaded_sha256: str | None = None

    def save_pretrained(self, folder: str | os.PathLike, half: bool = False) -> Path:
        """Write config and weights into `folder`, with `half` at 16 bits a weight; each file appears whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = self._weights(half)
        record = {"version": CONFIG_VERSION, "family": self.family, "model": asdict(self.config)}
        record |= {"training": self.training_record, "weights_sha256": hashlib.sha256(weights).hexdigest()}
        write_bytes(folder / WEIGHTS_NAME, weights)
        write_bytes(folder / CONFIG_NAME, (json.dumps(record, indent=2) + "\n").encode())
        return folder

    def _weights(self, half: bool = False) -> bytes:
        from safetensors.torch import save

        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        return save({name: tensor.half() if half else tensor for name, tensor in tensors.items()})

    def weights_sha256(self) -> str:
        """The checksum of the weights file that was loaded, or that would be saved now."""
        return self._loaded_sha256 or hashlib.sha256(self._weights()).hexdigest()

    @classmethod
    def load(cls: type[Model], folder: str | os.PathLike) -> Model:
        """Build the model that `folder` holds, in evaluation mode.

        Raises:
            ModelError: files missing, damaged or altered, another family or config version, missing or extra weights.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        folder = Path(folder)
        record = read_config(folder)
        if record["family"] != cls.family:
            raise ModelError(f"{folder} holds a model of the family {record['family']!r}, wanted {cls.family!r}")
        weights = read_weights(folder, record)
        try:
            config = dataclass_from_dict(cls.config_class, record["model"])
            check_size(lambda: cls(config), len(weights))
            model = cls(config)
        except (TypeError, ValueError, KeyError, ArithmeticError, IndexError, RuntimeError) as error:
            raise ModelError(f"{folder / CONFIG_NAME} does not describe a {cls.family} model: {error}") from error
        path = folder / WEIGHTS_NAME
        try:
            tensors = load(weights)
            if not all(tensor.isfinite().all() for tensor in tensors.values()):
                raise ModelError(f"{path} holds weights that are not finite numbers. {FETCH_AGAIN}")
            model.load_state_dict(tensors, strict=True)
        except SafetensorError as error:
            raise ModelError(f"{path} is damaged or cut off: {error}. {FETCH_AGAIN}") from error
        except RuntimeError as error:
            raise ModelError(f"{path} does not fit its config: {error}") from error
        model.training_record, model._loaded_sha256 = record.get("training", {}), record["weights_sha256"]
        return model.eval()


def read_weights(folder: Path, record: dict) -> bytes:
    """The weights file of a model folder, checked against the checksum in its config `record` (old ones have none)."""
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise ModelError(f"{folder} has no {WEIGHTS_NAME}")
    if path.stat().st_size > MAX_WEIGHTS_BYTES:
        raise ModelError(f"{path} has {path.stat().st_size} bytes; at most {MAX_WEIGHTS_BYTES} are loaded")
    weights = path.read_bytes()
    if record.get("weights_sha256") != hashlib.sha256(weights).hexdigest():
        raise ModelError(f"{path} is damaged, cut off or altered: its checksum is not the one in {CONFIG_NAME}. {FETCH_AGAIN}")
    return weights


def read_config(folder: Path) -> dict:
    """The parsed `config.json` of a model folder; `ModelError` where it is missing, damaged or of another version."""
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise ModelError(f"{folder} has no {CONFIG_NAME}: it holds no genre-gan model")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ModelError(f"{path} has {path.stat().st_size} bytes: no config of genre-gan is as long")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}. {FETCH_AGAIN}") from error
    if not isinstance(record, dict) or not {"version", "family", "model"} <= set(record):
        raise ModelError(f"{path} is not a genre-gan config: it needs version, family and model")
    if not isinstance(record["family"], str) or not isinstance(record["model"], dict):
        raise ModelError(f"{path} is not a genre-gan config: its family must be a name, and its model an object")
    if record["version"] != CONFIG_VERSION:
        raise ModelError(
            f"{path} has config version {record['version']!r}; this genre-gan reads version {CONFIG_VERSION}. "
            "Update genre-gan, or train the model again"
        )
    return record
