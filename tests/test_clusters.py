"""Clusters of each genre's music: found by ear, drawn as the music has them, and wrong as each other."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.nn import functional as F

from genre_gan.data.cache import FeatureStore
from genre_gan.data.latents import LatentStore
from genre_gan.data.sources import load_tracks
from genre_gan.features import FeatureConfig
from genre_gan.hub import packaged_weights
from genre_gan.models.codec import Codec, CodecConfig
from genre_gan.models.generator import N_COLOURS, N_KEYS, SpectralGANConfig, SpectralGenerator
from genre_gan.models.musicnn import MusiCNN
from genre_gan.models.projected import MusiCNNOfLatents, _overlap
from genre_gan.recipe import Recipe
from genre_gan.spectral import SpectralModel
from tests.conftest import SAMPLE_RATE_HZ, synthesize
from tests.test_models import tiny_spectral_model
from training import calibration
from training.clusters import CROP_FRAMES, find_clusters
from training.paired_crops import PairedCrops
from training.spectral_fit import read_beginning, remember_music
from training.spectral_task import _other_labels

LENGTHS = (16, 8)


@pytest.fixture(scope="module")
def latents(tmp_path_factory) -> LatentStore:
    """Three tracks of tones, three of noise and one of low noise as blues, and two of tones as jazz, each at three pitches."""
    root = tmp_path_factory.mktemp("music")
    rng, n = np.random.default_rng(0), 4 * SAMPLE_RATE_HZ
    sounds = {f"blues/{i}": synthesize(220.0, 2.0, 4.0, seed=i) for i in (0, 2, 4)}
    sounds |= {f"blues/{i}": 0.3 * rng.standard_normal(n) for i in (1, 3, 5)}
    sounds |= {"blues/6": 0.02 * np.cumsum(rng.standard_normal(n)) % 1.0 - 0.5}
    sounds |= {f"jazz/{i}": synthesize(330.0, 3.0, 4.0, seed=i) for i in range(2)}
    for name, samples in sounds.items():
        path = root / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples, SAMPLE_RATE_HZ)
    store = FeatureStore(load_tracks([str(root)]), FeatureConfig("waveform"), root / "cache")
    return LatentStore(store, np.arange(len(sounds)), Codec(CodecConfig()), (-1, 0, 1), root / "cache")


@pytest.fixture(scope="module")
def listener() -> MusiCNNOfLatents:
    codec = Codec(CodecConfig())
    listener = MusiCNNOfLatents(codec, MusiCNN.load(packaged_weights("musicnn")))
    listener.filters.copy_(_overlap(codec))
    return listener


def stem(latents: LatentStore, track: int) -> int:
    return int(Path(str(latents.tracks.sound(track))).stem)


def test_tracks_that_sound_alike_are_a_cluster_at_every_pitch_and_none_is_one_alone(latents, listener):
    clusters = find_clusters(latents, listener, 3, seed=0)
    assert len(clusters) == 27 and np.array_equal(clusters[:9], clusters[9:18]) and np.array_equal(clusters[:9], clusters[18:])
    of_blues = {stem(latents, i): clusters[i] for i in range(9) if latents.tracks.genre_names[i] == "blues"}
    tones, noise = {of_blues[i] for i in (0, 2, 4)}, {of_blues[i] for i in (1, 3, 5)}
    assert len(tones) == len(noise) == 1 and tones != noise
    assert of_blues[6] in tones | noise
    assert find_clusters(latents, listener, 1, seed=0).tolist() == [0] * 27


def test_training_can_hear_clips_as_long_as_those_that_clusters_were_found_in(latents, listener):
    find_clusters(latents, listener, 3, seed=0)
    clips = torch.randn(1, 32, 32, CROP_FRAMES, requires_grad=True)
    sum(layer.mean() for layer in listener(clips)).backward()
    assert clips.grad.abs().sum() > 0


def test_rows_are_of_the_cluster_that_they_are_called_and_as_often_as_its_share_says(latents, listener):
    clusters = find_clusters(latents, listener, 3, seed=0)
    source = PairedCrops(latents, clusters, 3, LENGTHS, n_rows=8, seed=0)
    assert source.genres == ("blues", "jazz")
    picks = np.concatenate([source.choose(step) for step in range(400)])
    labels, long, short = picks[:, 0], picks[:, 1], picks[:, 3]
    for tracks in (long, short):
        assert np.array_equal(np.array([source.genres.index(latents.tracks.genre_names[i]) for i in tracks]), labels // 3)
        assert np.array_equal(clusters[tracks], labels % 3)
    shares = source.cluster_shares()
    assert shares.shape == (2, 3) and np.allclose(shares.sum(1), 1.0)
    found = np.bincount(labels, minlength=6).reshape(2, 3) / 1600
    assert np.abs(found - shares).max() < 0.08


def test_the_generator_draws_clusters_keys_and_tempos_as_its_music_has_them(latents, listener):
    clusters = find_clusters(latents, listener, 3, seed=0)
    generator = SpectralGenerator(SpectralGANConfig(genres=("blues", "jazz"), widths=(8, 8, 8, 8), n_clusters=3))
    source = PairedCrops(latents, clusters, 3, LENGTHS, n_rows=8, seed=0)
    remember_music(generator, source)
    weights = generator.draw_labels(torch.tensor([[0.25, 0.75]]).expand(500, -1), torch.rand(500, 2))
    assert torch.equal(weights.unflatten(1, (2, 3)).sum(2), torch.tensor([[0.25, 0.75]]).expand(500, -1))
    assert ((weights > 0).sum(1) == 2).all()  # one cluster of each genre
    torch.testing.assert_close((weights > 0).float().mean(0).unflatten(0, (2, 3)), generator.cluster_shares, atol=0.08, rtol=0)
    assert generator.key_shares.shape == (6, N_KEYS + 1)
    torch.testing.assert_close(generator.key_shares.sum(1), torch.ones(6))
    assert generator.draw_tempo_bpm(weights, torch.rand(500)).isfinite().all()


@pytest.mark.parametrize(("n_genres", "n_clusters"), [(3, 4), (3, 1), (1, 4)])
def test_what_is_wrong_is_another_label_and_a_quarter_of_it_of_the_same_genre(n_genres, n_clusters):
    config = SpectralGANConfig(genres=("blues", "jazz", "rock")[:n_genres], n_clusters=n_clusters)
    labels = torch.arange(config.n_labels).repeat_interleave(400)
    others = _other_labels(labels, config, torch.rand(len(labels), 2))
    assert ((others >= 0) & (others < config.n_labels) & (others != labels)).all()
    assert set(others.tolist()) == set(range(config.n_labels))
    share = (others // n_clusters == labels // n_clusters).float().mean()
    assert abs(share - (1.0 if n_genres == 1 else 0.0 if n_clusters == 1 else 0.25)) < 0.05


@torch.inference_mode()
def test_a_generator_without_clusters_begins_all_of_a_genres_clusters(tmp_path):
    torch.manual_seed(0)
    whole = SpectralGenerator(SpectralGANConfig(genres=("blues", "jazz"), widths=(8, 8, 8, 8)))
    whole.save_pretrained(tmp_path)
    divided = read_beginning(tmp_path, SpectralGANConfig(genres=("blues", "jazz"), widths=(8, 8, 8, 8), n_clusters=3))
    style, key_ids = torch.randn(6, 128), torch.arange(6)
    genres, labels = torch.eye(2).repeat_interleave(3, 0), torch.eye(6)
    torch.testing.assert_close(divided.map_style(style, labels, key_ids), whole.map_style(style, genres, key_ids))
    assert torch.equal(whole.draw_labels(genres, torch.rand(6, 2)), genres)
    with pytest.raises(ValueError, match=r"n_clusters 3 there, 2 here"):
        divided.save_pretrained(tmp_path)
        read_beginning(tmp_path, SpectralGANConfig(genres=("blues", "jazz"), widths=(8, 8, 8, 8), n_clusters=2))


@torch.no_grad()
@pytest.mark.parametrize("bounds", [(0.6, 1.8), (1e-3, 1e3)])
def test_music_moves_and_differs_as_that_of_its_label_when_it_is_calibrated(latents, listener, monkeypatch, bounds):
    monkeypatch.setattr(calibration, "MIN_GAIN", bounds[0])
    monkeypatch.setattr(calibration, "MAX_GAIN", bounds[1])
    torch.manual_seed(0)
    generator = SpectralGenerator(SpectralGANConfig(genres=("blues", "jazz"), widths=(8, 8, 8, 8), n_clusters=3)).eval()
    source = PairedCrops(latents, find_clusters(latents, listener, 3, seed=0), 3, LENGTHS, n_rows=8, seed=0)
    plain = calibration._generate(generator, listener.codec, 1, LENGTHS[0])
    weights, colour = torch.eye(6)[1].expand(len(plain), -1), torch.randn(len(plain), N_COLOURS)
    assert torch.equal(generator.calibrate(plain, weights, colour), plain)  # nothing happens before
    calibration.calibrate(SpectralModel(generator, listener.codec), source)
    made = generator.calibrate(plain, weights, torch.zeros_like(colour))
    torch.testing.assert_close(made.mean((0, 3)), plain.mean((0, 3)), atol=1e-3, rtol=0)
    real = source.crops(1, LENGTHS[0], len(plain)).unflatten(2, (32, 32)).permute(0, 2, 3, 1)
    wanted, before, after = (clips.std(3).mean(0) for clips in (real, plain, made))
    assert (after - wanted).abs().mean() < (before - wanted).abs().mean()
    gain = after / before
    assert gain.min() > 0.99 * bounds[0] and gain.max() < 1.01 * bounds[1]
    audible = (before > 0.1) & (wanted > 0.1) & (gain > 1.01 * bounds[0]) & (gain < 0.99 * bounds[1])
    assert audible.any() and ((after - wanted) / wanted)[audible].abs().max() < 0.2

    coloured = generator.calibrate(plain, weights, colour)
    torch.testing.assert_close(coloured[:, 1:], made[:, 1:])
    torch.testing.assert_close((coloured - made).std(3), torch.zeros(len(plain), 32, 32), atol=1e-4, rtol=0)  # alike all along
    direction = F.normalize(generator.colours[1, :, -1], dim=0)
    of_real, of_made, of_coloured = ((clips.mean(3)[:, 0] @ direction).var() for clips in (real, made, coloured))
    assert of_made < 0.8 * of_real and abs(of_coloured / of_real - 1.0) < 0.4


@torch.no_grad()
def test_clips_have_colours_of_their_own_unless_they_do_not_vary():
    model = tiny_spectral_model()
    recipes = [Recipe({"blues": 1.0}, seed, 2.0, variation=variation, model="mel") for seed, variation in ((1, 0.0), (1, 1.0))]
    coloured = [torch.cat(list(model.latents(recipe, 32)), 3) for recipe in recipes]
    model.generator.colours.zero_()
    plain = [torch.cat(list(model.latents(recipe, 32)), 3) for recipe in recipes]
    assert torch.equal(coloured[0], plain[0]) and torch.equal(coloured[1][:, 1:], plain[1][:, 1:])
    added = (coloured[1] - plain[1])[:, 0]
    assert added.abs().max() > 0.1 and torch.allclose(added, added[..., :1], atol=1e-5)
