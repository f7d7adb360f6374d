"""Train the judge on latents: it guides the spectral generator's training and chooses among its drafts.

    python training/train_judge.py --data path/to/genres --autoencoder runs/autoencoder/model --split fold --output-dir runs/judge
"""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genre_gan.data.cache import LatentStore
from genre_gan.data.splits import split_tracks
from genre_gan.features import FeatureConfig
from genre_gan.hub import packaged_weights
from genre_gan.models.autoencoder import Autoencoder
from genre_gan.models.judge import LatentJudge, LatentJudgeConfig
from training.loop_batches import CropLoader, count_steps
from training.latent_task import LONG_FRAMES, SPEEDS, spoil
from training.loop import Run, add_common_arguments, positive_int, run_script, save_and_push, training_record, update_average

EMA_DECAY = 0.998
LABEL_SMOOTHING = 0.1


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, epochs=50, batch_size=64)
    model = parser.add_argument_group("model")
    model.add_argument("--autoencoder", type=Path, metavar="FOLDER", help="(default: the packaged one)")
    model.add_argument("--width", type=positive_int, default=128, help="(default: %(default)s)")
    model.add_argument("--learning-rate", type=float, default=1e-3, help="(default: %(default)s)")
    return parser.parse_args(argv)


class JudgeTask:
    """Cross-entropy with smoothed labels on spoiled crops, the genres in even numbers."""

    def __init__(self, run: Run, train: LatentStore, valid: LatentStore):
        args = run.args
        self.run, self.valid = run, valid
        self.judge = LatentJudge(LatentJudgeConfig(train.tracks.genres, train.n_features, args.width))
        self.average = copy.deepcopy(self.judge).eval()  # exponential moving average of the weights
        self.loader = CropLoader(train, np.arange(len(train.tracks)), LONG_FRAMES, args.batch_size, args.seed, run)
        self.optimizer = torch.optim.AdamW(self.judge.parameters(), args.learning_rate, weight_decay=0.1)
        self.modules = {"judge": self.judge, "average": self.average}
        self.optimizers = {"judge": self.optimizer}
        self.n_steps = count_steps(args, self.loader.batches_per_epoch)

    def train_step(self, step: int) -> dict[str, Tensor]:
        torch.manual_seed(self.run.args.seed + step)  # dropout
        batch = self.loader.batch(step)
        logits = self.judge.train()(spoil(batch.features, batch, draw=0))
        loss = F.cross_entropy(logits, batch.genre_ids, label_smoothing=LABEL_SMOOTHING)
        self.optimizer.zero_grad()
        (loss * batch.weight).backward()
        self.run.average_gradients(self.judge)
        self.optimizer.step()
        update_average(self.average, self.judge, step, EMA_DECAY)
        return {"loss": loss.detach(), "train accuracy": (logits.argmax(1) == batch.genre_ids).float().mean()}

    def watch(self, values: dict[str, float], step: int) -> None:
        """Cross-entropy has no collapse to speak of."""

    def preview(self, step: int) -> None:
        self.run.say(f"step {step}: valid accuracy {self.accuracy():.3f} by track, every genre weighing the same")

    @torch.inference_mode()
    def accuracy(self) -> float:
        """Balanced accuracy on the validation tracks."""
        names = np.array(self.valid.tracks.genre_names)
        heard = [self.average(torch.from_numpy(self.valid.read(i))[None].to(self.run.device)).argmax(1) for i in range(len(names))]
        hits = np.array([self.judge.config.genres[int(genre)] == name for genre, name in zip(heard, names)])
        return float(np.mean([hits[names == name].mean() for name in np.unique(names)]))


def train(args: argparse.Namespace) -> None:
    run = Run(args, "judge")
    store = run.load_features(FeatureConfig("waveform"))
    split = split_tracks(store.tracks, args.split, seed=args.seed)
    autoencoder = Autoencoder.load(args.autoencoder or packaged_weights("mel") / "autoencoder")
    with run.accelerator.main_process_first():
        latents = LatentStore(store, split.train, autoencoder, SPEEDS, args.cache_dir, progress=run.accelerator.is_main_process)
        valid = LatentStore(store, split.valid, autoencoder, cache_dir=args.cache_dir)
    task = JudgeTask(run, latents, valid)
    if not run.fit(task, task.n_steps) or not run.accelerator.is_main_process:
        return
    task.average.training_record = training_record(run, store, split, task.n_steps) | {"valid": {"balanced_accuracy": task.accuracy()}}
    save_and_push(run, task.average)


def main(argv: list[str] | None = None) -> None:
    run_script(train, parse_args(argv))


if __name__ == "__main__":
    main()
