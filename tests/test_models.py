import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from genre_gan.features import FeatureConfig, FeatureExtractor
from genre_gan.models.autoencoder import Autoencoder, AutoencoderConfig
from genre_gan.models.judge import LatentJudge, LatentJudgeConfig
from genre_gan.models.latent_gan import LatentDiscriminator, LatentGANConfig, LatentGenerator
from genre_gan.models.lstm import GenreLSTM, LSTMConfig
from genre_gan.models.vocoder import Vocoder, VocoderConfig, mel_features, normalize_log_mel
from genre_gan.models.waveform import WaveformDiscriminator, WaveformGANConfig, WaveformGenerator
from genre_gan.pretrained import ModelError
from genre_gan.spectral import SpectralModel

TINY_LSTM = LSTMConfig(FeatureConfig("mfcc-segment", segment_s=1.0), ("blues", "metal"), hidden_size=8)


def tiny_gan(**settings) -> WaveformGANConfig:
    return WaveformGANConfig(**{"n_samples": 5000, "genres": ("blues", "metal"), "latent_dim": 4, "width": 16} | settings)


def tiny_spectral_model(latent_dim: int = 4) -> SpectralModel:
    """All three networks at their smallest, with components fitted to noise."""
    torch.manual_seed(1)
    features = mel_features(16)
    autoencoder = Autoencoder(AutoencoderConfig(features, latent_dim, widths=(8, 8, 8, 8), n_blocks=1)).eval()
    autoencoder.fit_components(0.3 * torch.randn(8, 64, 16))  # levels that differ by 6 dB, as in music
    generator = LatentGenerator(
        LatentGANConfig(("blues", "metal"), latent_dim, autoencoder.config.latent_rate_hz, style_dim=4, noise_dim=2, width=8)
    )
    vocoder = Vocoder(VocoderConfig(features, dim=8, hidden_dim=8, n_layers=1)).eval()
    judge = LatentJudge(LatentJudgeConfig(("blues", "metal"), latent_dim, width=8, n_layers=1)).eval()
    return SpectralModel(generator.eval(), autoencoder, judge, vocoder)


@pytest.mark.parametrize("pooling", ["last", "attention"])
def test_padding_does_not_change_what_the_lstm_says(pooling):
    model = GenreLSTM(LSTMConfig(TINY_LSTM.features, ("blues", "metal"), hidden_size=8, pooling=pooling)).eval()
    features = torch.randn(2, 24, 13)
    padded = torch.cat([features, torch.zeros(2, 16, 13)], 1)
    n_frames = torch.tensor([24, 24])
    assert torch.allclose(model(features), model(padded, n_frames), atol=1e-6)


@pytest.mark.parametrize("model", ["fcn", "cnn"])
@pytest.mark.parametrize("activation", ["none", "sigmoid"])
@pytest.mark.parametrize("n_samples", [5000, 30 * 22_050])
def test_waveform_gans_have_the_asked_shape_and_follow_the_label(model, activation, n_samples):
    config = tiny_gan(model=model, output_activation=activation, n_samples=n_samples)
    generator, discriminator = WaveformGenerator(config), WaveformDiscriminator(config)
    z, labels = torch.randn(2, 4), torch.eye(2)
    samples = generator(z, labels)
    assert samples.shape == (2, n_samples)
    if activation == "sigmoid":
        assert samples.abs().max() <= 1.0
    assert not torch.allclose(samples, generator(z, labels.flip(0)))
    logits = discriminator(samples, torch.tensor([0, 1]))
    assert logits.shape == (2,)
    assert not torch.allclose(logits, discriminator(samples, torch.tensor([1, 0])))
    assert sum(p.numel() for p in generator.parameters()) < 12e6


def test_saved_models_come_back_whole(tmp_path):
    spectral = tiny_spectral_model()
    for model in (GenreLSTM(TINY_LSTM), WaveformGenerator(tiny_gan()), spectral.generator, spectral.autoencoder, spectral.judge, spectral.vocoder):
        model.training_record = {"steps": 3}
        folder = model.save_pretrained(tmp_path / model.family)
        assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
        again = type(model).load(folder)
        assert again.config == model.config and again.training_record == {"steps": 3}
        for name, value in model.state_dict().items():
            assert torch.equal(value, again.state_dict()[name])


