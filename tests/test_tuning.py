"""Fine-tuning: what is heard in a clip, the instances that the generator is told of, and a score that rewards spread."""

from pathlib import Path

import numpy as np
import pytest
import torch

from genre_gan import GenreGenerator
from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import load_tracks
from genre_gan.features import FeatureConfig
from genre_gan.hub import packaged_weights
from genre_gan.loudness import TARGET_LUFS
from genre_gan.models.codec import Codec, CodecConfig
from genre_gan.models.generator import ClipNoise, SpectralGenerator
from genre_gan.models.musicnn import MusiCNN
from genre_gan.models.projected import MusiCNNOfLatents, _overlap
from genre_gan.models.pulse import Pulse
from genre_gan.pretrained import read_config
from genre_gan.spectral import SpectralModel
from tests.conftest import synthesize
from tests.training_runs import tiny_arguments, write_tiny_data
from training import feature_network, tune_cgan
from training.batches import Batch
from training.changes import N_NORMAL, N_UNIFORM, changed
from training.feature_network import HeldOut, TunedThrough, examples_of, train_network
from training.hearing import Hearing, _clarity, _form, _pulse, _tonality, energy_score
from training.instances import PAIR, Instances, _shares, typicality
from training.levelled import Levelled
from training.sound_discriminator import SoundDiscriminator
from training.spectral_fit import read_beginning
from training.trainer import Trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def hearing() -> Hearing:
    listener = MusiCNNOfLatents(codec := Codec(CodecConfig()), MusiCNN.load(packaged_weights("musicnn")))
    listener.filters.copy_(_overlap(codec))
    torch.manual_seed(0)
    return Hearing(listener, Levelled(codec.config.features.sample_rate_hz), TunedThrough(2, 3).eval().requires_grad_(False))


def sounds(hearing: Hearing, n: int) -> torch.Tensor:
    clips = [synthesize(110.0 * (i + 1), 1.0 + i, 6.0, seed=i)[: hearing.levelled.n_samples] for i in range(n)]
    return torch.from_numpy(np.stack(clips))


def words(data: Path, output_dir: Path, *more: object) -> list[str]:
    return [str(word) for word in tiny_arguments("tuned", data, output_dir, 2, *more)[1:]]


def test_what_is_heard_does_not_depend_on_the_level_and_has_a_gradient(hearing):
    clips = sounds(hearing, 2)
    heard = hearing(clips)
    for number, (group, quiet) in enumerate(zip(heard, hearing(0.1 * clips), strict=True)):
        least = 0.1 if number < 6 else 0.01  # of a network that has not learned, whose values are small
        assert group.shape[0] == 2 and (group[0] - group[1]).abs().max() > least
        torch.testing.assert_close(group, quiet, rtol=1e-3, atol=1e-3)
    clips.requires_grad_()
    (gradient,) = torch.autograd.grad(sum(group.square().sum() for group in hearing(clips)), clips)
    assert gradient.isfinite().all() and gradient.abs().max() > 0.0
    along = (gradient * clips).sum(1) / (gradient.norm(dim=1) * clips.norm(dim=1))
    assert along.abs().max() < 1e-3  # louder is no better


def test_music_is_heard_as_loud_as_generated_clips_are(hearing):
    import pyloudnorm

    levelled = hearing.levelled.samples(sounds(hearing, 2)).numpy()
    for clip in levelled:
        assert pyloudnorm.Meter(16_000).integrated_loudness(clip.astype(np.float64)) == pytest.approx(TARGET_LUFS, abs=1.0)


