"""`python -m genre_gan`, and the start times of what only prints a help text."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genre_gan import Clip, Guess, Recipe
from genre_gan.__main__ import main, parse_blend
from genre_gan.classify import TimelinePoint
from genre_gan.models.classifier import GenreLSTM
from genre_gan.models.waveform import WaveformGenerator
from genre_gan.wording import clock, csv_text, nearest, passages, sentence, strongest_moment
from tests.conftest import SAMPLE_RATE_HZ, synthesize
from tests.test_models import TINY_LSTM, tiny_gan, tiny_spectral_model

ROOT = Path(__file__).parents[1]


@pytest.fixture
def generator(tmp_path) -> str:
    return str(WaveformGenerator(tiny_gan(n_samples=22_050)).save_pretrained(tmp_path / "gan"))


@pytest.fixture
def classifier(tmp_path) -> str:
    return str(GenreLSTM(TINY_LSTM).save_pretrained(tmp_path / "lstm"))


@pytest.fixture
def songs(tmp_path) -> Path:
    folder = tmp_path / "songs"
    (folder / "deep").mkdir(parents=True)
    Clip(synthesize(220, 2, 3.0, seed=1), SAMPLE_RATE_HZ).save(folder / "a.wav")
    Clip(synthesize(440, 4, 3.0, seed=2), SAMPLE_RATE_HZ).save(folder / "deep" / "b.mp3")
    (folder / "notes.txt").write_text("no sound")
    return folder


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_generate_writes_what_was_asked_and_names_its_seed(generator, tmp_path, capsys, suffix):
    path = tmp_path / f"clip.{suffix}"
    assert main(["generate", "Blues", "-o", str(path), "--duration-s", "2.5", "--model", generator]) == 0
    assert soundfile.info(path).duration == pytest.approx(2.5, abs=0.1)
    seed = capsys.readouterr().out.split("seed ")[1].strip()
    again = tmp_path / f"again.{suffix}"
    assert main(["generate", "blues", "-o", str(again), "--duration-s", "2.5", "--seed", seed, "--model", generator]) == 0
    assert np.array_equal(soundfile.read(path)[0], soundfile.read(again)[0])


def test_an_empty_name_is_not_this_folder(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["classify", ""])
    assert "must be a file or a folder, got an empty name" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="of pipes as POSIX has them")
def test_who_reads_the_answers_may_go_when_it_has_heard_enough(classifier, songs):
    command = [sys.executable, "-m", "genre_gan", "classify", str(songs), "--json", "--model", classifier]
    reads, writes = os.pipe()
    os.close(reads)
    run = subprocess.run(command, cwd=ROOT, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writes)
    assert (run.returncode, run.stderr) == (1, "")


def test_odd_names_cannot_steer_a_terminal_and_what_computers_leave_is_no_song(classifier, songs, capsysbinary):
    sound = (songs / "a.wav").read_bytes()
    odd = ["x\x1b[2J.wav", "y\nb.wav", *["\udcff.wav"] * (os.name == "posix")]
    (songs / "__MACOSX").mkdir()
    for name in (*odd, "._a.wav", "__MACOSX/a.wav"):
        (songs / name).write_bytes(sound)
    for form in ([], ["--csv"], ["--json"]):
        assert main(["classify", str(songs), *form, "--model", classifier]) == 0
        text = capsysbinary.readouterr().out.decode()
        assert text.count(".wav") == 1 + len(odd) and "\x1b" not in text


def test_names_that_look_alike_have_a_row_each(classifier, songs, capsys):
    names = ["a.wav", "a\u3000b.wav", "a\xa0b.wav"]
    for name in names[1:]:
        (songs / name).write_bytes((songs / "a.wav").read_bytes())
    assert main(["classify", *(str(songs / name) for name in names), "--csv", "--model", classifier]) == 0
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert [Path(row["file"]).name for row in rows] == names


@pytest.mark.parametrize("form", [[], ["--csv"], ["--json"]])
def test_a_name_that_a_console_cannot_show_ends_no_answers(classifier, songs, monkeypatch, form):
    (songs / "日本.wav").write_bytes((songs / "a.wav").read_bytes())
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "cp1252"))
    assert main(["classify", str(songs), *form, "--model", classifier]) == 0
    sys.stdout.flush()
    text = sys.stdout.buffer.getvalue().decode()
    assert text.count(".wav") == 2 and text.count(".mp3") == 1
    assert ("日本" if form == ["--csv"] else r"\u65e5\u672c") in text


def test_a_path_that_cannot_be_looked_at_is_an_error_of_its_own(classifier, songs, capsys):
    long, locked = songs / f"{'x' * 300}.wav", songs / "deep" / "b.mp3"
    locked.parent.chmod(0)
    try:
        is_root = os.access(locked, os.R_OK)
        assert main(["classify", str(long), str(locked), str(songs / "a.wav"), "--model", classifier]) == 1
    finally:
        locked.parent.chmod(0o700)
    printed = capsys.readouterr()
    assert "a.wav: Sounds like " in printed.out
    assert f"{long}: error: '{long.name}' cannot be opened: File name too long" in printed.err
    assert is_root or f"{locked}: error: 'b.mp3' cannot be opened: Permission denied" in printed.err


def test_tempo_key_and_loop_reach_the_clip(tmp_path):
    model, path = str(tiny_spectral_model().save_pretrained(tmp_path / "mel")), tmp_path / "loop.flac"
    wishes = ["--tempo-bpm", "120", "--key", "a minor", "--loop"]
    assert main(["generate", "blues", "-o", str(path), "--duration-s", "4.4", *wishes, "--model", model]) == 0
    recipe = Recipe.from_file(path)
    assert (recipe.tempo_bpm, recipe.key, recipe.loop) == (120.0, "A minor", True)
    assert soundfile.info(path).duration == pytest.approx(4.0, rel=0.003)  # two bars, of whole frames


def test_a_blend_is_written_as_genres_and_weights():
    assert parse_blend(["jazz=0.7", "hiphop=0.3"]) == {"jazz": 0.7, "hiphop": 0.3}
    assert parse_blend(["jazz", "rock"]) == {"jazz": 1.0, "rock": 1.0}
    with pytest.raises(ValueError, match=r"such as jazz=0\.7, got 'jazz=much'"):
        parse_blend(["jazz=much"])
    with pytest.raises(ValueError, match="named twice"):
        parse_blend(["jazz", "jazz=2"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "polka", "-o", "{folder}/a.wav"], "genre 'polka' is unknown; allowed: blues, metal"),
        (["generate", "blues", "-o", "{folder}/a.aiff"], "-o must end in one of .wav"),
        (["generate", "blues", "-o", "{folder}/no/a.wav"], "a folder that exists"),
        (["generate", "blues", "-o", "{folder}/a.wav", "--duration-s", "999"], "got 999"),
        (["generate", "blues", "-o", "{folder}/a.wav", "--seed", "-5"], "got -5"),
        (["generate", "blues", "-o", "{folder}/a.wav", "--tempo-bpm", "90"], "takes no tempo, got 90.0"),
        (["generate", "blues", "-o", "{folder}/a.wav", "--key", "H dur"], "key 'H dur' is unknown; allowed: C major"),
        (["classify", "{folder}/empty"], "no sound files"),
    ],
)
def test_a_mistake_ends_with_one_line_and_leaves_no_file(generator, tmp_path, capsys, arguments, message):
    folder = tmp_path / "here"
    (folder / "empty").mkdir(parents=True)
    model = ["--model", generator] if arguments[0] == "generate" else []
    assert main([argument.format(folder=folder) for argument in arguments] + model) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and printed.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["empty"]


def test_classify_reads_folders_and_goes_on_after_a_bad_file(classifier, songs, capsys):
    (songs / "bad.wav").write_text("no sound")
    assert main(["classify", str(songs), str(songs / "missing.wav"), "--model", classifier]) == 1
    printed = capsys.readouterr()
    assert [line.partition(": ")[0] for line in printed.out.splitlines()] == [str(songs / "a.wav"), str(songs / "deep" / "b.mp3")]
    assert all("Sounds like " in line for line in printed.out.splitlines())
    assert "bad.wav: error: " in printed.err and "missing.wav: error: " in printed.err and "Traceback" not in printed.err


def test_classify_prints_json_and_csv_of_the_same_numbers(classifier, songs, capsys):
    (songs / "bad.wav").write_text("no sound")
    assert main(["classify", str(songs), "--json", "--model", classifier]) == 1
    records = json.loads(capsys.readouterr().out)
    assert main(["classify", str(songs), "--csv", "--model", classifier]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [Path(record["file"]).name for record in records] == ["a.wav", "bad.wav", "b.mp3"]
    assert [row["file"] for row in rows] == [record["file"] for record in records]
    assert records[1]["error"] == rows[1]["error"]
    for record, row in ((records[0], rows[0]), (records[2], rows[2])):
        assert row["genre"] == record["genre"] and [point["start_s"] for point in record["timeline"]] == [0, 1, 2]
        assert float(row["p_blues"]) == pytest.approx(record["probabilities"]["blues"], abs=1e-4)
    assert main(["classify", str(songs / "a.wav"), "--json", "--model", classifier]) == 0


def guess(genres: str, is_sure: bool = True, slice_s: float = 3.0) -> Guess:
    """A guess of jazz whose slices are of those genres, with a change wherever the next is another one."""
    names = {"j": "jazz", "b": "blues"}
    heard = {letter: {name: 0.8 if name == names[letter] else 0.2 for name in names.values()} for letter in names}
    points = [TimelinePoint(slice_s * i, slice_s * (i + 1), names[c], heard[c]) for i, c in enumerate(genres)]
    changes = tuple(slice_s * i for i in range(1, len(genres)) if genres[i] != genres[i - 1])
    return Guess("jazz", {"jazz": 0.62, "blues": 0.38}, tuple(points), is_sure, changes=changes)


@pytest.mark.parametrize(
    ("genres", "words"),
    [
        ("jjjj", "Sounds like jazz (62 %)."),
        ("j", "Sounds like jazz (62 %)."),
        ("jjjjbb", "Sounds like jazz (62 %); from 0:12 closer to blues."),
        ("bbjjj", "Sounds like jazz (62 %); at first closer to blues, from 0:06 closer to jazz."),
        ("jjbbjjbbjjbb", "Sounds like jazz (62 %); from 0:06 closer to blues, from 0:12 closer to jazz, and 3 more changes."),
    ],
)
def test_a_guess_is_told_in_a_sentence(genres, words):
    assert sentence(guess(genres)) == words


def test_a_single_slice_that_is_heard_otherwise_is_no_change():
    assert sentence(guess("jjbjj")._replace(changes=())) == "Sounds like jazz (62 %)."


def test_the_strongest_moment_is_told():
    loud = {"jazz": 0.9, "blues": 0.1}
    heard = guess("jjjj")
    heard = heard._replace(timeline=(*heard.timeline[:2], TimelinePoint(6.0, 9.0, "jazz", loud), heard.timeline[3]))
    assert strongest_moment(heard) == "Most like jazz from 0:06 to 0:09."
    assert strongest_moment(guess("j")) == strongest_moment(guess("jj", is_sure=False)) == ""


def test_an_unsure_guess_tells_what_it_is_nearest_to():
    assert nearest(guess("jj")) == "" == nearest(guess("jj", is_sure=False)._replace(known=0.05))
    assert nearest(guess("jj", is_sure=False)) == "Nearest to jazz (62 %), then blues (38 %)."
    assert nearest(guess("jj", is_sure=False)._replace(probabilities={"jazz": 1.0})) == "Nearest to jazz (100 %)."


def test_an_unsure_guess_names_no_genre():
    assert sentence(guess("jj", is_sure=False)) == "None of my two genres, as far as I can tell."
    assert passages(guess("jjj")) == [(0.0, "jazz")]
    assert clock(72.9) == "1:12"


def test_names_are_no_formulas_in_a_table():
    text = csv_text({"=cmd|' /C calc'!A0.wav": guess("jj"), 'a, "b".wav': "error: damaged"}, ("jazz", "blues"))
    first, second = csv.DictReader(io.StringIO(text))
    assert first["file"] == "'=cmd|' /C calc'!A0.wav" and first["p_jazz"] == "0.62"
    assert second["file"] == 'a, "b".wav' and second["error"] == "error: damaged"


def test_a_table_has_a_row_for_each_name_as_it_is():
    names = ["a\u3000b.wav", "a\xa0b.wav", "a b.wav", "a\u200bb.wav", "日本.wav", "a\x1bb.wav", "a\udcffb.wav", "a?b.wav"]
    rows = list(csv.DictReader(io.StringIO(csv_text(dict.fromkeys(names, "damaged"), ("jazz",)))))
    assert [row["file"] for row in rows] == [*names[:5], *["a?b.wav"] * 3]


@pytest.mark.parametrize("command", [["app.py", "--help"], ["-m", "genre_gan", "--help"], ["-c", "import genre_gan"]])
def test_help_needs_neither_torch_nor_gradio(command):
    run = subprocess.run([sys.executable, "-X", "importtime", *command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0
    loaded = {line.split("|")[-1].strip() for line in run.stderr.splitlines() if "|" in line}
    assert not loaded & {"torch", "gradio", "librosa", "datasets", "accelerate", "transformers"}
