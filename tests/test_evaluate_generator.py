"""The evaluation of generators, on the smallest models and synthesised music."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from genre_gan import Clip
from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import load_tracks
from genre_gan.data.splits import split_tracks
from genre_gan.evaluation.clips import (
    ClipSet,
    RealMusic,
    as_loud_as,
    codec_copy,
    copy_clips,
    divide_tracks,
    griffin_lim_copy,
    white_noise,
)
from genre_gan.evaluation.comparison import Comparison
from genre_gan.evaluation.embeddings import load_embedder, track_patches
from genre_gan.features import FeatureConfig
from genre_gan.generate import GenreGenerator
from genre_gan.models.codec import Codec
from tests.conftest import synthesize, write_music_folder
from tests.test_models import tiny_spectral_model
from training import evaluate_generator, two_sample
from training.evaluate_generator import fit_probe


@pytest.fixture
def arguments(tmp_path) -> list[str]:
    return arguments_for(tmp_path, tracks_per_genre=15, duration_s=3.2)


def arguments_for(folder, tracks_per_genre: int, duration_s: float) -> list[str]:
    music = write_music_folder(folder / "music", tracks_per_genre=tracks_per_genre, duration_s=duration_s)
    return [
        "--data", str(music), "--model", str(tiny_spectral_model().save_pretrained(folder / "model")),
        "--cache-dir", str(folder / "cache"), "--clips-per-genre", "3", "--duration-s", "3", "--structure-clips", "0",
        "--output-dir", str(folder / "out"),
    ]  # fmt: skip


def rows_of(path) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads(path.read_text())["rows"]}


def test_the_tables_have_floor_and_ceiling_beside_the_generator(arguments, tmp_path, capsys):
    evaluate_generator.main(["--embedding", "MTT_vgg", *arguments])
    rows, model = rows_of(tmp_path / "out" / "generator.json"), str(tmp_path / "model")
    assert list(rows) == [
        "real, seen in training", "real, unseen", "Griffin-Lim copy of unseen", "codec copy of unseen",
        f"generated, {model}", f"generated, {model}, as loud as unseen", "real, unseen, as loud as generated",
        "generated, fcn", "generated, cnn", "white noise",
    ]  # fmt: skip
    assert {row["n"] for row in rows.values()} == {6}
    assert rows["real, seen in training"]["copied"]["value"] == 1.0  # it is in the set that it is looked for in
    assert rows["real, unseen"]["consistency"]["value"] > 0.6
    assert rows["white noise"]["kernel"]["value"] > rows["real, unseen"]["kernel"]["value"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"generator.json", "generator.md", "generator_spectrograms.png", "generator_spectra.png"}
    page = capsys.readouterr().out
    assert "| white noise | 6 | " in page and "which takes part in no training" in page
    assert "may have heard unseen tracks" in page  # the tiny model says nothing of its training


def test_development_has_files_and_words_of_its_own(arguments, tmp_path, capsys):
    evaluate_generator.main(["--embedding", "MSD_musicnn", *arguments])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"development.json", "development.md"}
    assert all(name.startswith("generated, ") for name in rows_of(tmp_path / "out" / "development.json"))
    assert "are not to be reported" in capsys.readouterr().out


def test_weights_are_chosen_by_a_network_that_no_generator_learns_from(arguments, tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit, match=r"error: no track lasts 6.0 s, which is what a feature network learns from"):
        evaluate_generator.main(["--embedding", "held_out", *arguments])
    monkeypatch.setattr(evaluate_generator, "N_STEPS", 2)
    arguments = arguments_for(tmp_path / "longer", tracks_per_genre=15, duration_s=6.2)
    evaluate_generator.main(["--embedding", "held_out", *arguments])
    page = capsys.readouterr().out
    assert "Embedding: `held_out`, which learned from the training side, and no generator from it" in page
    assert f"| generated, {tmp_path / 'longer' / 'model'} | " in page and "other tracks of the training side" in page


def test_what_is_missing_is_one_line(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit):
        evaluate_generator.main(arguments)
    assert "the following arguments are required: --embedding" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate_generator.main(["--embedding", "MTT_vgg", *arguments, "--duration-s", "2"])
    assert "--duration-s must be at least 3" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"error: no training track of 'blues' has 3\.5 s"):
        evaluate_generator.main(["--embedding", "MTT_vgg", *arguments, "--duration-s", "3.5"])
    with pytest.raises(SystemExit, match=r"error: .*nowhere"):
        evaluate_generator.main(["--embedding", "MTT_vgg", *arguments[:2], "--model", str(tmp_path / "nowhere"), *arguments[4:]])


def test_the_scale_ranks_real_music_over_copies_over_noise(tmp_path):
    """Unseen music of the same kind, what Griffin-Lim makes of it, and noise, by every figure that tells good from bad."""
    data = write_music_folder(tmp_path / "music", tracks_per_genre=16, duration_s=1.6)
    store = FeatureStore(load_tracks([str(data)]), FeatureConfig("waveform"), tmp_path / "cache")
    split = split_tracks(store.tracks, "artist", valid_fraction=0.5)
    embedder = load_embedder("MTT_vgg")
    patches = track_patches(store, split.train, embedder, tmp_path / "cache")
    probe = fit_probe(patches, [store.tracks.genre_names[i] for i in split.train], 1.6)
    reference, unseen = (RealMusic(store, side, 1.6, seed=0).take(("blues", "metal"), 8) for side in (split.train, split.valid))
    comparison = Comparison(embedder, probe, reference, np.concatenate(patches), unseen)
    sets = {"real": unseen, "copy": copy_clips(unseen, griffin_lim_copy, "copy"), "noise": white_noise(unseen)}
    rows = {name: comparison.measure(name, clips) for name, clips in sets.items()}
    for measure in ("kernel", "frechet"):
        real, copy, noise = (getattr(rows[name], measure).value for name in ("real", "copy", "noise"))
        assert real < copy < noise, measure
    for measure in ("precision", "recall", "consistency"):
        real, copy, noise = (getattr(rows[name], measure).value for name in ("real", "copy", "noise"))
        assert real >= copy >= noise and real > noise, measure
    collapsed = comparison.measure("one clip", ClipSet([unseen.clips[0]] * 8 + [unseen.clips[8]] * 8, unseen.genres))
    assert collapsed.diversity.value < 0.05 * rows["real"].diversity.value and collapsed.recall.value < rows["real"].recall.value


def test_real_clips_come_from_as_many_tracks_as_there_are(tmp_path):
    data = write_music_folder(tmp_path / "music", tracks_per_genre=4, duration_s=3.5)
    store = FeatureStore(load_tracks([str(data)]), FeatureConfig("waveform"), tmp_path / "cache")
    music = RealMusic(store, np.arange(8), 1.5, seed=0)
    assert music.count("blues") == 8 and music.count("jazz") == 0
    clips = music.take(("metal", "blues"), 4)
    assert clips.genres == ["metal"] * 4 + ["blues"] * 4 and {clip.duration_s for clip in clips.clips} == {1.5}
    whole = {store.read(i)[:100, 0].tobytes() for i in range(8)}
    assert {clip.samples[:100].tobytes() for clip in clips.clips} == whole  # the beginning of each of the eight
    seen, others = divide_tracks(store, np.arange(8), 0.25, seed=0)
    assert len(seen) == 2 and sorted([*seen, *others]) == list(range(8))
    assert {store.tracks.genre_names[i] for i in seen} == {"blues", "metal"}


def test_griffin_lims_copies_are_kept(tmp_path, monkeypatch):
    clip = Clip(synthesize(220.0, 2.0, 0.5, seed=0), 22_050)
    made = griffin_lim_copy(clip, tmp_path)
    monkeypatch.setattr("librosa.griffinlim", None)
    assert np.array_equal(griffin_lim_copy(clip, tmp_path).samples, made.samples)
    assert len(made.samples) == len(clip.samples) and not np.array_equal(made.samples, clip.samples)


def test_clips_become_as_loud_as_others_or_as_fits():
    tones = [Clip(np.float32(level) * synthesize(220.0, 2.0, 1.0, seed=0), 22_050) for level in (0.05, 0.4, 0.4)]
    loud, quiet = (10.0 ** (step / 20.0) for step in (60.0, -12.0))
    wanted = [tones[1], Clip(tones[1].samples * np.float32(quiet), 22_050), Clip(tones[1].samples * np.float32(loud), 22_050)]
    made = as_loud_as(ClipSet(wanted, ["blues"] * 3), ClipSet(tones, ["blues"] * 3))
    assert np.allclose(made.clips[0].samples, wanted[0].samples, atol=1e-4)
    assert np.allclose(made.clips[1].samples, wanted[1].samples, atol=1e-4)
    assert np.abs(made.clips[2].samples).max() == pytest.approx(1.0) and made.genres == ["blues"] * 3


def test_copies_go_through_the_models_own_codec():
    class Halving(torch.nn.Module):
        config, copied = SimpleNamespace(samples_per_latent=4), Codec.copied

        def encode(self, samples):
            return samples[:, ::2]

        def decode(self, latents):
            return latents.repeat_interleave(2, 1)[:, :-3]

    clip = Clip(synthesize(220.0, 2.0, 1.0, seed=0), 22_050)
    copy = codec_copy(SimpleNamespace(codec=Halving()), 22_050)(clip)
    assert len(copy.samples) == len(clip.samples) and np.array_equal(copy.samples[::2], clip.samples[::2])
    assert codec_copy(GenreGenerator.from_pretrained("fcn").model, 22_050) is None
    model = tiny_spectral_model()
    samples = codec_copy(model, model.sample_rate_hz)(clip).samples
    assert len(samples) == round(model.sample_rate_hz)
    assert np.abs(samples[-500:]).mean() > 0.5 * np.abs(samples).mean()  # to the end


def test_a_network_tells_poor_clips_from_copies_of_music(tmp_path, monkeypatch):
    data = write_music_folder(tmp_path / "music", tracks_per_genre=4, duration_s=6.2)
    store = FeatureStore(load_tracks([str(data)]), FeatureConfig("waveform"), tmp_path / "cache")
    split = split_tracks(store.tracks, "artist", valid_fraction=0.5)
    for name, value in (("N_CLIPS", 8), ("N_STEPS", 12), ("BATCH_SIZE", 16)):
        monkeypatch.setattr(two_sample, name, value)
    generator = GenreGenerator(tiny_spectral_model())
    found = two_sample.told_apart(generator, store, split, 0)
    assert found["generated"] == 16 and found["asked"] == [len(split.valid), 4] and min(found["areas"]) > 0.9
    assert found == two_sample.told_apart(generator, store, split, 0)
    assert two_sample.told_apart(GenreGenerator.from_pretrained("fcn"), store, split, 0) == {}  # it has no codec
    store.n_frames[:] = 1000
    assert two_sample.told_apart(generator, store, split, 0) == {}  # no track is long enough


def test_the_area_is_of_pairs_of_one_genre():
    real, fake = np.array([3.0, 1.0, 9.0]), np.array([2.0, 1.0, 8.0, 8.5])
    genres = torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1, 1])
    assert two_sample._area(real, genres[0], fake, genres[1]) == pytest.approx((2.5 / 4 + 1.0) / 2)


def test_a_generator_of_another_split_is_told(music_folder, tmp_path):
    store = FeatureStore(load_tracks([str(music_folder)]), FeatureConfig("waveform"), tmp_path / "cache")
    split = split_tracks(store.tracks, "artist")
    summary = split.summary().replace("artist", "fold", 1)  # another name for the same
    record = {"split": summary, "seed": 0, "tracks_per_genre": {"blues": 4, "metal": 4}}  # of those that trained
    assert split.doubt(record, store.tracks, 0) == ""
    assert "seed 0" in split.doubt(record, store.tracks, 1)
    assert "trained by 'segment'" in split.doubt(record | {"split": "segment"}, store.tracks, 0)
    assert "{'blues': 5}" in split.doubt(record | {"tracks_per_genre": {"blues": 5}}, store.tracks, 0)
