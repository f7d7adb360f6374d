"""The files of the corpus: made by libsndfile, ffmpeg and sox, whole, with wrong headers, cut off and damaged."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from tests.conftest import synthesize

DURATION_S = 4.0
RATE_HZ = 22_050
READ, CUT, REFUSED = "read", "cut", "refused"  # right length; read in part and said so, or refused; refused
EITHER = "either"  # a matter of taste: read at any length, or refused
ALL_RATES_HZ = (
    1_000, 2_000, 4_000, 8_000, 11_025, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000, 384_000, 768_000,
)


class Case(NamedTuple):
    """One file: what kind of thing it is, and what should happen to it; `duration_s` is how long it truly is."""

    kind: str
    path: Path
    expected: str = READ
    duration_s: float = DURATION_S


@lru_cache(maxsize=64)
def tone(rate_hz: int = RATE_HZ, n_channels: int = 1, duration_s: float = DURATION_S) -> np.ndarray:
    """Music-like samples [shape=(n, n_channels)], each channel with a pitch of its own."""
    return np.stack([synthesize(180.0 + 40.0 * i, 2.0, duration_s, i, rate_hz) for i in range(n_channels)], 1)


def encoded(samples: np.ndarray, audio_format: str, subtype: str | None = None, rate_hz: int = RATE_HZ) -> bytes:
    """The samples as libsndfile writes them."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=audio_format, subtype=subtype)
    return buffer.getvalue()


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def containers_and_codecs(folder: Path) -> Iterator[Case]:
    """Each container with each width and codec that libsndfile writes in it, in mono and stereo."""
    for audio_format in soundfile.available_formats():
        if audio_format in ("RAW", "SD2", "HTK"):  # no header; two files; a rate that cannot be told exactly
            continue
        for subtype in soundfile.available_subtypes(audio_format):
            for n_channels in (1, 2):
                name = f"{audio_format}-{subtype}-{n_channels}.{audio_format.lower()}"
                rate_hz = {"WVE": 8_000, "XI": 44_100}.get(audio_format, 48_000 if subtype == "OPUS" else RATE_HZ)
                expected = EITHER if subtype.startswith("DWVW") else READ  # libsndfile cannot say where it is in these
                try:
                    data = encoded(tone(rate_hz, n_channels), audio_format, subtype, rate_hz)
                except (soundfile.LibsndfileError, ValueError):
                    continue  # not in that many channels, say
                yield Case("containers and codecs", put(folder, name, data), expected)


def rates_and_channels(folder: Path) -> Iterator[Case]:
    for audio_format in ("WAV", "FLAC", "AIFF", "AU", "CAF"):
        for rate_hz in ALL_RATES_HZ:
            if audio_format == "FLAC" and rate_hz > 655_350:
                continue
            data = encoded(tone(rate_hz, duration_s=1.0), audio_format, None, rate_hz)
            yield Case("rates", put(folder, f"{rate_hz}.{audio_format.lower()}", data), duration_s=1.0)
    for audio_format in ("WAV", "FLAC", "AIFF", "W64", "CAF"):
        for n_channels in (1, 2, 3, 4, 5, 6, 7, 8, 16, 64, 255):
            if audio_format != "FLAC" or n_channels <= 8:
                data = encoded(tone(RATE_HZ, n_channels, 1.0), audio_format)
                yield Case("channels", put(folder, f"{n_channels}.{audio_format.lower()}", data), duration_s=1.0)
    wav = encoded(tone(), "WAV")
    for rate_hz in (0, 1, 7, 999, 768_001, 2**31 - 1, 2**32 - 1):
        yield Case("rates", put(folder, f"absurd-{rate_hz}.wav", wav[:24] + struct.pack("<I", rate_hz) + wav[28:]), REFUSED)