def test_a_feature_network_learns_genres_and_artists_from_the_tracks_it_is_given(data, hearing, monkeypatch):
    store = FeatureStore(load_tracks([str(data)]), FeatureConfig("waveform"), progress=False)
    given = examples_of(store, np.arange(6), hearing.levelled, hearing.listener.codec)
    assert given.originals.shape == given.copies.shape == (6, 374, 96)
    assert 0.0 < (given.originals.float() - given.copies.float()).abs().mean() < 0.2
    assert given.genres.tolist() == [0, 0, 0, 1, 1, 1] and given.artists.tolist() == list(range(6))
    torch.testing.assert_close(given.shares, torch.full((6,), 1 / 3, dtype=torch.float64))
    monkeypatch.setattr(feature_network, "BATCH_SIZE", 8)
    for kind in (TunedThrough, HeldOut):
        learned = train_network(kind, given, 2, 6, 40, 0, torch.float32)
        network = kind(2, 6)
        network.listen(learned.vector)
        genres, _ = network(given.originals[:, :187].float())
        assert genres.argmax(1).tolist() == given.genres.tolist()
    one, other = (train_network(HeldOut, given, 2, 6, 2, 0, torch.float32).vector for _ in range(2))
    assert (one == other).all()


def test_tones_are_told_from_noise_and_fewer_pitch_classes_from_more():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 40, 2049, generator=generator) + 0.1
    tones, beats = noise.clone(), noise.clone()
    tones[..., 100::100] += 50.0  # a partial in every octave from 250 Hz on
    beats[:, ::8] += 50.0
    octaves = _clarity(torch.cat([noise, tones, beats])).unflatten(1, (-1, 4))  # mean, deviation; the same from frame to frame
    assert (octaves[1, 3:, 0] > octaves[0, 3:, 0] + 0.3).all() and (octaves[1, :, 2] - octaves[0, :, 2]).abs().max() < 0.2
    assert (octaves[2, :, 2] > octaves[0, :, 2] + 0.5).all()
    one, three = torch.zeros(1, 40, 12), torch.zeros(1, 40, 12)
    one[..., 0], three[..., [0, 4, 7]] = 1.0, 3**-0.5
    few, many = _tonality(one)[0], _tonality(three)[0]
    assert few[11] == 1.0 and many[11] == pytest.approx(3**-0.5) and few[24:30].abs().max() == 0.0
    assert many[24:30].tolist() == pytest.approx([0.0, 0.0, 1 / 3, 1 / 3, 1 / 3, 0.0])  # thirds and a fifth
    torch.testing.assert_close(_tonality(three.roll(5, 2))[0], many)


def test_a_phrase_that_comes_back_is_heard():
    chords = torch.rand(8, 12, generator=torch.Generator().manual_seed(0))
    twice, other = torch.cat([chords[:6], chords[:6]]), torch.cat([chords[:6], chords[2:]])
    again, new = _form(torch.stack([twice, other]))
    assert again[5] == pytest.approx(1.0, abs=1e-4) and again[10] == pytest.approx(1.0, abs=1e-4)  # six later; of all the most
    assert new[5] < 0.5


@pytest.mark.parametrize("period", [20, 31, 50])
def test_onsets_that_come_back_are_heard_at_any_tempo(period):
    generator = torch.Generator().manual_seed(0)
    steady, free = 0.3 * torch.rand(2, 1, 374, 96, generator=generator)
    steady[:, ::period, :24] += 2.0  # of the lowest quarter of the bands
    free[:, torch.randperm(374, generator=generator)[: len(range(0, 374, period))], :24] += 2.0
    values = _pulse(torch.cat([steady, free])).unflatten(1, (5, 5))  # sharpness, then four octaves of time; all bands are last
    octave = 1 + [16, 31, 62].index(max(lag for lag in (16, 31, 62) if lag <= period)) + 1
    assert values[0, octave, 0] > 0.8 > 0.5 > values[1, octave, 0] and values[0, octave, 4] > 0.6
    assert (values[:, 0, 0] > values[:, 0, 1] + 0.5).all() and values[:, 1:, 1:4].max() < 0.4


