"""Repeat the report's experiments: its table, its future work, ablations, and whether better generated data helps.

    python training/reproduce.py --data path/to/gtzan
    python training/reproduce.py --data path/to/gtzan --only LSTM_ADAM_50_segment ablations --seeds 5
    python training/reproduce.py --data path/to/gtzan --only ablations --scale 0.2 --gan-scale 0.01
    python training/reproduce.py --data path/to/gtzan -- --mixed-precision bf16 --num-workers 0
    python training/reproduce.py --only page

Every classifier is a run of `train_lstm.py`, every GAN one of `train_cgan.py`; what stands behind `--` is given to all of them.
What a run gave is a line in `--output-dir`/runs.jsonl. A run whose line is there with as many epochs is not repeated, and one
that was stopped goes on where it was, when the command is given again. `--scale` multiplies the epochs of the classifiers (50 and
100 in the report), `--gan-scale` those of the GANs (500).

Two protocols. `segment` is the report's: slices are shuffled whatever their track, so a track stands on both sides, and the GANs
learn from all tracks. `artist` is honest: no artist stands on both sides, and the GANs learn from the training side alone.

The extra rows ask whether clips of the packaged `mel` help, and run when they are named. They need the data that it was trained
with, else it may have heard the validation tracks, which `train_lstm.py` refuses:

    python training/reproduce.py --data path/to/gtzan --data path/to/mer4q --genres blues classical country disco hiphop jazz \\
        metal pop reggae rock --only extra
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

from tqdm.auto import tqdm

from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import DEFAULT_DATASET, load_tracks
from genre_gan.features import FeatureConfig
from genre_gan.generate import GenreGenerator
from training.arguments import TrainingError, data_names, positive_int, repeated, run_script, run_to_its_end
from training.report.page import write_page
from training.report.rows import GAN_EPOCHS, GANS, GROUPS, PROTOCOLS, ROWS, Row
from training.report.runs import NAME, SOUND_CLIP_S, Runs, classifier_result, gan_result, real_clips, steps_in_all

SCRIPTS = Path(__file__).parent


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", metavar="SOURCE", help=f"as in each script (default: {DEFAULT_DATASET})")
    parser.add_argument("--genres", nargs="+", metavar="GENRE", help="these genres of the data alone")
    parser.add_argument("--output-dir", type=Path, default=SCRIPTS / "results",
                        help="for runs.jsonl and the page (default: %(default)s)")
    parser.add_argument("--work-dir", type=Path, default=Path("runs/report"), help="for the runs' folders (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="ROW", help=f"rows by name, or groups of them ({', '.join(GROUPS)}; "
                        "default: all but extra); `page` runs none and writes the page anew")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, help="(default: segment artist; of the extra rows artist)")
    parser.add_argument("--seeds", type=positive_int, metavar="N", help="run seeds 0 to N-1 (default: 3, with GANs 1, extra 5)")
    parser.add_argument("--scale", type=_scale, default=1.0, help="of the classifiers' epochs, above 0 up to 1 (default: 1)")
    parser.add_argument("--gan-scale", type=_scale, default=1.0, help="of the GANs' epochs, likewise (default: 1)")
    parser.add_argument("options", nargs="*", metavar="-- OPTIONS", help="for every training")
    args = parser.parse_args(argv)
    args.data = args.data or [DEFAULT_DATASET]
    known = [row.name for row in ROWS] + [*GROUPS, "page"]
    for name in args.only or ():
        if name not in known:
            parser.error(f"--only does not know {name!r}; it takes:\n  " + "\n  ".join(known))
    return args


def _scale(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, got {text}")
    return value


class Laboratory:
    """The data, the settings and the results that all runs share."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.runs = Runs(args.output_dir / NAME)
        self.data_names = data_names(args.data)

    @cached_property
    def store(self) -> FeatureStore:
        config = FeatureConfig("waveform", segment_s=SOUND_CLIP_S)
        return FeatureStore(load_tracks(self.args.data, self.args.genres), config, progress=True)

    def train(self, script: str, options: list[str], folder: Path) -> str:
        """Run a script, from where an earlier run of it in this folder was stopped, and return the command as others give it."""
        args = self.args
        genres = ["--genres", *args.genres] if args.genres else []
        words = [*genres, *options, *args.options]
        data = repeated("--data", args.data)
        ours = ["--output-dir", str(folder), "--tracker", "none", "--resume"]
        if run_to_its_end([sys.executable, str(SCRIPTS / script), *data, *words, *ours]) != 0:
            raise TrainingError(f"{folder.name} ended early; the same command goes on from there")
        shown = repeated("--data", (f"path/to/{name}" for name in self.data_names))
        command = shlex.join([f"training/{script}", *shown, *words, *ours[:2]])
        return "python " + command.replace(str(args.work_dir), "runs")


