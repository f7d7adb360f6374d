"""The classifiers' parts against answers worked out by hand, the training of what ships, and what it learns as no music."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.nn import functional as F

from genre_gan import AudioError, Clip, GenreClassifier
from genre_gan.classify import find_changes, pool_slices
from genre_gan.data.cache import Segments
from genre_gan.features import MUSICNN_SETTINGS, FeatureConfig, FeatureExtractor, cut_evenly
from genre_gan.models.classifier import GenreLSTM, LinearProbe, LSTMConfig, ProbeConfig
from genre_gan.models.musicnn import MusiCNNConfig
from tests.conftest import synthesize, write_music_folder
from training import linear_probe, probe_examples, train_lstm
from training.degrade import degrade, play_in_a_room, talk_over, telephone
from training.not_music import KINDS, make_not_music, recordings, speak, speech_program, variations
from training.scores import balanced_accuracy, expected_calibration_error, reliability, track_scores

MUSICNN = FeatureConfig("musicnn", **MUSICNN_SETTINGS, segment_s=3.0)
TINY_MUSICNN = MusiCNNConfig(front_channels=(2, 2, 1, 1, 1), middle_channels=3, embedding_dim=4, tags=("rock", "jazz"))
TINY = ProbeConfig(MUSICNN, ("blues", "metal"), musicnn=TINY_MUSICNN, none_of_these=True, agreement=0.2)


def tiny_probe(**settings) -> GenreClassifier:
    torch.manual_seed(0)
    return GenreClassifier(LinearProbe(ProbeConfig(**vars(TINY) | settings)))


def test_loudness_does_not_change_what_is_heard():
    classifier, samples = tiny_probe(), synthesize(220, 2, 4.0, seed=1)
    loud, quiet = (classifier.classify((gain * samples, 22_050)) for gain in (1.0, 0.05))
    assert list(quiet.probabilities.values()) == pytest.approx(list(loud.probabilities.values()), abs=1e-3)


def test_slices_are_as_long_as_each_other_and_cover_all():
    features = torch.arange(500.0)[:, None]
    shapes = [tuple(cut_evenly(features[:n], 188).shape[:2]) for n in (20, 188, 280, 290, 500)]
    assert shapes == [(1, 20), (1, 188), (1, 280), (2, 145), (3, 166)]
    assert torch.equal(cut_evenly(features, 188)[1, :2, 0], torch.tensor([166.0, 167.0]))


def test_the_probe_weighs_standardised_statistics_over_time():
    model = tiny_probe().model
    log_mel = torch.rand(2, 187, 96)
    over_time = model.musicnn(log_mel)
    model.fit_statistics(torch.randn(5, 2 * TINY_MUSICNN.n_features + 4))
    with torch.no_grad():
        pooled = torch.stack([over_time.amax(2), over_time.mean(2)], 2).flatten(1)
        by_hand = torch.cat([pooled, model.musicnn.embed(over_time)], 1)
        expected = model.output((by_hand - model.feature_mean) / model.feature_std)
        assert torch.allclose(model(log_mel), expected, atol=0.02)  # blocks differ by a frame in length, so the mean a little


def test_padding_changes_nothing_in_either_direction():
    config = LSTMConfig(FeatureConfig("mfcc"), ("blues", "metal"), hidden_size=8, bidirectional=True, pooling="attention")
    model = GenreLSTM(config)
    features = torch.randn(2, 24, 13)
    padded = torch.cat([features, 9.0 * torch.ones(2, 16, 13)], 1)
    assert torch.allclose(model(features), model(padded, torch.tensor([24, 24])), atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"temperature": 0.0}, "temperature"), ({"sure_above": 1.5}, "sure_above"), ({"genres": ("a", "a")}, "different names"),
     ({"features": FeatureConfig("mfcc")}, "needs musicnn features")],
)  # fmt: skip
def test_wrong_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        ProbeConfig(**vars(TINY) | setting)
    with pytest.raises(ValueError, match="musicnn features need"):
        FeatureConfig("musicnn")


def test_a_network_runs_on_any_device():
    """On the meta device an operation with a tensor left on the CPU fails."""
    lstm = LSTMConfig(MUSICNN, ("blues", "metal"), musicnn=TINY_MUSICNN, pooling="attention")
    for model in (LinearProbe(TINY), GenreLSTM(lstm)):
        model.to("meta")
        assert model.probabilities(torch.rand(2, 187, 96, device="meta")).device.type == "meta"
        assert model.embed(torch.rand(2, 187, 96, device="meta")).device.type == "meta"
    assert FeatureExtractor(MUSICNN).to("meta")(torch.rand(1, 16_000, device="meta")).device.type == "meta"
    assert tiny_probe().to("cpu").classify((synthesize(220, 2, 1.0, seed=1), 22_050)).genre in TINY.genres
    with pytest.raises(ValueError, match="device"):
        tiny_probe().to("abacus")


def test_many_sounds_get_the_answers_that_each_gets_alone(tmp_path):
    classifier = tiny_probe()
    sounds = [(synthesize(110 * k, 2, seconds, seed=k), 22_050) for k, seconds in ((1, 4.0), (2, 31.0), (3, 0.7), (4, 65.0))]
    missing, damaged = tmp_path / "nothing.wav", tmp_path / "damaged.wav"
    damaged.write_bytes(b"no sound")
    answers = list(classifier.classify_many([sounds[0], missing, *sounds[1:], damaged]))
    assert isinstance(answers[1], FileNotFoundError) and isinstance(answers[-1], AudioError) and len(answers) == 6
    for sound, answer in zip(sounds, [answers[0], *answers[2:-1]], strict=True):
        alone = classifier.classify(sound)
        assert [point[:3] for point in answer.timeline] == [point[:3] for point in alone.timeline]
        assert list(answer.probabilities.values()) == pytest.approx(list(alone.probabilities.values()), abs=1e-5)
        assert answer.known == pytest.approx(alone.known, abs=1e-5)


def test_what_should_be_known_of_one_of_many_sounds_is_told():
    whole = Clip(synthesize(220, 2, 4.0, seed=1), 22_050).encode("wav")
    cut, told = whole[:-40_000], []
    answers = list(tiny_probe().classify_many([whole, cut], on_note=lambda source, note: told.append((source is cut, note))))
    assert len(answers) == 2 and told == [(True, "the given audio ended early: 3.1 of 4.0 s are there")]


def test_many_sounds_leave_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    answers = tiny_probe().classify_many([(synthesize(220, 2, 1.0, seed=1), 22_050)] * 8)
    assert next(answers).genre in TINY.genres
    answers.close()  # the rest is not asked for
    with ThreadPoolExecutor(1) as pool:
        assert torch.get_num_threads() == pool.submit(torch.get_num_threads).result() == before


def test_what_is_wrong_in_the_list_of_sounds_is_not_hidden():
    def sources():
        yield synthesize(220, 2, 1.0, seed=1), 22_050
        raise RuntimeError("the list broke off")

    with pytest.raises(RuntimeError, match="the list broke off"):
        list(tiny_probe().classify_many(sources()))
    for one in ("song.mp3", Path("song.mp3"), b"ID3"):  # of which the letters are no sounds
        with pytest.raises(ValueError, match="sources must be several, such as a list of names, got "):
            next(tiny_probe().classify_many(one))


def test_silence_is_no_genre_and_silent_parts_do_not_count():
    classifier = tiny_probe()
    music = synthesize(220, 2, 9.0, seed=1)
    silent = classifier.classify((np.zeros_like(music), 22_050))
    assert not silent.is_sure and silent.known == 0.0 and set(silent.probabilities.values()) == {0.5}
    half = classifier.classify((np.concatenate([music, np.zeros(9 * 22_050, np.float32)]), 22_050))
    counting = pool_slices(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([3.0, 0.0]), np.zeros(2, int), 0.2)
    assert counting[0] == pytest.approx([0.9, 0.1]) and len(half.timeline) == 6


def test_silence_before_and_after_music_leaves_what_is_heard_and_has_no_genre():
    classifier = tiny_probe()
    music = synthesize(220, 2, 6.0, seed=1)
    alone = classifier.classify((music, 22_050))
    silence = np.zeros(2 * 22_050, np.float32)
    sound = np.concatenate([silence, music, silence]), 22_050
    among = classifier.classify(sound)
    assert np.abs(classifier.embed(sound) - classifier.embed((music, 22_050))).max() < 0.1  # the edges are cut to 0.1 s
    assert np.isfinite(classifier.embed((silence, 22_050))).all()
    assert list(among.probabilities.values()) == pytest.approx(list(alone.probabilities.values()), abs=1e-3)
    assert among.changes == () and among.is_sure == alone.is_sure
    spans = [(point.start_s, point.end_s) for point in among.timeline]
    assert spans == [pytest.approx(span, abs=0.11) for span in ((0, 2), (2, 5), (5, 8), (8, 10))]
    assert all(set(among.timeline[i].probabilities.values()) == {0.5} for i in (0, -1))


@pytest.mark.parametrize("duration_s", [0.6, 1.2])
def test_a_short_sound_is_heard_wherever_silence_is(duration_s):
    classifier = tiny_probe()
    sound, silence = synthesize(220, 2, duration_s, seed=1), np.zeros(3 * 22_050, np.float32)
    for parts in ((silence, sound), (sound, silence), (silence, sound, silence)):
        guess = classifier.classify((np.concatenate(parts), 22_050))
        assert guess.known > 0.0 and guess.changes == ()


def test_a_change_is_marked_where_the_genre_changes_for_good():
    jazz, metal = [0.9, 0.1], [0.1, 0.9]
    assert find_changes(np.array([jazz] * 5 + [metal] * 5)) == [5]
    assert find_changes(np.array([jazz] * 5 + [metal] + [jazz] * 5)) == []  # one slice proves nothing
    assert find_changes(np.array([jazz])) == []
    guess = tiny_probe().classify((synthesize(220, 2, 12.0, seed=1), 22_050))
    assert guess.changes == () and guess.top(1) == ((guess.genre, guess.probabilities[guess.genre]),)


@pytest.mark.parametrize("kind", KINDS)
def test_sound_that_is_no_music_is_finite_and_as_long_as_asked(kind):
    sound = make_not_music(kind, 1.5, 16_000, np.random.default_rng(0))
    assert sound.shape == (24_000,) and sound.dtype == np.float32
    assert np.isfinite(sound).all() and np.abs(sound).max() == pytest.approx(0.5, abs=1e-3)


def test_degraded_copies_are_finite_and_about_as_long():
    rng, samples = np.random.default_rng(0), synthesize(220, 2, 2.0, seed=1, rate_hz=16_000)
    for _ in range(40):
        changed = degrade(samples, 16_000, rng)
        assert changed.dtype == np.float32 and np.isfinite(changed).all() and changed.std() > 0
        assert len(changed) == pytest.approx(len(samples), rel=0.07)
    for change in (telephone, play_in_a_room):
        changed = change(samples, 16_000, rng)
        assert changed.dtype == np.float32 and np.isfinite(changed).all() and abs(len(changed) - len(samples)) <= 2
    varied = variations([samples, samples[:9000]], 16_000, rng)
    assert len(varied) == 6 and all(3 * 16_000 <= len(sound) <= 6 * 16_000 and np.isfinite(sound).all() for sound in varied)


def test_a_telephone_line_carries_the_band_of_a_voice():
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    power = np.abs(np.fft.rfft(telephone(noise, 16_000, np.random.default_rng(0)))) ** 2  # a bin a Hz
    inside = power[500:2900].mean()
    assert power[:100].mean() < 0.01 * inside and power[4200:].mean() < 1e-6 * inside


def test_speech_over_music_is_at_most_20_db_quieter():
    rng, music = np.random.default_rng(0), synthesize(220, 2, 2.0, seed=1, rate_hz=16_000)
    speech = synthesize(150, 3, 0.5, seed=2, rate_hz=16_000)
    for _ in range(20):
        added = talk_over(music, speech, rng) - music
        assert len(added) == len(music)
        assert -0.1 < 10 * np.log10(np.mean(music**2) / np.mean(added**2)) < 20.1


def test_scores_by_hand():
    segments = Segments(np.array([0, 0, 1, 2]), np.zeros(4, int), np.array([10, 30, 10, 10]))
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]])
    scores, confusion = track_scores(probabilities, segments, np.array([0, 1, 1]))
    by_track = pool_slices(probabilities[:2], np.array([10, 30]), np.zeros(2, int), agreement=0.0)
    odds = np.exp((np.log(9.0) - 3.0 * np.log(4.0)) / 4.0)  # the longer slice counts three times
    assert by_track[0, 0] / by_track[0, 1] == pytest.approx(odds)
    surer = pool_slices(probabilities[:2], np.array([10, 30]), np.zeros(2, int), agreement=1.0)[0]
    assert surer[0] / surer[1] == pytest.approx(odds**2)
    assert scores["segment_accuracy"] == 0.75 and confusion.tolist() == [[0, 1], [0, 2]]
    assert scores["loss"] == pytest.approx(-np.log([0.9, 0.2, 0.7, 0.9]).mean())
    assert scores["track_accuracy"] == pytest.approx(2 / 3) and scores["balanced_track_accuracy"] == 0.5
    assert balanced_accuracy(np.array([0, 0, 1]), np.array([0, 2, 1])) == 0.75  # a guess may be of none of the genres there
    assert reliability(np.array([[0.95, 0.05], [0.05, 0.95]]), np.array([0, 0])) == [(0.95, 0.5, 1.0)]
    assert expected_calibration_error(np.array([[0.95, 0.05], [0.05, 0.95]]), np.array([0, 0])) == pytest.approx(0.45)


def test_the_fit_is_where_the_loss_has_no_slope():
    torch.manual_seed(0)
    x, classes, weights = torch.randn(60, 4).double(), torch.randint(3, (60,)), torch.full((60,), 1 / 60).double()
    found = linear_probe.minimise(x, classes, weights, 3).requires_grad_()
    loss = weights @ F.cross_entropy(x @ found[:-1] + found[-1], classes, reduction="none")
    (loss + linear_probe.L2 * found[:-1].square().sum()).backward()
    assert found.grad.abs().max() < 1e-4


def test_records_name_what_made_speech_and_its_absence_is_told(tmp_path, monkeypatch, capsys):
    program = tmp_path / "espeak-ng"
    program.write_text("#!/bin/sh\necho 'eSpeak NG text-to-speech: 1.51  Data at: /usr/share/espeak-ng-data'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert speech_program() == "eSpeak NG text-to-speech: 1.51" and len(speak(("hi", "it"), ("Good evening.",))) == 2
    program.unlink()
    assert speech_program() == "" and speak(("hi",), ("Good evening.",)) == []
    assert "espeak-ng is not installed: made-up speech is left out" in capsys.readouterr().out


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The preset on two genres, a third in the extra data, and two recordings of noise."""
    root = tmp_path_factory.mktemp("classifier")
    data = write_music_folder(root / "music", tracks_per_genre=6, duration_s=3.2)
    extra = write_music_folder(root / "extra", genres=("blues", "metal", "polka"), tracks_per_genre=2, duration_s=3.2)
    (root / "sounds" / "room").mkdir(parents=True)
    for k in range(2):
        sound = make_not_music("noise", 1.0, 22_050, np.random.default_rng(k))
        soundfile.write(root / "sounds" / "room" / f"{k}.wav", sound, 22_050)
    patch = pytest.MonkeyPatch()
    patch.setattr(probe_examples, "SYNTHETIC_OF_KIND", 1)
    patch.setattr(probe_examples, "VOICES", ())
    arguments = ["--preset", "shipped", "--data", data, "--extra-data", extra, "--not-music", root / "sounds"]
    for name, n_processes in (("run", 1), ("first of two", 2)):
        patch.setenv("WORLD_SIZE", str(n_processes))
        run = [*arguments, "--tracker", "none", "--cache-dir", root / "cache", "--output-dir", root / name]
        train_lstm.main([str(argument) for argument in run])
    patch.undo()
    return root