def test_changes_leave_what_is_heard_and_are_as_the_numbers_say():
    log_mel = torch.rand(3, 187, 96, generator=torch.Generator().manual_seed(0)).cumsum(1) / 50.0
    middle, nothing = torch.full((3, N_UNIFORM), 0.5), torch.zeros(3, N_NORMAL)
    middle[:, 2:4] = 0.0  # masks of no length
    torch.testing.assert_close(changed(log_mel, middle, nothing), log_mel, atol=1e-4, rtol=0.0)
    louder = changed(log_mel, middle, nothing + 1.0)
    assert (louder >= log_mel - 1e-4).all() and (louder[:, 100:] > log_mel[:, 100:] + 0.05).all()
    masked = middle.clone()
    masked[:, 2] = 1.0
    hidden = (changed(log_mel, masked, nothing) - log_mel.mean((1, 2), keepdim=True)).abs().amax(2) < 1e-4
    assert (hidden.sum(1) == 30).all() and hidden[0, 93]


def test_the_discriminator_begins_as_the_network_and_learns_what_that_does_not(hearing):
    patches, genre_ids = torch.rand(8, 187, 96, generator=torch.Generator().manual_seed(0)), torch.arange(8) // 2 % 2
    patches[::2, :, 48:] += 1.0  # in what is real
    before = [layer.clone() for layer in hearing.network.layers(patches)]
    discriminator = SoundDiscriminator(hearing.network, 2)
    torch.testing.assert_close(discriminator.filters(patches)[-1], before[-1])
    logits = discriminator(patches, genre_ids)
    assert logits.shape == (8, 15) and (logits == discriminator.score.bias).all()  # nothing is surer than something else
    signs = 1.0 - 2.0 * (torch.arange(8) % 2)
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-3)
    for _ in range(20):
        torch.relu(1.0 - signs * discriminator(patches, genre_ids).mean(1)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert (signs * discriminator(patches, genre_ids).mean(1)).min() > 0.0
    assert all(torch.equal(*pair) for pair in zip(before, hearing.network.layers(patches), strict=True))


@pytest.mark.parametrize("spread", [0.2, 1.0, 3.0])
def test_the_energy_score_is_best_where_clips_are_spread_as_music_is(spread):
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(4000, 5, generator=generator)
    best, score = (
        energy_score([size * torch.randn(8000, 5, generator=generator)], [targets]).item() for size in (1.0, spread)
    )
    assert best < score or (spread == 1.0 and best == pytest.approx(score, abs=0.02))


def test_pairs_of_instances_are_drawn_as_often_as_they_should(data, hearing, tmp_path):
    args = tune_cgan.parse_args(words(data, tmp_path / "run"))
    store, _, _, model, _ = tune_cgan.prepare(args)
    tracks, labels = np.arange(6), np.array([0, 0, 1, 2, 2, 2])
    source = Instances(store, tracks, labels, model.generator.config, hearing, 8, 0)
    assert len(source.labels) == 6 and source.targets.shape == (6, sum(source.sizes))
    torch.testing.assert_close(source.shares, torch.full((6,), 1 / 6))  # of too few artists to tell which are typical
    for label in range(3):
        assert source.vectors[source.labels == label].mean(0).abs().max() < 1e-5
    picks = source.choose(0)
    assert picks.shape == (8, 1) and (picks[0::PAIR] == picks[1::PAIR]).all() and (source.choose(0) == picks).all()
    rows = source.read(picks)
    torch.testing.assert_close(rows.features[:, 0], source.targets[picks[:, 0]])
    torch.testing.assert_close(rows.conditions, source.vectors[picks[:, 0]])
    many = np.concatenate([source.choose(step)[::PAIR, 0] for step in range(500)])
    assert np.bincount(many) / len(many) == pytest.approx(source.shares.numpy(), abs=0.04)

    for level in model.generator.levels:  # as after many steps; the others have been larger already
        level.inject.weight.data.mul_(0.01 if level is model.generator.levels[0] else 10.0)
    told = tune_cgan.with_instances(model.generator, source)
    sizes = [level.inject.scale * level.inject.weight.detach().square().sum(1).mean().sqrt() for level in told.levels]
    assert sizes[0] == pytest.approx(tune_cgan.NOISE_SIZE) and min(sizes[1:]) > 1.0
    model.generator.levels[0].inject.weight.data.copy_(told.levels[0].inject.weight)
    noise = ClipNoise.draw(told.config, 16, lambda _, *shape: torch.randn(1, *shape))
    conditions = torch.eye(4)[:1], torch.zeros(1, dtype=torch.long), Pulse(torch.tensor([120.0]), torch.tensor([0.0]))
    plain = model.generator(noise, *conditions)
    torch.testing.assert_close(told(noise, *conditions, instances=torch.zeros(1, 64)), plain, atol=1e-4, rtol=0.0)  # at the mean
    assert (told(noise, *conditions, instances=source.vectors[:1]) - plain).abs().max() > 1e-4

    told.levels[1].half_bar.weight.data.mul_(10.0)
    tune_cgan.vary_half_bars(told)
    sizes = [(level.half_bar.scale * level.half_bar.weight).detach().square().sum(1).mean().sqrt() for level in told.levels]
    assert sizes[0] == pytest.approx(tune_cgan.HALF_BAR_SIZE) and sizes[1] > 2.0  # which was larger already

    source.shares = torch.tensor([0.1, 0.2, 0.2, 0.1, 0.1, 0.3])
    tune_cgan.share_as(told, source)
    torch.testing.assert_close(told.cluster_shares, torch.tensor([[0.6, 0.4], [1.0, 0.0]]))
    drawn = told.draw_instances(torch.eye(4)[:1].expand(900, -1), torch.rand(900, 2), torch.zeros(()))
    nearest = torch.cdist(drawn, source.vectors).argmin(1)
    assert (nearest == 1).float().mean() == pytest.approx(2 / 3, abs=0.08)


def test_clips_that_others_would_take_for_another_genre_are_drawn_less_often():
    rng = np.random.default_rng(0)
    genres, artists = np.repeat([0, 2], 40), np.arange(80) // 4
    embeddings = rng.normal(0.0, 1.0, (80, 8)) + 4.0 * (genres == 2)[:, None]
    embeddings[:4] += 4.0  # one artist's music sounds like the other genre's
    typical = typicality(embeddings, genres, artists)
    assert typical[:4].max() < 0.5 < typical[4:].min() and typical.max() <= 1.0
    assert (typicality(embeddings, genres, artists // 2 * 2) > 0.02).all()
    few = np.where(genres == 0, artists, 99)
    assert (typicality(embeddings, genres, few) == 1.0).all() and (typicality(embeddings[:40], genres[:40], artists) == 1.0).all()
    shares = _shares(np.array([0, 0, 1, 2]), np.array([0, 0, 0, 2]), np.array([1.0, 0.5, 0.25, 0.1]))
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.125, 0.125, 0.5]))


