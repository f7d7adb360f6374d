"""Train the genre classifier, an LSTM over features.

    python training/train_lstm.py --data path/to/genres --output-dir runs/lstm
    accelerate launch training/train_lstm.py --data path/to/genres --features mfcc --optimizer sgd --output-dir runs/sgd
    python training/train_lstm.py --data path/to/genres --output-dir runs/lstm --resume
    python training/train_lstm.py --data path/to/genres --preset shipped --cross-validate --output-dir runs/lstm

The last line makes the weights inside the package: settings of its own, judged by cross-validation with artists kept apart,
calibrated on those predictions, then trained on all tracks.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genre_gan.audio import load_audio
from genre_gan.data.cache import FeatureStore, Segments
from genre_gan.data.splits import N_FOLDS, Split, artist_folds
from genre_gan.features import FeatureConfig, FeatureExtractor
from genre_gan.files import write_bytes
from genre_gan.models.lstm import POOLINGS, GenreLSTM, LSTMConfig, relative_level, summarise_windows
from genre_gan.models.summary import summarise
from training.loop import Run, add_common_arguments, run_script, save_and_push, training_record, update_average
from training.loop_batches import Batch, Loader, SegmentLoader, count_steps, split_store
from training.not_music import KINDS, make_not_music, speak
from training.scores import balanced, expected_calibration_error, fit_temperature, track_scores

# Voices and sentences other than those of evaluate_classifier.py.
VOICES = ("en-us+m1", "en-us+f1", "it", "pl+f4", "nl+m3", "pt+f5", "sv+m7", "en-gb+m2", "ru", "tr+f2")
SENTENCES = (
    "Good evening. Here is the news: the council has agreed to open the old bridge again in spring.",
    "I never thought that I would say this, but the second chapter is far better than the first one.",
    "Turn left after the station, walk for ten minutes, and you will see the library on your right.",
)
FEATURES = ("decibel", "mfcc", "mfcc-segment", "log-mel")
EMA_DECAY = 0.998
LABEL_SMOOTHING = 0.05
RIDGE, KERNEL_SHARE, AGREEMENT = 0.5, 0.8, 0.2
CLEAN_SLICES, DISTURBED_SLICES = 4, 8  # of each track, for the kernel machine
UNSURE_SHARE = 0.05  # of the cross-validated tracks, those with the weakest guesses
# What `--preset shipped` stands for.
SHIPPED = [
    "--features", "log-mel", "--sample-rate-hz", "16000", "--n-fft", "1024", "--hop-length", "256", "--n-mels", "80",
    "--segment-s", "3", "--min-segment-s", "2", "--window-channels", "64", "--hidden-size", "64", "--bidirectional",
    "--pooling", "attention", "--dropout", "0.3", "--weight-decay", "0.05", "--learning-rate", "0.002",
    "--not-music", "--epochs", "6",
]  # fmt: skip


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, epochs=50, batch_size=64)
    model = parser.add_argument_group("model")
    model.add_argument("--features", choices=FEATURES, default="mfcc-segment", help="(default: %(default)s)")
    model.add_argument("--segment-s", type=float, help="length of a slice; whole tracks for decibel and mfcc, else 3 by default")
    model.add_argument("--min-segment-s", type=float, help="a shorter last slice is left out (default: --segment-s)")
    model.add_argument("--sample-rate-hz", type=int, default=22_050, help="(default: %(default)s)")
    model.add_argument("--n-fft", type=int, default=2048, help="(default: %(default)s)")
    model.add_argument("--hop-length", type=int, default=512, help="(default: %(default)s)")
    model.add_argument("--n-mels", type=int, default=128, help="mel bands (default: %(default)s)")
    model.add_argument("--hidden-size", type=int, default=128, help="of the LSTM (default: %(default)s)")
    model.add_argument("--front-channels", type=int, default=0, help="width of a convolutional front, 0 for none")
    model.add_argument("--bidirectional", action="store_true")
    model.add_argument("--pooling", choices=POOLINGS, default="last", help="(default: %(default)s)")
    model.add_argument("--dropout", type=float, default=0.0, help="(default: %(default)s)")
    model.add_argument("--window-channels", type=int, default=0, help="the LSTM reads so many mixtures of the statistics of windows, "
                       "learns from disturbed copies too, and a kernel machine on statistics judges along (log-mel only), 0 for none")
    model.add_argument("--not-music", action="store_true", help="learn from synthetic noise, tones and speech what is no music "
                       "(with --window-channels only)")
    model.add_argument("--preset", choices=("shipped",), help="settings of the weights in the package; what you name besides counts")
    model.add_argument("--cross-validate", action="store_true", help=f"train {N_FOLDS} models with artists kept apart, calibrate "
                       "on what they say of unheard tracks, then train on all of them")
    model.add_argument("--optimizer", choices=("adam", "sgd"), default="adam", help="(default: %(default)s)")
    model.add_argument("--learning-rate", type=float, help="(default: 0.001 for adam, 0.01 for sgd)")
    model.add_argument("--weight-decay", type=float, default=0.0, help="(default: %(default)s)")
    args = parser.parse_args(argv)
    if args.preset:
        args = parser.parse_args(SHIPPED + argv)
    if args.window_channels and args.features != "log-mel":
        parser.error("--window-channels needs --features log-mel")
    for option in ("not_music", "cross_validate"):
        if getattr(args, option) and not args.window_channels:
            parser.error(f"--{option.replace('_', '-')} needs --window-channels")
    return args


def feature_config(args: argparse.Namespace) -> FeatureConfig:
    """The features that the arguments ask for."""
    segment_s = args.segment_s
    if segment_s is None and args.features in ("mfcc-segment", "log-mel"):
        segment_s = 3.0
    return FeatureConfig(
        args.features, args.sample_rate_hz, args.n_fft, args.hop_length, args.n_mels,
        segment_s=segment_s, min_segment_s=args.min_segment_s,
    )  # fmt: skip


@dataclass(frozen=True)
class Bank:
    """A few slices of each track as statistics, some as they are and some disturbed, and sound that is no music.

    Attributes:
        tracks: index of the track in the store, -1 for no music [shape=(n,)].
        class_ids: genre ids, or the number of genres for no music [shape=(n,)].
        summaries: of whole slices, Tensor[n x n_statistics].
        windows: of windows, Tensor[n x n_windows x n_statistics].
    """

    tracks: np.ndarray
    class_ids: np.ndarray
    summaries: Tensor
    windows: Tensor

    def without(self, tracks: np.ndarray) -> Bank:
        """The bank without these tracks."""
        keep = ~np.isin(self.tracks, tracks)
        return Bank(self.tracks[keep], self.class_ids[keep], self.summaries[keep], self.windows[keep])


@torch.no_grad()
def make_bank(store: FeatureStore, tracks: np.ndarray, seed: int, with_not_music: bool) -> Bank:
    """Slices of the length of a segment, from anywhere in the track; a track shorter than that is repeated."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    length, slices = store.config.segment_frames, []
    for track in tracks:
        latest = max(0, int(store.n_frames[track]) - length)
        starts = [*np.linspace(0, latest, CLEAN_SLICES).astype(int), *rng.integers(0, latest + 1, DISTURBED_SLICES)]
        read = [store.read(int(track), int(start), length) for start in starts]
        mine = torch.from_numpy(np.stack([np.resize(values, (length, values.shape[1])) for values in read]))
        mine[CLEAN_SLICES:] = disturb(relative_level(mine[CLEAN_SLICES:]), generator)
        slices.append(mine)
    genre_id = {genre: i for i, genre in enumerate(store.tracks.genres)}
    class_ids = [genre_id[store.tracks.genre_names[track]] for track in tracks for _ in range(CLEAN_SLICES + DISTURBED_SLICES)]
    rows = [int(track) for track in tracks for _ in range(CLEAN_SLICES + DISTURBED_SLICES)]
    if with_not_music:
        slices.append(not_music_features(store.config, seed))
        class_ids += [len(genre_id)] * len(slices[-1])
        rows += [-1] * len(slices[-1])
    levels = [relative_level(part) for part in slices]
    windows = torch.cat([summarise_windows(part) for part in levels])
    return Bank(np.array(rows), np.array(class_ids), torch.cat([summarise(part) for part in levels]), windows)


