"""Train a conditional GAN on the waveform: the report's fcn or cnn.

    accelerate launch training/train_cgan.py --data path/to/genres --model fcn --segment-s 4 --output-dir runs/fcn
    python training/train_cgan.py --data path/to/genres --model cnn --whole-track --output-dir runs/cnn
    python training/train_cgan.py --data path/to/genres --model fcn --genres blues --output-dir runs/blues
    python training/train_cgan.py --data path/to/genres --model fcn --segment-s 4 --output-dir runs/fcn --resume
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genre_gan.audio import SAMPLE_RATE_HZ
from genre_gan.dataset import Split
from genre_gan.features import FeatureConfig
from genre_gan.generate import GenreGenerator
from genre_gan.hub import push_model_folder
from genre_gan.models.waveform import ACTIVATIONS, MODELS, WaveformDiscriminator, WaveformGANConfig, WaveformGenerator
from genre_gan.plots import mel_figure, save_figure
from genre_gan.store import FeatureStore
from training.loop import Run, SegmentLoader, add_common_arguments, count_steps, positive_int, run_script, training_record

WHOLE_TRACK_S = 30.0
PREVIEW_SEED = 0
# Mean logits this far apart mean that D no longer gives G anything to follow.
COLLAPSE_LOGIT_GAP = 15.0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, epochs=500, batch_size=64)
    model = parser.add_argument_group("model")
    model.add_argument("--model", choices=MODELS, default="fcn", help="(default: %(default)s)")
    length = model.add_mutually_exclusive_group()
    length.add_argument("--segment-s", type=float, default=4.0, help="length of a slice in seconds (default: %(default)s)")
    length.add_argument("--whole-track", action="store_true", help=f"{WHOLE_TRACK_S:g} s; shorter tracks end in silence")
    model.add_argument("--latent-dim", type=positive_int, default=100, help="size of z (default: %(default)s)")
    model.add_argument("--width", type=positive_int, default=256, help="(default: %(default)s)")
    model.add_argument("--output-activation", choices=ACTIVATIONS, default="none", help="(default: %(default)s)")
    model.add_argument("--learning-rate", type=float, default=2e-4, help="(default: %(default)s)")
    args = parser.parse_args(argv)
    if args.segment_s < 1.0:
        parser.error(f"--segment-s must be at least 1, got {args.segment_s:g}")
    return args


class WaveformGANTask:
    """Each step: generate fakes, train D on real and fake, then train G (the report's order)."""

    def __init__(self, run: Run, store: FeatureStore):
        args = run.args
        self.run, self.genres = run, store.tracks.genres
        self.loader = SegmentLoader(store, store.segments(), args.batch_size, args.seed, run)
        length_s = WHOLE_TRACK_S if args.whole_track else args.segment_s
        self.config = WaveformGANConfig(
            model=args.model,
            n_samples=round(length_s * SAMPLE_RATE_HZ),
            genres=self.genres,
            latent_dim=args.latent_dim,
            width=args.width,
            output_activation=args.output_activation,
        )
        self.generator, self.discriminator = WaveformGenerator(self.config), WaveformDiscriminator(self.config)
        self.optimizer_g = torch.optim.Adam(self.generator.parameters(), args.learning_rate, betas=(0.5, 0.999))
        self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), args.learning_rate, betas=(0.5, 0.999))
        self.modules = {"generator": self.generator, "discriminator": self.discriminator}
        self.optimizers = {"generator": self.optimizer_g, "discriminator": self.optimizer_d}
        self.n_steps = count_steps(args, self.loader.batches_per_epoch)
        self._warned = False

    def train_step(self, step: int) -> dict[str, Tensor]:
        batch = self.loader.batch(step)
        real = F.pad(batch.features[..., 0], (0, self.config.n_samples))[:, : self.config.n_samples]
        z_d, z_g = (batch.randn(self.config.latent_dim, draw=draw) for draw in range(2))
        labels = F.one_hot(batch.genre_ids, len(self.genres)).float()

        loss_d, real_logit, fake_logit = self._train_discriminator(real, z_d, batch.genre_ids, labels, batch.weight)
        loss_g = self._train_generator(z_g, batch.genre_ids, labels, batch.weight)
        return {"loss D": loss_d, "loss G": loss_g, "logit real": real_logit, "logit fake": fake_logit}

    def _train_discriminator(self, real: Tensor, z: Tensor, genre_ids: Tensor, labels: Tensor, weight: float) -> tuple[Tensor, ...]:
        with self.run.accelerator.autocast():
            with torch.no_grad():
                fake = self.generator(z, labels)
            real_logits, fake_logits = self.discriminator(real, genre_ids), self.discriminator(fake, genre_ids)
            loss = F.binary_cross_entropy_with_logits(real_logits, torch.ones_like(real_logits))
            loss = loss + F.binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))
        self.optimizer_d.zero_grad()
        (loss * weight).backward()
        self.run.average_gradients(self.discriminator)
        self.optimizer_d.step()
        return loss.detach(), real_logits.detach().float().mean(), fake_logits.detach().float().mean()

    def _train_generator(self, z: Tensor, genre_ids: Tensor, labels: Tensor, weight: float) -> Tensor:
        with self.run.accelerator.autocast():
            logits = self.discriminator(self.generator(z, labels), genre_ids)
            loss = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        self.optimizer_g.zero_grad()
        (loss * weight).backward()
        self.run.average_gradients(self.generator)
        self.optimizer_g.step()
        return loss.detach()

    def watch(self, values: dict[str, float], step: int) -> None:
        """Say it in words, once, when D wins outright."""
        gap = values["logit real"] - values["logit fake"]
        if gap > COLLAPSE_LOGIT_GAP and not self._warned:
            self._warned = True
            self.run.say(
                f"step {step}: D wins outright (its logits on real and fake are {gap:.0f} apart), so G gets no useful gradient. "
                "That is the report's situation too; a shorter training is as good as a longer one from here"
            )

    def preview(self, step: int) -> None:
        """A clip and a spectrogram for each genre, through the pipeline that users have."""
        folder = self.run.args.output_dir / "previews" / f"step-{step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        training = self.generator.training
        pipeline = GenreGenerator(self.generator)
        clips = [pipeline.generate(genre, 4.0, PREVIEW_SEED) for genre in self.genres]
        for genre, clip in zip(self.genres, clips):
            clip.save(folder / f"{genre}.wav")
        save_figure(mel_figure(clips, self.genres, columns=2), folder / "spectrograms.png")
        self.generator.train(training)


def train(args: argparse.Namespace) -> None:
    run = Run(args, "cgan")
    segment_s = WHOLE_TRACK_S if args.whole_track else args.segment_s
    minimum_s = 1.0 if args.whole_track else None
    store = run.load_features(FeatureConfig("waveform", segment_s=segment_s, min_segment_s=minimum_s))
    task = WaveformGANTask(run, store)
    if not run.fit(task, task.n_steps) or not run.accelerator.is_main_process:
        return
    everything = Split("none: trained on all tracks", np.arange(len(store.tracks)), np.zeros(0, np.int64), leaks=False)
    task.generator.training_record = training_record(run, store, everything, task.n_steps)
    folder = task.generator.save_pretrained(args.output_dir / "model")
    run.say(f"saved to {folder}")
    if args.push_to_hub:
        run.say(f"pushed to {push_model_folder(folder, args.push_to_hub, args.private, args.revision)}")


def main(argv: list[str] | None = None) -> None:
    run_script(train, parse_args(argv))


if __name__ == "__main__":
    main()
