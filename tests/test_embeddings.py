"""The evaluation's own network: the port, its weights, and that no training can use it."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from genre_gan.clip import Clip
from genre_gan.evaluation.embeddings import MTTVGG, PATCH_FRAMES, Embedder, MTTVGGConfig
from genre_gan.features import musicnn_log_mel
from genre_gan.hub import packaged_weights
from genre_gan.pretrained import ModelError
from training.make_mtt_vgg_weights import build

ROOT = Path(__file__).parents[1]


def published_variables(channels: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Variables with the names and shapes of the published checkpoint, of another width."""
    variables = {}
    for k in range(6):
        name, size = "batch_normalization" + (f"_{k}" if k else ""), channels if k else 1
        for part in ("gamma", "beta", "moving_mean"):
            variables[f"{name}.{part}"] = rng.normal(0.2, 1.0, size).astype(np.float32)
        variables[f"{name}.moving_variance"] = rng.uniform(0.5, 2.0, size).astype(np.float32)
    for k in range(1, 6):
        variables[f"{k}CNN.kernel"] = rng.normal(0, 0.3, (3, 3, 1 if k == 1 else channels, channels)).astype(np.float32)
        variables[f"{k}CNN.bias"] = rng.normal(0, 0.1, channels).astype(np.float32)
    return variables


def published_embedding(variables: dict[str, np.ndarray], patch: torch.Tensor) -> torch.Tensor:
    """Straight from the published description; flattened in the order time, frequency, channel."""
    tensors = {name: torch.from_numpy(values) for name, values in variables.items()}

    def normalise(x: torch.Tensor, k: int) -> torch.Tensor:
        name = "batch_normalization" + (f"_{k}" if k else "")
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (tensors[f"{name}.{part}"][:, None, None] for part in parts)
        return gamma * (x - mean) / (variance + 1e-3).sqrt() + beta

    x = normalise(patch[None, None], 0)
    for k, (size, stride) in enumerate((((4, 1), (2, 2)), *3 * (((2, 2), (2, 2)),), ((4, 4), (4, 4))), start=1):
        x = F.conv2d(x, tensors[f"{k}CNN.kernel"].permute(3, 2, 0, 1), tensors[f"{k}CNN.bias"], padding=1)
        x = F.max_pool2d(normalise(x.relu(), k), size, stride)
    return x[0].permute(1, 2, 0).flatten()


def test_a_patch_of_three_seconds_gets_the_published_embedding():
    variables = published_variables(8, np.random.default_rng(0))
    model, patch = build(variables), 3.0 * torch.rand(PATCH_FRAMES, 96)
    expected = published_embedding(variables, patch)
    assert expected.shape == (16,)
    assert torch.allclose(model(patch[None])[0, 0], expected, atol=1e-4)


def test_patches_slide_over_a_longer_spectrogram():
    model = MTTVGG(MTTVGGConfig(4)).eval()
    log_mel = torch.rand(2, 400, 96)
    assert model(log_mel).shape == (2, 17, 8) and model(log_mel[:, :PATCH_FRAMES]).shape == (2, 4, 8)
    later = model(log_mel[:, 16:])
    assert torch.allclose(model(log_mel)[:, 3:-3], later[:, 2:-3], atol=1e-5)  # inside, where no padding reaches


def test_the_packaged_network_gives_the_published_values():
    """The five largest numbers that the published weights give for a falling tone; the packaged ones have 16 bits."""
    time_s = torch.arange(PATCH_FRAMES * 256 - 256) / 16_000
    samples = sum(0.2 / k * torch.sin(2 * torch.pi * 110 * k * time_s) for k in range(1, 9)) * (1 - (2 * time_s) % 1)
    embedding = MTTVGG.load(packaged_weights("mtt_vgg"))(musicnn_log_mel(samples[None]))[0, 0]
    assert embedding.shape == (256,)
    assert embedding.topk(5).indices.tolist() == [48, 176, 198, 59, 116]
    assert torch.allclose(embedding.topk(5).values, torch.tensor([2.2127, 2.0243, 1.5536, 1.5176, 1.3083]), atol=0.01)


def test_weights_load_strictly(tmp_path):
    MTTVGG(MTTVGGConfig(4)).save_pretrained(tmp_path)
    assert MTTVGG.load(tmp_path).config.embedding_dim == 8
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ModelError, match="damaged"):
        MTTVGG.load(tmp_path)


def test_clips_of_any_rate_and_length_get_one_embedding_each():
    embedder = Embedder("tiny", MTTVGG(MTTVGGConfig(4)).eval(), "0")
    rng = np.random.default_rng(0)
    sizes = ((16_000, 16_000), (150_000, 22_050))
    clips = [Clip(0.1 * rng.standard_normal(n).astype(np.float32), rate_hz) for n, rate_hz in sizes]
    assert embedder.clips(clips).shape == (2, 8)
    assert [len(embedder.patches(clip)) for clip in clips] == [4, 19]


def imports(path: Path) -> set[str]:
    """The full names of the modules that a file imports, and of what it imports from them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def reached(path: Path) -> set[str]:
    """The project's modules that a file imports, directly or through others."""
    found, waiting = set(), [path]
    while waiting:
        for name in imports(waiting.pop()):
            module = ROOT / Path(*name.split("."))
            for file in (module.with_suffix(".py"), module / "__init__.py"):
                if name.split(".")[0] in ("genre_gan", "training") and name not in found and file.exists():
                    found.add(name)
                    waiting.append(file)
    return found


MEASURING = {"evaluate_generator", "evaluate_classifier", "open_set", "make_mtt_vgg_weights"}
TRAINING = sorted(path.stem for path in (ROOT / "training").rglob("*.py") if path.stem not in MEASURING)


@pytest.mark.parametrize("script", TRAINING)
def test_no_training_imports_the_evaluation(script):
    path = next((ROOT / "training").rglob(f"{script}.py"))
    assert not {name for name in reached(path) if name.startswith("genre_gan.evaluation")}
    assert "mtt_vgg" not in path.read_text()


def test_the_pipelines_do_not_import_the_evaluation_and_the_scripts_that_measure_do():
    for name in ("generate", "classify"):
        assert not {module for module in reached(ROOT / "genre_gan" / f"{name}.py") if module.startswith("genre_gan.evaluation")}
    assert "genre_gan.evaluation.embeddings" in reached(ROOT / "training" / "make_mtt_vgg_weights.py")


def test_of_the_published_tagging_networks_one_is_for_training_and_one_for_measuring():
    """The package `musicnn` has others. They stay unused, so that whoever measures with them from outside is independent."""
    assert sorted(path.stem for path in (ROOT / "training").glob("make_*")) == ["make_mtt_vgg_weights", "make_musicnn_weights"]
    assert {path.parent.name for path in (ROOT / "genre_gan" / "weights").glob("*/LICENSE")} == {"musicnn", "mtt_vgg"}
