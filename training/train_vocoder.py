"""Train the vocoder that turns log-mel spectrograms into sound.

    python training/train_vocoder.py --data path/to/genres --split artist --mixed-precision bf16 --output-dir runs/vocoder
    accelerate launch training/train_vocoder.py --data path/to/genres --output-dir runs/vocoder --resume --max-steps 40000
    python training/train_vocoder.py --data path/to/genres --output-dir runs/vocoder --resume --autoencoder runs/autoencoder/model
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

from genre_gan.clip import Clip
from genre_gan.data.cache import FeatureStore
from genre_gan.data.splits import split_tracks
from genre_gan.features import FeatureConfig, FeatureExtractor
from genre_gan.files import file_names
from genre_gan.models.autoencoder import Autoencoder
from genre_gan.models.vocoder import SpectralLoss, Vocoder, VocoderConfig, VocoderDiscriminator, normalize_log_mel
from genre_gan.plots import mel_figure, save_figure
from training.adversarial import adversarial_losses, train_discriminator
from training.loop_batches import CropLoader, count_steps
from training.loop import Run, add_common_arguments, positive_int, run_script, save_and_push, training_record, update_average

EMA_DECAY = 0.998
MEL_WEIGHT, FEATURE_WEIGHT = 10.0, 0.5
PREVIEW_S = 5.0
MARGIN_FRAMES = 32  # around a crop, so that a copy of it has no edges


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, epochs=20, batch_size=16)
    model = parser.add_argument_group("model")
    model.add_argument("--dim", type=positive_int, default=256, help="width of the body (default: %(default)s)")
    model.add_argument("--n-layers", type=positive_int, default=6, help="ConvNeXt blocks (default: %(default)s)")
    model.add_argument("--crop-frames", type=positive_int, default=64, help="length of a crop in mel frames (default: %(default)s)")
    model.add_argument("--learning-rate", type=float, default=5e-4, help="(default: %(default)s)")
    model.add_argument("--adversarial-from", type=int, default=500, metavar="STEP", help="when D joins (default: %(default)s)")
    model.add_argument("--autoencoder", type=Path, metavar="FOLDER", help="learn half of each batch from this one's copies of the "
                       "spectrograms, which are what the generator's music comes as")
    return parser.parse_args(argv)


class VocoderTask:
    """Spectral losses from the start; from a given step on, hinge losses against spectrogram discriminators as well.

    A step uses two resolutions of the spectral loss and one discriminator in turn: more steps fit into the same time.
    """

    def __init__(self, run: Run, store: FeatureStore, train: np.ndarray, valid: np.ndarray):
        args = run.args
        self.run, self.store, self.valid = run, store, valid
        self.vocoder = Vocoder(VocoderConfig(dim=args.dim, hidden_dim=3 * args.dim, n_layers=args.n_layers))
        self.features = self.vocoder.config.features
        self.average = copy.deepcopy(self.vocoder).eval()  # exponential moving average of the weights
        self.discriminator = VocoderDiscriminator()
        self.extractor = FeatureExtractor(self.features).to(run.device)
        self.spectral_loss = SpectralLoss().to(run.device)
        self.autoencoder = None if args.autoencoder is None else Autoencoder.load(args.autoencoder).to(run.device)
        self.margin = 0 if self.autoencoder is None else MARGIN_FRAMES
        n_samples = (args.crop_frames + 2 * self.margin) * self.features.hop_length
        self.loader = CropLoader(store, train, n_samples, args.batch_size, args.seed, run)
        self.optimizer_g = torch.optim.AdamW(self.vocoder.parameters(), args.learning_rate, betas=(0.8, 0.95))
        self.optimizer_d = torch.optim.AdamW(self.discriminator.parameters(), args.learning_rate, betas=(0.8, 0.95))
        self.modules = {"vocoder": self.vocoder, "average": self.average, "discriminator": self.discriminator}
        self.optimizers = {"vocoder": self.optimizer_g, "discriminator": self.optimizer_d}
        self.n_steps = count_steps(args, self.loader.batches_per_epoch)

    def train_step(self, step: int) -> dict[str, Tensor]:
        batch = self.loader.batch(step)
        gain_db = (6.0 * batch.randn(1)).clamp(-15.0, 6.0)
        real = (batch.features[..., 0] * 10 ** (gain_db / 20)).clamp(-1.0, 1.0)
        log_mel = normalize_log_mel(self.extractor(real))
        if self.autoencoder is not None:
            real, log_mel = self._copy_half(real, log_mel, batch.share.start % 2)
        with self.run.accelerator.autocast():
            fake = self.vocoder(log_mel)
        adversarial = step >= self.run.args.adversarial_from
        judge = self.discriminator.members[step % len(self.discriminator.members)]
        values = train_discriminator(self.run, judge, self.optimizer_d, real, fake, batch.weight) if adversarial else {}

        n_ffts = np.roll(self.spectral_loss.n_ffts, -2 * step)[:2].tolist()
        spectral = self.spectral_loss(fake, real, n_ffts, lambda means: self.run.mean_over_ranks(means, batch.weight))
        mel = F.l1_loss(normalize_log_mel(self.extractor(fake)), normalize_log_mel(self.extractor(real))) * MEL_WEIGHT
        loss = spectral + mel
        if adversarial:
            adversarial_loss, feature_loss = adversarial_losses(self.run, judge, real, fake, batch.weight)
            loss = loss + adversarial_loss + FEATURE_WEIGHT * feature_loss
            values["loss G"] = adversarial_loss.detach()
        self.optimizer_g.zero_grad()
        (loss * batch.weight).backward()
        self.run.average_gradients(self.vocoder)
        torch.nn.utils.clip_grad_norm_(self.vocoder.parameters(), 10.0)
        self._set_learning_rate(step)
        self.optimizer_g.step()
        update_average(self.average, self.vocoder, step, EMA_DECAY)
        return values | {"spectral": spectral.detach(), "mel": mel.detach()}

    @torch.no_grad()
    def _copy_half(self, real: Tensor, log_mel: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Put the autoencoder's copy in the place of every second spectrogram from `first` on, and cut off the margins of all."""
        n_frames, hop_length = log_mel.shape[1] - 1, self.features.hop_length
        with self.run.accelerator.autocast():
            copied = self.autoencoder.decode(self.autoencoder.encode(log_mel[first::2, :n_frames])).float()
        log_mel[first::2, :n_frames] = copied
        real = real[:, self.margin * hop_length : (n_frames - self.margin) * hop_length]
        return real, log_mel[:, self.margin : n_frames - self.margin + 1]

    def _set_learning_rate(self, step: int) -> None:
        """Rises over 200 steps, stays, and falls to nothing over the last fifth."""
        share = min(1.0, (1 + step) / 200, (self.n_steps - step) / (0.2 * self.n_steps))
        for optimizer in (self.optimizer_g, self.optimizer_d):
            for group in optimizer.param_groups:
                group["lr"] = self.run.args.learning_rate * share

    def watch(self, values: dict[str, float], step: int) -> None:
        """The spectral losses keep this training stable: only divergence, which the loop notices, needs a word."""

    @torch.inference_mode()
    def preview(self, step: int) -> None:
        """Copies of validation clips beside the originals, and their mel distance in dB."""
        folder = self.run.args.output_dir / "previews" / f"step-{step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        clips, titles, distances_db = [], [], []
        rate_hz = self.features.sample_rate_hz
        for track in self.valid[np.linspace(0, len(self.valid) - 1, 4).astype(int)]:
            real = torch.from_numpy(self.store.read(int(track), 0, round(PREVIEW_S * rate_hz))[:, 0])[None].to(self.run.device)
            level_db = self.extractor(real)
            fake = self.average(normalize_log_mel(level_db))
            distances_db.append((self.extractor(fake) - level_db[:, : 1 + fake.shape[1] // self.features.hop_length]).abs().mean())
            for kind, samples in (("real", real), ("copy", fake)):
                name = f"{self.store.tracks.ids[track]} {kind}"
                clips.append(Clip(samples[0].cpu().numpy(), rate_hz))
                titles.append(name)
        for name, clip in zip(file_names(titles), clips, strict=True):
            clip.save(folder / f"{name}.wav")
        save_figure(mel_figure(clips, titles, columns=2), folder / "spectrograms.png")
        self.run.say(f"step {step}: copies of validation clips are {sum(distances_db) / len(distances_db):.2f} dB off in mel")


def train(args: argparse.Namespace) -> None:
    run = Run(args, "vocoder")
    store = run.load_features(FeatureConfig("waveform"))
    split = split_tracks(store.tracks, args.split, seed=args.seed)
    task = VocoderTask(run, store, split.train, split.valid)
    if not run.fit(task, task.n_steps) or not run.accelerator.is_main_process:
        return
    task.average.training_record = training_record(run, store, split, task.n_steps)
    save_and_push(run, task.average)


def main(argv: list[str] | None = None) -> None:
    run_script(train, parse_args(argv))


if __name__ == "__main__":
    main()
