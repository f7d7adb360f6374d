"""Measure generators against real music, beside floor and ceiling: a table, a sheet of spectrograms and average spectra.

    python training/evaluate_generator.py --data path/to/genres --judge runs/judge/model --output-dir training/results
    python training/evaluate_generator.py --data path/to/genres --judge runs/judge/model --generators runs/mel/model fcn

The judge is a classifier that was trained, with the same `--split` and `--seed`, on real music alone; unless one is named it is
the packaged one. Reference is the training side of the split; "real, unseen" is the validation side.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import librosa
import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from genre_gan import Clip, GenreClassifier, GenreGenerator
from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import DEFAULT_DATASET, load_tracks
from genre_gan.data.splits import PROTOCOLS, split_tracks
from genre_gan.evaluation.metrics import (
    copied_share,
    frechet_distance,
    hum_db,
    is_clipped,
    is_silent,
    kernel_distance,
    mean_and_interval,
    mean_spectrum_db,
    nearest_distances,
    spectral_convergence,
    spectral_error_db,
    within_genre_distance,
)
from genre_gan.features import FeatureConfig, FeatureExtractor
from genre_gan.files import write_bytes
from genre_gan.generate import SpectralModel
from genre_gan.models.autoencoder import Autoencoder
from genre_gan.models.vocoder import Vocoder, normalize_log_mel
from genre_gan.plots import mel_figure, save_figure, spectra_figure
from training.arguments import launch_command, positive_int, run_script

REFERENCE = "real, seen in training"
UNSEEN = "real, unseen"
GRIFFIN_LIM_STEPS = 32


@dataclass
class Clips:
    """Clips of one origin, with the genre that each is or was asked to be; `originals` are what copies were made of."""

    clips: list[Clip]
    genres: list[str]
    originals: list[Clip] | None = None


@dataclass
class Row:
    """One line of the table; intervals are 95 % bootstrap ones."""

    name: str
    n: int
    consistency: float
    consistency_low: float
    consistency_high: float
    frechet: float
    kernel: float
    diversity: float
    copied: float
    silent: float
    clipped: float
    hum_db: float
    error_db: float | None
    convergence: float | None
    by_genre: dict[str, float]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", metavar="SOURCE", help=f"as in training (default: {DEFAULT_DATASET})")
    parser.add_argument("--split", choices=PROTOCOLS[1:], default="fold", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the generated clips (default: %(default)s)")
    parser.add_argument("--judge", metavar="FOLDER_OR_ID", help="classifier (default: the packaged one)")
    parser.add_argument("--generators", nargs="+", default=["mel", "fcn", "cnn"], metavar="NAME_FOLDER_OR_ID",
                        help="(default: all packaged)")
    parser.add_argument("--clips-per-genre", type=positive_int, default=20, help="(default: %(default)s)")
    parser.add_argument("--duration-s", type=float, default=6.0, help="of each clip (default: %(default)s)")
    parser.add_argument("--variation", type=float, default=1.0, help="of the generated clips (default: %(default)s)")
    parser.add_argument("--output-dir", type=Path, default=Path("training/results"), help="(default: %(default)s)")
    parser.add_argument("--cache-dir", type=Path, help="where features are kept (default: ~/.cache/genre_gan)")
    return parser.parse_args(argv)


def real_clips(store: FeatureStore, tracks: np.ndarray, genres: tuple[str, ...], args: argparse.Namespace) -> Clips:
    """Up to `--clips-per-genre` stretches of each genre, from as many tracks as there are and without overlap."""
    length = round(args.duration_s * store.config.sample_rate_hz)
    found = Clips([], [])
    for genre in genres:
        members = [int(i) for i in tracks if store.tracks.genre_names[i] == genre]
        # the first stretch of every track before the second of any
        starts = sorted((start, i) for i in members for start in range(0, int(store.n_frames[i]) - length + 1, length))
        for start, i in starts[: args.clips_per_genre]:
            found.clips.append(Clip(store.read(i, start, length)[:, 0], store.config.sample_rate_hz))
            found.genres.append(genre)
    return found


def copy_clips(source: Clips, make_copy, name: str) -> Clips:
    return Clips([make_copy(clip) for clip in tqdm(source.clips, desc=name, unit="clip", leave=False)], source.genres, source.clips)


def mel_copy(features: FeatureConfig, invert: Callable[[Tensor], Tensor], autoencoder: Autoencoder | None = None):
    """A function that copies a clip through its spectrogram, and through an autoencoder's latents as well."""
    extractor = FeatureExtractor(features)

    @torch.inference_mode()
    def make_copy(clip: Clip) -> Clip:
        log_mel = normalize_log_mel(extractor(torch.from_numpy(clip.samples)[None]))
        if autoencoder is not None:
            stride = autoencoder.config.stride
            log_mel = autoencoder.decode(autoencoder.encode(log_mel[:, : log_mel.shape[1] // stride * stride]))
        return Clip(invert(log_mel)[0].numpy(), clip.sample_rate_hz)

    return make_copy


def griffin_lim(vocoder: Vocoder) -> Callable[[Tensor], Tensor]:
    """What people do without a network: non-negative least squares, then fast Griffin-Lim from random phases."""
    features = vocoder.config.features

    def invert(log_mel: Tensor) -> Tensor:
        magnitude = vocoder.estimate_magnitude(log_mel)[0].T.numpy()
        samples = librosa.griffinlim(magnitude, n_iter=GRIFFIN_LIM_STEPS, hop_length=features.hop_length, random_state=0)
        return torch.from_numpy(samples)[None]

    return invert


def generated_clips(generator: GenreGenerator, genres: Iterable[str], args: argparse.Namespace) -> Clips:
    wanted = [genre for genre in genres for _ in range(args.clips_per_genre)]
    seeds = range(1000 * args.seed, 1000 * args.seed + len(wanted))
    progress = tqdm(list(zip(wanted, seeds)), desc=generator.name, unit="clip", leave=False)
    return Clips([generator.generate(genre, args.duration_s, seed, args.variation) for genre, seed in progress], wanted)


def noise_clips(like: Clips) -> Clips:
    rng = np.random.default_rng(0)
    clips = [Clip(0.1 * rng.standard_normal(len(c.samples), dtype=np.float32), c.sample_rate_hz) for c in like.clips]
    return Clips(clips, like.genres)


class Bench:
    """Measures each set of clips against the same reference with the same judge."""

    def __init__(self, judge: GenreClassifier, reference: Clips, unseen: Clips):
        self.judge = judge
        self.reference = self._embed(reference)
        unseen_embeddings = self._embed(unseen)
        self.unseen_nearest = nearest_distances(unseen_embeddings, self.reference)
        self.real_diversity = within_genre_distance(unseen_embeddings, _ids(unseen))

    def _embed(self, clips: Clips) -> np.ndarray:
        return np.stack([self.judge.embed(clip) for clip in clips.clips]).astype(np.float64)

    def measure(self, name: str, clips: Clips) -> Row:
        embeddings = self._embed(clips)
        hits = np.array([self.judge.classify(clip).genre == genre for clip, genre in zip(clips.clips, clips.genres)])
        genres = np.array(clips.genres)
        consistency, low, high = mean_and_interval(hits)
        return Row(
            name=name,
            n=len(hits),
            consistency=consistency,
            consistency_low=low,
            consistency_high=high,
            frechet=frechet_distance(embeddings, self.reference),
            kernel=kernel_distance(embeddings, self.reference),
            diversity=within_genre_distance(embeddings, _ids(clips)) / self.real_diversity,
            copied=copied_share(nearest_distances(embeddings, self.reference), self.unseen_nearest),
            silent=float(np.mean([is_silent(clip) for clip in clips.clips])),
            clipped=float(np.mean([is_clipped(clip) for clip in clips.clips])),
            hum_db=hum_db(clips.clips),
            error_db=_mean_against_originals(spectral_error_db, clips),
            convergence=_mean_against_originals(spectral_convergence, clips),
            by_genre={genre: float(hits[genres == genre].mean()) for genre in dict.fromkeys(clips.genres)},
        )


def _mean_against_originals(distance: Callable[[Clip, Clip], float], clips: Clips) -> float | None:
    return None if clips.originals is None else float(np.mean(list(map(distance, clips.clips, clips.originals))))


def _ids(clips: Clips) -> np.ndarray:
    return np.unique(clips.genres, return_inverse=True)[1]


def to_markdown(rows: list[Row], args: argparse.Namespace, command: str) -> str:
    """The table, with its protocol above it."""
    lines = [
        "# Generated music, measured",
        "",
        f"`{command}`",
        "",
        f"Clips of {args.duration_s:g} s. `{args.split}` split, seed {args.seed}: the reference is its training side, which generators and judge "
        "were trained on; copies are of unseen clips. Judge: "
        f"`{args.judge or 'the packaged classifier'}`; embeddings are its own. Consistency: share of clips in which the judge hears "
        "the genre asked for, with a 95 % interval (chance is one over the number of genres). Fréchet and kernel distance "
        "(KAD, x 1000): to the reference. Diversity: distance within a genre, real unseen music being 1. Copied: share of "
        "clips nearer to the reference than 95 % of unseen clips are, which is 0.05 for music that copies nothing. Hum: the "
        "strongest lasting peak of the average spectrum. Error and convergence (SC, relative): distance of a copy's spectrogram to the "
        "original's, on levels and on magnitudes. Griffin-Lim: non-negative least squares and "
        f"{GRIFFIN_LIM_STEPS} steps of the fast variant from random phases.",
        "",
        "| clips | n | consistency | Fréchet | kernel | diversity | copied | silent | clipped | hum (dB) | error (dB) | SC |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.name} | {row.n} | {row.consistency:.2f} ({row.consistency_low:.2f} to {row.consistency_high:.2f}) "
            f"| {row.frechet:.1f} | {row.kernel:.0f} | {row.diversity:.2f} | {row.copied:.2f} | {row.silent:.2f} "
            f"| {row.clipped:.2f} | {row.hum_db:.1f} "
            + ("| | |" if row.error_db is None else f"| {row.error_db:.2f} | {row.convergence:.3f} |")
        )
    genres = list(rows[0].by_genre)
    lines += ["", "Consistency by genre:", "", "| clips | " + " | ".join(genres) + " |", "|---" * (len(genres) + 1) + "|"]
    lines += ["| " + " | ".join([row.name, *(f"{row.by_genre[g]:.2f}" if g in row.by_genre else "-" for g in genres)]) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def write_pictures(rows_clips: dict[str, Clips], shown: str, folder: Path) -> None:
    """Two clips of each genre as spectrograms, and the average spectra of all kinds of clips."""
    clips = rows_clips[shown]
    chosen = [i for genre in dict.fromkeys(clips.genres) for i in [k for k, g in enumerate(clips.genres) if g == genre][:2]]
    sheet = mel_figure([clips.clips[i] for i in chosen], [clips.genres[i] for i in chosen], columns=4)
    save_figure(sheet, folder / "generator_spectrograms.png")
    spectra = {name: mean_spectrum_db(clips.clips) for name, clips in rows_clips.items()}
    save_figure(spectra_figure(spectra), folder / "generator_spectra.png")


def evaluate(args: argparse.Namespace) -> None:
    judge = GenreClassifier.from_pretrained(args.judge)
    generators = {source: GenreGenerator.from_pretrained(source) for source in args.generators}
    main = next(iter(generators.values()))
    tracks = load_tracks(args.data or [DEFAULT_DATASET], main.genres)
    store = FeatureStore(tracks, FeatureConfig("waveform"), args.cache_dir, progress=True)
    split = split_tracks(store.tracks, args.split, seed=args.seed)
    sets = {
        REFERENCE: real_clips(store, split.train, main.genres, args),
        UNSEEN: real_clips(store, split.valid, main.genres, args),
    }
    bench = Bench(judge, sets[REFERENCE], sets[UNSEEN])
    if isinstance(main.model, SpectralModel):
        model = main.model
        features, untrained = model.vocoder.config.features, Vocoder(replace(model.vocoder.config, n_layers=1)).eval()
        for name, copy in {
            "vocoder's copy": mel_copy(features, model.vocoder),
            "untrained vocoder's copy": mel_copy(features, untrained),
            "Griffin-Lim's copy": mel_copy(features, griffin_lim(model.vocoder)),
            "autoencoder's and vocoder's copy": mel_copy(features, model.vocoder, model.autoencoder),
            "autoencoder's and Griffin-Lim's copy": mel_copy(features, griffin_lim(model.vocoder), model.autoencoder),
        }.items():
            sets[name] = copy_clips(sets[UNSEEN], copy, name)
    sets["white noise"] = noise_clips(sets[UNSEEN])
    for source, generator in generators.items():
        sets[f"generated, {generator.name if source == generator.name else source}"] = generated_clips(generator, main.genres, args)
    rows = [bench.measure(name, clips) for name, clips in sets.items()]

    args.output_dir.mkdir(parents=True, exist_ok=True)
    command = launch_command(1)
    text = to_markdown(rows, args, command)
    write_bytes(args.output_dir / "generator.md", text.encode())
    write_bytes(args.output_dir / "generator.json", json.dumps([asdict(row) for row in rows], indent=2).encode())
    write_pictures(sets, list(sets)[-len(generators)], args.output_dir)
    print(text)


def main(argv: list[str] | None = None) -> None:
    run_script(evaluate, parse_args(argv))


if __name__ == "__main__":
    main()
