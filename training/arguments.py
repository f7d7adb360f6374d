"""The options that the training scripts share, and how a script ends for its user."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from genre_gan.data.sources import DEFAULT_DATASET
from genre_gan.data.splits import PROTOCOLS

TRACKERS = ("tensorboard", "trackio", "wandb", "none")


class TrainingError(RuntimeError):
    """A run that cannot start or go on. The message is fit for users."""


def add_common_arguments(
    parser: argparse.ArgumentParser, epochs: int, batch_size: int | str, split: str = "track"
) -> None:
    """The options that all training scripts have. Where a default comes in words, the script puts its own in place of None."""
    data = parser.add_argument_group("data")
    add_data_arguments(data)
    data.add_argument("--split", choices=PROTOCOLS, default=split if split in PROTOCOLS else None,
                      help=f"what validation keeps apart (default: {split})")
    data.add_argument("--cache-dir", type=Path, help="where features are kept (default: ~/.cache/genre_gan)")
    data.add_argument("--num-workers", type=whole_number, metavar="N",
                      help="processes that read ahead (default: 1, for a GPU up to 4)")
    run = parser.add_argument_group("run")
    run.add_argument("--output-dir", type=Path, required=True, help="folder for checkpoints, logs, previews and weights")
    run.add_argument("--epochs", type=positive_int, default=epochs, help="over the data (default: %(default)s)")
    run.add_argument("--max-steps", type=positive_int, help="stop after so many steps, whatever --epochs says")
    run.add_argument("--batch-size", type=positive_int, default=batch_size if isinstance(batch_size, int) else None,
                     help=f"of all processes (default: {batch_size})")
    run.add_argument("--gradient-accumulation-steps", type=positive_int, metavar="N",
                     help="batches whose gradients make one step (default: what the launcher was told, else 1)")
    run.add_argument("--seed", type=whole_number, default=0,
                     help="of weights, order and noise, and which fold validates (default: 0)")
    run.add_argument("--mixed-precision", choices=("no", "bf16", "fp16"),
                     help="fp16 on GPUs alone (default: what the launcher was told, else no)")
    again = run.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on from the newest good checkpoint in --output-dir, if any")
    again.add_argument("--overwrite", action="store_true", help="delete what an earlier run left in --output-dir")
    run.add_argument("--checkpoint-every", type=positive_int, default=500, metavar="STEPS",
                     help="from one to the next (default: %(default)s)")
    run.add_argument("--keep-checkpoints", type=positive_int, default=2, metavar="N", help="newest kept (default: %(default)s)")
    run.add_argument("--preview-every", type=positive_int, default=500, metavar="STEPS",
                     help="clips of each genre, or validation (default: %(default)s)")
    run.add_argument("--log-every", type=positive_int, default=10, metavar="STEPS", help="(default: %(default)s)")
    run.add_argument("--tracker", choices=TRACKERS, default="tensorboard",
                     help="what shows the log, beside history.json and learning_curve.png (default: %(default)s)")
    add_hub_arguments(parser.add_argument_group("hub"), "the finished model")


def add_data_arguments(group: argparse._ActionsContainer) -> None:
    """The options that name the tracks."""
    group.add_argument("--data", action="append", metavar="SOURCE", help="Hub data set id, folder of genres, table of tracks, "
                       f"parquet or an archive; repeat to combine several (default: {DEFAULT_DATASET})")
    group.add_argument("--genres", nargs="+", metavar="GENRE", help="use these genres alone")


def data_names(sources: list[str] | None) -> list[str]:
    """How records call the sources of the data: folders and files by their name, wherever they lie; several of one by number."""
    sources = [DEFAULT_DATASET] if sources is None else sources
    names = [Path(source).name if Path(source).exists() else source for source in sources]
    return [f"{name} ({names[:i].count(name) + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def add_hub_arguments(group: argparse._ArgumentGroup, what: str) -> None:
    """The options of all scripts that can upload what they made."""
    group.add_argument("--push-to-hub", metavar="USER/REPO", help=f"upload {what} there")
    group.add_argument("--private", action="store_true", help="make the Hub repository private where it is new")
    group.add_argument("--revision", metavar="BRANCH", help="push to this branch, made where it is missing (default: main)")


def share(text: str) -> float:
    """An argparse type: a number from 0 to below 1."""
    value = float(text)
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, got {text}")
    return value


def repeated(option: str, values: Iterable[object]) -> list[str]:
    """The words of a command that give an option once for each value."""
    return [word for value in values for word in (option, str(value))]


def positive_int(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    return _at_least(1, int(text))


def whole_number(text: str) -> int:
    """An argparse type: a whole number of at least 0."""
    return _at_least(0, int(text))


def _at_least(lowest: int, value: int) -> int:
    if value < lowest:
        raise argparse.ArgumentTypeError(f"must be at least {lowest}, got {value}")
    return value


def positive_float(text: str) -> float:
    """An argparse type: a finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def python_words(n_processes: int) -> list[str]:
    """What a command begins with that runs a script on so many processes of this machine, in this environment."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(n_processes)]
    return [sys.executable, *several] if n_processes > 1 else [sys.executable]


def run_to_its_end(command: list[str]) -> int:
    """Run a command and return its exit code. A Ctrl-C reaches it as well, and it has the time that it needs to end in order."""
    with subprocess.Popen(command) as process:
        while process.returncode is None:
            with contextlib.suppress(KeyboardInterrupt):
                process.wait()
    return process.returncode


def launch_command(n_processes: int = 1) -> str:
    """The command that runs this script on so many processes, without what belongs to one machine or one attempt."""
    words = [word for word in sys.argv[1:] if word not in ("--overwrite", "--resume") and not word.startswith("--cache-dir=")]
    if "--cache-dir" in words:
        position = words.index("--cache-dir")
        del words[position : position + 2]
    script = [f"training/{Path(sys.argv[0]).name}", *words]
    on_this_host = int(os.environ.get("LOCAL_WORLD_SIZE", n_processes))
    if n_processes <= on_this_host:
        return shlex.join(["python", *python_words(n_processes)[1:], *script])
    hosts = f"--nnodes {n_processes // on_this_host} --node_rank RANK --master_addr HOST"
    return f"python -m torch.distributed.run {hosts} --nproc_per_node {on_this_host} {shlex.join(script)}"


def run_script(main_function: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Run a script's work; errors that users can mend end it with one line instead of a traceback."""
    try:
        main_function(args)
    except (TrainingError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped at once" + ("; --resume goes on from the last checkpoint" if hasattr(args, "resume") else ""))
