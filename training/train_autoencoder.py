"""Train the autoencoder whose latents the spectral generator works on.

    python training/train_autoencoder.py --data path/to/genres --mixed-precision bf16 --output-dir runs/autoencoder
    python training/train_autoencoder.py --data path/to/genres --output-dir runs/autoencoder --resume --max-steps 20000
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

from genre_gan.data.cache import FeatureStore
from genre_gan.data.splits import split_tracks
from genre_gan.features import FeatureConfig, FeatureExtractor
from genre_gan.models.autoencoder import Autoencoder, AutoencoderConfig, MelDiscriminator
from genre_gan.models.vocoder import LOG_MEL_STD_DB, denormalize_log_mel, normalize_log_mel
from genre_gan.plots import level_figure, save_figure
from training.adversarial import adversarial_losses, train_discriminator
from training.loop_batches import CropLoader, count_steps
from training.loop import Run, add_common_arguments, positive_int, run_script, save_and_push, training_record, update_average

EMA_DECAY = 0.998
LATENT_NOISE = 0.05
DIFFERENCE_WEIGHT, ADVERSARIAL_WEIGHT, FEATURE_WEIGHT = 0.5, 0.05, 0.5
N_FIT_BATCHES = 100  # from which the components are taken
PREVIEW_FRAMES = 432  # 5 s, a multiple of the stride


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, epochs=20, batch_size=16)
    model = parser.add_argument_group("model")
    model.add_argument("--latent-dim", type=positive_int, default=64, help="values in a latent frame (default: %(default)s)")
    model.add_argument("--widths", type=positive_int, nargs="+", default=[160, 256, 384, 384], help="channels at each frame rate")
    model.add_argument("--n-blocks", type=positive_int, default=2, help="ConvNeXt blocks at each rate (default: %(default)s)")
    model.add_argument("--crop-frames", type=positive_int, default=128, help="length of a crop in mel frames (default: %(default)s)")
    model.add_argument("--learning-rate", type=float, default=1e-3, help="(default: %(default)s)")
    model.add_argument("--adversarial-from", type=int, default=500, metavar="STEP", help="when D joins (default: %(default)s)")
    args = parser.parse_args(argv)
    stride = 2 ** (len(args.widths) - 1)
    if args.crop_frames % (4 * stride):
        parser.error(f"--crop-frames must be a multiple of {4 * stride}, got {args.crop_frames}")
    return args


class AutoencoderTask:
    """Of the decoder's network: L1 on levels and on their differences along both axes, with a little noise on the latents as
    generated ones have; later D joins.
    """

    def __init__(self, run: Run, store: FeatureStore, train: np.ndarray, valid: np.ndarray):
        args = run.args
        self.run, self.store, self.valid = run, store, valid
        config = AutoencoderConfig(latent_dim=args.latent_dim, widths=tuple(args.widths), n_blocks=args.n_blocks)
        self.autoencoder = Autoencoder(config)
        self.extractor = FeatureExtractor(config.features).to(run.device)
        n_samples = (args.crop_frames - 1) * config.features.hop_length
        self.loader = CropLoader(store, train, n_samples, args.batch_size, args.seed, run)
        self._fit_components(CropLoader(store, train, n_samples, args.batch_size, args.seed + 1, run))
        self.average = copy.deepcopy(self.autoencoder).eval()  # exponential moving average of the weights
        self.discriminator = MelDiscriminator()
        self.optimizer_g = torch.optim.AdamW(self.autoencoder.parameters(), args.learning_rate, betas=(0.9, 0.98))
        self.optimizer_d = torch.optim.AdamW(self.discriminator.parameters(), 0.5 * args.learning_rate, betas=(0.5, 0.98))
        self.modules = {"autoencoder": self.autoencoder, "average": self.average, "discriminator": self.discriminator}
        self.optimizers = {"autoencoder": self.optimizer_g, "discriminator": self.optimizer_d}
        self.n_steps = count_steps(args, self.loader.batches_per_epoch)

    def _fit_components(self, loader: CropLoader) -> None:
        """From crops of all ranks' choosing, read by each, so that every rank gets the same components."""
        crops = [loader.read(loader.choose(step))[..., 0] for step in range(N_FIT_BATCHES)]
        kept = self.autoencoder.fit_components(torch.cat([normalize_log_mel(self.extractor(crop)) for crop in crops]))
        self.run.say(f"{self.autoencoder.config.latent_dim} components keep {kept:.1%} of the variance")

    def train_step(self, step: int) -> dict[str, Tensor]:
        batch = self.loader.batch(step)
        gain_db = (6.0 * batch.randn(1)).clamp(-15.0, 6.0)
        real = normalize_log_mel(self.extractor((batch.features[..., 0] * 10 ** (gain_db / 20)).clamp(-1.0, 1.0)))
        with self.run.accelerator.autocast():
            latents = self.autoencoder.encode(real)
            noise = LATENT_NOISE * batch.randn(*latents.shape[1:], draw=1)
            fake = self.autoencoder.decode(latents + noise)
        fake = fake.float()
        copy_loss = F.l1_loss(fake, real)
        slope_loss = F.l1_loss(fake.diff(dim=1), real.diff(dim=1)) + F.l1_loss(fake.diff(dim=2), real.diff(dim=2))
        loss = copy_loss + DIFFERENCE_WEIGHT * slope_loss
        values = {}
        if step >= self.run.args.adversarial_from:
            values = train_discriminator(self.run, self.discriminator, self.optimizer_d, real, fake, batch.weight)
            adversarial_loss, feature_loss = adversarial_losses(self.run, self.discriminator, real, fake, batch.weight)
            loss = loss + ADVERSARIAL_WEIGHT * adversarial_loss + FEATURE_WEIGHT * feature_loss
            values["loss G"] = adversarial_loss.detach()
        self.optimizer_g.zero_grad()
        (loss * batch.weight).backward()
        self.run.average_gradients(self.autoencoder)
        torch.nn.utils.clip_grad_norm_(self.autoencoder.parameters(), 1.0)
        self._set_learning_rate(step)
        self.optimizer_g.step()
        update_average(self.average, self.autoencoder, step, EMA_DECAY)
        return values | {"copy": copy_loss.detach(), "slope": slope_loss.detach()}

    def _set_learning_rate(self, step: int) -> None:
        decay = 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * step / self.n_steps))
        for group in self.optimizer_g.param_groups:
            group["lr"] = self.run.args.learning_rate * min((1 + step) / 200, decay)

    def watch(self, values: dict[str, float], step: int) -> None:
        """The copying losses keep this training stable: only divergence, which the loop notices, needs a word."""

    def read_log_mel(self, track: int, n_frames: int) -> Tensor:
        """Normalised log-mel Tensor[1 x n_frames x n_mels] of a track's beginning."""
        n_samples = (n_frames - 1) * self.autoencoder.config.features.hop_length
        samples = torch.from_numpy(self.store.read(track, 0, n_samples)[:, 0])[None].to(self.run.device)
        return normalize_log_mel(self.extractor(samples))

    @torch.inference_mode()
    def preview(self, step: int) -> None:
        """Spectrograms of validation clips beside their copies, and the mean distance in dB."""
        folder = self.run.args.output_dir / "previews" / f"step-{step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        stride = self.autoencoder.config.stride
        levels_db, durations_s, titles, distances_db = [], [], [], []
        for track in self.valid[np.linspace(0, len(self.valid) - 1, 12).astype(int)]:
            n_frames = min(PREVIEW_FRAMES, self.store.n_frames[track] // self.autoencoder.config.features.hop_length // stride * stride)
            real = self.read_log_mel(int(track), n_frames)
            fake = self.average.decode(self.average.encode(real))
            distances_db.append(LOG_MEL_STD_DB * (real - fake).abs().mean())
            for kind, level in (("real", real), ("copy", fake)):
                levels_db.append(denormalize_log_mel(level)[0].T.cpu().numpy())
                durations_s.append(n_frames / self.autoencoder.config.features.frame_rate_hz)
                titles.append(f"{self.store.tracks.ids[track]} {kind}")
        save_figure(level_figure(levels_db[:12], durations_s, titles, columns=2), folder / "spectrograms.png")
        self.run.say(f"step {step}: copies of validation clips are {sum(distances_db) / len(distances_db):.2f} dB off")


def train(args: argparse.Namespace) -> None:
    run = Run(args, "autoencoder")
    store = run.load_features(FeatureConfig("waveform"))
    split = split_tracks(store.tracks, args.split, seed=args.seed)
    task = AutoencoderTask(run, store, split.train, split.valid)
    if not run.fit(task, task.n_steps) or not run.accelerator.is_main_process:
        return
    task.average.training_record = training_record(run, store, split, task.n_steps)
    save_and_push(run, task.average)


def main(argv: list[str] | None = None) -> None:
    run_script(train, parse_args(argv))


if __name__ == "__main__":
    main()