def test_loading_is_strict_and_says_why(tmp_path):
    folder = WaveformGenerator(tiny_gan()).save_pretrained(tmp_path / "g")
    with pytest.raises(ModelError, match="'waveform-gan', wanted 'lstm'"):
        GenreLSTM.load(folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: weights[name] for name in list(weights)[1:]}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="damaged, cut off or altered"):
        WaveformGenerator.load(folder)
    record = json.loads((folder / "config.json").read_text())
    changed = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(record | {"weights_sha256": changed}))
    with pytest.raises(ModelError, match="does not fit its config"):
        WaveformGenerator.load(folder)
    del record["weights_sha256"]
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match="damaged, cut off or altered"):
        WaveformGenerator.load(folder)
    (folder / "config.json").write_text(json.dumps(record | {"version": 99}))
    with pytest.raises(ModelError, match="version 99"):
        WaveformGenerator.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        WaveformGenerator.load(folder)
    with pytest.raises(ModelError, match="no config.json"):
        WaveformGenerator.load(tmp_path)


@pytest.mark.parametrize("settings", [{"model": "rnn"}, {"output_activation": "tanh"}, {"n_samples": 0}])
def test_wrong_shapes_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        tiny_gan(**settings)


def test_components_of_exactly_that_many_dimensions_lose_nothing():
    """Log-mel patches that lie in a space of four dimensions come back whole from four components."""
    model = tiny_spectral_model().autoencoder
    basis = torch.randn(4, model.config.stride * 16)
    log_mel = (torch.randn(40, 4) @ basis + 1.0).reshape(5, 64, 16)
    assert model.fit_components(log_mel) == pytest.approx(1.0, abs=1e-4)
    latents = model.encode(log_mel)
    assert latents.shape == (5, 8, 4)
    assert torch.allclose(model.decode(latents), log_mel, atol=1e-3)  # an untrained network refines by nothing
    assert latents.square().mean() == pytest.approx(1.0, abs=0.1)


def test_context_covers_all_that_a_decoded_frame_depends_on():
    model = tiny_spectral_model()
    torch.nn.init.normal_(model.autoencoder.refine[-1].weight)
    latents = torch.zeros(1, 60, 4)
    changed = latents.clone()
    changed[0, 30] = 1.0
    difference = (model.autoencoder.decode(changed) - model.autoencoder.decode(latents)).abs().sum(2)[0]
    touched = difference.nonzero()[:, 0] // model.autoencoder.config.stride
    assert 30 - model.autoencoder.context <= touched.min() and touched.max() <= 30 + model.autoencoder.context


def test_the_latent_discriminator_follows_the_label_once_it_counts():
    config = tiny_spectral_model().generator.config
    discriminator = LatentDiscriminator(config, n_frames=16, width=8)
    torch.nn.init.normal_(discriminator.embedding.weight)
    latents, ids = torch.randn(2, 16, 4), torch.tensor([0, 1])
    assert torch.equal(discriminator(latents, ids, 0.0), discriminator(latents, ids.flip(0), 0.0))
    assert not torch.allclose(discriminator(latents, ids), discriminator(latents, ids.flip(0)))


def test_an_untrained_vocoder_gives_back_a_steady_tone_at_its_pitch():
    """Where a phase cannot advance, a tone between two multiples of the frame rate comes out at another pitch."""
    vocoder = Vocoder(VocoderConfig(dim=8, hidden_dim=8, n_layers=1)).eval()
    pitch_hz = 1000.0
    samples = 0.3 * torch.sin(2 * torch.pi * pitch_hz * torch.arange(22_050) / 22_050)
    log_mel = normalize_log_mel(FeatureExtractor(vocoder.config.features)(samples[None]))
    with torch.inference_mode():
        copied = vocoder(log_mel)[0]
    assert copied.shape == (22_050 // 256 * 256,)
    spectrum = torch.fft.rfft(copied[4096:-4096] * torch.hann_window(len(copied) - 8192)).abs()
    peak_hz = float(spectrum.argmax()) * 22_050 / (len(copied) - 8192)
    assert abs(peak_hz - pitch_hz) < 15.0
    assert spectrum.max() > 20 * spectrum.median()
