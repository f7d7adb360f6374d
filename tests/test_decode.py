"""Files whose headers libsndfile misreads."""

import struct

import numpy as np
import pytest

from genre_gan import AudioError, load_audio
from tests.conftest import synthesize
from tests.test_audio import RATE_HZ, needs_ffmpeg

W64 = bytes.fromhex("f3acd3118cd100c04f8edb8a")
EXTENSIBLE = bytes.fromhex("00001000800000aa00389b71")
PCM, FLOAT, A_LAW = 1, 3, 6


def extensible_w64(samples: np.ndarray, encoding: int) -> bytes:
    """A mono Wave64 file that says in an extended header what its samples are, as ffmpeg writes wide and fast ones."""
    n_bytes, n_bits = samples.dtype.itemsize, 8 * samples.dtype.itemsize
    header = struct.pack("<HHIIHHHHIHH", 0xFFFE, 1, RATE_HZ, n_bytes * RATE_HZ, n_bytes, n_bits, 22, n_bits, 4, encoding, 0)
    sound = samples.tobytes()
    chunks = b"".join(
        name + W64 + struct.pack("<Q", 24 + len(content)) + content
        for name, content in ((b"fmt ", header + EXTENSIBLE), (b"data", sound + bytes(-len(sound) % 8)))
    )
    return b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000") + struct.pack("<Q", 40 + len(chunks)) + b"wave" + W64 + chunks


@needs_ffmpeg
def test_a_wave64_file_of_floating_point_numbers_is_no_other_sound():
    samples = 0.5 * synthesize(220, 2, 1.0, seed=1)
    assert load_audio(extensible_w64(samples, FLOAT)).samples == pytest.approx(samples, abs=1e-6)


def test_whole_numbers_of_a_wave64_file_need_no_ffmpeg_and_others_are_refused_without_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    samples = 0.5 * synthesize(220, 2, 1.0, seed=1)
    whole = np.round(samples * 2**31).astype(np.int32)
    assert load_audio(extensible_w64(whole, PCM)).samples == pytest.approx(samples, abs=1e-6)
    for coded, encoding in ((samples, FLOAT), ((whole >> 24).astype(np.uint8), A_LAW)):
        with pytest.raises(AudioError, match="where ffmpeg is installed"):
            load_audio(extensible_w64(coded, encoding))
