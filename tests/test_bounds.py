"""Models from strangers: whatever their config and weights say, they load or are refused in words, in little memory."""

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from genre_gan.models.waveform import WaveformGenerator
from genre_gan.pretrained import ModelError
from tests.test_models import tiny_gan


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return WaveformGenerator(tiny_gan()).save_pretrained(tmp_path_factory.mktemp("model") / "tiny")


def changed(folder: Path, to: Path, weights: bytes | None = None, **model) -> Path:
    """A copy whose config says other things, with a checksum that is right, as whoever means harm would make it."""
    to.mkdir(exist_ok=True)
    record = json.loads((folder / "config.json").read_text())
    weights = (folder / "model.safetensors").read_bytes() if weights is None else weights
    record["model"] |= model
    record["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    (to / "config.json").write_text(json.dumps(record))
    (to / "model.safetensors").write_bytes(weights)
    return to


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"width": 2**20}, "far larger network than its weights can fill"),
        ({"latent_dim": 2**23, "width": 2**23}, "far larger network than its weights can fill"),
        ({"n_samples": 2**23}, "far larger network than its weights can fill|does not fit its config"),
        ({"width": 10**30}, "width must be a number of at most 16777216"),
        ({"width": float("nan")}, "width must be of type int"),
        ({"width": True}, "width must be of type int, got 'True'"),
        ({"width": "64"}, "width must be of type int, got '64'"),
        ({"width": -1}, "does not describe a waveform-gan model"),
        ({"genres": ["x"] * 5000}, "genres must be a list of at most 1024 items"),
        ({"genres": ["a\nb", "c"]}, "genres must be plain text"),
        ({"genres": "blues"}, "genres must be a list"),
        ({"genres": [1, 2]}, "genres must be of type str"),
        ({"model": {"a": 1}}, "model must be of type str"),
    ],
)
def test_a_config_beyond_all_sense_is_refused_before_anything_is_built(folder, tmp_path, setting, message):
    with pytest.raises(ModelError, match=message):
        WaveformGenerator.load(changed(folder, tmp_path / "m", **setting))


def test_files_that_are_too_large_or_too_deep_are_refused(folder, tmp_path):
    for text, message in (("[" * 100_000, "not valid JSON"), (" " * 2**23, "no config of genre-gan is as long")):
        changed(folder, tmp_path / "m")
        (tmp_path / "m" / "config.json").write_text(text)
        with pytest.raises(ModelError, match=message):
            WaveformGenerator.load(tmp_path / "m")
    changed(folder, tmp_path / "m")
    with (tmp_path / "m" / "model.safetensors").open("r+b") as file:
        file.truncate(2**31 + 1)  # sparse: takes no room on disk
    with pytest.raises(ModelError, match="at most 2147483648 are loaded"):
        WaveformGenerator.load(tmp_path / "m")


def test_weights_that_are_no_numbers_are_refused(folder, tmp_path):
    state = WaveformGenerator.load(folder).state_dict()
    name = next(iter(state))
    state = {key: value.clone() for key, value in state.items()}
    state[name].flatten()[0] = float("nan")
    with pytest.raises(ModelError, match="not finite numbers"):
        WaveformGenerator.load(changed(folder, tmp_path / "m", save(state)))
    state[name] = torch.zeros(3)
    with pytest.raises(ModelError, match="does not fit its config"):
        WaveformGenerator.load(changed(folder, tmp_path / "m", save(state)))


HEADERS = [
    struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 2**40), struct.pack("<Q", 2) + b"{}", struct.pack("<Q", 4) + b"null", b"",
    struct.pack("<Q", 99) + b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}'.ljust(99) + bytes(4),
    struct.pack("<Q", 99) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,400000000000]}}'.ljust(99) + bytes(4),
    struct.pack("<Q", 99) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}'.ljust(99) + bytes(4), b"PK a pickle",
]


@pytest.mark.parametrize("weights", HEADERS, ids=range(len(HEADERS)))
def test_a_tampered_header_of_weights_is_refused(folder, tmp_path, weights):
    with pytest.raises(ModelError):
        WaveformGenerator.load(changed(folder, tmp_path / "m", weights))


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_of_the_weights_file_loads_or_is_refused_in_words(folder, tmp_path, data):
    weights = bytearray((folder / "model.safetensors").read_bytes())
    n_header = 8 + int.from_bytes(weights[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        weights[data.draw(st.integers(0, n_header))] = data.draw(st.integers(0, 255))
    try:
        WaveformGenerator.load(changed(folder, tmp_path / "m", bytes(weights)))
    except ModelError as error:
        assert str(error)
