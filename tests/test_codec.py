"""The codec: exact on spectrograms, faithful on sound, without seams in a stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genre_gan.features import FeatureConfig
from genre_gan.models.codec import CENTRE_DB, FLOOR_DB, UNIT_DB, Codec, CodecConfig

RATE_HZ = 22_050


def chord(duration_s: float, frequencies_hz: tuple[float, ...] = (220.0, 277.2, 329.6)) -> torch.Tensor:
    """Decaying harmonic notes, one every half second, Tensor[1 x n]."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    envelope = np.exp(-3.0 * (time_s % 0.5))
    tones = sum(np.sin(2 * np.pi * k * f * time_s) / k for f in frequencies_hz for k in (1, 2, 3, 4))
    return torch.from_numpy((0.1 * envelope * tones).astype(np.float32))[None]


@pytest.fixture(scope="module")
def codec() -> Codec:
    codec = Codec(CodecConfig())
    codec.fit(codec.analyze(chord(4.0)))
    return codec


def test_latents_keep_all_of_the_spectrogram(codec):
    log_mel = codec.analyze(chord(3.0))
    latents = codec.encode_log_mel(log_mel)
    assert latents.shape == (1, 32, 32, log_mel.shape[1] // 8)
    torch.testing.assert_close(codec.decode_log_mel(latents), log_mel, atol=1e-4, rtol=0)


def test_a_shift_by_a_block_of_bands_is_a_shift_of_rows(codec):
    log_mel = torch.randn(1, 16, 128)
    plain = Codec(CodecConfig())  # not fitted: all rows alike
    moved = plain.encode_log_mel(log_mel.roll(4, 2))
    torch.testing.assert_close(moved, plain.encode_log_mel(log_mel).roll(1, 2))


def test_fitted_latents_have_zero_mean_and_about_unit_size():
    codec, log_mel = Codec(CodecConfig()), 3.0 + 2.0 * torch.randn(4, 64, 128)
    codec.fit(log_mel)
    latents = codec.encode_log_mel(log_mel)
    assert latents.mean((0, 3)).abs().max() < 1e-4
    assert 0.9 < float(latents.square().mean()) < 1.1


def test_decoded_sound_has_the_spectrogram_of_the_original(codec):
    samples = chord(3.0)
    wanted = codec.analyze(samples)
    got = codec.analyze(codec.decode(codec.encode(samples)))
    loud = wanted * UNIT_DB + CENTRE_DB > FLOOR_DB + 45.0
    error_db = UNIT_DB * (got - wanted)[loud].abs().mean()
    silence_db = UNIT_DB * ((FLOOR_DB - CENTRE_DB) / UNIT_DB - wanted)[loud].abs().mean()
    assert error_db < 2.0 < silence_db


def test_gradients_pass_through_sound_as_it_changes(codec):
    latents = codec.encode(chord(2.0))
    samples = codec.decode_with_gradient(latents)
    torch.testing.assert_close(samples, codec.decode(latents)[:, : samples.shape[1]], rtol=0.0, atol=1e-4)
    latents.requires_grad_()
    upper = torch.zeros_like(latents)
    upper[:, 0, 10:] = 1.0  # the levels of upper rows

    def level(latents: torch.Tensor) -> torch.Tensor:
        return codec.decode_with_gradient(latents).square().mean().log()

    (gradient,) = torch.autograd.grad(level(latents), latents)
    with torch.no_grad():
        change = (level(latents + 0.02 * upper) - level(latents - 0.02 * upper)) / 0.04
    assert (gradient * upper).sum() == pytest.approx(float(change), rel=0.1)


def test_a_stream_has_no_seams(codec):
    latents = codec.encode(chord(6.0))
    whole = codec.decode(latents)
    for cuts in ([3, 20, latents.shape[3] - 23], [1] * 5 + [latents.shape[3] - 5]):
        parts = list(codec.stream(latents.split(cuts, 3)))
        torch.testing.assert_close(torch.cat(parts, 1), whole, atol=2e-3, rtol=0)
    assert whole.shape[1] == latents.shape[3] * codec.config.samples_per_latent


def test_a_part_comes_as_soon_as_it_can(codec):
    latents = codec.encode(chord(3.0))

    def parts():
        yield latents[..., :10]
        raise AssertionError("the second part was asked for before the first was given out")

    first = next(codec.stream(parts()))
    assert first.shape[1] == (10 - codec.margin) * codec.config.samples_per_latent


def test_no_latents_give_no_sound(codec):
    assert list(codec.stream([])) == []


@pytest.mark.parametrize(("semitones", "pitch_hz"), [(0, 1000), (5, 1335), (-6, 707)])
def test_a_steady_tone_keeps_its_pitch_or_moves_by_semitones(codec, semitones, pitch_hz):
    time_s = torch.arange(3 * RATE_HZ) / RATE_HZ
    latents = codec.encode(0.3 * torch.sin(2 * torch.pi * 1000.0 * time_s)[None])
    decoded = codec.transposed(semitones).decode(latents)[0, RATE_HZ : 2 * RATE_HZ]
    spectrum = torch.fft.rfft(decoded * torch.hann_window(RATE_HZ)).abs()
    assert abs(int(spectrum.argmax()) - pitch_hz) <= 0.012 * pitch_hz  # a fifth of a semitone
    assert torch.equal(codec.decode(latents), codec.transposed(0).decode(latents))  # stays as it was


@pytest.mark.parametrize("speed", [0.87, 1.15])
def test_hurried_music_is_shorter_and_keeps_its_pitch_and_its_level(codec, speed):
    latents = codec.encode(chord(3.0, (440.0,)))
    quick = codec.hurried(speed)
    decoded = quick.decode(latents)[0]
    assert quick.hop_length == round(256 / speed) and len(decoded) == latents.shape[3] * 8 * quick.hop_length
    middle, plain = (samples[RATE_HZ : 2 * RATE_HZ] for samples in (decoded, codec.decode(latents)[0]))
    spectrum = torch.fft.rfft(middle * torch.hann_window(RATE_HZ)).abs()
    assert abs(int(spectrum.argmax()) - 440) <= 5
    assert 20.0 * (middle.std() / plain.std()).log10() == pytest.approx(0.0, abs=1.0)
    parts = list(quick.stream(latents.split(7, 3)))
    torch.testing.assert_close(torch.cat(parts, 1)[0], decoded, atol=1e-3, rtol=0.0)
    assert codec.hop_length == 256


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": FeatureConfig("log-mel", n_fft=1024, hop_length=512)}, "hop_length must be n_fft / 4"),
        ({"block_bands": 5}, "n_mels must be a multiple of block_bands"),
    ],
)
def test_impossible_shapes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CodecConfig(**settings)


def test_saved_and_loaded_it_is_the_same(codec, tmp_path):
    codec.save_pretrained(tmp_path)
    torch.testing.assert_close(Codec.load(tmp_path).encode(chord(1.0)), codec.encode(chord(1.0)))