# A name and how to make it; VIDEO and COVER have pictures too.
FFMPEG_FILES = """
aac.m4a -c:a aac ; aac.mp4 -c:a aac ; faststart.m4a -c:a aac -movflags +faststart
fragments.mp4 -c:a aac -movflags frag_keyframe+empty_moov ; alac.m4a -c:a alac ; adts.aac -c:a aac ; aac.mka -c:a aac
aac.ts -c:a aac ; aac.flv -c:a aac -ar 44100 ; aac.mov -c:a aac ; pcm.mov -c:a pcm_s16le ; pcm24.mov -c:a pcm_s24be
float.mov -c:a pcm_f32le ; aac.3gp -c:a aac ; ac3.ac3 -c:a ac3 -ar 48000 ; eac3.eac3 -c:a eac3 -ar 48000
ac3.mkv -c:a ac3 -ar 48000 ; dts.dts -c:a dca -strict -2 -ar 48000 ; wma1.wma -c:a wmav1 ; wma2.wma -c:a wmav2
wma.asf -c:a wmav2 ; vorbis.ogg -c:a libvorbis ; vorbis.oga -c:a libvorbis ; vorbis.webm -c:a libvorbis
opus.opus -c:a libopus -ar 48000 ; opus.ogg -c:a libopus -ar 48000 ; opus.webm -c:a libopus -ar 48000
opus.mka -c:a libopus -ar 48000 ; opus.mp4 -c:a libopus -ar 48000 ; flac.oga -c:a flac ; flac.ogg -c:a flac
flac.flac -c:a flac ; flac.mka -c:a flac ; flac.mp4 -c:a flac -strict -2 ; speex.spx -c:a libspeex -ar 16000 -ac 1
speex.ogg -c:a libspeex -ar 8000 -ac 1 ; cbr.mp3 -c:a libmp3lame -b:a 128k ; vbr.mp3 -c:a libmp3lame -q:a 4
noxing.mp3 -c:a libmp3lame -q:a 4 -write_xing 0 ; cbr-noxing.mp3 -c:a libmp3lame -b:a 96k -write_xing 0
abr.mp3 -c:a libmp3lame -abr 1 -b:a 96k ; id3v1.mp3 -c:a libmp3lame -write_id3v1 1 ; low.mp3 -c:a libmp3lame -ar 8000
layer2.mp2 -c:a mp2 -ar 44100 ; layer2.mp3 -c:a mp2 -ar 44100 -f mp2 ; mp3.mkv -c:a libmp3lame
mp3.avi -c:a libmp3lame -ar 44100 ; pcm.avi -c:a pcm_s16le ; mp3.wav -c:a libmp3lame -ar 44100
mp3.mp4 -c:a libmp3lame -ar 44100 ; tta.tta -c:a tta ; wavpack.wv -c:a wavpack
wavpack-float.wv -c:a wavpack -sample_fmt fltp ; wavpack.mka -c:a wavpack ; aiff.aiff -c:a pcm_s16be
aifc.aifc -c:a pcm_s16le -f aiff ; alaw.aiff -c:a pcm_alaw ; caf.caf -c:a pcm_s24le ; alac.caf -c:a alac
au.au -c:a pcm_s16be ; mulaw.au -c:a pcm_mulaw ; w64.w64 -c:a pcm_s16le ; rf64.wav -c:a pcm_s16le -rf64 always
bext.wav -c:a pcm_s16le -write_bext 1 -metadata description=x ; u8.wav -c:a pcm_u8 ; s24.wav -c:a pcm_s24le
s32.wav -c:a pcm_s32le ; f32.wav -c:a pcm_f32le ; f64.wav -c:a pcm_f64le ; alaw.wav -c:a pcm_alaw ; mulaw.wav -c:a pcm_mulaw
adpcm-ms.wav -c:a adpcm_ms ; adpcm-ima.wav -c:a adpcm_ima_wav ; adpcm-swf.wav -c:a adpcm_swf
g726.wav -c:a g726 -ar 8000 -ac 1 ; gsm.wav -c:a libgsm_ms -ar 8000 -ac 1 ; g722.wav -c:a g722 -ar 16000 -ac 1
voc.voc -c:a pcm_u8 ; sox.sox -c:a pcm_s32le ; nut.nut -c:a pcm_s16le ; ircam.sf -c:a pcm_s16le -f ircam
truehd.thd -c:a truehd -strict -2 -ar 48000 ; mlp.mlp -c:a mlp -strict -2 -ar 48000 ; amv.flv -c:a nellymoser -ar 22050 -ac 1
real.rm -c:a real_144 -ar 8000 -ac 1 ; mp2.mpg -c:a mp2 -ar 44100 ; mxf.mxf -c:a pcm_s16le -ar 48000
dv.gxf -c:a pcm_s16le -ar 48000 -ac 1 ; smj.mkv -c:a pcm_s16le ; f32.mka -c:a pcm_f32le ; video.mp4 VIDEO -c:a aac -c:v mpeg4
video.mkv VIDEO -c:a libvorbis -c:v mpeg4 ; video.webm VIDEO -c:a libopus -ar 48000 -c:v libvpx -deadline realtime
video.avi VIDEO -c:a libmp3lame -ar 44100 -c:v mpeg4 ; video.ogv VIDEO -c:a libvorbis -c:v libtheora
cover.mp3 COVER -c:a libmp3lame ; cover.m4a COVER -c:a aac ; cover.flac COVER -c:a flac
""".replace("\n", " ; ").split(" ; ")[1:-1]
FFMPEG = ("ffmpeg", "-v", "error", "-y")
PADDED = ("adpcm-swf.wav", "dv.gxf")  # filled up to whole blocks
PIPED = (
    "wav", "flac", "au", "caf", "w64", "aiff", "ogg", "opus", "mp3", "mka", "webm", "adts", "mpegts", "nut", "asf", "wv", "tta",
)
HEADERLESS = ("s16le", "u8", "alaw", "mulaw", "f32le", "gsm", "g722", "g726", "dfpwm", "aptx", "sbc")
SOX_FILES = ("8svx", "aifc", "amb", "au", "avr", "caf", "cvs", "dat", "fap", "hcom", "htk", "ima", "maud", "paf", "prc", "pvf",
             "sf", "smp", "sndr", "sndt", "sox", "sph", "txw", "vox", "w64", "wv", "wve", "xi")
