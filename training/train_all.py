"""Train everything that ships, one script after the other, with the settings of the packaged weights.

    python training/train_all.py --data path/to/genres --output-dir runs
    python training/train_all.py --data path/to/genres --output-dir runs --processes 2 --install
    python training/train_all.py --data path/to/gtzan --data path/to/mer4q --extra-data path/to/emotify \\
        --not-music path/to/recordings --output-dir runs

Given again it goes on where it stopped. `--install` puts the weights into the package. `--show` prints the commands alone.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

from genre_gan.data.sources import DEFAULT_DATASET
from genre_gan.genres import GENRES
from training.arguments import positive_int, python_words, repeated, run_to_its_end

ROOT = Path(__file__).resolve().parents[1]
STEPS = {"gan": 30_000, "fcn": 600, "cnn": 400}
NOT_PACKAGED = "gan"  # what mel begins with


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", metavar="SOURCE", help=f"as in each script (default: {DEFAULT_DATASET})")
    parser.add_argument("--extra-data", action="append", default=[], metavar="SOURCE", help="for the classifier")
    parser.add_argument("--not-music", action="append", default=[], metavar="FOLDER", help="for the classifier too")
    parser.add_argument("--output-dir", type=Path, default=Path("runs"),
                        help="a folder below for each model (default: %(default)s)")
    parser.add_argument("--processes", type=positive_int, default=1, help="of each training (default: %(default)s)")
    parser.add_argument("--install", action="store_true", help="copy the finished weights into the package")
    parser.add_argument("--show", action="store_true", help="print the commands and run none")
    return parser.parse_args(argv)


def commands(args: argparse.Namespace) -> dict[str, list[str]]:
    """The script and its arguments for each training, in an order in which each finds what it needs."""
    data = [*repeated("--data", args.data or [DEFAULT_DATASET]), "--genres", *GENRES]
    further = repeated("--extra-data", args.extra_data) + repeated("--not-music", args.not_music)
    by_artist = ["--split", "artist", "--mixed-precision", "bf16"]
    gans = {
        "gan": [*by_artist],
        "fcn": ["--model", "fcn"],
        "cnn": ["--model", "cnn", "--batch-size", "32", "--mixed-precision", "bf16"],
    }
    made = {
        name: ["train_cgan.py", *data, *options, "--epochs", "100000", "--max-steps", str(STEPS[name])]
        for name, options in gans.items()
    }
    made["mel"] = ["tune_cgan.py", *data, *by_artist, "--start-from", f"{args.output_dir}/gan/model"]
    made["classifier"] = ["train_lstm.py", *data, "--preset", "shipped", *further]
    return {name: [*words, "--output-dir", f"{args.output_dir}/{name}", "--resume"] for name, words in made.items()}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    for name, (script, *arguments) in commands(args).items():
        print(f"{name}: python training/{script} {shlex.join(arguments)}", flush=True)
        if args.show:
            continue
        if run_to_its_end([*python_words(args.processes), str(ROOT / "training" / script), *arguments]) != 0:
            sys.exit(f"error: the training of {name} ended early; the same command goes on from there")
        if args.install and name != NOT_PACKAGED:
            shutil.copytree(args.output_dir / name / "model", ROOT / "genre_gan" / "weights" / name, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