def test_a_tuned_generator_knows_its_instances_and_is_gone_on_with(data, tmp_path):
    tune_cgan.main(words(data, tmp_path / "run"))
    record = read_config(tmp_path / "run" / "model")
    assert record["model"]["n_instances"] == len(record["training"]["tracks_per_genre"]) * 2
    pipeline = GenreGenerator.from_pretrained(tmp_path / "run" / "model")
    clip = pipeline.generate("blues", 2.0, seed=3)
    assert (clip.samples == pipeline.generate("blues", 2.0, seed=3).samples).all()
    blended = pipeline.generate({"blues": 0.5, "metal": 0.5}, 2.0, seed=3, variation=0.5)
    assert np.isfinite(blended.samples).all() and np.abs(blended.samples - clip.samples).max() > 1e-3
    tuned = SpectralGenerator.load(tmp_path / "run" / "model")
    tune_cgan.main(words(data, tmp_path / "more", "--start-from", tmp_path / "run" / "model"))
    more = SpectralGenerator.load(tmp_path / "more" / "model")
    assert torch.equal(more.instances, tuned.instances)
    tune_cgan.main(words(data, tmp_path / "more", "--start-from", tmp_path / "run" / "model", "--resume", "--keep", "0.25"))
    kept = SpectralGenerator.load(tmp_path / "more" / "model")
    for value, ours, theirs in zip(kept.parameters(), more.parameters(), tuned.parameters(), strict=True):
        torch.testing.assert_close(value, 0.75 * ours + 0.25 * theirs, atol=2e-3, rtol=2e-3)  # saved as half precision
    assert not torch.equal(more.genre_embedding.weight, tuned.genre_embedding.weight)
    assert more.training_record["begun as"]["begun as"] == record["training"]["begun as"]
    with pytest.raises(ValueError, match=r"has been fine-tuned; tune_cgan.py goes on with it"):
        read_beginning(tmp_path / "run" / "model", tuned.config)
    seeds = {}
    for name in ("gan", "run", "more"):
        start = [] if name == "gan" else ["--start-from", tmp_path / name / "model"]
        args = tune_cgan.parse_args(words(data, tmp_path / "next", *start))
        seeds[name] = tune_cgan.draw_seed(args, SpectralModel.load(args.start_from))
    assert seeds == {"gan": 0, "run": 1000, "more": 2000}  # another network and other draws each time

    args = tune_cgan.parse_args(words(data, tmp_path / "next", "--start-from", tmp_path / "run" / "model"))
    store, split, _, model, hearing = tune_cgan.prepare(args)
    others = np.array([2 * model.genres.index(store.tracks.genre_names[track]) for track in split.train]) + 1
    source = Instances(store, split.train, others, model.generator.config, hearing, 8, 0)
    assert tune_cgan.with_instances(model.generator, source) is model.generator  # of clusters that are found otherwise
    assert torch.equal(source.labels, tuned.instance_labels)
    tuned.instance_labels.fill_(3)
    tuned.save_pretrained(tmp_path / "run" / "model")
    with pytest.raises(SystemExit, match="its instances are of other clips than those of --data"):
        tune_cgan.main(words(data, tmp_path / "other", "--start-from", tmp_path / "run" / "model"))


