"""The evaluation of classifiers, on the smallest models and synthesised sound."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genre_gan import Clip, Guess
from genre_gan.audio import load_audio
from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import load_tracks
from genre_gan.data.splits import split_tracks
from genre_gan.evaluation.changes import CHANGES, as_mp3, cut_to_5_s, from_a_laptop_in_a_room, mix, over_a_telephone
from genre_gan.features import FeatureConfig
from genre_gan.models.classifier import GenreLSTM, LSTMConfig
from tests.conftest import synthesize, write_music_folder
from training import evaluate_classifier, open_set
from training.evaluate_classifier import Judged, ask, measure_robustness, summarise
from training.not_music import recordings
from training.open_set import OTHER_GENRES, answer_curve, named_shares

RATE_HZ = 22_050


def write_classifier(folder, genres=("blues", "metal"), **training_record):
    model = GenreLSTM(LSTMConfig(FeatureConfig("mfcc-segment", segment_s=1.0), genres, hidden_size=8))
    model.feature_std.fill_(100.0)
    model.training_record = training_record
    return model.save_pretrained(folder)


def band_db(samples: np.ndarray, rate_hz: int, low_hz: float, high_hz: float) -> float:
    power = np.square(np.abs(np.fft.rfft(samples)))
    frequencies = np.fft.rfftfreq(len(samples), 1 / rate_hz)
    return float(10 * np.log10(power[(frequencies >= low_hz) & (frequencies < high_hz)].sum() + 1e-12))


def noise(duration_s: float) -> Clip:
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(duration_s * RATE_HZ)).astype(np.float32)
    return Clip(samples, RATE_HZ)


@pytest.fixture
def folders(tmp_path) -> list[str]:
    """A cross-validation of five models, music of two genres that they know and one that they do not, and recordings."""
    for fold in range(5):
        write_classifier(tmp_path / "run" / f"fold-{fold}" / "model")
    write_music_folder(tmp_path / "music", tracks_per_genre=6, duration_s=2.0)
    write_music_folder(tmp_path / "other", genres=("polka", "metal"), tracks_per_genre=2, duration_s=2.0)
    (tmp_path / "recordings" / "speech").mkdir(parents=True)
    soundfile.write(tmp_path / "recordings" / "speech" / "a.wav", synthesize(120, 5, 1.0, seed=0), RATE_HZ)
    soundfile.write(tmp_path / "recordings" / "speech" / "b.wav", synthesize(200, 4, 1.0, seed=1), RATE_HZ)
    with (tmp_path / "recordings" / "files.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "source"), ("speech/a.wav", "here")])
    return [
        "--model", str(tmp_path / "run"), "--data", str(tmp_path / "music"), "--not-music", str(tmp_path / "recordings"),
        "--other-genres", str(tmp_path / "other"), "--synthetic", "1", "--output-dir", str(tmp_path / "out"),
    ]  # fmt: skip


def test_everything_is_measured_on_models_that_never_heard_the_artist(folders, tmp_path, capsys):
    for fold in range(5):
        write_classifier(tmp_path / "rival" / f"fold-{fold}" / "model")
    evaluate_classifier.main([*folders, "--compare", str(tmp_path / "rival")])
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"results.json", "results.md", "confusion.png", "reliability.png", "open_set.png"}
    assert results["protocol"] == "5 folds with artists apart" and results["all"]["n"] == 12
    assert np.sum(results["confusion"]) == 12 and set(results["by_collection"]) == {"music"}
    assert set(results["robustness"]) == {"as it is", *CHANGES}
    assert results["robustness"]["as it is"]["lost"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert results["named"][OTHER_GENRES]["n"] == 2
    assert results["named"]["speech, here"]["n"] == results["named"]["speech"]["n"] == 1
    assert results["named"]["silence (made up)"]["named"] == 0.0
    assert results["named"]["all recordings, over a telephone"]["n"] == 2
    assert list(results["comparison"]) == ["run", "rival", "run and rival, averaged"]
    assert {"+20 dB", "-10 dB"} <= set(results["speech_over_music"])
    page = capsys.readouterr().out
    assert "| music | 12 | 12 |" in page and "Sound that should not be named" in page


def test_folders_of_one_name_have_rows_of_their_own(tmp_path):
    words = ["--robustness-tracks", "0", "--synthetic", "1", "--output-dir", str(tmp_path / "out")]
    for number, place in enumerate(("one", "two")):
        music = write_music_folder(tmp_path / place / "genres", tracks_per_genre=2 + number, duration_s=1.5 + number)
        model = write_classifier(tmp_path / place / "model")
        words += ["--data", str(music), "--compare" if number else "--model", str(model)]
    evaluate_classifier.main(words)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {name: row["n"] for name, row in results["by_collection"].items()} == {"genres (1)": 4, "genres (2)": 6}
    assert list(results["comparison"]) == ["model (1)", "model (2)", "model (1) and model (2), averaged"]


def test_models_that_heard_what_they_are_asked_about_are_refused(folders, tmp_path):
    learned = {"blues": 6, "metal": 6}  # all tracks: none was held back
    write_classifier(tmp_path / "run" / "fold-3" / "model", tracks_per_genre=learned)
    with pytest.raises(SystemExit, match=r"run/fold-3 learned from 12 tracks, but these folds leave .* to it"):
        evaluate_classifier.main(folders)


def test_only_alike_models_are_compared(folders, tmp_path):
    for name, genres in (("single/model", ("blues", "metal")), ("others/fold-0/model", ("blues", "polka"))):
        write_classifier(tmp_path / name, genres)
    with pytest.raises(SystemExit, match=r"--compare .* has 1 model.* of blues, metal; --model has 5"):
        evaluate_classifier.main([*folders, "--compare", str(tmp_path / "single" / "model")])
    with pytest.raises(SystemExit, match=r"1 model.* of blues, polka; --model has 5 of blues, metal"):
        evaluate_classifier.main([*folders, "--compare", str(tmp_path / "others")])


def test_other_genres_and_missing_ones_are_told(tmp_path, capsys):
    model = str(write_classifier(tmp_path / "model"))
    some = write_music_folder(tmp_path / "some", genres=("metal", "polka"), tracks_per_genre=2, duration_s=1.5)
    arguments = ["--model", model, "--robustness-tracks", "0", "--synthetic", "1", "--output-dir", str(tmp_path / "out")]
    (tmp_path / "recordings" / "door").mkdir(parents=True)
    soundfile.write(tmp_path / "recordings" / "door" / "click.wav", synthesize(120, 5, 0.2, seed=0), RATE_HZ)
    evaluate_classifier.main(["--data", str(some), "--not-music", str(tmp_path / "recordings"), *arguments])
    text = capsys.readouterr().out
    assert "click.wav left out: too short" in text and "| door |" not in text
    assert "left out 2 tracks of genres that the classifier does not know: polka" in text
    assert "the data has no tracks of: blues" in text and "the figures flatter" in text
    other = write_music_folder(tmp_path / "other", genres=("polka", "ska"), tracks_per_genre=2, duration_s=1.5)
    with pytest.raises(SystemExit, match="the classifier knows only blues, metal"):
        evaluate_classifier.main(["--data", str(other), *arguments])
    with pytest.raises(SystemExit, match="has no genre that the classifier lacks"):
        known = write_music_folder(tmp_path / "known", tracks_per_genre=2, duration_s=1.5)
        evaluate_classifier.main(["--data", str(some), "--other-genres", str(known), *arguments])
    with pytest.raises(SystemExit, match="is no folder"):
        evaluate_classifier.main(["--data", str(some), "--not-music", str(tmp_path / "nowhere"), *arguments])


def test_scores_of_predictions_by_hand():
    """Two artists of one genre, one always right and one always wrong, and a right one of another genre."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.3, 0.7], [0.1, 0.9]])
    is_sure, artists = np.array([1, 1, 0, 0, 1], bool), np.array([0, 0, 1, 1, 2])
    judged = Judged(np.array([0, 0, 0, 0, 1]), probabilities, is_sure, np.ones(5), artists, np.zeros(5))
    found = summarise(judged)
    assert found["n"] == 5 and found["n_artists"] == 3
    assert found["accuracy"]["value"] == pytest.approx(0.6) and found["balanced"]["value"] == pytest.approx(0.75)
    assert found["accuracy"]["low"] < 0.3 and found["accuracy"]["high"] > 0.9
    assert found["sure"] == pytest.approx(0.6) and found["accuracy_where_sure"] == 1.0
    assert found["calibration_error"] == pytest.approx((2 * 0.1 + 2 * 0.7 + 0.1) / 5)


