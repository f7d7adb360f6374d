"""Turn any music that the training scripts read into one data set of parquet files, the sound inside, as GTZAN is shared.

    python training/prepare_data.py --data path/to/genres --output-dir data/mine
    python training/prepare_data.py --data path/to/tracks.csv --output-dir data/mine --private --push-to-hub USER/DATASET
    python training/train_lstm.py --data USER/DATASET --output-dir runs/lstm

Columns: id, audio (the bytes of each file as they were), genre, artist, split. The rows are in random order, so that whoever
reads them as a stream meets all genres at once. Damaged, silent and too short tracks are left out and listed. Before you push
recordings, make sure that you may publish them, or use --private.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from datasets import Audio, ClassLabel, Features, Value
from huggingface_hub import DatasetCardData
from tqdm.auto import tqdm

from genre_gan.audio import AudioError, load_audio
from genre_gan.data.cache import Skipped, check_usable
from genre_gan.data.sources import DEFAULT_DATASET, DataError, Track, TrackSet, load_tracks
from genre_gan.files import write_bytes
from genre_gan.hub import check_can_push, commit_files, open_repo, writing_to_hub
from genre_gan.markdown import table
from training.arguments import add_data_arguments, add_hub_arguments, data_names, run_script

SHARD_BYTES = 400_000_000
GROUP_TRACKS = 20  # rows that are written, and later read, together
ORDER_SEED = 0  # the same data gives the same files
CARD = """# {name}

{n_tracks} labelled tracks for genre classification and generation, made with `genre-gan` from: {sources}.

{table}

Columns: `id`, `audio` (the bytes of each file as they were), `genre`, `artist`, `split`. All rows stand in the Hub's split
`train`; the column `split` is the source's own: {splits}.

## Left out

{skipped}

## Licence

`{license_id}`, as stated by whoever made this data set. The recordings keep their owners' terms.

## Load

```bash
python training/train_lstm.py --data {repo_id} --output-dir runs/lstm   # with genre-gan
```

```python
from datasets import Audio, load_dataset

tracks = load_dataset("{repo_id}", split="train").cast_column("audio", Audio(decode=False))  # the files' bytes
```
"""


class Written(NamedTuple):
    """What went into the parquet files: how many tracks of each genre and of each split, and the tracks left out."""

    genres: Counter[str]
    splits: Counter[str]
    skipped: list[Skipped]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser)
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the parquet files and their README.md")
    parser.add_argument("--overwrite", action="store_true", help="replace a data set that stands in --output-dir")
    parser.add_argument("--license", metavar="ID", default="unknown", help="the recordings' licence as the Hub calls it, such as "
                        "cc-by-nc-sa-4.0 (default: %(default)s)")
    add_hub_arguments(parser.add_argument_group("hub"), "the data set")
    return parser.parse_args(argv)


def features(genres: tuple[str, ...]) -> Features:
    """The columns of the data set, as the Hub's viewer and `datasets.load_dataset` understand them."""
    text = Value("string")
    return Features({"id": text, "audio": Audio(), "genre": ClassLabel(names=list(genres)), "artist": text, "split": text})


def read_checked(track: Track) -> bytes:
    """The bytes of a track's file; `AudioError` or `OSError` where nobody could learn from it."""
    data = track.audio if isinstance(track.audio, bytes) else Path(track.audio).read_bytes()
    clip = load_audio(data)
    check_usable(clip.samples, clip.sample_rate_hz)
    return data


def file_name(track: Track, data: bytes) -> str:
    """The track's id with the suffix of its format."""
    if isinstance(track.audio, str):
        return f"{track.id}{Path(track.audio).suffix}"
    try:
        return f"{track.id}.{soundfile.info(io.BytesIO(data)).format.lower()}"
    except soundfile.LibsndfileError:
        return track.id  # of a format that only ffmpeg knows


def rows(tracks: TrackSet, written: Written) -> Iterator[dict]:
    """The rows of the usable tracks; fills `written`."""
    for i in tqdm(range(len(tracks)), unit="track", desc="tracks"):
        try:
            track = tracks[i]
            data = read_checked(track)
        except (AudioError, OSError) as error:
            written.skipped.append(Skipped(tracks.ids[i], str(error)))
            continue
        written.genres[track.genre] += 1
        written.splits[track.split] += 1
        audio = {"bytes": data, "path": file_name(track, data)}
        genre_id = tracks.genres.index(track.genre)
        yield {"id": track.id, "audio": audio, "genre": genre_id, "artist": track.artist, "split": track.split}


