import io
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from genre_gan import AudioError, Clip, load_audio
from genre_gan.audio import AudioWarning, RawAudio, read_blocks
from genre_gan.mpeg import find_stream
from tests.conftest import synthesize

RATE_HZ = 22_050
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def encoded(samples: np.ndarray, audio_format: str, subtype: str | None = None, rate_hz: int = RATE_HZ) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=audio_format, subtype=subtype)
    return buffer.getvalue()


def read_noted(source) -> tuple[Clip, list[str]]:
    notes: list[str] = []
    return load_audio(source, on_note=notes.append), notes


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".au"])
def test_every_format_and_rate_comes_back_as_mono_22050(tmp_path, suffix):
    rate_hz = 44_100
    samples = synthesize(220, 2, 3.0, seed=1, rate_hz=rate_hz)
    path = tmp_path / f"stereo{suffix}"
    soundfile.write(path, np.stack([samples, samples], 1), rate_hz)
    clip = load_audio(path)
    assert clip.sample_rate_hz == 22_050
    assert clip.samples.dtype == np.float32 and clip.samples.ndim == 1
    assert abs(clip.duration_s - 3.0) < 0.1
    assert np.std(clip.samples) == pytest.approx(np.std(samples), rel=0.05)


def test_path_bytes_file_clip_and_array_agree(tmp_path):
    samples = synthesize(220, 2, 1.0, seed=2)
    path = Clip(samples, 22_050).save(tmp_path / "a.wav")
    expected = load_audio(path).samples
    data = path.read_bytes()
    for source in (data, io.BytesIO(data), Clip(expected, 22_050), (expected, 22_050)):
        assert np.array_equal(load_audio(source).samples, expected)
    integers, rate_hz = soundfile.read(path, dtype="int16")
    assert np.array_equal(load_audio((integers, rate_hz)).samples, expected)


def test_blocks_join_to_the_same_sound(tmp_path):
    rate_hz = 16_000
    samples = synthesize(220, 2, 2.0, seed=3, rate_hz=rate_hz)
    whole = load_audio((samples, rate_hz)).samples
    pieces = np.concatenate(list(read_blocks((samples, rate_hz), block_s=0.3)))
    assert np.allclose(whole, pieces, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "empty"),
        (b"this is no sound at all", "cannot be read as audio"),
        (3.5, "audio must be"),
        ((np.zeros(10), 0), "sample_rate_hz must be"),
        ((np.zeros((2, 2, 2)), 22_050), "samples must be"),
        ((np.full(30_000, np.nan), 22_050), "not finite"),
        ((np.zeros(0), 22_050), "no sound"),
    ],
)
def test_bad_sound_says_what_is_wrong(source, message):
    with pytest.raises(AudioError, match=message):
        load_audio(source)


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.wav"):
        load_audio("nowhere.wav")


@pytest.mark.parametrize(("source", "message"), [
    ("https://example.com/a.mp3", "got the address https://example.com/a.mp3: download it first"),
    (Path("HTTPS://example.com/a.mp3"), "got the address HTTPS:/example.com/a.mp3: download it first"),
    ({"samples": [0.0]}, r"must have 'array' and 'sampling_rate', 'bytes' or 'path', got \['samples'\]"),
    ("/", "/ is a folder and not a file: give a sound file"),
    (os.devnull, "is a pipe or a device and not a file"),
])
def test_what_is_no_file_is_told(source, message):
    with pytest.raises(AudioError, match=message):
        load_audio(source)
    with pytest.raises(FileNotFoundError, match=r"no such audio file: a\?b\.wav"):
        load_audio("a\0b.wav")


def test_settings_of_reading_are_checked():
    samples = synthesize(220, 2, 1.0, seed=1)
    for rate_hz in (0, -5, "a", None, 2**31, float("nan")):
        with pytest.raises(AudioError, match=r"sample_rate_hz must be a number from 1000 to 768000, got"):
            load_audio((samples, RATE_HZ), rate_hz)
    for duration_s in (0, -1, "3", float("nan"), float("inf")):
        with pytest.raises(AudioError, match=r"max_duration_s must be a number of seconds above 0, or None for all, got"):
            load_audio((samples, RATE_HZ), max_duration_s=duration_s)


