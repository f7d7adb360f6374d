"""Make the packaged weights of the evaluation's own network from the wheel of the Python package `musicnn`.

    pip download --no-deps musicnn==0.1.0
    python training/make_mtt_vgg_weights.py musicnn-0.1.0-py3-none-any.whl --output-dir genre_gan/weights/mtt_vgg

TensorFlow is not needed. The last layer, which gives tags, is left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
import torch
from torch import Tensor

from genre_gan.evaluation.embeddings import MTTVGG, MTTVGGConfig
from training.tensorflow_checkpoint import read_wheel


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="musicnn-0.1.0-py3-none-any.whl")
    parser.add_argument("--output-dir", type=Path, required=True)
    return parser.parse_args(argv)


def build(variables: dict[str, np.ndarray]) -> MTTVGG:
    """The network with the variables of the published checkpoint, whose kernels are (frames, mel bands, in, out)."""
    tensors = {name: torch.from_numpy(values.copy()) for name, values in variables.items()}
    model = MTTVGG(MTTVGGConfig(len(tensors["1CNN.bias"])))
    state: dict[str, Tensor] = {}
    for k, name in enumerate(["input_norm", *(f"norms.{i}" for i in range(5))]):
        published = "batch_normalization" + (f"_{k}" if k else "")
        state |= {f"{name}.weight": tensors[f"{published}.gamma"], f"{name}.bias": tensors[f"{published}.beta"]}
        state |= {f"{name}.running_mean": tensors[f"{published}.moving_mean"]}
        state |= {f"{name}.running_var": tensors[f"{published}.moving_variance"]}
        state |= {f"{name}.num_batches_tracked": torch.tensor(0)}
    for k in range(5):
        state[f"convs.{k}.weight"] = tensors[f"{k + 1}CNN.kernel"].permute(3, 2, 0, 1)
        state[f"convs.{k}.bias"] = tensors[f"{k + 1}CNN.bias"]
    model.load_state_dict(state)
    return model.eval()


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    model = build(read_wheel(args.wheel, "MTT_vgg"))
    model.training_record = {
        "source": "MTT_vgg of the package musicnn 0.1.0, (c) Music Technology Group, Universitat Pompeu Fabra, ISC licence",
        "command": "python training/make_mtt_vgg_weights.py musicnn-0.1.0-py3-none-any.whl --output-dir ...",
    }
    print(f"{model.save_pretrained(args.output_dir, half=True)} written")


if __name__ == "__main__":
    main()
