"""The two-dimensional generator: no borders in time, conditions that count, and a discriminator that hears them."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from genre_gan.features import FeatureConfig
from genre_gan.models.codec import Codec, CodecConfig
from genre_gan.models.discriminator import LatentDiscriminator
from genre_gan.models.generator import INSTANCE_NOISE, N_KEYS, N_QUANTILES, ClipNoise, SpectralGANConfig, SpectralGenerator
from genre_gan.models.layers import EqualConv2d
from genre_gan.models.pulse import CYCLE_BEATS, HALF_BAR_BEATS, MAX_TEMPO_BPM, N_TURNED, Pulse, grid_tempo
from genre_gan.recipe import Recipe
from genre_gan.spectral import LABEL_SCALE, SpectralModel

TINY = SpectralGANConfig(genres=("blues", "jazz", "rock"), n_coefficients=4, n_rows=8, widths=(8, 8, 6), style_dim=8, noise_dim=2)


@pytest.fixture
def generator() -> SpectralGenerator:
    torch.manual_seed(0)
    generator = SpectralGenerator(TINY).eval()
    for level in generator.levels:
        torch.nn.init.normal_(level.mixer.weight)
    return generator


def draw(n_clips: int, start: int, stop: int) -> ClipNoise:
    spans = enumerate(TINY.spans(start, stop))
    grid = [torch.randn(n_clips, last - first, TINY.level_rows(level), TINY.noise_dim) for level, (first, last) in spans]
    n_bars = TINY.n_bars(stop)
    bars, half_bars = torch.randn(n_clips, n_bars, N_TURNED, 2), torch.randn(n_clips, 2 * n_bars, TINY.noise_dim)
    return ClipNoise(torch.randn(n_clips, TINY.style_dim), bars, half_bars, grid)


def conditions(n_clips: int, genre: int = 0, key: int = 3, tempo_bpm: float = 100.0):
    weights = torch.eye(3)[[genre] * n_clips]
    return weights, torch.full((n_clips,), key), Pulse(torch.full((n_clips,), tempo_bpm), torch.full((n_clips,), 0.3))


@torch.inference_mode()
def test_pieces_are_exactly_those_of_the_whole(generator):
    noise, whole_spans = draw(2, 0, 64), TINY.spans(0, 64)
    whole = generator(noise, *conditions(2))
    assert whole.shape == (2, 4, 8, 64)
    parts = []
    for start, stop in ((0, 4), (4, 28), (28, 64)):
        spans = zip(noise.grid, whole_spans, TINY.spans(start, stop), strict=True)
        grid = [values[:, first - begin : last - begin] for values, (begin, _), (first, last) in spans]
        parts.append(generator(noise._replace(grid=grid), *conditions(2), start))
    torch.testing.assert_close(torch.cat(parts, 3), whole, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_every_frame_and_row_hears_noise_and_the_conditions_count(generator):
    noise = draw(1, 0, 32)
    plain = generator(noise, *conditions(1))
    for changed in (conditions(1, genre=1), conditions(1, key=4), conditions(1, tempo_bpm=140.0)):
        assert (generator(noise, *changed) - plain).abs().mean() > 1e-3
    other = generator(noise._replace(grid=[torch.randn_like(values) for values in noise.grid]), *conditions(1))
    assert ((other - plain).abs() > 1e-6).all()


@pytest.mark.parametrize(("start", "stop"), [(2, 8), (8, 8), (8, 4)])
def test_spans_are_refused_where_they_cannot_be(start, stop):
    with pytest.raises(ValueError, match="start must be a multiple of 4 below stop"):
        TINY.spans(start, stop)


@pytest.mark.parametrize(
    ("settings", "message"), [({"n_rows": 12}, "multiple of 8"), ({"genres": ("jazz", "jazz")}, "different names")]
)
def test_impossible_configs_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SpectralGANConfig(**settings)


def test_a_tempo_is_played_at_one_whose_beats_are_whole_frames():
    tempos = torch.tensor([60.0, 80.0, 86.0, 93.0, 94.0, 100.0, 120.0, 128.0, 145.0, 180.0])
    grid_bpm, speed = grid_tempo(tempos, 10.0)  # 150, 120 and 100 beats a minute have 4, 5 and 6 frames
    assert grid_bpm.tolist() == [120.0, 150.0, 150.0, 100.0, 100.0, 100.0, 120.0, 120.0, 150.0, 100.0]
    octaves = torch.log2(tempos / (grid_bpm * speed))
    torch.testing.assert_close(octaves, octaves.round(), atol=1e-5, rtol=0.0)
    assert speed.log2().abs().max() < 0.21


def test_phases_turn_with_the_tempo_and_leave_out_what_is_too_quick():
    pulse = Pulse(torch.tensor([120.0]), torch.tensor([0.0]))
    sine, cosine = pulse.phases((1.0,), 0, 20, 10.0)[0]  # two beats a second at ten frames a second: five frames a beat
    torch.testing.assert_close(sine[:15], sine[5:], atol=1e-5, rtol=0)
    assert float(sine[0]) == pytest.approx(math.sin(2 * math.pi * 0.1), abs=1e-5)
    torch.testing.assert_close(sine.square() + cosine.square(), torch.ones(20))
    assert not pulse.phases((0.125,), 0, 20, 10.0).any()


def test_the_longest_cycles_begin_anew_in_each_bar():
    pulse = Pulse(torch.tensor([MAX_TEMPO_BPM]), torch.tensor([1.0]))  # three beats a second: a bar has 40 frames
    first, last = -math.floor(30 * TINY.lead_s), 300
    bars = torch.randn(1, TINY.n_bars(round(last / 30 * TINY.latent_rate_hz)), N_TURNED, 2)
    turned = pulse.turned_phases(bars, TINY.lead_s, first, last, 30.0)[0].unflatten(0, (2, -1))
    steady = pulse.phases(CYCLE_BEATS, first, last, 30.0)[0].unflatten(0, (2, -1))
    assert torch.equal(turned[:, :-N_TURNED], steady[:, :-N_TURNED])
    torch.testing.assert_close(turned.square().sum(0)[-N_TURNED:], torch.ones(N_TURNED, last - first))
    bar, following = (turned[:, -N_TURNED:, start - first :][..., :40] for start in (30, 70))  # the beats 4 to 8, and 8 to 12
    assert (bar - following).abs().amax() > 0.1
    for part in (bar, following):  # in a bar they go on as ever
        angle = torch.atan2(part[0], part[1]).diff() % (2 * math.pi)
        torch.testing.assert_close(angle, torch.tensor([[0.1 / 4], [0.1 / 8]]).expand(2, 39) * 2 * math.pi, atol=1e-4, rtol=0)


def test_each_half_of_a_bar_has_noise_of_its_own():
    pulse = Pulse(torch.tensor([120.0, 120.0]), torch.tensor([1.0, 3.0]))  # two beats a second: half a bar has ten frames
    values = torch.arange(2 * TINY.n_bars(100)).float().expand(2, -1)[..., None]
    spread = pulse.spread(values, HALF_BAR_BEATS, TINY.lead_s, 0, 40, 10.0)[..., 0]
    steps = spread.diff(dim=1)
    assert steps.unique().tolist() == [0.0, 1.0]
    assert [row.nonzero().flatten().tolist() for row in steps] == [[4, 14, 24, 34]] * 2  # a beat is left of the first half
    earliest = pulse.spread(values, HALF_BAR_BEATS, TINY.lead_s, -math.floor(10 * TINY.lead_s), 0, 10.0)
    assert 0 <= earliest.min() <= 1.0  # in the first bar
    whole, part = spread, pulse.later(torch.tensor([1.0, 1.0])).spread(values, HALF_BAR_BEATS, TINY.lead_s + 1.0, 0, 30, 10.0)
    torch.testing.assert_close(part[..., 0], whole[:, 10:])


@torch.inference_mode()
def test_another_half_bar_is_another_music(generator):
    noise = draw(1, 0, 32)
    other = noise._replace(half_bars=torch.randn_like(noise.half_bars))
    assert (generator(noise, *conditions(1)) - generator(other, *conditions(1))).abs().mean() > 1e-3


def test_tempos_and_keys_are_drawn_as_the_genres_have_them(generator):
    generator.tempo_quantiles_bpm[0] = torch.linspace(80.0, 112.0, N_QUANTILES)
    generator.tempo_quantiles_bpm[1] = torch.linspace(100.0, 132.0, N_QUANTILES)
    uniform = torch.tensor([0.0, 0.5, 1.0])
    blues = torch.eye(3)[[0] * 3]
    torch.testing.assert_close(generator.draw_tempo_bpm(blues, uniform), torch.tensor([80.0, 96.0, 112.0]))
    half = torch.tensor([[0.5, 0.5, 0.0]] * 3)
    torch.testing.assert_close(generator.draw_tempo_bpm(half, uniform), torch.tensor([90.0, 106.0, 122.0]))
    generator.key_shares.zero_()
    generator.key_shares[0, 5], generator.key_shares[0, 9] = 0.25, 0.75
    assert generator.draw_key(blues, torch.tensor([0.0, 0.3, 1.0])).tolist() == [5, 9, N_KEYS]


def test_instances_are_drawn_as_often_as_they_should_be_and_of_the_label_alone():
    config = SpectralGANConfig(("blues", "jazz"), 32, 32, (8, 8), n_clusters=2, n_instances=4, instance_dim=3)
    generator = SpectralGenerator(config)
    generator.instances.copy_(torch.arange(4.0)[:, None].expand(-1, 3))
    generator.instance_labels.copy_(torch.tensor([1, 0, 1, 2]))  # none of the last one
    generator.instance_shares.copy_(torch.tensor([0.1, 0.5, 0.3, 0.1]))
    uniform, nothing = torch.linspace(0.0, 1.0, 1001)[:, None].expand(-1, 2), torch.zeros(1001, 3)
    drawn = generator.draw_instances(F.one_hot(torch.full((1001,), 1), 4).float(), uniform, nothing)[:, 0]
    assert drawn.unique().tolist() == [0.0, 2.0] and (drawn == 0.0).float().mean() == pytest.approx(0.25, abs=0.002)
    blend = torch.tensor([[0.5, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0]])
    noise = torch.tensor([[0.0, 1.0, 2.0]]).expand(2, -1)
    drawn = generator.draw_instances(blend, uniform[:2], noise)
    torch.testing.assert_close(drawn, torch.tensor([[2.0], [0.0]]) + INSTANCE_NOISE * noise)
    style, keys = torch.randn(2, config.style_dim), torch.zeros(2, dtype=torch.long)
    mapped = [generator.map_style(style, blend, keys, instances) for instances in (drawn, 2.0 * drawn, None)]
    assert (mapped[0] - mapped[1]).abs().max() > 1e-3 and (mapped[0] - mapped[2]).abs().max() > 1e-3
    apart = generator.map_style(style, blend, keys, label_scale=1.5)
    middle = generator.genre_embedding.weight.data.mean(0)
    generator.genre_embedding.weight.data.sub_(middle).mul_(1.5).add_(middle)
    torch.testing.assert_close(apart, generator.map_style(style, blend, keys))
    assert (apart - mapped[2]).abs().max() > 1e-3
    assert SpectralGenerator(SpectralGANConfig(widths=(8, 8))).draw_instances(blend, uniform, noise) is None


def test_variations_stay_in_the_key_and_the_clusters_of_their_clip(monkeypatch):
    codec = Codec(CodecConfig(FeatureConfig("log-mel", n_fft=1024, hop_length=256, n_mels=64, htk=True)))
    n_coefficients, n_rows = codec.config.n_coefficients, codec.config.n_rows
    config = SpectralGANConfig(("blues", "jazz"), n_coefficients, n_rows, (8, 8), style_dim=8, noise_dim=2, n_clusters=8,
                               n_instances=80, instance_dim=2)
    model, told = SpectralModel(SpectralGenerator(config).eval(), codec), []
    model.generator.instance_labels.copy_(torch.arange(80) % 16)
    model.generator.instance_shares.fill_(1.0 / 80)
    model.generator.instances.copy_(100.0 * torch.arange(80)[:, None].expand(-1, 2))

    def note(style, weights, key, instance, label_scale):
        assert label_scale == LABEL_SCALE > 1.0
        told.append((weights.argmax(1), key, (instance / 100.0).round().tolist()))  # but for its noise
        return style

    monkeypatch.setattr(model.generator, "map_style", note)
    for seed in range(40):
        recipe = Recipe({"blues": 1.0}, seed, 2.0, model="mel")
        told.clear()
        for varied in (recipe, recipe.varied(0.3, 1000), recipe.varied(1.0, 1001).varied(0.5, seed)):
            model._map_style(varied)
        assert told == [told[0]] * 3


def test_the_discriminator_tells_clips_apart_by_what_it_is_told():
    torch.manual_seed(0)
    discriminator = LatentDiscriminator(TINY, (4, 6, 8))
    for embedding in (discriminator.label_embedding, discriminator.key_embedding):
        torch.nn.init.normal_(embedding.weight)
    latents, pulse = torch.randn(4, 4, 8, 16), Pulse(torch.full((4,), 90.0), torch.zeros(4))
    label_ids, key_ids = torch.tensor([0, 1, 2, 0]), torch.tensor([0, 5, 24, 24])
    logits = discriminator(latents, label_ids, key_ids, pulse)
    assert logits.shape == (4, 4)
    for changed in (
        (label_ids.roll(1), key_ids, pulse),
        (label_ids, key_ids.roll(1), pulse),
        (label_ids, key_ids, pulse._replace(beat=pulse.beat + 0.4)),
    ):
        assert (discriminator(latents, *changed) - logits).abs().mean() > 1e-4


def test_one_batch_can_be_learned_against_the_discriminator(generator):
    """Gradients reach every weight of G through D but those that say nothing yet."""
    discriminator = LatentDiscriminator(TINY, (4, 6, 8))
    weights, key_ids, pulse = conditions(4)
    fake = generator.train()(draw(4, 0, 16), weights, key_ids, pulse)
    discriminator(fake, weights.argmax(1), key_ids, pulse).mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in generator.parameters())


def test_a_pulse_that_begins_later_goes_on_as_the_first_one_does():
    pulse = Pulse(torch.tensor([100.0, 72.0]), torch.tensor([0.25, 7.0]))
    whole = pulse.phases((1.0, 4.0), 0, 40, 10.0)
    later = pulse.later(torch.tensor([1.5, 1.5])).phases((1.0, 4.0), 0, 25, 10.0)
    torch.testing.assert_close(later, whole[..., 15:], atol=1e-4, rtol=0)


def test_a_layer_over_single_places_has_second_derivatives_in_bfloat16_at_any_batch_size():
    layer, x = EqualConv2d(32, 64, (1, 1)), torch.randn(64, 32, 32, 24, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x).float()
    (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    gradient.square().sum().backward()  # as a convolution on some processors this ended Python by a division by zero
    assert layer.weight.grad is not None and bool(layer.weight.grad.isfinite().all())
    expected = torch.nn.functional.conv2d(x, layer.weight * layer.scale, layer.bias)
    assert torch.allclose(layer(x), expected, atol=1e-4)
