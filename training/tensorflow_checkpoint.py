"""The variables of a TensorFlow checkpoint, read without TensorFlow."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def read_wheel(path: Path, network: str) -> dict[str, np.ndarray]:
    """The variables of one network inside the wheel of the package `musicnn`, without the optimiser's."""
    with zipfile.ZipFile(path) as wheel:
        index, data = (wheel.read(f"musicnn/{network}/{name}") for name in (".index", ".data-00000-of-00001"))
    return read_checkpoint(index, data)


def read_checkpoint(index: bytes, data: bytes) -> dict[str, np.ndarray]:
    """The float32 variables of a TensorFlow checkpoint of one shard ("tensor bundle"), without the optimiser's.

    The index is a table of LevelDB's format, uncompressed: name to a `BundleEntryProto` that says where in `data` it lies.
    """
    footer = index[-48:]
    _, position = _varint(footer, 0)
    _, position = _varint(footer, position)
    variables = {}
    for _, handle in _block(index, *_handle(footer, position)):
        for key, entry in _block(index, *_handle(handle, 0)):
            name, fields = key.decode(), dict(_message(entry))
            if not name or "Adam" in name or fields.get(1) != 1:  # the header has no name; type 1 is float32
                continue
            shape = [dict(_message(size)).get(1, 0) for number, size in _message(fields[2]) if number == 2]
            offset = fields.get(4, 0)
            variables[name.replace("/", ".")] = np.frombuffer(data[offset : offset + fields[5]], "<f4").reshape(shape)
    return variables


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, position = data[position], position + 1
        value, shift = value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, position


def _handle(data: bytes, position: int) -> tuple[int, int]:
    offset, position = _varint(data, position)
    return offset, _varint(data, position)[0]


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys, of which each repeats the beginning of the one before, and values; at the end a list of restarts."""
    block, position, key = table[offset : offset + size], 0, b""
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    while position < end:
        shared, position = _varint(block, position)
        fresh, position = _varint(block, position)
        length, position = _varint(block, position)
        key, position = key[:shared] + block[position : position + fresh], position + fresh
        yield key, block[position : position + length]
        position += length


def _message(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer that are numbers or bytes."""
    position = 0
    while position < len(data):
        value: int | bytes
        tag, position = _varint(data, position)
        if tag & 7 == 0:
            value, position = _varint(data, position)
        elif tag & 7 == 2:
            length, position = _varint(data, position)
            value, position = data[position : position + length], position + length
        else:  # a checksum of four bytes
            value, position = data[position : position + 4], position + 4
        yield tag >> 3, value
