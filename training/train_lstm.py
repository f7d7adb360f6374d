"""Train the genre classifier, an LSTM over features.

    python training/train_lstm.py --data path/to/genres --output-dir runs/lstm
    accelerate launch training/train_lstm.py --data path/to/genres --features mfcc --optimizer sgd --output-dir runs/sgd
    python training/train_lstm.py --data path/to/genres --output-dir runs/lstm --resume
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genre_gan.audio import write_bytes
from genre_gan.features import FeatureConfig
from genre_gan.hub import push_model_folder
from genre_gan.models.lstm import POOLINGS, GenreLSTM, LSTMConfig
from genre_gan.store import FeatureStore, Segments
from training.loop import (
    Run, SegmentLoader, add_common_arguments, count_steps, run_script, split_store, training_record, update_average,
)

FEATURES = ("decibel", "mfcc", "mfcc-segment", "log-mel")
EMA_DECAY = 0.998


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, epochs=50, batch_size=64)
    model = parser.add_argument_group("model")
    model.add_argument("--features", choices=FEATURES, default="mfcc-segment", help="(default: %(default)s)")
    model.add_argument("--segment-s", type=float, help="length of a slice; whole tracks for decibel and mfcc, else 3 by default")
    model.add_argument("--min-segment-s", type=float, help="a shorter last slice is left out (default: --segment-s)")
    model.add_argument("--n-mels", type=int, default=128, help="mel bands (default: %(default)s)")
    model.add_argument("--hidden-size", type=int, default=128, help="of the LSTM (default: %(default)s)")
    model.add_argument("--front-channels", type=int, default=0, help="width of a convolutional front, 0 for none")
    model.add_argument("--bidirectional", action="store_true")
    model.add_argument("--pooling", choices=POOLINGS, default="last", help="(default: %(default)s)")
    model.add_argument("--dropout", type=float, default=0.0, help="(default: %(default)s)")
    model.add_argument("--augment", action="store_true", help="mask bands and moments, change the gain, mix pairs (log-mel only)")
    model.add_argument("--optimizer", choices=("adam", "sgd"), default="adam", help="(default: %(default)s)")
    model.add_argument("--learning-rate", type=float, help="(default: 0.001 for adam, 0.01 for sgd)")
    model.add_argument("--weight-decay", type=float, default=0.0, help="(default: %(default)s)")
    args = parser.parse_args(argv)
    if args.augment and args.features != "log-mel":
        parser.error("--augment needs --features log-mel")
    return args


def feature_config(args: argparse.Namespace) -> FeatureConfig:
    """The features that the arguments ask for."""
    segment_s = args.segment_s
    if segment_s is None and args.features in ("mfcc-segment", "log-mel"):
        segment_s = 3.0
    return FeatureConfig(args.features, n_mels=args.n_mels, segment_s=segment_s, min_segment_s=args.min_segment_s)


class LSTMTask:
    """Cross-entropy over genres, each genre weighing the same however many slices it has."""

    def __init__(self, run: Run, store: FeatureStore, train: Segments, valid: Segments):
        args = run.args
        self.run, self.store, self.valid = run, store, valid
        self.loader = SegmentLoader(store, train, args.batch_size, args.seed, run)
        config = LSTMConfig(
            features=store.config,
            genres=store.tracks.genres,
            hidden_size=args.hidden_size,
            front_channels=args.front_channels,
            bidirectional=args.bidirectional,
            pooling=args.pooling,
            dropout=args.dropout,
        )
        self.model = GenreLSTM(config)
        self._set_feature_statistics(train)
        self.average = copy.deepcopy(self.model).eval()  # exponential moving average of the weights
        self.learning_rate = learning_rate = args.learning_rate or (0.001 if args.optimizer == "adam" else 0.01)
        if args.optimizer == "adam":
            self.optimizer = torch.optim.AdamW(self.model.parameters(), learning_rate, weight_decay=args.weight_decay)
        else:
            self.optimizer = torch.optim.SGD(self.model.parameters(), learning_rate, 0.9, weight_decay=args.weight_decay)
        self.modules = {"model": self.model, "average": self.average}
        self.optimizers = {"model": self.optimizer}
        counts = np.bincount(self.loader.genre_ids, minlength=len(config.genres))
        if (counts == 0).any():
            missing = [genre for genre, count in zip(config.genres, counts) if count == 0]
            raise ValueError(f"no training slice is long enough for: {', '.join(missing)}; use a smaller --segment-s")
        self.class_weights = torch.tensor(counts.sum() / (len(counts) * counts), dtype=torch.float32, device=run.device)
        self.n_steps = count_steps(args, self.loader.batches_per_epoch)
        self.schedule_steps = args.epochs * self.loader.batches_per_epoch

    def _set_feature_statistics(self, train: Segments) -> None:
        """Mean and deviation of each feature over up to 200 training slices, spread evenly."""
        chosen = np.linspace(0, len(train) - 1, min(200, len(train))).astype(int)
        rows = [self.store.read(int(train.track[i]), int(train.start[i]), int(train.n_frames[i])) for i in chosen]
        values = np.concatenate(rows)
        self.model.feature_mean.copy_(torch.from_numpy(values.mean(0)))
        self.model.feature_std.copy_(torch.from_numpy(values.std(0) + 1e-3))

    def train_step(self, step: int) -> dict[str, Tensor]:
        args = self.run.args
        torch.manual_seed(hash((args.seed, step, self.run.rank)) % 2**63)  # dropout and augmentation
        batch = self.loader.batch(step)
        features, genre_ids = batch.features, batch.genre_ids
        targets = F.one_hot(genre_ids, len(self.class_weights)).float()
        if args.augment:
            features, targets = augment(features, targets, self.model.feature_mean)
        self.model.train()
        with self.run.accelerator.autocast():
            logits = self.model(features, batch.n_frames)
        losses = -(targets * self.class_weights * logits.float().log_softmax(1)).sum(1)
        loss = losses.mean() * batch.weight
        self.optimizer.zero_grad()
        loss.backward()
        self.run.average_gradients(self.model)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * (0.51 + 0.49 * np.cos(np.pi * step / self.schedule_steps))
        self.optimizer.step()
        update_average(self.average, self.model, step, EMA_DECAY)
        accuracy = (logits.argmax(1) == genre_ids).float().mean()
        return {"loss": loss.detach(), "train accuracy": accuracy}

    def watch(self, values: dict[str, float], step: int) -> None:
        """Cross-entropy has no collapse to speak of."""

    def preview(self, step: int) -> None:
        scores = evaluate(self.average, self.store, self.valid)
        self.run.say(f"step {step}: valid accuracy {scores['track_accuracy']:.3f} by track, {scores['segment_accuracy']:.3f} by slice")


def augment(features: Tensor, targets: Tensor, fill: Tensor) -> tuple[Tensor, Tensor]:
    """Random gain, one masked band and moment (SpecAugment, Park et al. 2019), and half the batch mixed with others."""
    batch, n_frames, n_features = features.shape
    features = features + 6.0 * torch.randn(batch, 1, 1, device=features.device)
    frame = torch.arange(n_frames, device=features.device)[None, :, None]
    band = torch.arange(n_features, device=features.device)[None, None, :]
    for axis, size, share in ((frame, n_frames, 0.25), (band, n_features, 0.2)):
        for _ in range(2):
            width = torch.rand(batch, 1, 1, device=features.device) * share * size
            start = torch.rand(batch, 1, 1, device=features.device) * (size - width)
            features = torch.where((axis >= start) & (axis < start + width), fill, features)
    partner = torch.randperm(batch, device=features.device)
    share = torch.distributions.Beta(0.4, 0.4).sample((batch,)).to(features.device)
    share = torch.where(torch.rand(batch, device=features.device) < 0.5, share.clamp_min(1.0 - share), torch.ones_like(share))
    mixed = share[:, None, None] * features + (1 - share[:, None, None]) * features[partner]
    return mixed, share[:, None] * targets + (1 - share[:, None]) * targets[partner]


@torch.inference_mode()
def evaluate(model: GenreLSTM, store: FeatureStore, segments: Segments) -> dict[str, float]:
    """Accuracy by slice, by track, and by track balanced over genres."""
    device = next(model.parameters()).device
    genre_id = {genre: i for i, genre in enumerate(model.config.genres)}
    track_scores: dict[int, Tensor] = {}
    hits = []
    for track, start, n_frames in zip(segments.track, segments.start, segments.n_frames):
        features = torch.from_numpy(store.read(int(track), int(start), int(n_frames)))[None].to(device)
        probabilities = model(features).softmax(1)[0].cpu()
        truth = genre_id[store.tracks.genre_names[track]]
        hits.append(int(probabilities.argmax()) == truth)
        track_scores[int(track)] = track_scores.get(int(track), torch.zeros(())) + probabilities
    track_hits = {track: int(s.argmax()) == genre_id[store.tracks.genre_names[track]] for track, s in track_scores.items()}
    names = sorted({store.tracks.genre_names[track] for track in track_hits})
    by_genre = [np.mean([hit for track, hit in track_hits.items() if store.tracks.genre_names[track] == name]) for name in names]
    return {
        "segment_accuracy": float(np.mean(hits)),
        "track_accuracy": float(np.mean(list(track_hits.values()))),
        "balanced_track_accuracy": float(np.mean(by_genre)),
        "n_segments": len(hits),
        "n_tracks": len(track_hits),
    }


def train(args: argparse.Namespace) -> None:
    run = Run(args, "lstm")
    store = run.load_features(feature_config(args))
    split, train_segments, valid_segments = split_store(store, args.split, args.seed)
    task = LSTMTask(run, store, train_segments, valid_segments)
    if not run.fit(task, task.n_steps) or not run.accelerator.is_main_process:
        return
    scores = evaluate(task.average, store, valid_segments)
    task.average.training_record = training_record(run, store, split, task.n_steps) | {"valid": scores}
    folder = task.average.save_pretrained(args.output_dir / "model")
    write_bytes(args.output_dir / "result.json", json.dumps(task.average.training_record, indent=2).encode())
    run.say(f"{split.protocol} split, {scores['n_tracks']} tracks: accuracy {scores['track_accuracy']:.3f} by track; saved to {folder}")
    if args.push_to_hub:
        run.say(f"pushed to {push_model_folder(folder, args.push_to_hub, args.private, args.revision)}")


def main(argv: list[str] | None = None) -> None:
    run_script(train, parse_args(argv))


if __name__ == "__main__":
    main()