SOX_REFUSED = {"cvs", "ima", "vox"}  # no header
SOX_EITHER = {"xi", "dat", "txw", "prc", "sndr", "sndt", "wve", "hcom", "maud", "smp", "htk"}  # of before 1995


def run_quietly(*command: object, folder: Path | None = None) -> bool:
    """Whether the command, at work in `folder`, ended well."""
    return subprocess.run(list(map(str, command)), capture_output=True, timeout=60, cwd=folder).returncode == 0


def by_ffmpeg(folder: Path) -> Iterator[Case]:
    """What ffmpeg writes: to files, and to pipes, where no size is known when the header is written."""
    source = put(folder, "source.wav", encoded(tone(44_100, 2), "WAV", rate_hz=44_100))
    picture = folder / "cover.png"
    run_quietly(*FFMPEG, "-f", "lavfi", "-i", "color=red:s=64x64:d=0.04", "-frames:v", "1", picture)
    video = ["-f", "lavfi", "-i", f"testsrc=s=64x64:r=5:d={DURATION_S}"]
    groups: dict[bool, list[tuple[Path, list[object]]]] = {True: [], False: []}
    for line in FFMPEG_FILES:
        name, *options = line.split()
        more: list[object] = []
        if options[0] in ("VIDEO", "COVER"):
            more = video if options.pop(0) == "VIDEO" else ["-i", picture]
        groups[bool(more)].append((folder / name, [*more, *options, folder / name]))
    for n_together, files in ((8, groups[False]), (1, groups[True])):  # starting ffmpeg takes longer than its work
        for first in range(0, len(files), n_together):
            together = files[first : first + n_together]
            if not run_quietly(*FFMPEG, "-i", source, *(word for _, words in together for word in words)):
                for path, words in together:
                    if not run_quietly(*FFMPEG, "-i", source, *words):
                        path.unlink(missing_ok=True)
            for path, _ in together:
                if path.exists():
                    yield Case("written by ffmpeg", path, EITHER if path.name in PADDED else READ)
    for muxer in PIPED:
        with (folder / f"piped.{muxer}").open("wb") as file, subprocess.Popen(
            ["ffmpeg", "-v", "error", "-i", source, "-f", muxer, "pipe:1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            shutil.copyfileobj(process.stdout, file)
        if process.returncode == 0:
            # the last packet of a CAF without a size is shorter than the others, which ffmpeg takes for damage
            yield Case("written to a pipe", folder / f"piped.{muxer}", CUT if muxer == "caf" else READ)
    for muxer in HEADERLESS:
        path = folder / f"raw.{muxer}"
        if run_quietly(*FFMPEG, "-i", source, "-ar", "16000", "-ac", "1", "-f", muxer, path):
            yield Case("without a header", path, EITHER if muxer == "sbc" else REFUSED)


def by_sox(folder: Path) -> Iterator[Case]:
    source = put(folder, "source.wav", encoded(tone(8_000), "WAV", rate_hz=8_000))
    for kind in SOX_FILES:
        if run_quietly("sox", source, f"sox.{kind}", folder=folder):  # of some kinds it writes a second file where it stands
            expected = REFUSED if kind in SOX_REFUSED else EITHER if kind in SOX_EITHER else READ
            yield Case("written by sox", folder / f"sox.{kind}", expected)


def wrong_headers(folder: Path) -> Iterator[Case]:
    """Headers that tell less, or more, than the file holds."""
    wav, au, flac, aiff = (encoded(tone(), kind) for kind in ("WAV", "AU", "FLAC", "AIFF"))
    needs = shutil.which("ffmpeg") is not None
    for size in (0, 1, 4_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFF000):
        changed = wav[:40] + struct.pack("<I", size) + wav[44:]
        if needs or size > 4_000:
            yield Case("wrong headers", put(folder, f"data-{size}.wav", changed), CUT if 0 < size <= 4_000 else READ)
    for size in (0, 0xFFFFFFFF):
        if needs:
            without = wav[:4] + struct.pack("<I", size) + wav[8:40] + bytes(4) + wav[44:]
            yield Case("wrong headers", put(folder, f"all-{size}.wav", without))
            yield Case("wrong headers", put(folder, f"{size}.au", au[:8] + struct.pack(">I", size) + au[12:]))
        yield Case("wrong headers", put(folder, f"riff-{size}.wav", wav[:4] + struct.pack("<I", size) + wav[8:]))
    for total in (0, 22_050, 2**36 - 1) if needs else ():
        field = struct.pack(">Q", (struct.unpack(">Q", flac[18:26])[0] >> 36 << 36) | total)
        path = put(folder, f"total-{total}.flac", flac[:18] + field + flac[26:])
        yield Case("wrong headers", path, CUT if total > 2**35 else READ)
    if needs:
        mp3, ogg = encoded(tone(44_100), "MP3", rate_hz=44_100), encoded(tone(), "OGG")
        yield Case("wrong headers", put(folder, "twice.mp3", mp3 + mp3), duration_s=2 * DURATION_S)
        at = mp3.find(b"Info") if b"Info" in mp3[:200] else mp3.find(b"Xing")
        yield Case("wrong headers", put(folder, "xing-too-few.mp3", mp3[: at + 8] + struct.pack(">I", 20) + mp3[at + 12 :]))
        yield Case("wrong headers", put(folder, "vbri-too-few.mp3", mp3[:at] + _vbri(20, len(mp3)) + mp3[at + 26 :]))
        for name, second, seconds in (
            ("same", ogg, 8), ("other-rate", encoded(tone(44_100), "OGG", rate_hz=44_100), 8),
            ("stereo", encoded(tone(RATE_HZ, 2), "OGG"), 8), ("three", ogg + ogg, 12),
        ):
            yield Case("wrong headers", put(folder, f"chained-{name}.ogg", ogg + second), duration_s=float(seconds))
        opus = encoded(tone(48_000), "OGG", "OPUS", 48_000)
        yield Case("wrong headers", put(folder, "chained.opus", opus + opus), duration_s=8.0)
    tags = {"list": b"LIST" + struct.pack("<I", 200_000) + bytes(200_000), "id3": b"ID3\4\0\0\0\0\0\0" + bytes(90_000)}
    for name, tag in tags.items():
        yield Case("tags", put(folder, f"{name}.wav", wav + tag))
    yield Case("tags", put(folder, "id3.aiff", aiff + b"ID3 " + struct.pack(">I", 200_000) + bytes(200_000)))
    mp3 = encoded(tone(44_100), "MP3", rate_hz=44_100)
    size = bytes((200_000 >> shift) & 127 for shift in (21, 14, 7, 0))
    id3 = b"ID3\4\0\0" + size + bytes(200_000)
    yield Case("tags", put(folder, "id3v2.mp3", id3 + mp3))
    yield Case("tags", put(folder, "id3v2-twice.mp3", id3 + id3 + mp3))
    yield Case("tags", put(folder, "id3v2.flac", id3 + flac + b"TAG" + bytes(125)))
    if needs:
        yield Case("tags", put(folder, "id3v2.wav", id3 + wav))
        junk = np.random.default_rng(4).bytes(3_000)
        for name, data in (
            ("midst", mp3[700:]), ("junk", junk + mp3), ("zeros", bytes(50_000) + mp3), ("many-zeros", bytes(1_000_000) + mp3),
            ("answer", b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n" + mp3),
        ):
            yield Case("recorded from a stream", put(folder, f"{name}.mp3", data))
        yield Case("tags", put(folder, "apev2-first.mp3", _ape_tag(100_000) + mp3), CUT)
        yield Case("tags", put(folder, "apev2-whole.mp3", mp3 + _ape_tag(100_000)))
    yield Case("rates", put(folder, "free-format.mp3", free_format(_constant_mp3())))
    yield Case("tags", put(folder, "apev2.mp3", mp3 + b"APETAGEX" + bytes(100_000) + b"APETAGEX" + bytes(24)))
    for name, behind in (("lyrics", b"LYRICSBEGIN" + b"IND0000200" * 9_000 + b"000400LYRICS200"), ("padded", bytes(100_000))):
        yield Case("tags", put(folder, f"{name}.mp3", mp3 + behind))
    yield Case("tags", put(folder, "id3v1.mp3", mp3 + b"TAG" + bytes(125)))


def _constant_mp3() -> bytes:
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 44_100, 1, format="MP3", bitrate_mode="CONSTANT", compression_level=0.5) as file:
        file.write(tone(44_100))
    return buffer.getvalue()


def _ape_tag(n_bytes: int) -> bytes:
    head, foot = (b"APETAGEX" + struct.pack("<4I8x", 2_000, n_bytes + 32, 1, flags) for flags in (0xA0000000, 0x80000000))
    return head + bytes(n_bytes) + foot


def free_format(mp3: bytes) -> bytes:
    """An MP3 of one bit rate, not one frame of which tells it any more: all are as long as the first."""
    changed, start = bytearray(mp3), 0
    while (start := mp3.find(mp3[:2], start)) >= 0:
        if mp3[start + 2] & 0xFC == mp3[2] & 0xFC:
            changed[start + 2] &= 0x0F
        start += 2
    return bytes(changed)


def _vbri(n_frames: int, n_bytes: int) -> bytes:
    return b"VBRI" + struct.pack(">HHHIIHHHH", 1, 0, 80, n_bytes, n_frames, 0, 1, 2, 0)


ENDLESS = ("noxing.mp3", "adts.aac")  # streams that never say how long they are, and nobody can tell where they were cut


def damage(folder: Path, good: list[Case]) -> Iterator[Case]:
    """Files cut off, with holes, with wrong bits and with something at their end."""
    rng = np.random.default_rng(0)
    for case in good:
        data, name = case.path.read_bytes(), case.path.name
        noted = EITHER if name in ENDLESS else CUT
        yield Case("cut off", put(folder, f"half-{name}", data[: len(data) // 2]), noted, case.duration_s)
        yield Case("cut off", put(folder, f"tenth-{name}", data[: len(data) // 10]), noted, case.duration_s)
        yield Case("cut off", put(folder, f"head-{name}", data[:60]), CUT, case.duration_s)
        hole = bytearray(data)
        hole[len(data) // 2 : len(data) // 2 + len(data) // 20] = bytes(len(data) // 20)
        yield Case("damaged", put(folder, f"hole-{name}", bytes(hole)), EITHER)
        flipped = np.frombuffer(data, np.uint8).copy()
        flipped[rng.integers(200, len(data), len(data) // 500)] ^= 0x55
        yield Case("damaged", put(folder, f"bits-{name}", flipped.tobytes()), EITHER)
        yield Case("damaged", put(folder, f"headless-{name}", data[2_000:]), EITHER)


def no_sound(folder: Path) -> Iterator[Case]:
    """What is no sound, by names that say it were."""
    wav = encoded(tone(), "WAV")
    contents = {
        "empty": b"", "zeros": bytes(50_000), "random": np.random.default_rng(1).bytes(50_000),
        "text": b"a song of words\n" * 2_000,
        "comment": b"<!-- cached -->\n<html>" + b"<p>log in</p>" * 900,
        "html": b"<!DOCTYPE html>\n<html><body>" + b"<p>log in</p>" * 900, "json": b'{"error": "not found"}',
        "zip": b"PK\3\4" + bytes(2_000),
        "tar": b"song.mp3".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0") + encoded(tone(), "MP3"),
        "pdf": b"%PDF-1.7\n" + bytes(2_000), "elf": b"\x7fELF\2\1\1" + np.random.default_rng(2).bytes(20_000),
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n",
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsource.wav\n#EXT-X-ENDLIST\n",
        "no-samples": wav[:40] + bytes(4),
        "only-header": wav[:44],
    }
    for suffix in ("wav", "mp3", "au", "vox", "gsm", "raw", "ogg", "m4a"):
        for name, data in contents.items():
            yield Case("no sound", put(folder, f"{name}.{suffix}", data), REFUSED)


def names(folder: Path) -> Iterator[Case]:
    """Names with spaces, letters of other scripts, control characters, or what a command line would take for an option."""
    data = encoded(tone(duration_s=1.0), "WAV")
    odd = ("a b.wav", "\u97f3\u697d.wav", "-rf.wav", "a\nb.wav", "a\x07b.wav", "%d.wav", "file:x.wav", "no suffix", "x.mp3",
           "\udcff.wav")
    for name in odd:
        try:
            yield Case("names", put(folder, name, data), duration_s=1.0)
        except (OSError, UnicodeEncodeError):
            continue  # this file system has no such name


def build(folder: Path) -> list[Case]:
    """Make all files, each kind in a folder of its own."""
    def sub(name: str) -> Path:
        (folder / name).mkdir(parents=True)
        return folder / name

    cases = [*containers_and_codecs(sub("containers")), *rates_and_channels(sub("rates")), *wrong_headers(sub("headers"))]
    cases += [*no_sound(sub("none")), *names(sub("names"))]
    base = [case for case in cases if case.path.name in (
        "WAV-PCM_16-2.wav", "WAV-FLOAT-1.wav", "WAV-IMA_ADPCM-1.wav", "AIFF-PCM_16-2.aiff", "AU-PCM_16-2.au", "CAF-PCM_16-2.caf",
        "W64-PCM_16-2.w64", "RF64-PCM_16-2.rf64", "FLAC-PCM_16-2.flac", "OGG-VORBIS-2.ogg", "OGG-OPUS-1.ogg",
        "MP3-MPEG_LAYER_III-2.mp3")]
    if shutil.which("ffmpeg"):
        written = [*by_ffmpeg(sub("ffmpeg"))]
        base += [case for case in written if case.path.name in (
            "aac.m4a", "faststart.m4a", "fragments.mp4", "adts.aac", "wma2.wma", "opus.webm", "aac.mka", "wavpack.wv",
            "noxing.mp3", "flac.oga")]
        cases += written
    if shutil.which("sox"):
        cases += by_sox(sub("sox"))
    return [*cases, *damage(sub("damage"), base)]