def test_a_failed_save_leaves_nothing(tmp_path):
    clip = Clip(np.zeros(10, np.float32), 22_050)
    with pytest.raises(ValueError, match=r"path must end in one of \.wav, \.flac, \.ogg, \.mp3, got '.*a\.xyz'"):
        clip.save(tmp_path / "a.xyz")
    with pytest.raises(ValueError, match="audio_format must be one of wav, flac, ogg, mp3, got 'xyz'"):
        clip.encode("xyz")
    with pytest.raises(FileNotFoundError, match=r"nowhere/a\.wav cannot be written: No such file or directory"):
        clip.save(tmp_path / "nowhere" / "a.wav")
    assert list(tmp_path.glob("*.xyz")) == [] and list(tmp_path.glob(".a*")) == []


def test_an_mp3_is_read_on_without_a_word_on_stderr(capfd):
    """A seek behind each piece makes libmpg123 complain of frames whose beginning it skipped."""
    time_s = np.arange(6 * RATE_HZ) / RATE_HZ
    bursts = 0.5 * np.random.default_rng(1).standard_normal(len(time_s)) * np.exp(-12 * (4 * time_s % 1))
    buffer = io.BytesIO()
    soundfile.write(buffer, bursts.clip(-1, 1), RATE_HZ, format="MP3", bitrate_mode="CONSTANT", compression_level=0.6)
    assert load_audio(buffer.getvalue()).duration_s == pytest.approx(6.0, abs=0.1)
    assert capfd.readouterr().err == ""


@needs_ffmpeg
def test_a_header_that_promises_too_little_hides_no_sound(tmp_path):
    samples = synthesize(220, 2, 6.0, seed=4)
    wav, au, ogg = (encoded(samples, kind) for kind in ("WAV", "AU", "OGG"))
    cbr = tmp_path / "quiet_then_loud.mp3"
    quiet = ["-f", "lavfi", "-i", "sine=440:d=3,volume=0.01", "-f", "lavfi", "-i", "anoisesrc=d=3:c=pink:a=0.8"]
    command = ["ffmpeg", "-v", "error", *quiet, "-filter_complex", "[0][1]concat=n=2:v=0:a=1", "-q:a", "4", "-write_xing", "0"]
    subprocess.run([*command, cbr], check=True)
    flac = bytearray(encoded(samples, "FLAC"))
    unknown, short = bytes(flac[:21] + bytes([flac[21] & 0xF0, 0, 0, 0, 0]) + flac[26:]), flac.copy()
    short[22:26] = struct.pack(">I", RATE_HZ)
    cases = {
        "sizes never filled in": wav[:4] + bytes(4) + wav[8:40] + bytes(4) + wav[44:],
        "au without a size": au[:8] + bytes(4) + au[12:],
        "vbr without a frame count": cbr,
        "flac of unknown length": unknown,
        "flac that says one second": bytes(short),
    }
    for what, source in cases.items():
        clip, notes = read_noted(source)
        assert clip.duration_s == pytest.approx(6.0, rel=0.02) and not notes, what
    assert load_audio(ogg + encoded(samples[::-1], "OGG")).duration_s == pytest.approx(12.0, rel=0.02)


