"""Measure generators against real music, beside floor and ceiling: tables, a sheet of spectrograms and average spectra.

    python training/evaluate_generator.py --embedding MTT_vgg --data path/to/gtzan --data path/to/mer4q \\
        --output-dir training/results
    python training/evaluate_generator.py --embedding held_out --data path/to/gtzan --data path/to/mer4q \\
        --model runs/mel/model --model runs/longer/model --output-dir runs/chosen

`MTT_vgg` takes part in no training and no choice, so what is reported is measured with it, and the files are called `generator`.
The others are for choosing weights during development; only generated clips are measured, and the files are called `development`.
`held_out` is a small network that learns from the training side when it is first asked for, in some minutes; no generator learns
from it. `MSD_musicnn` is what training listens through; its reference is the validation side.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
import torch
from tqdm.auto import tqdm

from genre_gan import GenreGenerator
from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import DataError, load_tracks
from genre_gan.data.splits import PROTOCOLS, Split, split_tracks
from genre_gan.evaluation.clips import (
    ClipSet,
    RealMusic,
    as_loud_as,
    codec_copy,
    copy_clips,
    divide_tracks,
    griffin_lim_copy,
    white_noise,
)
from genre_gan.evaluation.comparison import Comparison, mean_structure, measure_sound
from genre_gan.evaluation.conditions import measure_conditions
from genre_gan.evaluation.embeddings import (
    EMBEDDINGS,
    PATCH_HOP_FRAMES,
    PATCH_HOP_S,
    PATCH_S,
    Embedder,
    load_embedder,
    track_patches,
)
from genre_gan.evaluation.metrics import N_NEIGHBOURS
from genre_gan.evaluation.probe import GenreProbe
from genre_gan.evaluation.sound import mean_spectrum_db
from genre_gan.evaluation.structure import SHORTEST_S
from genre_gan.features import FeatureConfig
from genre_gan.files import cache_folder, write_bytes
from genre_gan.hub import packaged_weights
from genre_gan.models.codec import Codec
from genre_gan.plots import mel_figure, save_figure, spectra_figure
from training.arguments import data_names, launch_command, positive_int, run_script, whole_number
from training.feature_network import N_STEPS, HeldOut, kept_network
from training.generator_page import generator_page
from training.two_sample import told_apart

HELD_OUT = "held_out"
SEEN, UNSEEN = "real, seen in training", "real, unseen"
SEEN_SHARE = 1 / 3  # of the training tracks, whose clips are compared with those of the others
MAX_REFERENCE = 40  # clips a genre


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedding", choices=(*EMBEDDINGS, HELD_OUT), required=True, help="what is compared; see above")
    parser.add_argument("--data", action="append", metavar="SOURCE", required=True, help="as in the generator's training")
    parser.add_argument("--model", action="append", metavar="SOURCE",
                        help="folder, Hub id or packaged name of a generator; repeat to measure several (default: mel)")
    parser.add_argument("--split", choices=PROTOCOLS[1:], default="artist", help="as in training (default: %(default)s)")
    parser.add_argument("--seed", type=whole_number, default=0,
                        help="of the split and of the generated clips (default: %(default)s)")
    parser.add_argument("--duration-s", type=float, default=6.0, help="of every clip (default: %(default)s)")
    parser.add_argument("--clips-per-genre", type=positive_int, default=20, metavar="N",
                        help="in every row, fewer where the validation side has fewer of a genre (default: %(default)s)")
    parser.add_argument("--structure-clips", type=whole_number, default=2, metavar="N",
                        help="long clips a genre (default: %(default)s)")
    parser.add_argument("--structure-s", type=float, default=28.0, help="of every long clip (default: %(default)s)")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--cache-dir", type=Path, help="where features are kept (default: ~/.cache/genre_gan)")
    args = parser.parse_args(argv)
    if not args.duration_s >= PATCH_S:
        parser.error(f"--duration-s must be at least {PATCH_S:g}, what the embedding hears at once, got {args.duration_s:g}")
    if not args.structure_s >= SHORTEST_S:
        parser.error(f"--structure-s must be at least {SHORTEST_S:g}, what can be measured, got {args.structure_s:g}")
    return args


def embedder_of(args: argparse.Namespace, store: FeatureStore, tracks: np.ndarray) -> Embedder:
    """What `--embedding` names; `tracks` are the training side."""
    if args.embedding != HELD_OUT:
        return load_embedder(args.embedding)
    folder, codec = (args.cache_dir or cache_folder()) / HELD_OUT, Codec.load(packaged_weights("mel") / "codec")
    network = kept_network(HeldOut, store, tracks, codec, folder, N_STEPS, args.seed, torch.float32)
    key = hashlib.sha256(network.vector.tobytes()).hexdigest()[:16]
    return Embedder(HELD_OUT, partial(network.patches, hop_frames=PATCH_HOP_FRAMES), key)


def generated(generator: GenreGenerator, genres: list[str], duration_s: float, seed: int) -> ClipSet:
    """A clip for each entry of `genres`, with seeds that follow each other."""
    seeds = range(1000 * seed, 1000 * seed + len(genres))
    progress = tqdm(list(zip(genres, seeds, strict=True)), desc=f"generating, {generator.name}", unit="clip", leave=False)
    return ClipSet([generator.generate(genre, duration_s, clip_seed) for genre, clip_seed in progress], genres)


def generated_sets(sources: list[str], genres: list[str], duration_s: float, seed: int) -> dict[str, ClipSet]:
    """Clips of each generator, none chosen among others."""
    return {
        f"generated, {source}": generated(GenreGenerator.from_pretrained(source), genres, duration_s, seed)
        for source in sources
    }


def fit_probe(patches: list[np.ndarray], genres: list[str], duration_s: float) -> GenreProbe:
    """A probe on stretches as long as the clips, each the mean of its patches [shape=(n, d)], of one array a track."""
    length = max(1, 1 + int((duration_s - PATCH_S) / PATCH_HOP_S))
    embeddings, names, tracks = [], [], []
    for track, (part, genre) in enumerate(zip(patches, genres, strict=True)):
        for start in range(0, max(1, len(part) - length + 1), max(1, length // 2)):
            embeddings.append(part[start : start + length].mean(0))
            names.append(genre)
            tracks.append(track)
    return GenreProbe(np.stack(embeddings), names, tracks)


def gather(
    embedder: Embedder, store: FeatureStore, split: Split, genres: tuple[str, ...], args: argparse.Namespace
) -> tuple[Comparison, ClipSet, ClipSet]:
    """Cut real clips and fit the probe.

    Returns:
        What compares with the reference, and clips of the training and of the validation side, equally many of each genre.
    """
    long_enough = split.train[store.n_frames[split.train] >= args.duration_s * store.frame_rate_hz]
    scarce = [genre for genre in genres if genre not in np.array(store.tracks.genre_names)[long_enough]]
    if scarce:
        raise DataError(f"no training track of {scarce[0]!r} has {args.duration_s:g} s: ask for shorter clips or add data")
    sides = (*divide_tracks(store, long_enough, SEEN_SHARE, args.seed), split.valid)
    seen, others, unseen = (RealMusic(store, tracks, args.duration_s, args.seed) for tracks in sides)
    n = min(args.clips_per_genre, *(side.count(genre) for genre in genres for side in (seen, unseen)))
    n_reference = min(MAX_REFERENCE, *(others.count(genre) for genre in genres))
    if min(n, n_reference) < 2 or min(n, n_reference) * len(genres) <= N_NEIGHBOURS:
        scarcest = min(genres, key=lambda genre: min(seen.count(genre), others.count(genre), unseen.count(genre)))
        raise DataError(f"too few clips of {args.duration_s:g} s of {scarcest!r} to compare: ask for shorter ones or add data")
    patches = track_patches(store, split.train, embedder, args.cache_dir)
    probe = fit_probe(patches, [store.tracks.genre_names[i] for i in split.train], args.duration_s)
    unseen_clips = unseen.take(genres, n)
    reference = unseen_clips if embedder.name == "MSD_musicnn" else others.take(genres, n_reference)
    comparison = Comparison(embedder, probe, reference, np.concatenate(patches), unseen_clips)
    return comparison, seen.take(genres, n), unseen_clips


def long_sets(store: FeatureStore, split: Split, main: GenreGenerator, args: argparse.Namespace) -> dict[str, ClipSet]:
    """Real clips of unseen artists, their copies, and generated ones, long enough for form; none where asked for none."""
    unseen = RealMusic(store, split.valid, args.structure_s, args.seed)
    genres = tuple(genre for genre in main.genres if unseen.count(genre) >= args.structure_clips)
    if not args.structure_clips or not genres:
        return {}
    sets = {UNSEEN: unseen.take(genres, args.structure_clips)}
    if copy := codec_copy(main.model, main.sample_rate_hz):
        sets["codec copy of unseen"] = copy_clips(sets[UNSEEN], copy, "codec copy")
    return sets | {f"generated, {args.model[0]}": generated(main, sets[UNSEEN].genres, args.structure_s, args.seed)}


def evaluate(args: argparse.Namespace) -> None:
    args.model, reporting = args.model or ["mel"], args.embedding == "MTT_vgg"
    main = GenreGenerator.from_pretrained(args.model[0])
    tracks = load_tracks(args.data, main.genres)
    store = FeatureStore(tracks, FeatureConfig("waveform"), args.cache_dir, progress=True)
    split = split_tracks(store.tracks, args.split, seed=args.seed)
    embedder = embedder_of(args, store, split.train)
    comparison, seen, unseen = gather(embedder, store, split, main.genres, args)
    sets = {}
    if reporting:
        sets = {SEEN: seen, UNSEEN: unseen}
        griffin_lim = partial(griffin_lim_copy, cache_dir=args.cache_dir or cache_folder())
        sets["Griffin-Lim copy of unseen"] = copy_clips(unseen, griffin_lim, "Griffin-Lim")
        if copy := codec_copy(main.model, main.sample_rate_hz):
            sets["codec copy of unseen"] = copy_clips(unseen, copy, "codec copy")
    sets |= generated_sets(args.model, unseen.genres, args.duration_s, args.seed)
    if reporting:
        made = sets[f"generated, {args.model[0]}"]
        sets[f"generated, {args.model[0]}, as loud as unseen"] = as_loud_as(unseen, made)
        sets["real, unseen, as loud as generated"] = as_loud_as(made, unseen)
        sets |= generated_sets(["fcn", "cnn"], unseen.genres, args.duration_s, args.seed)
        sets["white noise"] = white_noise(unseen)
    progress = tqdm(sets.items(), desc="measuring", unit="row", leave=False)
    doubt = split.doubt(main.model.training_record, store.tracks, args.seed)
    long = long_sets(store, split, main, args) if reporting else {}
    asking = bool(long) and main.supports_key
    report = {
        "command": launch_command(1),
        "embedding": embedder.name,
        "data": data_names(args.data),
        "split": split.summary(),
        "seed": args.seed,
        "duration_s": args.duration_s,
        "n_reference": len(comparison.reference.embeddings),
        "remark": f"**The generator may have heard unseen tracks: {doubt}.**" if doubt else None,
        "rows": [asdict(comparison.measure(name, clips)) for name, clips in progress],
        "sound": [asdict(measure_sound(name, clips)) for name, clips in sets.items()] if reporting else [],
        "structure_s": args.structure_s,
        "structure_clips": args.structure_clips,
        "structure": {name: mean_structure(clips) for name, clips in long.items()},
        "told_apart": told_apart(main, store, split, args.seed) if reporting else {},
        "conditions": measure_conditions(main, long[UNSEEN].genres, args.structure_s, args.seed) if asking else {},
    }
    write_results(report, sets, args)


def write_results(report: dict, sets: dict[str, ClipSet], args: argparse.Namespace) -> None:
    """Tables as Markdown and JSON; of what is reported also two clips of each genre, and the average spectra of all rows."""
    reporting = report["embedding"] == "MTT_vgg"
    name = "generator" if reporting else "development"
    args.output_dir.mkdir(parents=True, exist_ok=True)
    page = generator_page(report)
    write_bytes(args.output_dir / f"{name}.md", page.encode())
    write_bytes(args.output_dir / f"{name}.json", (json.dumps(report, indent=2) + "\n").encode())
    if reporting:
        clips = sets[f"generated, {args.model[0]}"]
        chosen = [i for genre in dict.fromkeys(clips.genres) for i in [k for k, g in enumerate(clips.genres) if g == genre][:2]]
        sheet = mel_figure([clips.clips[i] for i in chosen], [clips.genres[i] for i in chosen], columns=4)
        save_figure(sheet, args.output_dir / "generator_spectrograms.png", dpi=64)  # as large as pages show it
        spectra = {row: mean_spectrum_db(clips.clips) for row, clips in sets.items()}
        save_figure(spectra_figure(spectra), args.output_dir / "generator_spectra.png")
    print(page)


def main(argv: list[str] | None = None) -> None:
    run_script(evaluate, parse_args(argv))


if __name__ == "__main__":
    main()
