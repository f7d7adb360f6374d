"""Train a conditional GAN: `mel`, on latents of spectrograms, or the report's `fcn` and `cnn`, on the waveform.

    accelerate launch training/train_cgan.py --data path/to/genres --mixed-precision bf16 --output-dir runs/mel
    python training/train_cgan.py --data path/to/genres --model fcn --segment-s 4 --output-dir runs/fcn
    python training/train_cgan.py --data path/to/genres --model cnn --whole-track --output-dir runs/cnn
    python training/train_cgan.py --data path/to/genres --model fcn --split artist --learn-genres blues --output-dir runs/blues
    python training/train_cgan.py --data path/to/genres --output-dir runs/mel --resume

`--split artist` holds out whole artists, so that a model can be measured on music that it never heard. Without it `fcn` and `cnn`
learn from all tracks.

`accelerate launch` finds all GPUs of a host. Without GPUs torchrun starts several processes; on several hosts the same line runs
on each, RANK being 0 on the one that HOST names, which also writes the results:

    python -m torch.distributed.run --standalone --nproc_per_node 2 \\
        training/train_cgan.py --data path/to/genres --output-dir runs/mel
    python -m torch.distributed.run --nnodes 2 --node_rank RANK --master_addr HOST --nproc_per_node 8 \\
        training/train_cgan.py --data path/to/genres --output-dir runs/mel

Every host reads data and cache of its own. Data that no disk holds are streamed from shards of parquet, local ones or the Hub's:

    python training/train_cgan.py --data user/dataset --streaming --max-steps 5000 --model fcn --output-dir runs/streamed
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np

from genre_gan.data.cache import FeatureStore
from genre_gan.data.latents import LatentStore
from genre_gan.data.splits import Split, split_tracks
from genre_gan.data.tracks import DataError
from genre_gan.features import FeatureConfig
from genre_gan.genres import canonical_genre
from genre_gan.models.codec import Codec, CodecConfig
from genre_gan.models.layers import GROUP_ROWS
from genre_gan.models.projected import MusiCNNOfLatents
from genre_gan.models.waveform import ACTIVATIONS, MODELS
from training.arguments import add_common_arguments, positive_float, positive_int, run_script
from training.batches import Loader, Slices, StreamLoader, load_features
from training.calibration import calibrate
from training.launch import n_processes
from training.spectral_fit import fit_codec, generator_config, listen, read_beginning
from training.spectral_task import SpectralGANTask
from training.trainer import Trainer
from training.waveform_task import WHOLE_TRACK_S, WaveformGANTask


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    batch_size = "16 for mel, else 64, more where the processes cannot share that"
    add_common_arguments(parser, epochs=500, batch_size=batch_size, split="track for mel, else none")
    model = parser.add_argument_group("model")
    model.add_argument("--model", choices=("mel", *MODELS), default="mel", help="(default: %(default)s)")
    model.add_argument("--learning-rate", type=positive_float, help="(default: 0.0005 for mel, else 0.0002)")
    mel = parser.add_argument_group("mel alone")
    mel.add_argument("--widths", type=positive_int, nargs=4, default=[256, 256, 160, 96], metavar="N",
                     help="channels of G's levels, from the coarsest (default: 256 256 160 96)")
    mel.add_argument("--clusters", type=positive_int, default=8, metavar="N",
                     help="of the music of each genre, which are told apart (default: %(default)s)")
    mel.add_argument("--crop-frames", type=positive_int, nargs=2, default=[80, 24], metavar="N",
                     help="of the crops for D on latents and the projected D, multiples of 8, 10.8 a second (default: 80 24)")
    mel.add_argument("--projected", type=float, default=3.0, help="weight of the projected discriminator (default: %(default)s)")
    mel.add_argument("--start-from", type=Path, metavar="FOLDER", help="begin with the weights of this generator and its codec")
    mel.add_argument("--penalty", type=float, default=0.3, help="weight of the gradient penalty (default: %(default)s)")
    waveform = parser.add_argument_group("fcn and cnn alone")
    length = waveform.add_mutually_exclusive_group()
    length.add_argument("--segment-s", type=float, default=4.0, help="length of a slice in seconds (default: %(default)s)")
    length.add_argument("--whole-track", action="store_true", help=f"{WHOLE_TRACK_S:g} s; shorter tracks end in silence")
    waveform.add_argument("--streaming", action="store_true", help="read parquet shards as they come, from a folder or the Hub, "
                          "instead of keeping features of all; needs --max-steps")
    waveform.add_argument("--learn-genres", nargs="+", metavar="GENRE",
                          help="of the training side learn these alone; --genres would split the tracks anew")
    waveform.add_argument("--width", type=positive_int, default=256, help="of G's layers (default: %(default)s)")
    waveform.add_argument("--latent-dim", type=positive_int, default=100, help="size of z (default: %(default)s)")
    waveform.add_argument("--output-activation", choices=ACTIVATIONS, default="none", help="(default: %(default)s)")
    args = parser.parse_args(argv)
    if args.segment_s < 1.0:
        parser.error(f"--segment-s must be at least 1, got {args.segment_s:g}")
    for option in ("streaming", "learn_genres"):
        if args.model == "mel" and getattr(args, option):
            parser.error(f"--{option.replace('_', '-')} is for --model fcn and cnn")
    if args.streaming and (args.split or args.learn_genres):
        parser.error("--streaming learns all that comes: leave --split and --learn-genres out")
    if args.model != "mel" and args.split == "segment":
        parser.error("--split segment is the classifier's: GANs beside it learn from all tracks, without --split")
    longer, shorter = args.crop_frames
    if longer % 8 or shorter % 8 or longer < max(16, shorter):
        parser.error(f"--crop-frames must be multiples of 8, the longer first and at least 16, got {longer} {shorter}")
    is_mel = args.model == "mel"
    if args.batch_size is None:  # as the default says, or as many more as give each process whole groups
        unit = n_processes() * (GROUP_ROWS if is_mel else 1)
        args.batch_size = unit * math.ceil((16 if is_mel else 64) / unit)
    if args.learning_rate is None:
        args.learning_rate = 5e-4 if is_mel else 2e-4
    if args.split is None and is_mel:
        args.split = "track"
    return args


def training_side(store: FeatureStore, args: argparse.Namespace) -> tuple[FeatureStore, Split | None]:
    """The tracks to learn from, long enough for a slice: all where no split is asked for. And the split."""
    split = split_tracks(store.tracks, args.split, seed=args.seed) if args.split else None
    tracks = np.unique(store.segments(None if split is None else split.train).track)
    if args.learn_genres:
        wanted, names = list(map(canonical_genre, args.learn_genres)), np.array(store.tracks.genre_names)[tracks]
        if missing := [genre for genre in wanted if genre not in names]:
            raise DataError(f"--learn-genres {' '.join(missing)}: the training side has no track as long as a slice")
        tracks = tracks[np.isin(names, wanted)]
    return FeatureStore(store.tracks.select(tracks), store.config, args.cache_dir), split


def train_waveform(args: argparse.Namespace) -> None:
    segment_s = WHOLE_TRACK_S if args.whole_track else args.segment_s
    config = FeatureConfig("waveform", segment_s=segment_s, min_segment_s=1.0 if args.whole_track else None)
    store, split = (None, None) if args.streaming else training_side(load_features(args, config), args)
    trainer = Trainer(args, "cgan", store)
    loader: Loader | StreamLoader
    if store is None:
        stream = trainer.open_stream(config)
        genres, loader = stream.genres, StreamLoader(stream, trainer.accelerator, args)
    else:
        slices = Slices(store, store.segments(), trainer.rows_per_step, args.seed)
        genres, loader = store.tracks.genres, trainer.loader(slices)
    task = WaveformGANTask(trainer, genres, loader)
    trainer.fit(task)
    task.trained.generator.training_record = trainer.record(loader, store) | ({"split": split.summary()} if split else {})
    trainer.finish(task.trained.save_pretrained)


def prepare_spectral(args: argparse.Namespace) -> tuple[FeatureStore, Split, LatentStore, MusiCNNOfLatents, np.ndarray]:
    """All that takes long and is kept in the cache, before the processes need each other."""
    store = load_features(args, FeatureConfig("waveform"), GROUP_ROWS)
    split = split_tracks(store.tracks, args.split, seed=args.seed)
    if args.start_from is None:
        codec = Codec(CodecConfig())
        fit_codec(codec, store, split.train, args.seed)
    else:
        codec = Codec.load(args.start_from / "codec")
        read_beginning(args.start_from, generator_config(store.tracks.genres, args.widths, args.clusters, codec))
    return store, split, *listen(args, store, split.train, codec, args.clusters)


def train_spectral(args: argparse.Namespace) -> None:
    store, split, latents, listener, clusters = prepare_spectral(args)
    trainer = Trainer(args, "cgan", store, clusters)
    trainer.say(split.summary())
    task = SpectralGANTask(trainer, latents, listener, clusters)
    trainer.fit(task)
    calibrate(task.trained, task.source)
    task.trained.generator.training_record = trainer.record(task.loader, store, split)
    trainer.finish(task.trained.save_pretrained)


def train(args: argparse.Namespace) -> None:
    train_spectral(args) if args.model == "mel" else train_waveform(args)


def main(argv: list[str] | None = None) -> None:
    run_script(train, parse_args(argv))


if __name__ == "__main__":
    main()
