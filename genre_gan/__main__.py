"""The command line.

    python -m genre_gan generate jazz -o clip.wav
    python -m genre_gan generate jazz=0.7 hiphop=0.3 --duration-s 20 --seed 7 -o blend.mp3
    python -m genre_gan generate disco --tempo-bpm 120 --key "A minor" --loop -o loop.flac
    python -m genre_gan classify song.mp3 folder/of/songs
    python -m genre_gan classify folder/of/songs --csv > genres.csv

The exit status is 0, 1 where a file could not be read or a clip not be made, and 2 where the command is wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genre_gan.files import printable

if TYPE_CHECKING:
    from genre_gan.classify import Guess


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m genre_gan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    generate = commands.add_parser("generate", help="generate a clip of a genre, or of a blend of several")
    add = generate.add_argument
    add("genre", nargs="+", metavar="GENRE[=WEIGHT]", help="a genre, or several with their weights: jazz=0.7 hiphop=0.3")
    add("-o", "--output", type=Path, required=True, metavar="FILE", help="the suffix chooses wav, flac, ogg or mp3")
    add("--duration-s", type=float, default=8.0, metavar="S", help="seconds, from 1 to 120 (default: %(default)s)")
    add("--seed", type=int, help="the same seed gives the same clip (default: a new one, which is printed)")
    add("--variation", type=float, default=1.0, metavar="V", help="0, typical, to 1.5, daring (default: %(default)s)")
    add("--tempo-bpm", type=float, metavar="BPM", help="beats a minute, from 60 to 180 with mel (default: the seed decides)")
    add("--key", metavar="KEY", help="such as 'A minor' or Eb, with mel (default: the seed decides)")
    add("--loop", action="store_true", help="let the end flow into the beginning, rounded to whole bars")
    add("--model", metavar="NAME", help="mel, fcn, cnn, a folder or a Hub id (default: mel)")
    generate.set_defaults(run=run_generate)
    classify = commands.add_parser("classify", help="name the genre of sound files")
    classify.add_argument("files", nargs="+", type=named_path, metavar="FILE", help="a sound file, or a folder of them")
    output = classify.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print a list of objects, with the genre over time")
    output.add_argument("--csv", action="store_true", help="print a table with the probability of every genre")
    classify.add_argument("--model", metavar="NAME", help="a folder or a Hub id (default: the weights in the package)")
    classify.set_defaults(run=run_classify)
    return parser.parse_args(argv)


def named_path(text: str) -> Path:
    """An argparse type. An empty name, such as that of a shell's variable that is not set, would be this folder."""
    if not text:
        raise argparse.ArgumentTypeError("must be a file or a folder, got an empty name")
    return Path(text)


def parse_blend(texts: Sequence[str]) -> dict[str, float]:
    """`["jazz=0.7", "hiphop=0.3"]` as weights by genre; a genre without a weight has 1.

    Raises:
        ValueError: a weight that is no number, or a genre named twice.
    """
    weights: dict[str, float] = {}
    for text in texts:
        genre, equals, weight = text.partition("=")
        if genre in weights:
            raise ValueError(f"GENRE {genre!r} is named twice")
        try:
            weights[genre] = float(weight) if equals else 1.0
        except ValueError:
            raise ValueError(f"GENRE must be a name or a name and its weight, such as jazz=0.7, got {text!r}") from None
    return weights


def run_generate(args: argparse.Namespace) -> int:
    """Generate one clip and say what it is."""
    import secrets

    from genre_gan import GenreGenerator
    from genre_gan.clip import FORMATS

    if args.output.suffix.lower().lstrip(".") not in FORMATS:
        raise ValueError(f"-o must end in one of .{', .'.join(FORMATS)}, got {str(args.output)!r}")
    if not args.output.parent.is_dir():
        raise ValueError(f"-o must lie in a folder that exists, got {str(args.output)!r}")
    blend = parse_blend(args.genre)
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    wishes = {"tempo_bpm": args.tempo_bpm, "key": args.key, "loop": args.loop}
    clip = GenreGenerator.from_pretrained(args.model).generate(blend, args.duration_s, seed, args.variation, **wishes)
    clip.save(args.output)
    print(f"{args.output}: {' '.join(args.genre)}, {clip.duration_s:g} s, seed {seed}")
    return 0


def sound_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files named, and those of known suffixes anywhere in the folders named, in order of their names."""
    from genre_gan.audio import SUFFIXES
    from genre_gan.data.tree import is_junk

    for path in paths:
        if os.path.isdir(path):  # which raises nothing: what is wrong with a path is said of it alone, later
            named = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
            files = (file for file in named if not any(map(is_junk, file.relative_to(path).parts)))
            yield from sorted(file for file in files if not os.path.isdir(file))
        else:
            yield path


def run_classify(args: argparse.Namespace) -> int:
    """Classify every file; one that cannot be read is named on stderr, and the others go on."""
    from tqdm.auto import tqdm

    from genre_gan import GenreClassifier
    from genre_gan.wording import csv_text, sentence

    files = list(dict.fromkeys(sound_files(args.files)))
    if not files:
        raise ValueError(f"there are no sound files in {', '.join(map(str, args.files))}")
    classifier = GenreClassifier.from_pretrained(args.model)
    results: dict[str, Guess | str] = {}

    def warn(path: Any, note: str) -> None:
        tqdm.write(f"{printable(str(path))}: warning: {note}", file=sys.stderr)

    answers = classifier.classify_many(files, on_note=warn)
    # the bar stays away where stderr is no terminal
    bar = tqdm(answers, desc="classify", total=len(files), unit="file", leave=False, disable=None)
    for path, answer in zip(files, bar, strict=True):
        results[str(path)] = result = str(answer) if isinstance(answer, Exception) else answer
        if isinstance(result, str):
            tqdm.write(f"{printable(str(path))}: error: {result}", file=sys.stderr)
        elif not (args.json or args.csv):
            tqdm.write(f"{printable(str(path))}: {sentence(result)}", file=sys.stdout)
    if args.csv:
        print(csv_text(results, classifier.genres), end="")
    elif args.json:
        print(json.dumps([as_record(name, result) for name, result in results.items()], indent=1))
    return int(any(isinstance(result, str) for result in results.values()))


def as_record(name: str, result: Guess | str) -> dict[str, Any]:
    """A result as JSON has it."""
    if isinstance(result, str):
        return {"file": name, "error": result}
    timeline = [point._asdict() for point in result.timeline]
    known = {"genre": result.genre, "is_sure": result.is_sure, "probabilities": result.probabilities, "timeline": timeline}
    return {"file": name, **known}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; a mistake of the user's ends it with one line."""
    args = parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # else one name that a console cannot show would end all answers
        sys.stdout.reconfigure(encoding="utf-8" if getattr(args, "csv", False) else None, errors="backslashreplace")
    try:
        status = args.run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever reads the answers has heard enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter's own flush fails
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
