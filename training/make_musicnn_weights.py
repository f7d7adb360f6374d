"""Make the packaged MusiCNN weights from the wheel of the Python package `musicnn`, whose TensorFlow is not needed.

    pip download --no-deps musicnn==0.1.0
    python training/make_musicnn_weights.py musicnn-0.1.0-py3-none-any.whl --listen path/to/music --output-dir weights/musicnn

Five seconds of every recording under `--listen` tell which channels of the front end never change. They are left out, and
what they said becomes part of the next layers; features and embeddings of the rest stay the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
import torch
from torch import Tensor

from genre_gan.audio import SUFFIXES, AudioError, load_audio
from genre_gan.features import MUSICNN_SAMPLE_RATE_HZ, musicnn_log_mel
from genre_gan.models.musicnn import MusiCNN, MusiCNNConfig
from training.tensorflow_checkpoint import read_wheel

EPSILON = 1e-3  # of the batch normalisations
CONSTANT_BELOW = 1e-3  # a channel whose deviation is smaller is constant; those that live have about 1
LISTEN_S = 5.0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="musicnn-0.1.0-py3-none-any.whl")
    parser.add_argument("--listen", type=Path, nargs="+", required=True, help="folders of recordings, music or not")
    parser.add_argument("--output-dir", type=Path, required=True)
    return parser.parse_args(argv)


def build(variables: dict[str, np.ndarray]) -> MusiCNN:
    """The whole network, all 753 channels."""
    tensors = {name: torch.from_numpy(values.copy()) for name, values in variables.items()}

    def normalisation(k: int) -> tuple[Tensor, Tensor]:
        name = "batch_normalization" + (f"_{k}" if k else "")
        scale = tensors[f"{name}.gamma"] / (tensors[f"{name}.moving_variance"] + EPSILON).sqrt()
        return scale, tensors[f"{name}.beta"] - tensors[f"{name}.moving_mean"] * scale

    def kernel(k: int) -> tuple[Tensor, Tensor]:
        name = "conv2d" + (f"_{k}" if k else "")
        return tensors[f"{name}.kernel"], tensors[f"{name}.bias"]

    model = MusiCNN(MusiCNNConfig())
    state = dict(zip(("input_scale", "input_shift"), normalisation(0), strict=True))
    for k in range(5):
        (weight, bias), (scale, shift) = kernel(k), normalisation(k + 1)
        sign = scale.sign()
        weight = weight.permute(3, 2, 0, 1) * sign[:, None, None, None]  # (out, in, frames, mels)
        state |= {f"front.{k}.conv.weight": weight, f"front.{k}.conv.bias": bias * sign}
        state |= {f"front.{k}.scale": scale[:, None], f"front.{k}.shift": shift[:, None]}
    for k in range(3):
        (weight, bias), (scale, shift) = kernel(k + 5), normalisation(k + 6)
        weight = weight[:, :, 0].permute(2, 1, 0)  # (out, in, frames)
        ones = torch.zeros(len(weight), 1 if k == 0 else 0, weight.shape[2])
        state |= {f"middle.{k}.conv.weight": torch.cat([weight, ones], 1), f"middle.{k}.conv.bias": bias}
        state |= {f"middle.{k}.scale": scale[:, None], f"middle.{k}.shift": shift[:, None]}
    for name, published, k in (("dense", "dense", 9), ("output", "dense_1", 10)):
        weight, (scale, shift) = tensors[f"{published}.kernel"], normalisation(k)
        state[f"{name}.weight"] = (weight * scale[:, None]).T  # normalised before the layer, which takes that over
        state[f"{name}.bias"] = tensors[f"{published}.bias"] + shift @ weight
    model.load_state_dict(state)
    return model.eval()


def recordings(folders: list[Path]) -> Iterator[Tensor]:
    """Log-mel spectrograms Tensor[1 x T x 96] of five seconds from the middle of each recording."""
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        try:
            samples = load_audio(path, MUSICNN_SAMPLE_RATE_HZ).samples
        except AudioError as error:
            print(f"left out {path}: {error}", file=sys.stderr)
            continue
        length = round(LISTEN_S * MUSICNN_SAMPLE_RATE_HZ)
        start = max(0, (len(samples) - length) // 2)
        yield musicnn_log_mel(torch.from_numpy(samples[start : start + length])[None])


@torch.inference_mode()
def front_end_statistics(model: MusiCNN, spectrograms: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of the front end, float64 [shape=(n_channels,)]."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for log_mel in spectrograms:
        values = model.layers(log_mel).front_end[0].double()
        count, total, squares = count + values.shape[1], total + values.sum(1), squares + values.square().sum(1)
    if count == 0:
        raise SystemExit("no recording found under --listen")
    mean = total / count
    return mean, (squares / count - mean.square()).clamp_min(0.0).sqrt()


def without_constants(model: MusiCNN, mean: Tensor, deviation: Tensor) -> MusiCNN:
    """A model without the front end's constant channels, whose values `mean` the next layers know by heart."""
    old = model.state_dict()
    living, n_front = deviation > CONSTANT_BELOW, len(mean)
    sizes = [int(part.sum()) for part in living.split(model.config.front_channels)]
    pruned = MusiCNN(replace(model.config, front_channels=tuple(sizes)))
    new = dict(old)
    for k, part in enumerate(living.split(model.config.front_channels)):
        new |= {name: values[part] for name, values in old.items() if name.startswith(f"front.{k}.")}
    constants = torch.where(living, 0.0, mean).float()
    kernel = old["middle.0.conv.weight"]
    ones = kernel[:, n_front:] + torch.einsum("oct,c->ot", kernel[:, :n_front], constants)[:, None]
    new["middle.0.conv.weight"] = torch.cat([kernel[:, :n_front][:, living], ones], 1)
    of_front = old["dense.weight"][:, : 2 * n_front].unflatten(1, (n_front, 2))  # (embedding, channel, maximum or mean)
    kept = of_front[:, living].flatten(1)
    new["dense.weight"] = torch.cat([kept, old["dense.weight"][:, 2 * n_front :]], 1)
    new["dense.bias"] = old["dense.bias"] + of_front.sum(2) @ constants
    pruned.load_state_dict(new)
    return pruned.eval()


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    whole = build(read_wheel(args.wheel, "MSD_musicnn"))
    mean, deviation = front_end_statistics(whole, recordings(args.listen))
    model = without_constants(whole, mean, deviation)
    model.training_record = {
        "source": "MSD_musicnn of the package musicnn 0.1.0, (c) Music Technology Group, Universitat Pompeu Fabra, ISC licence",
        "command": "python training/make_musicnn_weights.py musicnn-0.1.0-py3-none-any.whl --listen ...",
    }
    model.save_pretrained(args.output_dir)
    print(f"{sum(model.config.front_channels)} of {len(mean)} channels of the front end change; {args.output_dir} written")


if __name__ == "__main__":
    main()