@pytest.mark.parametrize("audio_format", ["WAV", "AIFF", "AU", "FLAC", "MP3", "OGG"])
def test_a_file_that_ended_early_is_read_and_said(audio_format):
    data = encoded(synthesize(220, 2, 60.0 if audio_format == "OGG" else 6.0, seed=5), audio_format)
    clip, notes = read_noted(data[: len(data) // 2 + 101])
    assert clip.duration_s > 2.0
    assert len(notes) == 1 and "the given audio ended early" in notes[0]
    with pytest.warns(AudioWarning, match="ended early"):
        load_audio(data[: len(data) // 2 + 101])
    assert not read_noted(data)[1]


def test_without_ffmpeg_a_file_may_be_cut_short_and_that_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    ogg = encoded(synthesize(220, 2, 6.0, seed=4), "OGG")
    clip, notes = read_noted(ogg + ogg)
    assert clip.duration_s == pytest.approx(6.0, rel=0.02) and "may be cut short" in notes[0]
    with pytest.raises(AudioError, match="where ffmpeg is installed"):
        load_audio(b"\0abcd" * 100)


def test_tags_behind_the_sound_are_no_sound():
    wav = encoded(synthesize(220, 2, 1.0, seed=4), "WAV")
    for tag in (b"LIST" + struct.pack("<I", 90_000) + bytes(90_000), b"ID3\4" + bytes(90_000)):
        clip, notes = read_noted(wav + tag)
        assert clip.duration_s == 1.0 and not notes


@needs_ffmpeg
@pytest.mark.parametrize("is_odd", [False, True])
def test_an_mp3_joined_on_behind_tags_is_read_and_tags_alone_are_none(is_odd):
    first, second = (encoded(synthesize(pitch_hz, 2, 3.0, seed=4), "MP3") for pitch_hz in (220, 330))
    id3 = [b"ID3\4\0\0\0\0" + bytes([n >> 7, n & 127]) + bytes(n) for n in (200 + (len(first) + is_odd) % 2, 9_000)]
    ape = [b"APETAGEX" + struct.pack("<4I", 2000, 5_032, 0, flags) + bytes(8) for flags in (0xA000_0000, 0x8000_0000)]
    first = id3[0] + first
    for tag in (*id3, b"TAG" + bytes(125), ape[0] + bytes(5_000) + ape[1], b"TAG" + bytes(125) + id3[1]):
        assert load_audio(first + tag).duration_s == pytest.approx(3.0, abs=1e-3)
        assert load_audio(first + tag + second + tag).duration_s == pytest.approx(6.0, abs=0.15)


def test_channels_that_cancel_each_other_leave_the_louder_one():
    samples = synthesize(220, 2, 3.0, seed=6)
    clip, notes = read_noted((np.stack([samples, -0.97 * samples], 1), RATE_HZ))
    assert np.array_equal(clip.samples, samples) and "antiphase" in notes[0] and len(notes) == 1
    other = synthesize(330, 3, 3.0, seed=7)
    clip, notes = read_noted((np.stack([samples, other], 1), RATE_HZ))
    assert np.allclose(clip.samples, (samples + other) / 2, atol=1e-6) and not notes


def test_peaks_over_full_scale_are_scaled_and_said():
    samples = synthesize(220, 2, 3.0, seed=8)
    normal = samples / np.abs(samples).max()
    for source in (encoded(samples * 32_768, "WAV", "FLOAT"), encoded(samples * 1e6, "AIFF", "DOUBLE"), (samples * 2e4, RATE_HZ)):
        clip, notes = read_noted(source)
        assert np.allclose(clip.samples, normal, atol=1e-6) and "times full scale" in notes[0] and len(notes) == 1
    assert not read_noted(Clip(1.05 * normal, RATE_HZ))[1]  # what a lossy format overshoots by
    assert np.abs(load_audio(encoded(samples * 32_768, "WAV", "FLOAT"), 16_000).samples).max() < 1.05


def test_samples_of_every_type_mean_the_same():
    expected = synthesize(220, 2, 1.0, seed=9)
    integers = np.round(expected * 32_767).astype(np.int16)
    sources = [integers, integers.astype(np.int32), integers.astype(np.int64), integers.tolist(),
               integers.astype(np.int32) * 65_536, (integers.astype(np.int32) + 32_768).astype(np.uint16),
               integers[:, None], integers.astype(np.int64) * 256,
               torch.tensor(expected, requires_grad=True), torch.from_numpy(expected).double(), expected.tolist(),
               torch.from_numpy(integers)]
    assert np.array_equal(load_audio({"array": expected, "sampling_rate": RATE_HZ, "path": "x"}).samples, expected)
    wav = encoded(expected, "WAV", "FLOAT")
    assert np.array_equal(load_audio({"bytes": wav, "path": None}).samples, expected)
    for samples in sources:
        assert np.allclose(load_audio((samples, RATE_HZ), on_note=lambda text: None).samples, expected, atol=1e-4)
    assert "taken for 16-bit sound" in read_noted((integers.astype(np.int64), RATE_HZ))[1][0]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 44_100)), r"got \(2, 44100\): \(channels, n\)\? pass samples.T"),
        (np.zeros((1, 44_100), np.int16), "pass samples.T"),
        (torch.zeros(2, 44_100), "pass samples.T"),
        (np.zeros((44_100, 0)), "samples must be numbers"),
        ([[1.0], [1.0, 2.0]], "samples must be numbers"),
        (["a", "b"], "samples must be numbers"),
        (np.zeros(9, complex), "samples must be numbers"),
        (torch.zeros(9).to_sparse(), "samples must be numbers"),
        (torch.zeros(9, device="meta"), "samples must be numbers"),
        (None, "samples must be numbers"),
    ],
)
def test_samples_of_another_shape_or_type_are_refused_with_advice(samples, message):
    with pytest.raises(AudioError, match=message):
        load_audio((samples, RATE_HZ))


