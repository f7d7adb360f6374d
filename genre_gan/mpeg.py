"""Streams of MPEG audio (MP3) and ADTS (AAC), which have no header: finding their frames, and what the first of them declares.

The layout of frames is that of ISO/IEC 11172-3, section 2.4, and of ISO/IEC 14496-3, annex 1.A.
"""

from __future__ import annotations

import os
import re
from itertools import chain
from typing import BinaryIO, NamedTuple

N_FRAMES = 4  # one behind the other, which chance does not make
SEARCHED_BYTES = 2**20
MAX_FRAME_BYTES = 2**13
_SYNC = re.compile(rb"\xff[\xe2-\xe5\xf0-\xf5\xf8-\xfd][\x10-\xef]")  # not layer I or free format: programs look like these
_RATES_HZ = (44_100, 48_000, 32_000)  # of version 1; halves and quarters of them later
_KBITS = {  # by version 1 or not, and layer
    (True, 1): range(32, 449, 32),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


class Frame(NamedTuple):
    """A frame's length, which is 0 in free format, the padding in it, and what all frames of a stream have in common."""

    n_bytes: int
    padding: int
    kind: tuple[int, ...]


def find_stream(file: BinaryIO, start: int = 0) -> int | None:
    """The byte from which frames follow each other, or None where there are none.

    Looked for are they behind the tags at `start`, the beginning of the file, in `SEARCHED_BYTES`: before them may stand what is
    left of another frame, or what a server sent before the file.
    """
    first = _after_tags(file, start)
    file.seek(first)
    data = file.read(SEARCHED_BYTES + N_FRAMES * MAX_FRAME_BYTES)
    places = chain([0], (sync.start() for sync in _SYNC.finditer(data, 0, SEARCHED_BYTES)))
    return next((first + place for place in places if _is_stream(data, place)), None)


def _after_tags(file: BinaryIO, first: int = 0) -> int:
    """The byte behind the ID3 and APEv2 tags that stand at `first`; `first` itself where their sizes are none."""
    size, start = file.seek(0, os.SEEK_END), first
    while start < size:
        file.seek(start)
        head = file.read(16)
        if head[:3] == b"ID3" and len(head) == 16:
            n_bytes = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
            start += n_bytes + (20 if head[5] & 0x10 else 10)  # with or without a footer
        elif head[:8] == b"APETAGEX":
            start += 32 + int.from_bytes(head[12:16], "little")
        elif head[:3] == b"TAG":
            start += 128
        else:
            return start
    return first


def _is_stream(data: bytes, start: int) -> bool:
    """Whether `N_FRAMES` of one kind follow each other from there, or at least two up to the end."""
    frame, n_free = _frame(data, start), 0
    for n_frames in range(1, N_FRAMES):
        if frame is None:
            return False
        if not frame.n_bytes and not n_free:  # of free format all are as long as the first, but for the padding
            n_free = _to_next_alike(data, start) - frame.padding
        start += frame.n_bytes or max(n_free, 0) + frame.padding
        following = _frame(data, start)
        if following is None or following.kind != frame.kind:
            return start == len(data) and n_frames > 1
        frame = following
    return True


def _to_next_alike(data: bytes, start: int) -> int:
    """How many bytes there are from a frame to the next one of the same kind, bit rate and sample rate; 0 where there is none."""
    at = data.find(data[start : start + 2], start + 4, start + MAX_FRAME_BYTES)
    while at >= 0 and data[at + 2 : at + 3] and data[at + 2] & 0xFC != data[start + 2] & 0xFC:
        at = data.find(data[start : start + 2], at + 1, start + MAX_FRAME_BYTES)
    return max(0, at - start)


def _frame(data: bytes, start: int) -> Frame | None:
    header = data[start : start + 6]
    if len(header) < 6 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer, rate = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3), header[2] >> 2 & 3
    if layer == 4:  # of none of MPEG's layers: ADTS
        n_bytes = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        is_frame = header[1] & 0xF0 == 0xF0 and n_bytes > 7
        return Frame(n_bytes, 0, (header[1] & 0xFE, header[2] & 0x0C)) if is_frame else None
    kbits_index, padding = header[2] >> 4, header[2] >> 1 & 1
    kind = (header[1] & 0xFE, header[2] & 0x0C, int(kbits_index == 0))
    if version == 1 or rate == 3 or kbits_index == 15:
        return None
    if kbits_index == 0:
        return Frame(0, 4 * padding if layer == 1 else padding, kind)
    is_first = version == 3
    bits_per_s = 1000 * _KBITS[is_first, layer if is_first else min(layer, 2)][kbits_index - 1]
    rate_hz = _RATES_HZ[rate] // {3: 1, 2: 2, 0: 4}[version]
    if layer == 1:
        return Frame((12 * bits_per_s // rate_hz + padding) * 4, 4 * padding, kind)
    return Frame((144 if is_first or layer == 2 else 72) * bits_per_s // rate_hz + padding, padding, kind)


def declared_share(file: BinaryIO) -> float:
    """How many times the bytes that are there an MP3 had when its first frame was told their number; 0 where it was not told."""
    start, size = _after_tags(file), file.seek(0, os.SEEK_END)
    file.seek(start)
    head = file.read(200)
    place = max(head.find(b"Xing"), head.find(b"Info"))
    flags = head[place + 7] if 0 <= place < len(head) - 16 and (frame := _frame(head, 0)) and frame.n_bytes else 0
    if not flags & 2:  # it does not say
        return 0.0
    place += 8 + 4 * (flags & 1)
    return int.from_bytes(head[place : place + 4], "big") / max(1, size - start)