def write_parquet(tracks: TrackSet, folder: Path) -> Written:
    """Write the usable tracks into `folder`, in files of about `SHARD_BYTES`, a few tracks in memory at a time."""
    written, schema = Written(Counter(), Counter(), list(tracks.skipped)), features(tracks.genres).arrow_schema
    usable, n_bytes = rows(tracks, written), SHARD_BYTES
    paths: list[Path] = []
    with contextlib.ExitStack() as open_files:
        while group := list(itertools.islice(usable, GROUP_TRACKS)):
            if n_bytes >= SHARD_BYTES:
                paths.append(folder / f"{len(paths):05d}.parquet")
                writer, n_bytes = open_files.enter_context(pq.ParquetWriter(paths[-1], schema)), 0
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            n_bytes += sum(len(row["audio"]["bytes"]) for row in group)
    if not paths:
        listed = "; ".join(f"{item.id}: {item.reason}" for item in written.skipped[:3])
        raise DataError(f"none of the {len(tracks)} tracks can be used ({listed})")
    for number, path in enumerate(paths):
        path.rename(folder / f"train-{number:05d}-of-{len(paths):05d}.parquet")
    return written


def data_card(written: Written, sources: list[str], license_id: str, name: str, repo_id: str) -> str:
    """The data set's README."""
    header = DatasetCardData(
        license=license_id,
        task_categories=["audio-classification"],
        tags=["music", "music-genre"],
        pretty_name=name,
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    )
    skipped = "\n".join(f"- `{item.id}`: {item.reason}" for item in written.skipped) or "None."
    named = ", ".join(f"{split or 'none named'} {count}" for split, count in sorted(written.splits.items()))
    body = CARD.format(
        name=name, repo_id=repo_id, n_tracks=written.genres.total(), sources=", ".join(sources), splits=named,
        table=table(["genre", "tracks"], sorted(written.genres.items())), skipped=skipped, license_id=license_id,
    )
    return f"---\n{header.to_yaml()}\n---\n\n{body}"


def prepare(args: argparse.Namespace) -> None:
    if args.push_to_hub:
        check_can_push(args.push_to_hub)
    folder = args.output_dir / "data"
    if folder.exists() and not args.overwrite:
        raise DataError(f"{args.output_dir} holds a data set already: choose another --output-dir, or add --overwrite")
    tracks = load_tracks(args.data or [DEFAULT_DATASET], args.genres)
    print(tracks.describe())
    tracks = tracks.select(np.random.default_rng(ORDER_SEED).permutation(len(tracks)))
    unfinished = args.output_dir / ".writing"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        written = write_parquet(tracks, unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    repo_id = args.push_to_hub or "USER/DATASET"
    name = repo_id.partition("/")[2] if args.push_to_hub else args.output_dir.resolve().name
    card = data_card(written, data_names(args.data), args.license, name, repo_id)
    write_bytes(args.output_dir / "README.md", card.encode())
    print(f"wrote {written.genres.total()} of {len(tracks)} tracks to {folder}")
    for item in written.skipped:
        print(f"skipped {item.id}: {item.reason}")
    if args.push_to_hub:
        print(f"pushed to {push(args)}")


def push(args: argparse.Namespace) -> str:
    """Upload the finished data set in one commit; parquet files of an earlier push are deleted with it."""
    paths = [*sorted((args.output_dir / "data").glob("*.parquet")), args.output_dir / "README.md"]
    contents = {path.relative_to(args.output_dir).as_posix(): path for path in paths}
    with writing_to_hub(args.push_to_hub) as api:
        open_repo(api, args.push_to_hub, "dataset", args.private, args.revision)
        return commit_files(
            api, args.push_to_hub, "dataset", contents, lambda path: path.startswith("data/"), revision=args.revision
        )


def main(argv: list[str] | None = None) -> None:
    run_script(prepare, parse_args(argv))


if __name__ == "__main__":
    main()
