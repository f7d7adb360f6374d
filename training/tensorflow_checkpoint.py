"""The variables of a TensorFlow checkpoint, read without TensorFlow."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from io import BytesIO
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
    footer = BytesIO(index[-48:])
    _varint(footer), _varint(footer)  # where a table of tables without use here lies
    variables = {}
    for _, handle in _block(index, footer):
        for key, entry in _block(index, BytesIO(handle)):
            name, fields = key.decode(), dict(_message(entry))
            if not name or "Adam" in name or fields.get(1) != 1:  # the header has no name; type 1 is float32
                continue
            shape = [dict(_message(size)).get(1, 0) for number, size in _message(fields[2]) if number == 2]
            offset = fields.get(4, 0)
            variables[name.replace("/", ".")] = np.frombuffer(data[offset : offset + fields[5]], "<f4").reshape(shape)
    return variables


def _varint(stream: BytesIO) -> int:
    """The next number: seven bits in each byte, the lowest first; the eighth says whether more follow."""
    value = shift = 0
    while (byte := stream.read(1)[0]) >= 128:
        value, shift = value | (byte & 127) << shift, shift + 7
    return value | byte << shift


def _block(table: bytes, handle: BytesIO) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the block whose place and size come next in `handle`.

    Each key repeats the beginning of the one before; at the end stands a list of restarts.
    """
    offset, size = _varint(handle), _varint(handle)
    block, key = BytesIO(table[offset : offset + size]), b""
    n_restarts = int.from_bytes(table[offset + size - 4 : offset + size], "little")
    while block.tell() < size - 4 - 4 * n_restarts:
        n_shared, n_more, n_value = _varint(block), _varint(block), _varint(block)
        key = key[:n_shared] + block.read(n_more)
        yield key, block.read(n_value)


def _message(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer that are numbers or bytes."""
    stream = BytesIO(data)
    while stream.tell() < len(data):
        tag = _varint(stream)
        if tag & 7 == 0:
            yield tag >> 3, _varint(stream)
        elif tag & 7 == 2:
            yield tag >> 3, stream.read(_varint(stream))
        else:
            yield tag >> 3, stream.read(4)  # a checksum
