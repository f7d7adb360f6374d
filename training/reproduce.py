"""Repeat the report's experiments: its table, ablations, its future work, and whether better generated data helps.

    python training/reproduce.py --data path/to/genres
    python training/reproduce.py --data path/to/genres --only LSTM_ADAM_50_segment "ablations" --seeds 5
    python training/reproduce.py --data path/to/genres --scale 0.3 --gan-scale 0.01

Every run leaves a line in `--output-dir`/runs.jsonl, and a run whose line is there is not repeated: a stopped command goes on
when it is given again. `--scale` multiplies the epochs of the classifiers (50 and 100 in the report), `--gan-scale` those of the
GANs (500); both stand in every line and above the table.

Two protocols. `segment` is the report's: slices are shuffled whatever their track, so a track stands on both sides, and the GANs
train on all tracks. `artist` is honest: artists are kept apart, and the GANs see the training side alone.

The extra rows ask whether data from `--best-generator` helps, and run when they are named. They need the data and the split that
this generator was trained with, else it has heard the validation tracks; for the packaged `mel` these are

    python training/reproduce.py --data path/to/gtzan --data path/to/emotify --genres blues classical country disco hiphop \\
        jazz metal pop reggae rock --only extra --output-dir runs/extra
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
from tqdm.auto import tqdm

from genre_gan.audio import SAMPLE_RATE_HZ
from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import DEFAULT_DATASET, DataError, load_tracks
from genre_gan.data.splits import split_segments, split_tracks
from genre_gan.files import write_bytes
from genre_gan.generate import GenreGenerator
from genre_gan.models.classifier import GenreLSTM, LSTMConfig
from genre_gan.models.waveform import WaveformGANConfig
from training.arguments import launch_command, positive_int, run_script
from training.batches import pick
from training.report_page import write_page
from training.report_rows import GANS, GROUPS, PROTOCOLS, ROWS, SLICES, WAVES, WHOLE_TRACKS, Row
from training.report_runs import NAME, Runs
from training.trials import (
    Items,
    Phase,
    compare_sound,
    gan_segments,
    generate_items,
    join,
    predict,
    read_items,
    score,
    train_classifier,
    train_gan,
)

POOL = 0.25  # slices of the best generator for each real one, to choose from
POOL_CLIP_S = 8.0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", metavar="SOURCE", help="Hub data set id, folder of genres, tracks.csv or "
                        f"folder of parquet; repeat to combine several (default: {DEFAULT_DATASET})")
    parser.add_argument("--cache-dir", type=Path, help="where features are kept (default: ~/.cache/genre_gan)")
    parser.add_argument("--output-dir", type=Path, default=Path(__file__).parent / "results", help="(default: %(default)s)")
    parser.add_argument("--work-dir", type=Path, default=Path("runs/report"),
                        help="where trained GANs are kept (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="ROW", help=f"rows by name, or groups of them ({', '.join(GROUPS)}; "
                        "default: all but extra)")
    parser.add_argument("--genres", nargs="+", metavar="GENRE", help="these genres of the data alone")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, help="(default: segment artist; of the extra rows fold)")
    parser.add_argument("--seeds", type=positive_int, metavar="N", help="run seeds 0 to N-1 (default: 3, extra rows 5)")
    parser.add_argument("--scale", type=_scale, default=1.0, help="of the classifiers' epochs, above 0 up to 1 (default: 1)")
    parser.add_argument("--gan-scale", type=_scale, help="of the GANs' epochs (default: the same as --scale)")
    parser.add_argument("--best-generator", metavar="MODEL",
                        help="of the extra rows: packaged name, folder or Hub id (default: mel)")
    args = parser.parse_args(argv)
    args.gan_scale = args.gan_scale or args.scale
    known = [row.name for row in ROWS] + list(GROUPS)
    for name in args.only or ():
        if name not in known:
            parser.error(f"--only does not know {name!r}; it takes:\n  " + "\n  ".join(known))
    return args


def _scale(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, got {text}")
    return value


@dataclass(frozen=True)
class Sides:
    """Training and validation items of one protocol and seed, and the tracks that GANs may learn from."""

    train: Items
    valid: Items
    gan_tracks: np.ndarray


class Laboratory:
    """The data and the settings that all runs share."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.tracks = load_tracks(args.data or [DEFAULT_DATASET], args.genres)
        self.slice_store = FeatureStore(self.tracks, SLICES, args.cache_dir, progress=True)
        tqdm.write(self.slice_store.summary())
        self.genres = self.slice_store.tracks.genres
        self.slices = read_items(self.slice_store, self.slice_store.segments())
        self.runs = Runs(args.output_dir / NAME)
        self.settings = {"scale": args.scale, "gan_scale": args.gan_scale, "tracks": len(self.slice_store.tracks)}

    @cached_property
    def whole_tracks(self) -> Items:
        store = FeatureStore(self.tracks, WHOLE_TRACKS, self.args.cache_dir)
        return read_items(store, store.segments())

    @cached_property
    def wave_store(self) -> FeatureStore:
        store = FeatureStore(self.tracks, WAVES, self.args.cache_dir, progress=True)
        assert store.tracks.ids == self.slice_store.tracks.ids
        return store

    def sides(self, row: Row, protocol: str, seed: int) -> Sides:
        """Split the row's items. Validation has the same slices whether or not the training set is enlarged."""
        items = self.whole_tracks if row.whole_tracks else self.slices
        if protocol == "segment":
            split = split_segments(len(items), seed=seed)
            train, valid = items.pick(split.train), items.pick(split.valid)
            gan_tracks = np.arange(len(self.slice_store.tracks))
        else:
            split = split_tracks(self.slice_store.tracks, protocol, seed=0 if row.group == "extra" else seed)
            train, valid = (items.pick(np.flatnonzero(np.isin(items.tracks, side))) for side in (split.train, split.valid))
            gan_tracks = split.train
        if not row.enlarged and not row.whole_tracks:
            train = train.pick(one_in_three(train.tracks))
        return Sides(train, valid, gan_tracks)

    def pool(self, protocol: str, n_real: int) -> Items:
        """Slices of the best generator, the same number of each genre; made once and kept in the work folder.

        Raises:
            DataError: the generator was trained on other data or by another split, so that it may have heard validation tracks.
        """
        pipeline = GenreGenerator.from_pretrained(self.args.best_generator)
        record, split = pipeline.model.training_record, split_tracks(self.slice_store.tracks, protocol, seed=0)
        if not split.is_of(record, self.slice_store.tracks, seed=0):
            raise DataError(
                f"the generator {pipeline.source!r} may have heard validation tracks: it was trained by {record.get('split')!r}, "
                f"seed {record.get('seed')!r}, on {record.get('tracks_per_genre')!r}, and here is {split.summary()!r}, seed 0, "
                f"{split.trained(self.slice_store.tracks).tracks_per_genre!r}"
            )
        for_each = round(POOL * n_real / len(self.genres))
        path = self.args.work_dir / f"pool-{file_name(pipeline.name, protocol, record['steps'], for_each)}.npz"
        if not path.exists():
            parts = [
                generate_items(pipeline, {genre: for_each}, SLICES, self.genres, POOL_CLIP_S, seed=0)
                for genre in tqdm(self.genres, desc="generating", unit="genre", leave=False)
            ]
            path.parent.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            np.savez(buffer, **vars(join(parts)))
            write_bytes(path, buffer.getvalue())
        with np.load(path) as arrays:
            return Items(**arrays)


