"""Push a trained model to the Hub: weights, config, the models in its subfolders, and a full model card, in one commit.

    python training/push_to_hub.py runs/lstm/model USER/REPO
    python training/push_to_hub.py mel USER/genre-gan-mel --private          # weights that ship with the package
    python training/push_to_hub.py runs/fcn/model USER/REPO --revision v2    # to a branch

The card shows the previews of the training run. For a generator that has none, a clip of each genre is made. Log in before
with `hf auth login`, or set HF_TOKEN.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

from genre_gan.files import file_names
from genre_gan.generate import GenreGenerator
from genre_gan.hub import check_can_push, newest_previews, push_model_folder, resolve_model_folder
from genre_gan.pretrained import ModelError
from training.arguments import run_script

SAMPLE_S, SAMPLE_SEED = 8.0, 1


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder, or the name of weights in the package, such as fcn")
    parser.add_argument("repo", metavar="USER/REPO", help="the Hub repository, made where it is missing")
    parser.add_argument("--private", action="store_true", help="make the Hub repository private where it is new")
    parser.add_argument("--revision", metavar="BRANCH", help="push to this branch, made where it is missing (default: main)")
    parser.add_argument("--license", metavar="ID", help="the weights' licence as the Hub calls it, such as cc-by-4.0 (default: "
                        "the card says that it follows from the training data)")
    return parser.parse_args(argv)


def make_samples(folder: Path) -> dict[str, bytes] | None:
    """A clip of each genre as mp3; None where the model is no generator or has previews from its training run."""
    if newest_previews(folder):
        return None
    try:
        generator = GenreGenerator.from_pretrained(folder)
    except ModelError:
        return None
    names = [f"{name}.mp3" for name in file_names(generator.genres)]
    clips = (generator.generate(genre, SAMPLE_S, SAMPLE_SEED) for genre in generator.genres)
    return {name: clip.encode("mp3") for name, clip in zip(names, clips, strict=True)}


def push(args: argparse.Namespace) -> None:
    check_can_push(args.repo)
    folder = resolve_model_folder(args.model)
    address = push_model_folder(folder, args.repo, args.private, args.revision, make_samples(folder), args.license)
    print(f"pushed to {address}")


def main(argv: list[str] | None = None) -> None:
    run_script(push, parse_args(argv))


if __name__ == "__main__":
    main()
