"""The corpus of synthesised files, and any change of some of them: each gives sound, or is refused in words."""

import io
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from genre_gan.audio import AudioError, load_audio
from tests import corpus, corpus_files


def test_every_file_is_read_right_or_refused_in_words(tmp_path):
    results, growth_mb = corpus.run(tmp_path)
    wrong = [f"{result.case.kind}: {result.case.path.name!r}: {result.wrong}" for result in results if result.wrong]
    assert not wrong, "\n".join(wrong)
    assert growth_mb < corpus.MAX_MEMORY_MB
    assert all(result.message.isprintable() for result in results if result.outcome == "refused")
    has_all = shutil.which("ffmpeg") and shutil.which("sox")
    assert len(results) >= (700 if has_all else 300)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> list[bytes]:
    """Short files of many kinds."""
    folder = tmp_path_factory.mktemp("seeds")
    samples = corpus_files.tone(8_000, 2, 0.4)
    kinds = ("WAV", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64", "NIST", "VOC", "IRCAM", "SVX", "MAT5", "PAF", "XI", "AVR",
             "MPC2K")
    files = []
    for kind in kinds:
        sound = samples[:, :1] if kind in ("SVX", "XI", "AVR") else samples
        files.append(corpus_files.encoded(sound, kind, None, 8_000))
    files += [corpus_files.encoded(samples, "WAV", subtype, 8_000) for subtype in ("FLOAT", "IMA_ADPCM", "MS_ADPCM", "ULAW")]
    files += [corpus_files.encoded(samples[:, 0], "WAV", "GSM610", 8_000), corpus_files.encoded(samples, "MP3", None, 16_000)]
    files += [corpus_files.encoded(samples, "OGG", "VORBIS", 8_000), corpus_files.encoded(samples, "OGG", "OPUS", 48_000)]
    if shutil.which("ffmpeg"):
        source = corpus_files.put(folder, "source.wav", files[0])
        for suffix in ("m4a", "mka", "wma", "webm", "wv", "aac", "ac3"):
            command = ["ffmpeg", "-v", "error", "-i", source, "-ar", "48000", folder / f"x.{suffix}"]
            if subprocess.run(list(map(str, command)), capture_output=True).returncode == 0:
                files.append((folder / f"x.{suffix}").read_bytes())
    return files


CHANGES = st.lists(
    st.tuples(st.sampled_from(["byte", "zeros", "cut", "insert", "huge", "copy"]), st.floats(0, 1), st.integers(0, 255)),
    min_size=1, max_size=6,
)


def changed(data: bytes, changes) -> bytes:
    """The data after some changes; most of them hit the first 120 bytes, where headers stand."""
    result = bytearray(data)
    for kind, where, value in changes:
        place = int(where * (120 if value % 3 else len(result) - 1)) if result else 0
        if kind == "byte":
            result[place : place + 1] = bytes([value])
        elif kind == "zeros":
            result[place : place + value % 16] = bytes(value % 16)
        elif kind == "cut":
            del result[max(4, int(where * len(result))) :]
        elif kind == "insert":
            result[place:place] = bytes([value]) * (value % 9)
        elif kind == "huge":
            result[place : place + 4] = b"\xff\xff\xff\x7f"
        else:
            result[place : place + value] = result[:value]
    return bytes(result)


def check_any_change(seeds: list[bytes], which: int, changes) -> None:
    data = changed(seeds[which % len(seeds)], changes)
    start = corpus.cpu_s()
    try:
        samples = load_audio(io.BytesIO(data) if which % 2 else data, max_duration_s=600, on_note=lambda text: None).samples
        assert samples.dtype == np.float32 and np.isfinite(samples).all()
    except AudioError as error:
        assert str(error)
    assert corpus.cpu_s() - start < 4.0


ARGUMENTS = {"which": st.integers(0, 99), "changes": CHANGES}
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@given(**ARGUMENTS)
@example(which=0, changes=[("huge", 0.2, 1)])
@settings(max_examples=250, derandomize=True, **QUIET)
def test_any_change_gives_sound_or_words(seeds, which, changes):
    check_any_change(seeds, which, changes)


@pytest.mark.slow
@given(**ARGUMENTS)
@settings(max_examples=10_000, **QUIET)
def test_ten_thousand_changes_give_sound_or_words(seeds, which, changes):
    check_any_change(seeds, which, changes)


@given(data=st.binary(max_size=3_000), suffix=st.sampled_from(["wav", "mp3", "au", "vox", "gsm", "raw", "snd", ""]))
@settings(max_examples=40, derandomize=True, **QUIET)
def test_random_bytes_are_never_sound_by_their_name(tmp_path_factory, data, suffix):
    path = tmp_path_factory.getbasetemp() / f"random.{suffix}"
    path.write_bytes(data)
    with pytest.raises(AudioError):
        load_audio(path)