def run_row(lab: Laboratory, row: Row, protocol: str, seed: int, wanted: dict[str, Any]) -> dict[str, Any]:
    """Train and score one classifier, and first the GANs that it needs: a line of the results."""
    options = [*row.options.split(), "--split", protocol, "--seed", str(seed), "--epochs", str(wanted["epochs"])]
    options += ["--preview-every", "100"]
    parts = [row.name, protocol, seed, wanted["epochs"]]
    if row.generated in GANS:
        folders, wanted["gan_epochs"] = run_gans(lab, row.generated, protocol, seed)
        options += repeated("--generated", (folder / "model" for folder in folders))
        options += ["--generated-clip-s", f"{GANS[row.generated].clip_s:g}"]
        parts.append(wanted["gan_epochs"])
    elif row.generated:
        options += ["--generated", row.generated]
    folder = lab.args.work_dir / file_name(*parts)
    command = lab.train("train_lstm.py", options, folder)
    return wanted | {"command": command} | classifier_result(folder, wanted["epochs"])


def run_gans(lab: Laboratory, name: str, protocol: str, seed: int) -> tuple[list[Path], int]:
    """Train the generators of `GANS[name]`, or what is missing of them, and add their line.

    Returns:
        The folders of their runs, and for how many epochs they were trained.
    """
    gan, epochs = GANS[name], scaled(GAN_EPOCHS, lab.args.gan_scale)
    folder = lab.args.work_dir / file_name("gan", name, protocol, seed)
    genres = lab.store.tracks.genres if gan.genres == "each" else (gan.genres,)
    folders = [folder if genre == "all" else folder / genre for genre in genres]
    wanted = {"generator": name, "protocol": protocol, "seed": seed, "epochs": epochs, "data": lab.data_names}
    if (done := lab.runs.find(wanted)) and all((path / "model").exists() for path in folders):
        return folders, done["epochs"]
    commands = []
    for genre, path in zip(genres, folders, strict=True):
        options = [*gan.options.split(), "--seed", str(seed), "--epochs", str(epochs), "--preview-every", "1000000"]
        options += ["--split", protocol] if protocol != "segment" else []
        options += ["--learn-genres", genre] if genre != "all" else []
        commands.append(lab.train("train_cgan.py", options, path))
    lab.runs.add(wanted | {"command": commands[0]} | gan_result(folders, epochs, real_clips(lab.store)))
    return folders, epochs


def scaled(epochs: int, scale: float) -> int:
    return max(1, round(epochs * scale))


def file_name(*parts: object) -> str:
    """Such as `lstm-adam-50-segment--artist--0`."""
    return "--".join(re.sub(r"[^a-z0-9]+", "-", str(part).lower()).strip("-") for part in parts)


def reproduce(args: argparse.Namespace) -> None:
    only, lab = args.only or list(GROUPS)[:-1], Laboratory(args)
    plan = []
    for row in ROWS:
        if row.name in only or row.group in only:
            for protocol in args.protocols or row.protocols:
                for seed in range(args.seeds or row.seeds):
                    wanted = {"row": row.name, "protocol": protocol, "seed": seed, "epochs": scaled(row.epochs, args.scale)}
                    wanted["data"] = lab.data_names
                    if row.generated in GANS:
                        wanted["gan_epochs"] = scaled(GAN_EPOCHS, args.gan_scale)
                    elif row.generated:
                        record = GenreGenerator.from_pretrained(row.generated).model.training_record
                        wanted["generator_steps"] = steps_in_all(record)
                    plan.append((row, protocol, seed, wanted))
    plan.sort(key=lambda run: (list(GROUPS).index(run[0].group), run[0].generated in GANS, run[2]))  # rows comparable early
    missing = [run for run in plan if lab.runs.find(run[3]) is None]
    tqdm.write(f"{len(plan)} runs, {len(plan) - len(missing)} of them done before")
    for run in tqdm(missing, unit="run"):
        lab.runs.add(run_row(lab, *run))
        write_page(args.output_dir, lab.runs.results)
    tqdm.write(f"table: {write_page(args.output_dir, lab.runs.results)}")


def main(argv: list[str] | None = None) -> None:
    run_script(reproduce, parse_args(argv))


if __name__ == "__main__":
    main()
