"""Train a genre classifier: the report's LSTM over features, or what ships, a linear probe of MusiCNN.

    python training/train_lstm.py --data path/to/genres --output-dir runs/lstm
    accelerate launch training/train_lstm.py --data path/to/genres --features mfcc --optimizer sgd --output-dir runs/sgd
    python training/train_lstm.py --data path/to/genres --features musicnn --bidirectional --pooling attention --output-dir runs/m
    python training/train_lstm.py --data path/to/genres --output-dir runs/lstm --resume
    python training/train_lstm.py --preset shipped --data path/to/gtzan --data path/to/mer4q --extra-data path/to/emotify \\
        --not-music path/to/recordings --output-dir runs/classifier

The last line makes the weights inside the package, judged by cross-validation with artists kept apart.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genre_gan.data.cache import FeatureStore, Segments
from genre_gan.features import MUSICNN_SETTINGS, FeatureConfig
from genre_gan.files import write_bytes
from genre_gan.hub import packaged_weights
from genre_gan.models.classifier import POOLINGS, GenreLSTM, LSTMConfig
from genre_gan.models.musicnn import MusiCNN
from training import linear_probe
from training.arguments import add_common_arguments, positive_float, positive_int, run_script
from training.batches import Batch, Slices, load_features, pick, split_store
from training.generated import add_generated, add_generated_arguments
from training.scores import check_genres, track_scores
from training.trainer import Task, Trainer

FEATURES = ("decibel", "mfcc", "mfcc-segment", "log-mel", "musicnn")
EMA_DECAY = 0.998
_STATISTICS_SLICES = 200


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, epochs=50, batch_size=64)
    model = parser.add_argument_group("LSTM")
    model.add_argument("--features", choices=FEATURES, default="mfcc-segment", help="(default: %(default)s)")
    model.add_argument("--segment-s", type=float, help="length of a slice; whole tracks for decibel and mfcc, else 3 by default")
    model.add_argument("--hop-length", type=positive_int, default=512, help="(default: %(default)s)")
    model.add_argument("--n-mels", type=positive_int, default=128, help="mel bands (default: %(default)s)")
    model.add_argument("--hidden-size", type=positive_int, default=128, help="(default: %(default)s)")
    model.add_argument("--bidirectional", action="store_true")
    model.add_argument("--pooling", choices=POOLINGS, default="last", help="(default: %(default)s)")
    model.add_argument("--dropout", type=float, default=0.0, help="(default: %(default)s)")
    model.add_argument("--optimizer", choices=("adam", "sgd"), default="adam", help="(default: %(default)s)")
    model.add_argument("--learning-rate", type=positive_float, help="(default: 0.001 for adam, 0.01 for sgd)")
    model.add_argument("--slice-step", type=positive_int, default=1, metavar="N",
                       help="train on every N-th slice of a track alone (default: %(default)s)")
    model.add_argument("--fold", type=int, help="which fold validates (default: --seed)")
    add_generated_arguments(parser)
    shipped = parser.add_argument_group("linear probe")
    shipped.add_argument("--preset", choices=("shipped",), help="make what ships; the LSTM's options do not count")
    shipped.add_argument("--extra-data", action="append", default=[], metavar="SOURCE", help="labelled music that counts little; "
                         "its other genres teach what is none of these")
    shipped.add_argument("--not-music", action="append", type=Path, default=[], metavar="FOLDER",
                         help="recordings that are no music, in folders by kind; a files.csv may name their sources")
    args = parser.parse_args(argv)
    if (args.extra_data or args.not_music) and not args.preset:
        parser.error("--extra-data and --not-music need --preset shipped")
    if not 0 <= args.dropout < 1:
        parser.error("--dropout must be from 0 to below 1")
    return args


def feature_config(args: argparse.Namespace) -> FeatureConfig:
    """The features that the arguments ask for."""
    segment_s = args.segment_s
    if segment_s is None and args.features not in ("decibel", "mfcc"):
        segment_s = 3.0
    settings = MUSICNN_SETTINGS if args.features == "musicnn" else {"hop_length": args.hop_length, "n_mels": args.n_mels}
    return FeatureConfig(args.features, **settings, segment_s=segment_s)


class LSTMTask(Task):
    """Cross-entropy over genres, each genre weighing the same however many slices it has."""

    def __init__(self, trainer: Trainer, store: FeatureStore, train: Segments, valid: Segments):
        args = trainer.args
        self.trainer, self.store, self.valid = trainer, store, valid
        source = Slices(store, train, trainer.rows_per_step, args.seed)
        counts = np.bincount(source.genre_ids[train.track], minlength=len(store.tracks.genres))
        if (counts == 0).any():
            missing = [genre for genre, count in zip(store.tracks.genres, counts, strict=True) if count == 0]
            raise ValueError(f"no training slice is long enough for: {', '.join(missing)}; use a smaller --segment-s")
        self.class_weights = torch.tensor(counts.sum() / (len(counts) * counts), dtype=torch.float32, device=trainer.device)
        model = self._build(args, train)
        self.average = trainer.average(model, EMA_DECAY)
        learning_rate = args.learning_rate or (0.001 if args.optimizer == "adam" else 0.01)
        learns = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if args.optimizer == "adam":
            optimizer: torch.optim.Optimizer = torch.optim.Adam(learns, learning_rate)
        else:
            optimizer = torch.optim.SGD(learns, learning_rate, 0.9)
        self.model, self.optimizer = trainer.prepare(model, optimizer)
        self.loader = trainer.loader(source)

    def _build(self, args: argparse.Namespace, train: Segments) -> GenreLSTM:
        """A new network that knows the statistics of the training slices."""
        shape = {name: getattr(args, name) for name in ("hidden_size", "bidirectional", "pooling", "dropout")}
        if args.features == "musicnn":
            shape["musicnn"] = MusiCNN.load(packaged_weights("musicnn")).config
        model = GenreLSTM(LSTMConfig(self.store.config, self.store.tracks.genres, **shape))
        if model.musicnn is not None:
            model.musicnn.load_state_dict(MusiCNN.load(packaged_weights("musicnn")).state_dict())
        chosen = np.linspace(0, len(train) - 1, min(_STATISTICS_SLICES, len(train))).astype(int)
        rows = [self.store.read(int(train.track[i]), int(train.start[i]), int(train.n_frames[i])) for i in chosen]
        with torch.no_grad():
            model.fit_statistics(torch.cat([model.hear(torch.from_numpy(row)[None])[0] for row in rows]))
        return model

    def rate(self, progress: float) -> float:
        return 0.51 + 0.49 * math.cos(math.pi * progress)

    def train_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        self.model.train()
        n_frames = None if bool((batch.n_frames == batch.features.shape[1]).all()) else batch.n_frames
        logits = self.model(batch.features, n_frames)
        loss = F.cross_entropy(logits.float(), batch.genre_ids, reduction="none")
        loss = (self.class_weights[batch.genre_ids] * loss).mean()
        self.trainer.accelerator.backward(loss)
        if self.trainer.accelerator.sync_gradients:
            self.trainer.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"loss": loss.detach(), "train accuracy": (logits.argmax(1) == batch.genre_ids).float().mean()}

    @property
    def trained(self) -> GenreLSTM:
        model = self.average.module
        assert isinstance(model, GenreLSTM)  # a copy of what `_build` made
        return model

    def preview(self, folder: Path) -> dict[str, float]:
        """Accuracy on the validation side."""
        scores, _ = evaluate(self.trained, self.store, self.valid)
        write_bytes(folder / "scores.json", json.dumps(scores, indent=2).encode())
        return {
            "valid loss": scores["loss"],
            "valid accuracy": scores["track_accuracy"],
            "valid accuracy by slice": scores["segment_accuracy"],
        }


@torch.inference_mode()
def evaluate(model: GenreLSTM, store: FeatureStore, segments: Segments) -> tuple[dict[str, float], np.ndarray]:
    """The `track_scores` of some slices."""
    model.eval()
    device = next(model.parameters()).device
    genre_id = {genre: i for i, genre in enumerate(model.config.genres)}
    truth = np.array([genre_id[name] for name in store.tracks.genre_names])
    probabilities = np.zeros((len(segments), model.config.n_classes), np.float32)
    for length in np.unique(segments.n_frames):
        rows = np.flatnonzero(segments.n_frames == length)
        for part in np.array_split(rows, -(-len(rows) // 64)):
            read = [store.read(int(segments.track[i]), int(segments.start[i]), int(length)) for i in part]
            probabilities[part] = model.probabilities(torch.from_numpy(np.stack(read)).to(device)).cpu().numpy()
    return track_scores(probabilities, segments, truth, model.config.agreement)


def train(args: argparse.Namespace) -> None:
    if args.preset:
        linear_probe.train(args)
        return
    store = load_features(args, feature_config(args))
    check_genres(store.tracks.genres)
    fold = args.seed if args.fold is None else args.fold
    split, train_segments, valid_segments = split_store(store, args.split, fold)
    train_segments, all_tracks = pick(train_segments, every_nth(train_segments.track, args.slice_step)), store
    if args.generated:
        all_tracks, train_segments = add_generated(args, store, split, train_segments, fold)
    trainer = Trainer(args, "lstm", all_tracks)
    task = LSTMTask(trainer, all_tracks, train_segments, valid_segments)
    trainer.fit(task)
    if trainer.is_main:
        on_train, _ = evaluate(task.trained, all_tracks, train_segments)
        on_valid, confusion = evaluate(task.trained, all_tracks, valid_segments)
        trainer.say(f"{split.summary()}: accuracy {on_valid['track_accuracy']:.3f} by track")
        record = trainer.record(task.loader, store, split) | {"fold": fold, "generated": args.generated, "valid": on_valid}
        task.trained.training_record = record
        n_generated = int((train_segments.track >= len(store.tracks)).sum())
        result = record | {"train": on_train, "n_generated_slices": n_generated, "confusion": confusion.tolist()}
        write_bytes(args.output_dir / "result.json", json.dumps(result, indent=2).encode())
    trainer.finish(task.trained.save_pretrained)


def every_nth(tracks: np.ndarray, n: int) -> np.ndarray:
    """Indices of every n-th slice of each track, from its first on; `tracks` [shape=(n_slices,)] are those of the slices."""
    order = np.argsort(tracks, kind="stable")
    rank = np.arange(len(tracks)) - np.searchsorted(tracks[order], tracks[order])
    return np.sort(order[rank % n == 0])


def main(argv: list[str] | None = None) -> None:
    run_script(train, parse_args(argv))


if __name__ == "__main__":
    main()
