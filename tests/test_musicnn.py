"""MusiCNN: the port, the reader of its checkpoint, and what leaving out constant channels must not change."""

import librosa
import numpy as np
import pytest
import torch
from torch import nn

from genre_gan.features import musicnn_log_mel
from genre_gan.hub import packaged_weights
from genre_gan.models.musicnn import PATCH_FRAMES, FrontBranch, MusiCNN, MusiCNNConfig
from training.make_musicnn_weights import front_end_statistics, without_constants
from training.tensorflow_checkpoint import read_checkpoint

TINY = MusiCNNConfig(front_channels=(3, 2, 2, 1, 1), middle_channels=4, embedding_dim=5, tags=("rock", "jazz"))


def tiny_musicnn() -> MusiCNN:
    model = MusiCNN(TINY)
    for branch in model.front:
        branch.scale.normal_()
        branch.shift.normal_()
        branch.conv.bias.copy_(branch.scale[:, 0].sign())  # so that every ReLU opens somewhere
    return model.eval()


def test_the_spectrogram_is_librosas():
    samples = np.random.default_rng(0).uniform(-1, 1, 20_000).astype(np.float32)
    power = librosa.feature.melspectrogram(y=samples, sr=16_000, n_fft=512, hop_length=256, n_mels=96)
    ours = musicnn_log_mel(torch.from_numpy(samples)[None])[0]
    assert ours.shape == (1 + 20_000 // 256, 96)
    np.testing.assert_allclose(ours, np.log10(10_000 * power.T + 1), atol=1e-4)


def test_gradients_pass_to_the_samples_and_not_to_the_weights():
    with torch.inference_mode():
        musicnn_log_mel(torch.zeros(1, 1000))  # what this caches must not be without gradients
    samples = torch.randn(1, 20_000, requires_grad=True)
    model = MusiCNN.load(packaged_weights("musicnn"))
    model.tag(model.embed(model(musicnn_log_mel(samples)))).sum().backward()
    assert samples.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_maximum_comes_after_the_normalisation_also_where_its_scale_is_negative():
    branch = FrontBranch(4, (7, 38))
    scale, shift = torch.tensor([1.5, -2.0, 0.5, -1.0]), torch.randn(4)
    published = nn.Conv2d(1, 4, (7, 38), padding=(3, 0))
    nn.init.constant_(published.bias, 1.0)
    with torch.no_grad():
        branch.conv.weight.copy_(published.weight * scale.sign()[:, None, None, None])
        branch.conv.bias.copy_(published.bias * scale.sign())
        branch.scale.copy_(scale[:, None])
        branch.shift.copy_(shift[:, None])
        x = torch.randn(2, 1, 20, 96)
        expected = (published(x).relu() * scale[:, None, None] + shift[:, None, None]).amax(3)
        assert torch.allclose(branch(x), expected, atol=1e-5)


@pytest.mark.parametrize("n_frames", [1, 20, 200])
def test_features_keep_the_length(n_frames):
    model = tiny_musicnn()
    layers = model.layers(torch.rand(2, n_frames, 96))
    assert layers.front_end.shape == (2, 9, n_frames) and [m.shape for m in layers.middle] == [(2, 4, n_frames)] * 3
    assert model(torch.rand(2, n_frames, 96)).shape == (2, TINY.n_features, n_frames)


def test_leaving_out_constant_channels_changes_nothing():
    model = tiny_musicnn()
    for branch in model.front[:3]:
        branch.conv.bias[0] = -1000.0  # with a positive scale, its ReLU never opens
        branch.scale[0] = branch.scale[0].abs()
    spectrograms = [torch.rand(1, 150, 96), torch.rand(1, 60, 96)]
    pruned = without_constants(model, *front_end_statistics(model, iter(spectrograms)))
    assert pruned.config.front_channels == (2, 1, 1, 1, 1)
    for log_mel in spectrograms:
        assert torch.allclose(model(log_mel)[:, 9:], pruned(log_mel)[:, 6:], atol=1e-4)  # at the padded ends too
        assert torch.allclose(model.embed(model(log_mel)), pruned.embed(pruned(log_mel)), atol=1e-4)


def test_the_packaged_network_gives_the_published_embedding():
    """The five largest numbers that the published weights, with all 753 channels, give for this sound."""
    time_s = torch.arange(PATCH_FRAMES * 256 - 256) / 16_000
    samples = sum(0.2 / k * torch.sin(2 * torch.pi * 110 * k * time_s) for k in range(1, 9)) * (1 - (2 * time_s) % 1)
    model = MusiCNN.load(packaged_weights("musicnn"))
    embedding = model.embed(model(musicnn_log_mel(samples[None])))[0]
    assert embedding.shape == (200,)
    assert embedding.topk(5).indices.tolist() == [28, 150, 194, 182, 130]
    assert torch.allclose(embedding.topk(5).values, torch.tensor([6.7259, 6.3739, 5.2821, 5.0278, 4.9496]), atol=1e-3)


def test_a_checkpoint_is_read_without_tensorflow():
    """A table of one block: the header, one variable, a second that repeats the beginning of its name, an optimiser's."""
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    data = values.tobytes() + np.float32([7, 8]).tobytes() + b"\0" * 4

    def entry(shape, offset, size):
        dims = b"".join(b"\x12\x02\x08" + bytes([n]) for n in shape)
        return b"\x08\x01\x12" + bytes([len(dims)]) + dims + b"\x20" + bytes([offset]) + b"\x28" + bytes([size]) + b"\x35crc!"

    def row(shared, key, value):
        return bytes([shared, len(key), len(value)]) + key + value

    def block(*rows):
        return b"".join(rows) + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")

    rows = row(0, b"", b"\x08\x01"), row(0, b"a/bias", entry((2,), 24, 8)), row(2, b"kernel", entry((2, 3), 0, 24))
    first = block(*rows, row(8, b"/Adam", entry((1,), 32, 4)))
    second = block(row(0, b"z", b"\0" + bytes([len(first)])))
    index = first + b"\0crc!" + second + b"\0crc!"
    footer = b"\0\0" + bytes([len(first) + 5, len(second)])
    assert len(first) < 128
    variables = read_checkpoint(index + footer.ljust(48, b"\0"), data)
    assert sorted(variables) == ["a.bias", "a.kernel"]
    np.testing.assert_array_equal(variables["a.kernel"], values)
    np.testing.assert_array_equal(variables["a.bias"], [7, 8])