def test_points_lost_are_those_of_the_tracks_that_a_change_turns(monkeypatch, music_folder):
    """A panel that hears everything but mp3 rightly loses all there and nothing elsewhere."""
    class Hearing:
        genres = ("blues", "metal")

        def ask(self, sounds, folds, label):
            return [self.guess(sound) for sound in sounds]

        def guess(self, audio):
            right = not isinstance(audio, bytes)
            loud = np.abs(np.fft.rfft(load_audio(audio, 16_000).samples)).argmax() / load_audio(audio, 16_000).duration_s > 280.0
            probabilities = dict(zip(self.genres, (0.0, 1.0) if loud == right else (1.0, 0.0), strict=True))
            return Guess("blues", probabilities, (), True)

    monkeypatch.setattr(evaluate_classifier, "CHANGES", {"64 kbit/s mp3": as_mp3, "cut to 5 s": cut_to_5_s})
    tracks, folds = load_tracks([str(music_folder)]), np.zeros(10, int)
    table = measure_robustness(Hearing(), tracks, folds, ask(Hearing(), tracks, folds, "as it is"), 3)
    assert {name: (row["n"], row["balanced"], row["lost"]["value"], row["turned"]) for name, row in table.items()} == {
        "as it is": (6, 1.0, 0.0, 0.0), "64 kbit/s mp3": (6, 0.0, 1.0, 1.0), "cut to 5 s": (6, 1.0, 0.0, 0.0),
    }  # fmt: skip