def test_a_rate_that_comes_first_or_makes_no_sense_is_refused():
    with pytest.raises(AudioError, match="swap the two"):
        load_audio((RATE_HZ, np.zeros(RATE_HZ)))
    wav = encoded(synthesize(220, 2, 1.0, seed=1), "WAV")
    for rate_hz in (1, 999, 768_001, 2**31 - 1):
        with pytest.raises(AudioError, match=rf"sample rate of {rate_hz} Hz; from 1000 to 768000 Hz"):
            load_audio(wav[:24] + struct.pack("<I", rate_hz) + wav[28:])
    assert load_audio(wav[:24] + struct.pack("<I", 1_000) + wav[28:]).duration_s == pytest.approx(22.05, rel=1e-4)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])  # which is read twice
def test_files_are_read_from_their_beginning_wherever_they_stand(tmp_path, subtype):
    data = encoded(synthesize(220, 2, 1.0, seed=1), "WAV", subtype)
    expected, at_end = load_audio(data).samples, io.BytesIO(data)
    at_end.seek(0, io.SEEK_END)
    assert np.array_equal(load_audio(at_end).samples, expected)
    path = tmp_path / "sound"
    path.write_bytes(data)
    with path.open("rb") as file, subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as pipe:
        assert np.array_equal(load_audio(file).samples, expected)
        assert np.array_equal(load_audio(pipe.stdout).samples, expected)
    with path.open("rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as pipe:
        raw = load_audio(RawAudio(pipe.stdout, RATE_HZ, subtype)).samples
    assert np.array_equal(raw, load_audio(RawAudio(path, RATE_HZ, subtype)).samples)
    with pytest.raises(AudioError, match="is closed"):
        load_audio(file)
    with path.open(encoding="latin-1") as text, pytest.raises(AudioError, match="opened as text: open it with 'rb'"):
        load_audio(text)


@pytest.mark.parametrize("suffix", [".au", ".vox", ".gsm", ".raw", ".mp3"])
@pytest.mark.parametrize("content", ["random", "web page", "pointer", "text"])
def test_what_is_no_sound_does_not_become_sound_by_its_name(tmp_path, suffix, content):
    texts = {
        "web page": (b"\n<!DOCTYPE html><html>" + b"a login " * 900, "is a web page"),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 7\n", "git lfs pull"),
        "text": (b"notes on a song\n" * 500, "it is text; give a wav, flac, ogg, mp3, m4a or other sound file"),
        "random": (np.random.default_rng(3).bytes(30_000), "cannot be read as audio"),
    }
    path = tmp_path / f"sound{suffix}"
    path.write_bytes(texts[content][0])
    with pytest.raises(AudioError, match=texts[content][1]):
        load_audio(path)


def test_a_file_without_a_header_is_read_when_its_format_is_told(tmp_path):
    samples = synthesize(220, 2, 1.0, seed=1)
    path = tmp_path / "talk.raw"
    soundfile.write(path, np.stack([samples, samples], 1), 16_000, format="RAW", subtype="ULAW")
    with pytest.raises(AudioError, match="cannot be read"):
        load_audio(path)
    clip = load_audio(RawAudio(path, 16_000, "ULAW", n_channels=2), 16_000)
    assert load_audio(RawAudio(path, np.int64(16_000), "ULAW", n_channels=np.int32(2)), 16_000).duration_s == clip.duration_s
    assert len(clip.samples) == len(samples) and np.std(clip.samples - samples) < 0.01
    for settings, message in (
        ((8,), "sample_rate_hz must be a whole number from 1000 to 768000, got 8"), (("16000",), "sample_rate_hz must be"),
        ((16_000, "MUSIC"), "encoding must be one of PCM_S8, .*, got 'MUSIC'"), ((16_000, None), "encoding must be"),
        ((16_000, "PCM_16", 0), "n_channels must be a whole number from 1 to 1024, got 0"),
    ):
        with pytest.raises(AudioError, match=message):
            RawAudio(path, *settings)


@needs_ffmpeg
def test_a_playlist_opens_no_other_file(tmp_path):
    secret = Clip(synthesize(220, 2, 3.0, seed=1), RATE_HZ).save(tmp_path / "secret.wav")
    segments = f"#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{secret}\n#EXT-X-ENDLIST\n"
    lists = [f"#EXTM3U\n{segments}", f"#EXTM3U\n{segments.replace(str(secret), f'file://{secret}')}",
             f"ffconcat version 1.0\nfile '{secret}'\n", "ffconcat version 1.0\nfile secret.wav\n",
             f'<?xml version="1.0"?><MPD><Period><AdaptationSet><BaseURL>{secret}</BaseURL></AdaptationSet></Period></MPD>']
    for number, text in enumerate(lists):
        for path in (tmp_path / f"{number}.wav", tmp_path / f"{number}.m3u8"):
            path.write_text(text)
            with pytest.raises(AudioError, match="cannot be read as audio"):
                load_audio(path)


def test_frames_of_mpeg_are_found_behind_other_things_and_not_in_programs():
    mp3 = encoded(synthesize(220, 2, 1.0, seed=4), "MP3")
    junk = np.random.default_rng(0).bytes(300_000)
    tag = b"ID3\4\0\0\0\0\7\x68" + bytes(1_000)  # 7 times 128 and 0x68 more
    for before in (b"", junk, tag, tag + tag, tag + junk):
        assert find_stream(io.BytesIO(before + mp3)) == len(before)
    jumps = (b"\xff\xff\x25\x82" + bytes(60)) * 100  # they are frames of layer I to the letter
    for data in (junk, junk + jumps + junk, bytes(100_000), b"", b"\xff" * 100_000, tag[:10]):
        assert find_stream(io.BytesIO(data)) is None


def test_no_more_is_read_than_is_wanted():
    quiet, loud = np.full((RATE_HZ * 3, 1), 0.25, np.float32), np.full((RATE_HZ * 3, 1), 4.0, np.float32)
    samples = np.concatenate([quiet, loud])
    clip, notes = read_noted((samples, 44_100))
    assert notes and np.median(clip.samples[-RATE_HZ:]) == pytest.approx(1.0, abs=0.01)
    notes.clear()
    clip = load_audio((samples, 44_100), max_duration_s=0.4, on_note=notes.append)
    assert len(clip.samples) == round(0.4 * RATE_HZ) and not notes
    assert np.median(clip.samples) == pytest.approx(0.25, abs=0.01)
