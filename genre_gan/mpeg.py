"""Streams of MPEG audio (MP3) and ADTS (AAC), which have no header: finding their frames, and what the first of them declares.

The layout of frames is that of ISO/IEC 11172-3, section 2.4, and of ISO/IEC 14496-3, annex 1.A.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

N_FRAMES = 4  # one behind the other, which chance does not make
SEARCHED_BYTES = 2**15
_RATES_HZ = (44_100, 48_000, 32_000)  # of version 1; halves and quarters of them later
_KBITS = {  # by version 1 or not, and layer
    (True, 1): range(32, 449, 32),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


class Frame(NamedTuple):
    """How long a frame is, and what all frames of its stream have in common."""

    n_bytes: int
    kind: tuple[int, ...]


def is_stream(data: bytes) -> bool:
    """Whether frames follow each other somewhere in the first `SEARCHED_BYTES`: before them may stand what is left of another."""
    start = data.find(b"\xff")
    while 0 <= start < SEARCHED_BYTES:
        frames = list(_frames(data, start))
        if len(frames) == N_FRAMES and len({frame.kind for frame in frames}) == 1:
            return True
        start = data.find(b"\xff", start + 1)
    return False


def _frames(data: bytes, start: int) -> Iterator[Frame]:
    for _ in range(N_FRAMES):
        frame = _frame(data[start : start + 6])
        if frame is None:
            return
        yield frame
        start += frame.n_bytes


def _frame(header: bytes) -> Frame | None:
    if len(header) < 6 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    kind = (header[1] & 0xFE, header[2] & 0x0C)
    version, layer, rate = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3), header[2] >> 2 & 3
    if layer == 4:  # of none of MPEG's layers: ADTS
        n_bytes = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        return Frame(n_bytes, kind) if header[1] & 0xF0 == 0xF0 and n_bytes > 7 else None
    kbits_index = header[2] >> 4
    if version == 1 or rate == 3 or not 1 <= kbits_index <= 14:
        return None
    is_first = version == 3
    bits_per_s = 1000 * _KBITS[is_first, layer if is_first else min(layer, 2)][kbits_index - 1]
    rate_hz = _RATES_HZ[rate] // {3: 1, 2: 2, 0: 4}[version]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return Frame((12 * bits_per_s // rate_hz + padding) * 4, kind)
    return Frame((144 if is_first or layer == 2 else 72) * bits_per_s // rate_hz + padding, kind)


def declared_share(file: BinaryIO) -> float:
    """How many times the bytes that are there an MP3 had when its first frame was told their number; 0 where it was not told."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(10)
    n_tag = 10 + sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=False)) if head[:3] == b"ID3" else 0
    file.seek(n_tag)
    frame = file.read(200)
    start = max(frame.find(b"Xing"), frame.find(b"Info"))
    flags = frame[start + 7] if 0 <= start < len(frame) - 16 else 0
    if not flags & 2:  # it does not say
        return 0.0
    place = start + 8 + 4 * (flags & 1)
    return int.from_bytes(frame[place : place + 4], "big") / max(1, size - n_tag)