def guess(is_sure: bool, known: float = 0.0) -> Guess:
    return Guess("blues", {"blues": 1.0}, (), is_sure, known)


def test_the_curve_counts_what_lies_above_each_threshold():
    music = np.array([0.2, 0.4, 0.6, 0.8])
    others = {
        "speech": [guess(True, 0.5), guess(False, 0.1)],
        OTHER_GENRES: [guess(True, 0.95)],
        "noise (made up)": [guess(True, 0.99)],
    }
    curve = {round(row["threshold"], 2): row for row in answer_curve(music, others)}
    assert len(curve) == 99
    assert curve[0.3] == {"threshold": pytest.approx(0.3), "answered": 0.75, "not_music_named": 0.5, "other_genres_named": 1.0}
    assert curve[0.7]["answered"] == 0.25 and curve[0.7]["not_music_named"] == 0.0
    low, high = (pytest.approx(bound, abs=1e-3) for bound in (0.095, 0.905))
    assert named_shares(others)["speech"] == {"n": 2, "named": 0.5, "low": low, "high": high}
    assert "other_genres_named" not in answer_curve(music, {"speech": others["speech"]})[0]


def test_models_are_asked_about_speech_that_they_did_not_learn_from(monkeypatch, music_folder):
    tracks, mixed = load_tracks([str(music_folder)]), []
    folds = np.arange(len(tracks)) % 5
    monkeypatch.setattr(open_set, "load_audio", lambda audio: audio)
    monkeypatch.setattr(open_set, "mix", lambda music, voice, level_db: mixed.append(voice) or music)

    class Hearing:
        classifiers = range(5)

        def ask(self, sounds, asked, label):
            which = [next(i for i in range(len(tracks)) if tracks[i].audio == sound) for sound in sounds]
            assert [int(folds[i]) for i in which] == asked
            assert [int(voice.stem) % 5 for voice in mixed[-len(asked) :]] == asked
            return [guess(True) for _ in asked]

    speech = {"speech, a": [Path(f"{i}.wav") for i in range(7)], "speech, b": [Path(f"{i}.wav") for i in range(4)]}
    table = open_set.measure_speech_over_music(Hearing(), tracks, folds, speech | {"room": [Path("0.wav")]})
    assert [row["n"] for row in table.values()] == [6, 6, 6, 6] and len(mixed) == 24
    nobody = open_set.measure_speech_over_music(Hearing(), tracks, np.full(len(tracks), 4), {"speech": [Path("0.wav")]})
    assert nobody == {}


def test_wilson_intervals_by_hand():
    def interval(n_named: int, n: int) -> tuple[float, float]:
        row = named_shares({"speech": [guess(k < n_named) for k in range(n)]})["speech"]
        return row["low"], row["high"]

    assert interval(50, 100) == pytest.approx((0.404, 0.596), abs=1e-3)
    assert interval(0, 20)[0] == 0.0 and interval(20, 20)[1] == pytest.approx(1.0)
    assert interval(0, 20)[1] == pytest.approx(0.161, abs=1e-3)
    with pytest.raises(ValueError, match="not less than 1"):
        interval(0, 0)