def scaled(epochs: int, scale: float) -> int:
    return max(1, round(epochs * scale))


def one_in_three(tracks: np.ndarray) -> np.ndarray:
    """Indices of every third item of each track, from its first on."""
    order = np.argsort(tracks, kind="stable")
    rank = np.arange(len(tracks)) - np.searchsorted(tracks[order], tracks[order])
    return np.sort(order[rank % 3 == 0])


def run_row(lab: Laboratory, row: Row, protocol: str, seed: int) -> dict:
    """Train and score one classifier; what its JSON file holds."""
    started = time.process_time()
    sides = lab.sides(row, protocol, seed)
    features = WHOLE_TRACKS if row.whole_tracks else SLICES
    config = LSTMConfig(features=features, genres=lab.genres)
    batch_size = 16 if row.whole_tracks else 64
    epochs = scaled(row.epochs, lab.args.scale)
    generated = None
    if row.generated:
        judge = None
        if row.filtered:
            half = [Phase(sides.train, epochs // 2 or 1)]
            judge, _ = train_classifier(config, half, sides.valid, row.optimizer, seed, batch_size)
        generated = generate_for_row(lab, row, protocol, seed, sides, judge)
    phases = plan_phases(row, sides.train, generated, epochs)
    model, curve = train_classifier(config, phases, sides.valid, row.optimizer, seed, batch_size)
    return {
        "row": row.name,
        "protocol": protocol,
        "seed": seed,
        "settings": lab.settings,
        "genres": lab.genres,
        "train_slices": count_by_genre(sides.train, lab.genres),
        "generated_slices": count_by_genre(generated, lab.genres) if generated else {},
        "valid_slices": count_by_genre(sides.valid, lab.genres),
        "epochs": sum(phase.epochs for phase in phases),
        "curve": curve,
        "scores": score(predict(model, sides.valid), sides.valid),
        "cpu_s": round(time.process_time() - started, 1),
    }


def plan_phases(row: Row, real: Items, generated: Items | None, epochs: int) -> list[Phase]:
    """What to train on, and for how long."""
    if generated is None or len(generated) == 0:
        return [Phase(real, epochs)]
    if row.schedule == "pretrain":
        return [Phase(generated, max(1, epochs // 2)), Phase(real, max(1, epochs - epochs // 2))]
    return [Phase(join([real, generated]), epochs)]


def generate_for_row(lab: Laboratory, row: Row, protocol: str, seed: int, sides: Sides, judge: GenreLSTM | None) -> Items:
    """The generated slices that `row` adds; where the pool holds fewer that pass, all of these."""
    real = count_by_genre(sides.train, lab.genres)
    if row.generated == "best":
        pool = lab.pool(protocol, sum(real.values()))
        if judge is not None:
            pool = pool.pick(np.flatnonzero(predict(judge, pool).argmax(1) == pool.genre_ids))
        wanted = wanted_slices(row, real, lab.genres)
        rows = [np.flatnonzero(pool.genre_ids == i)[: wanted.get(genre, 0)] for i, genre in enumerate(lab.genres)]
        return pool.pick(np.concatenate(rows))
    pipelines = trained_generators(lab, row.generated, protocol, seed, sides.gan_tracks)
    wanted = wanted_slices(row, real, [genre for pipeline in pipelines for genre in pipeline.genres])
    clip_s, parts = GANS[row.generated].clip_s, []
    for pipeline in pipelines:
        counts = {genre: n for genre, n in wanted.items() if genre in pipeline.genres}
        parts.append(generate_items(pipeline, counts, SLICES, lab.genres, clip_s, seed))
    return join(parts)


def wanted_slices(row: Row, real: Mapping[str, int], able: Sequence[str]) -> dict[str, int]:
    """How many slices of each genre `row` adds, of those that can be made."""
    if row.spread == "even":
        return {genre: round(row.amount * sum(real.values()) / len(able)) for genre in able}
    return {genre: round(row.amount * real[genre]) for genre in able if row.spread in ("matched", genre)}


def trained_generators(lab: Laboratory, name: str, protocol: str, seed: int, tracks: np.ndarray) -> list[GenreGenerator]:
    """The generators of `GANS[name]`, trained on `tracks` unless an earlier run left them in the work folder."""
    spec, label = GANS[name], file_name("gan", name, protocol, seed)
    folder = lab.args.work_dir / label
    if (folder / "done").exists() and lab.runs.find(name, protocol, seed, lab.settings):
        return [GenreGenerator.from_pretrained(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    started = time.process_time()
    if not spec.whole_track:
        tracks = tracks[lab.wave_store.n_frames[tracks] >= WAVES.segment_frames]
    found = [genre for genre in lab.genres if genre in {lab.wave_store.tracks.genre_names[track] for track in tracks}]
    if not found or spec.genres not in ("all", "each", *found):
        of_genre = "" if spec.genres in ("all", "each") else f" of {spec.genres}"
        raise DataError(f"the generator {name!r} needs training clips{of_genre} of at least {spec.clip_s:g} s; the data has none")
    segments = gan_segments(lab.wave_store, tracks, spec.whole_track)
    names = np.array(lab.wave_store.tracks.genre_names)[segments.track]
    one_by_one = found if spec.genres == "each" else [spec.genres]
    pipelines, curves = [], []
    for genre in one_by_one:
        genres = tuple(found) if genre == "all" else (genre,)
        config = WaveformGANConfig(
            spec.model, round(spec.clip_s * SAMPLE_RATE_HZ), SAMPLE_RATE_HZ, genres, spec.latent_dim,
            width=spec.width, output_activation=spec.output_activation,
        )
        chosen = pick(segments, np.flatnonzero(np.isin(names, genres)))
        epochs = scaled(500, lab.args.gan_scale)
        pipeline, curve = train_gan(config, lab.wave_store, chosen, epochs, seed, spec.batch_size)
        pipeline.model.save_pretrained(folder / genre)
        pipelines.append(pipeline)
        curves.append(curve)
    keys, epochs = list(curves[0][0]), len(curves[0])
    result = {
        "generator": name,
        "protocol": protocol,
        "seed": seed,
        "settings": lab.settings,
        "genres": found,
        "slices": len(segments),
        "epochs": epochs,
        "curve": [{key: float(np.mean([c[i][key] for c in curves])) for key in keys} for i in range(epochs)],
        "sound": compare_sound(lab.wave_store, segments, pipelines, spec.clip_s),
        "cpu_s": round(time.process_time() - started, 1),
    }
    lab.runs.add(result)
    (folder / "done").touch()
    return pipelines


def count_by_genre(items: Items, genres: Sequence[str]) -> dict[str, int]:
    return dict(zip(genres, np.bincount(items.genre_ids, minlength=len(genres)).tolist(), strict=True))


def file_name(*parts: object) -> str:
    """Such as `lstm-adam-50-segment--artist--0`."""
    return "--".join(re.sub(r"[^a-z0-9]+", "-", str(part).lower()).strip("-") for part in parts)


def reproduce(args: argparse.Namespace) -> None:
    only = args.only or GROUPS[:-1]
    rows = [row for row in ROWS if row.name in only or row.group in only]
    plan = [
        (row, protocol, seed)
        for row in rows
        for protocol in args.protocols or row.protocols
        for seed in range(args.seeds or row.seeds)
    ]
    plan.sort(key=lambda run: (GROUPS.index(run[0].group), run[2]))  # a group's rows are comparable early
    lab = Laboratory(args)
    missing = [run for run in plan if lab.runs.find(run[0].name, *run[1:], lab.settings) is None]
    tqdm.write(f"{len(plan)} runs, {len(plan) - len(missing)} of them done before")
    for row, protocol, seed in tqdm(missing, unit="run"):
        result = run_row(lab, row, protocol, seed)
        lab.runs.add(result)
        scores = result["scores"]
        tqdm.write(
            f"{row.name}, {protocol}, seed {seed}: valid {scores['slice accuracy']:.3f} by slice, "
            f"{scores['track accuracy']:.3f} by track ({result['cpu_s']:.0f} s)"
        )
    tqdm.write(f"table: {write_page(args.output_dir, lab.runs.results, ROWS, launch_command(1))}")


def main(argv: list[str] | None = None) -> None:
    run_script(reproduce, parse_args(argv))


if __name__ == "__main__":
    main()