def test_what_does_not_belong_together_is_refused_in_words(data, hearing, tmp_path):
    with pytest.raises(SystemExit, match="its genres are blues, metal, those of the data blues; see --genres"):
        tune_cgan.main(words(data, tmp_path / "run", "--genres", "blues"))
    with pytest.raises(SystemExit, match=r"it has the .* split: .*; this is the artist split: .*; give the data, the split and"):
        tune_cgan.main(words(data, tmp_path / "run", "--split", "artist"))
    args = tune_cgan.parse_args(words(data, tmp_path / "run"))
    store, _, _, model, _ = tune_cgan.prepare(args)
    with pytest.raises(ValueError, match=r"no track of metal lasts 6.0 s, which is what fine-tuning listens to"):
        Instances(store, np.arange(3), np.zeros(3, int), model.generator.config, hearing, 8, 0)


def test_a_step_of_tuning_touches_no_other_device_than_its_own(data, tmp_path):
    args = tune_cgan.parse_args(words(data, tmp_path / "run"))
    store, split, clusters, model, hearing = tune_cgan.prepare(args)
    labels = np.array([0, 0, 2, 2])[: len(split.train)]
    source = Instances(store, split.train, labels, model.generator.config, hearing, 4, 0)
    model.generator = tune_cgan.with_instances(model.generator, source)
    task = tune_cgan.TuningTask(Trainer(args, "test", store, clusters), model, hearing, source)
    batch = next(task.loader.batches(0))
    for network in (task.generator, task.average, task.hearing, task.discriminator):
        network.to("meta")
    for name in ("mean", "deviation", "copies", "copied_labels", "copied_shares"):
        setattr(task, name, getattr(task, name).to("meta"))
    values = task.train_step(Batch(*[tensor.to("meta") for tensor in batch]), 0)
    assert values and all(value.device.type == "meta" for value in values.values())