def test_recordings_go_by_kind_and_source_and_unreadable_ones_are_told(tmp_path, capsys):
    for name in ("room/a.wav", "room/b.wav", "speech/c.ogg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, synthesize(220.0, 2.0, 1.0, seed=0), RATE_HZ)
    (tmp_path / "speech" / "notes.txt").write_text("no sound")
    (tmp_path / "room" / "damaged.wav").write_bytes(b"RIFF damaged")
    found = {kind: [path.name for path in paths] for kind, paths in recordings([tmp_path]).items()}
    assert found == {"room": ["a.wav", "b.wav"], "speech": ["c.ogg"]}
    assert "damaged.wav left out: " in capsys.readouterr().out


def test_a_track_that_training_left_out_does_not_move_the_split(tmp_path, capsys):
    data = write_music_folder(tmp_path / "music", tracks_per_genre=4, duration_s=1.5)
    shutil.copy(data / "metal" / "metal-00.wav", data / "metal" / "metal-00 (copy).wav")
    (data / "blues" / "blues-01x.wav").write_bytes(b"RIFF damaged")
    store = FeatureStore(load_tracks([str(data)]), FeatureConfig("waveform", 16_000), tmp_path / "cache")
    assert {item.id: item.reason for item in store.skipped}["metal-00"] == "the same sound as metal-00 (copy)"
    split = split_tracks(store.tracks, "artist")
    record = {"split": split.summary(), "seed": 0, "tracks_per_genre": split.trained(store.tracks).tracks_per_genre}
    model = str(write_classifier(tmp_path / "model", **record))
    arguments = ["--model", model, "--data", str(data), "--robustness-tracks", "0", "--synthetic", "1", "--split", "artist"]
    evaluate_classifier.main([*arguments, "--output-dir", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "results.json").read_text())["remarks"] == [split.summary()]
    evaluate_classifier.main([*arguments, "--seed", "1", "--output-dir", str(tmp_path / "other")])
    assert "the classifier may have heard these tracks: it was trained by" in capsys.readouterr().out


def test_changed_music_is_what_it_says():
    clip = Clip(synthesize(220, 2, 8.0, seed=1), RATE_HZ)
    assert len(CHANGES["64 kbit/s mp3"](clip)) == pytest.approx(8 * 64_000 / 8, rel=0.1)
    assert CHANGES["cut to 5 s"](clip).duration_s == 5.0
    assert np.array_equal(cut_to_5_s(clip).samples, clip.samples[round(1.5 * RATE_HZ) : round(6.5 * RATE_HZ)])
    assert np.abs(CHANGES["20 dB quieter"](clip).samples).max() == pytest.approx(0.1 * np.abs(clip.samples).max())
    assert CHANGES["16 kHz"](clip).sample_rate_hz == 16_000


def test_the_telephone_keeps_its_band_alone():
    heard = over_a_telephone(noise(4.0))
    assert heard.sample_rate_hz == 8_000 and heard.duration_s == pytest.approx(4.0, abs=0.01)
    kept = band_db(heard.samples, 8_000, 500, 1500)
    assert band_db(heard.samples, 8_000, 0, 150) < kept - 30
    assert band_db(heard.samples, 8_000, 2000, 3000) == pytest.approx(kept, abs=1)


def test_a_laptop_in_a_room_has_no_bass_and_rings_on():
    burst = np.zeros(2 * RATE_HZ, np.float32)
    burst[: RATE_HZ // 2] = noise(0.5).samples
    heard = from_a_laptop_in_a_room(Clip(burst, RATE_HZ))
    assert len(heard.samples) == len(burst) and np.abs(heard.samples).max() == pytest.approx(np.abs(burst).max(), rel=1e-3)
    assert band_db(heard.samples, RATE_HZ, 0, 100) < band_db(heard.samples, RATE_HZ, 1000, 1100) - 15
    tail = heard.samples[RATE_HZ // 2 + 500 : round(0.8 * RATE_HZ)]
    assert np.abs(tail).max() > 1e-3 and np.abs(heard.samples[-RATE_HZ // 2 :]).max() < 1e-4


def test_a_mix_has_the_ratio_asked_for():
    music, other = noise(2.0), Clip(synthesize(220, 2, 0.5, seed=1), RATE_HZ)
    mixed = mix(music, other, 10.0)
    added = mixed.samples - music.samples
    assert len(added) == len(music.samples)
    assert 10 * np.log10(np.mean(music.samples**2) / np.mean(added**2)) == pytest.approx(10.0, abs=0.1)