def test_the_preset_judges_unheard_tracks_and_tells_music_from_what_is_none(shipped):
    record = json.loads((shipped / "run" / "result.json").read_text())
    scores = record["cross_validation"]
    assert scores["n_tracks"] == 12 and scores["balanced_track_accuracy"] > 0.8
    assert set(scores["named"]) == {"room", "extra other genres"} and record["extra_data"] == ["extra"]
    assert record["made_up_speech"] == (speech_program() or "none")
    classifier = GenreClassifier.from_pretrained(shipped / "run" / "model")
    assert classifier.genres == ("blues", "metal") and classifier.model.config.sure_above > 0
    guess = classifier.classify(min((shipped / "music" / "metal").iterdir()))
    noise = classifier.classify((make_not_music("noise", 3.0, 22_050, np.random.default_rng(9)), 22_050))
    assert guess.genre == "metal" and guess.is_sure and guess.known > 10 * noise.known and not noise.is_sure
    folds = [GenreClassifier.from_pretrained(folder).model for folder in (shipped / "run").glob("fold-*/model")]
    assert len(folds) == 5
    assert sum(sum(fold.training_record["tracks_per_genre"].values()) for fold in folds) == 4 * 12  # each track in four of five


def test_of_several_processes_the_first_alone_makes_the_same_weights(shipped, monkeypatch):
    weights = [(shipped / name / "model" / "model.safetensors").read_bytes() for name in ("run", "first of two")]
    assert weights[0] == weights[1]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    train_lstm.main(["--preset", "shipped", "--data", str(shipped / "music"), "--output-dir", str(shipped / "second")])
    assert not (shipped / "second").exists()


def test_what_the_preset_cannot_use_is_told(shipped, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        train_lstm.parse_args(["--output-dir", "x", "--not-music", "sounds"])
    assert "need --preset shipped" in capsys.readouterr().err
    base = ["--preset", "shipped", "--tracker", "none", "--cache-dir", str(shipped / "cache")]
    base += ["--output-dir", str(shipped / "no")]
    with pytest.raises(SystemExit, match="one genre"):
        train_lstm.main([*base, "--data", str(shipped / "music"), "--genres", "metal"])
    with pytest.raises(SystemExit, match="is no folder"):
        recordings_missing = str(shipped / "nowhere")
        train_lstm.main([*base, "--data", str(shipped / "music"), "--not-music", recordings_missing])


def test_recordings_are_found_by_kind_and_source(shipped):
    (shipped / "sounds" / "files.csv").write_text("file_name,kind,source\nroom/0.wav,room,somebody\n")
    found = {name: [path.name for path in paths] for name, paths in recordings([shipped / "sounds"]).items()}
    assert found == {"room, somebody": ["0.wav"], "room": ["1.wav"]}