class BankLoader(Loader):
    """Batches out of a bank, the classes as even as the batch size allows."""

    def __init__(self, store: FeatureStore, bank: Bank, batch_size: int, seed: int, run: Run):
        super().__init__(store, bank.windows.shape[1], seed, run)
        self.bank, self.batch_size = bank, batch_size
        self.track_genre_ids = self.genre_ids = bank.class_ids
        self.by_class = [np.flatnonzero(bank.class_ids == class_id) for class_id in np.unique(bank.class_ids)]
        self.batches_per_epoch = -(-len(bank.class_ids) // batch_size)

    def choose(self, step: int) -> Segments:
        rng = np.random.default_rng([self.seed, step])
        rows = np.array([rng.choice(self.by_class[k]) for k in np.resize(rng.permutation(len(self.by_class)), self.batch_size)])
        return Segments(rows, np.zeros(self.batch_size, np.int64), np.full(self.batch_size, self.length))

    def read(self, segments: Segments) -> Tensor:
        return self.bank.windows[segments.track]


class LSTMTask:
    """Cross-entropy over genres, each genre weighing the same however many slices it has."""

    def __init__(self, run: Run, store: FeatureStore, train: Segments | None, valid: Segments | None, bank: Bank | None = None):
        args = run.args
        self.run, self.store, self.valid, self.bank = run, store, valid, bank
        if bank is None:
            self.loader: Loader = SegmentLoader(store, train, args.batch_size, args.seed, run)
        else:
            self.loader = BankLoader(store, bank, args.batch_size, args.seed, run)
        config = LSTMConfig(
            features=store.config,
            genres=store.tracks.genres,
            hidden_size=args.hidden_size,
            front_channels=args.front_channels,
            bidirectional=args.bidirectional,
            pooling=args.pooling,
            dropout=args.dropout,
            window_channels=args.window_channels,
            relative_level=bank is not None,
            not_music=args.not_music,
            n_centres=0 if bank is None else len(bank.class_ids),
            kernel_share=KERNEL_SHARE,
            agreement=0.0 if bank is None else AGREEMENT,
        )
        self.model = GenreLSTM(config)
        if bank is None:
            self._set_feature_statistics(train)
        else:
            self.model.feature_mean.copy_(bank.windows.mean((0, 1)))
            self.model.feature_std.copy_(bank.windows.std((0, 1)) + 1e-3)
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
        balance = counts.sum() / (len(counts) * counts) if bank is None else np.ones(len(counts))  # a bank's batches are even
        self.class_weights = torch.tensor(balance, dtype=torch.float32, device=run.device)
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
        targets = F.one_hot(genre_ids, self.model.output.out_features).float()
        self.model.train()
        with self.run.accelerator.autocast():
            if self.bank is None:
                logits = self.model(features, batch.n_frames)
            else:
                features, targets = mix(features, targets, batch)
                logits = self.model.output(self.model.dropout(self.model.listen(features)))
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

    @torch.no_grad()
    def fit_kernel(self) -> None:
        """Solve for the kernel machine on the bank, the classes weighing alike."""
        if self.bank is None:
            return
        weights = torch.from_numpy(1.0 / np.bincount(self.bank.class_ids)[self.bank.class_ids])
        targets = F.one_hot(torch.from_numpy(self.bank.class_ids), self.model.output.out_features).float() - 0.1
        self.average.kernel.fit(self.bank.summaries, targets, (weights / weights.mean()).float(), RIDGE)

    def watch(self, values: dict[str, float], step: int) -> None:
        """Cross-entropy has no collapse to speak of."""

    def preview(self, step: int) -> None:
        if self.valid is None:
            return
        self.fit_kernel()
        scores = evaluate(self.average, self.store, self.valid)
        self.run.say(f"step {step}: valid accuracy {scores['track_accuracy']:.3f} by track, {scores['segment_accuracy']:.3f} by slice")


def not_music_features(config: FeatureConfig, seed: int, n_of_kind: int = 12) -> Tensor:
    """Features of sound that is no music, Tensor[n x T x F] of the length of a slice; of espeak-ng too where it is installed."""
    rng, extractor = np.random.default_rng(seed), FeatureExtractor(config)
    sounds = [make_not_music(kind, config.segment_s, config.sample_rate_hz, rng) for kind in KINDS for _ in range(n_of_kind)]
    n_samples = round(config.segment_s * config.sample_rate_hz)
    for spoken in speak(VOICES, SENTENCES):
        samples = load_audio(spoken, config.sample_rate_hz).samples
        sounds += [np.resize(samples, n_samples), np.resize(samples[n_samples // 2 :], n_samples)]
    return torch.cat([extractor(torch.from_numpy(sound)[None]) for sound in sounds])[:, : config.segment_frames]


def disturb(features: Tensor, generator: torch.Generator) -> Tensor:
    """Another timbre and pitch: log-mel slices Tensor[B x T x F] shifted by up to two bands and through a random equaliser."""
    n_bands = features.shape[2]
    normal, uniform = (draw((4, len(features), 1), generator=generator) for draw in (torch.randn, torch.rand))
    band = torch.arange(n_bands)
    source = (band + 4.0 * uniform[0] - 2.0).clamp(0, n_bands - 1)
    low = source.floor().long().clamp_max(n_bands - 2)
    part = (source - low)[:, None]
    below = features.gather(2, low[:, None].expand_as(features))
    above = features.gather(2, low[:, None].expand_as(features) + 1)
    place = band / (n_bands - 1) - 0.5
    equaliser = 10.0 * normal[0] * place
    for k in range(1, 4):
        equaliser = equaliser + 2.5 * normal[k] * (-((place - uniform[k] + 0.5) / 0.1).square()).exp()
    return (1.0 - part) * below + part * above + equaliser[:, None]


def mix(features: Tensor, targets: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mix half the rows with others (mixup, Zhang et al. 2018) and smooth the targets."""
    uniform = torch.special.ndtr(batch.randn(2))
    share = torch.where(uniform[:, :1] < 0.5, 0.5 + 0.5 * uniform[:, 1:], 1.0)  # (B, 1)
    mixed = share[..., None] * features + (1.0 - share[..., None]) * features.roll(1, 0)
    targets = share * targets + (1.0 - share) * targets.roll(1, 0)
    return mixed, (1.0 - LABEL_SMOOTHING) * targets + LABEL_SMOOTHING / targets.shape[1]


@torch.inference_mode()
def predict(model: GenreLSTM, store: FeatureStore, segments: Segments) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the LSTM and of the kernel machine (zeros without one) for each slice [shape=(n, n_classes)]."""
    device = next(model.parameters()).device
    logits = np.zeros((2, len(segments), model.output.out_features), np.float32)
    for length in np.unique(segments.n_frames):
        rows = np.flatnonzero(segments.n_frames == length)
        for part in np.array_split(rows, -(-len(rows) // 64)):
            read = [store.read(int(segments.track[i]), int(segments.start[i]), int(length)) for i in part]
            features = torch.from_numpy(np.stack(read)).to(device)
            logits[0, part] = model(features).cpu().numpy()
            if model.kernel is not None:
                logits[1, part] = model.config.kernel_gain * model.kernel(model.level(features)).cpu().numpy()
    return logits[0], logits[1]


def evaluate(model: GenreLSTM, store: FeatureStore, segments: Segments) -> dict[str, float]:
    """Accuracy by slice, by track, and by track balanced over genres."""
    genre_id = {genre: i for i, genre in enumerate(model.config.genres)}
    truth = np.array([genre_id[name] for name in store.tracks.genre_names])
    share = model.config.kernel_share if model.kernel is not None else 0.0
    from_lstm, from_kernel = predict(model, store, segments)
    logits = (share * from_kernel + (1.0 - share) * from_lstm) / model.config.temperature
    return track_scores(softmax(logits)[:, : len(genre_id)], segments, truth, model.config.agreement)[0]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    return torch.from_numpy(logits).softmax(-1).numpy()


def train(args: argparse.Namespace) -> None:
    if args.cross_validate:
        cross_validate(args)
        return
    run = Run(args, "lstm")
    store = run.load_features(feature_config(args))
    split, train_segments, valid_segments = split_store(store, args.split, args.seed)
    bank = make_bank(store, np.unique(train_segments.track), args.seed, args.not_music) if args.window_channels else None
    task = LSTMTask(run, store, train_segments, valid_segments, bank)
    if not run.fit(task, task.n_steps) or not run.accelerator.is_main_process:
        return
    task.fit_kernel()
    scores = evaluate(task.average, store, valid_segments)
    task.average.training_record = training_record(run, store, split, task.n_steps) | {"valid": scores}
    run.say(f"{split.protocol} split, {scores['n_tracks']} tracks: accuracy {scores['track_accuracy']:.3f} by track")
    save(run, task.average)


def save(run: Run, model: GenreLSTM) -> None:
    """Write the finished model, and push it where asked."""
    write_bytes(run.args.output_dir / "result.json", json.dumps(model.training_record, indent=2).encode())
    save_and_push(run, model)


def cross_validate(args: argparse.Namespace) -> None:
    """Train a model for each fold, calibrate on what they say of tracks they never heard, and train one on all tracks."""
    run = Run(args, "lstm")
    store = run.load_features(feature_config(args))
    folds = artist_folds(store.tracks)
    everything = store.segments(np.flatnonzero(folds >= 0))
    logits = np.zeros((2, len(everything), len(store.tracks.genres) + args.not_music), np.float32)
    fold_of_slice, models = folds[everything.track], []
    bank = make_bank(store, np.flatnonzero(folds >= 0), args.seed, args.not_music)
    for fold in range(N_FOLDS):
        task = train_part(args, store, bank.without(np.flatnonzero(folds == fold)), f"fold-{fold}")
        if task is None:
            return
        heard_not = np.flatnonzero(fold_of_slice == fold)
        unheard = Segments(everything.track[heard_not], everything.start[heard_not], everything.n_frames[heard_not])
        logits[:, heard_not] = predict(task.average, store, unheard)
        run.say(f"fold {fold}: accuracy {evaluate(task.average, store, unheard)['track_accuracy']:.3f} by track")
        models.append(task.average)
    genre_id = {genre: i for i, genre in enumerate(store.tracks.genres)}
    truth = np.array([genre_id[name] for name in store.tracks.genre_names])
    settings, scores = calibrate(logits, everything, truth, folds)
    for fold, model in enumerate(models):
        model.config = replace(model.config, **settings)
        model.training_record = {"command": run.command, "split": f"fold {fold} of {N_FOLDS} unheard"}
        model.save_pretrained(args.output_dir / f"fold-{fold}" / "model")
    task = train_part(args, store, bank, "all")
    if task is None or not run.accelerator.is_main_process:
        return
    task.average.config = replace(task.average.config, **settings)
    record = training_record(run, store, Split("fold", *np.split(np.flatnonzero(folds >= 0), [0])[::-1], leaks=False), task.n_steps)
    record |= {"split": f"all tracks; judged by {N_FOLDS} folds with artists apart", "cross_validation": scores}
    task.average.training_record = record
    run.say(json.dumps(scores))
    save(run, task.average)


def train_part(args: argparse.Namespace, store: FeatureStore, bank: Bank, name: str) -> LSTMTask | None:
    """Train on this bank in a folder of its own; None if a signal stopped it."""
    part_args = copy.copy(args)
    part_args.output_dir, part_args.tracker, part_args.push_to_hub = args.output_dir / name, "none", None
    run = Run(part_args, "lstm")
    task = LSTMTask(run, store, None, None, bank)
    if not run.fit(task, task.n_steps):
        return None
    task.fit_kernel()
    return task


def calibrate(
    logits: np.ndarray, segments: Segments, truth: np.ndarray, folds: np.ndarray
) -> tuple[dict[str, float], dict]:
    """Choose the temperature and the weakest guess to be sure of on unheard tracks, and say how good the probabilities are.

    For the scores each fold is judged at the temperature of the other folds; the settings returned are chosen on all.

    Args:
        logits: of the LSTM and of the kernel machine for each slice [shape=(2, n, n_classes)].
        truth, folds: of each track.
    """
    n_genres = int(truth.max()) + 1

    mixed = KERNEL_SHARE * logits[1] + (1.0 - KERNEL_SHARE) * logits[0]

    def choose(rows: np.ndarray) -> float:
        part = Segments(segments.track[rows], segments.start[rows], segments.n_frames[rows])
        return fit_temperature(mixed[rows], n_genres, part, truth, AGREEMENT)

    tracks = np.unique(segments.track)
    by_track, segment_hits = np.zeros((len(tracks), n_genres)), np.zeros(len(segments), bool)
    for fold in range(N_FOLDS):
        probabilities = softmax(mixed / choose(np.flatnonzero(folds[segments.track] != fold)))[:, :n_genres]
        _, judged, genre_ids = track_scores(probabilities, segments, truth, AGREEMENT)
        by_track[folds[tracks] == fold] = judged[folds[tracks] == fold]
        segment_hits[folds[segments.track] == fold] = (probabilities.argmax(1) == truth[segments.track])[folds[segments.track] == fold]
    hits = by_track.argmax(1) == genre_ids
    scores = {
        "segment_accuracy": float(segment_hits.mean()),
        "track_accuracy": float(hits.mean()),
        "balanced_track_accuracy": balanced(hits, genre_ids),
        "n_segments": len(segments),
        "n_tracks": len(tracks),
    }
    for name, alone in zip(("lstm", "kernel"), logits):
        alone_scores, _, _ = track_scores(softmax(alone)[:, :n_genres], segments, truth)
        scores[f"balanced_track_accuracy of the {name} alone"] = alone_scores["balanced_track_accuracy"]
    scores["expected_calibration_error"] = expected_calibration_error(by_track, genre_ids)
    temperature = choose(np.arange(len(segments)))
    sure_above = min(0.5, float(np.quantile(by_track.max(1), UNSURE_SHARE)))
    return {"temperature": temperature, "sure_above": sure_above}, scores


def main(argv: list[str] | None = None) -> None:
    run_script(train, parse_args(argv))


if __name__ == "__main__":
    main()
