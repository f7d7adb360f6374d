import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from genre_gan.features import FeatureConfig
from genre_gan.models.classifier import GenreLSTM, LSTMConfig
from genre_gan.models.codec import Codec, CodecConfig
from genre_gan.models.generator import SpectralGANConfig, SpectralGenerator
from genre_gan.models.waveform import WaveformDiscriminator, WaveformGANConfig, WaveformGenerator
from genre_gan.pretrained import ModelError
from genre_gan.spectral import SpectralModel

TINY_LSTM = LSTMConfig(FeatureConfig("mfcc-segment", segment_s=1.0), ("blues", "metal"), hidden_size=8)


def tiny_gan(**settings) -> WaveformGANConfig:
    return WaveformGANConfig(**{"n_samples": 5000, "genres": ("blues", "metal"), "latent_dim": 4, "width": 16} | settings)


def tiny_spectral_model() -> SpectralModel:
    """Generator and codec at their smallest, with levels as in music."""
    torch.manual_seed(1)
    codec = Codec(CodecConfig(FeatureConfig("log-mel", n_fft=1024, hop_length=256, n_mels=32, htk=True))).eval()
    codec.fit(-0.5 + 0.5 * torch.randn(8, 64, 32))
    config = SpectralGANConfig(
        ("blues", "metal"), codec.config.n_coefficients, codec.config.n_rows, widths=(8, 8, 8, 6), style_dim=4, noise_dim=2
    )
    generator = SpectralGenerator(config).eval()
    generator.gain.uniform_(0.8, 1.5)  # as if calibrated
    generator.centre.normal_(0.0, 0.3)
    generator.colours.normal_(0.0, 0.3)
    return SpectralModel(generator, codec)


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
    for model in (GenreLSTM(TINY_LSTM), WaveformGenerator(tiny_gan()), spectral.generator, spectral.codec):
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
    with pytest.raises(ModelError, match=r"no config\.json"):
        WaveformGenerator.load(tmp_path)


@pytest.mark.parametrize("settings", [{"model": "rnn"}, {"output_activation": "tanh"}, {"n_samples": 0}])
def test_wrong_shapes_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        tiny_gan(**settings)


def test_a_codec_of_another_shape_is_refused():
    model = tiny_spectral_model()
    other = Codec(CodecConfig(FeatureConfig("log-mel", n_fft=1024, hop_length=256, n_mels=64, htk=True)))
    with pytest.raises(ModelError, match="makes 32 x 8 latents a frame, the codec reads 32 x 16"):
        SpectralModel(model.generator, other)
