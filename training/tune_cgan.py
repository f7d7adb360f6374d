"""Fine-tune the spectral GAN's generator: what is heard in its clips is brought to what is heard in real ones.

    accelerate launch training/tune_cgan.py --data path/to/genres --start-from runs/gan/model --output-dir runs/mel
    python training/tune_cgan.py --data path/to/genres --start-from runs/gan/model --output-dir runs/mel --resume
    python training/tune_cgan.py --data path/to/genres --start-from runs/mel/model --output-dir runs/longer

A GAN of few tracks makes clips of a genre that differ less than real ones do. So the generator is now told of a real clip of the
training side, an instance, by a few numbers of what is heard in it, and learns by the energy score to make clips that are spread
around that. It learns through the sound itself: latents become sound, and that is heard, by MusiCNN, by a small network that
learned from the training side, and by measures without a network. And by a discriminator, which goes on learning to hear what
all these do not. The split must be the one that the generator was trained with.

`--keep` can be chosen afterwards: a finished run, given again with `--resume` and another share, only saves its model anew.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genre_gan.data.cache import FeatureStore
from genre_gan.data.splits import Split, split_tracks
from genre_gan.features import FeatureConfig
from genre_gan.generate import GenreGenerator
from genre_gan.models.generator import INSTANCE_NOISE, N_COLOURS, ClipNoise, SpectralGenerator
from genre_gan.models.layers import EqualLinear
from genre_gan.spectral import TRUNCATION, SpectralModel
from training.arguments import TrainingError, add_common_arguments, positive_float, positive_int, run_script, share
from training.batches import Batch, load_features
from training.calibration import draw_conditions, truncated
from training.changes import NOISE
from training.feature_network import N_STEPS, TunedThrough, kept_network
from training.gan import frozen, gradient_penalty
from training.hearing import Hearing, energy_score, patches_of
from training.instances import PAIR, Instances
from training.levelled import N_PATCHES, Levelled
from training.previews import write_previews
from training.sound_discriminator import SoundDiscriminator
from training.spectral_fit import listen
from training.spectral_task import DEPTH_WEIGHT, FALLING_SHARE, floored
from training.trainer import Task, Trainer

EMA_DECAY = 0.98
LABELS_RATE = 5.0  # times as fast as all else learns what stands for labels and instances, of which few are in a batch
DISCRIMINATOR_RATE = 2.5  # times as fast as the generator learns the discriminator
ADVERSARIAL_WEIGHT = 1.0  # its gradient is then a third to a half of the score's, once the discriminator is sure
PENALTY, PENALTY_EVERY = 0.2, 8
RIDGE = 150.0  # of the first guess at what an instance means
HALF_BAR_SIZE = 0.5  # at least, of the noise of half bars, beside about 1 of the beat
NOISE_SIZE = 0.8  # at least, of the noise of the coarsest level beside what the beat adds; half as much at each finer one


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, epochs=24, batch_size=16)
    beginning = "what train_cgan.py made, or this script before"
    parser.add_argument("--start-from", type=Path, required=True, metavar="FOLDER", help=beginning)
    parser.add_argument("--learning-rate", type=positive_float, default=4e-4, help="(default: %(default)s)")
    parser.add_argument("--network-steps", type=positive_int, default=N_STEPS, metavar="N",
                        help="of the training of the feature network, which comes first (default: %(default)s)")
    kept = "of --start-from in the mean of its weights and the new ones, which is saved (default: %(default)s)"
    parser.add_argument("--keep", type=share, default=0.0, metavar="SHARE", help=kept)
    return parser.parse_args(argv)


class TuningTask(Task):
    """The energy score between what is heard in pairs of clips and in the instance that both of a pair were told of, and a game.

    The discriminator sees clips as fine-tuning hears them, and copies of real ones through the codec.
    """

    def __init__(self, trainer: Trainer, model: SpectralModel, hearing: Hearing, source: Instances):
        self.trainer, self.source, self.hearing = trainer, source, hearing.to(trainer.device)
        self.codec, self.config = hearing.listener.codec, model.generator.config
        self.mean, self.deviation = source.mean.to(trainer.device), source.deviation.to(trainer.device)
        self.average = trainer.average(model.generator, EMA_DECAY)
        self.trained = SpectralModel(cast(SpectralGenerator, self.average.module), self.codec)
        rate = trainer.args.learning_rate
        optimizer = torch.optim.Adam(_groups(model.generator, rate), rate, betas=(0.9, 0.99), fused=True)
        discriminator = SoundDiscriminator(hearing.network, len(self.config.genres)).to(trainer.device)
        of_discriminator = torch.optim.Adam(discriminator.parameters(), DISCRIMINATOR_RATE * rate, betas=(0.0, 0.99), fused=True)
        prepared = trainer.prepare(model.generator, discriminator, optimizer, of_discriminator)
        self.generator, self.discriminator, self.optimizer, self.optimizer_d = prepared
        self.copies, self.copied_labels = source.copies.to(trainer.device), source.labels.to(trainer.device)
        self.copied_shares = source.shares.cumsum(0).to(trainer.device)
        stride = self.config.stride
        self.n_frames = stride * math.ceil((hearing.levelled.n_samples / self.codec.config.samples_per_latent + 1) / stride)
        self.loader = trainer.loader(source)

    def rate(self, progress: float) -> float:
        return min(1.0, (1.0 - progress) / FALLING_SHARE)

    def train_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        latents = self._generate(batch)
        samples = self.codec.decode_with_gradient(latents)[:, : self.hearing.levelled.n_samples]
        levelled = self.hearing.levelled.samples(samples)
        log_mel = self.hearing.levelled.log_mel(levelled)
        heard = torch.cat(self.hearing.hear(levelled, log_mel), 1)
        pairs = ((heard - self.mean) / self.deviation).split(self.source.sizes, 1)
        score = energy_score(pairs, batch.features[::PAIR, 0].split(self.source.sizes, 1))
        depth = floored(self.codec, latents)[1]
        fake, genre_ids = patches_of(log_mel), self._genres(batch.genre_ids).repeat_interleave(N_PATCHES)
        values = self._train_discriminator(batch, fake.detach(), genre_ids, step % PENALTY_EVERY == 0)
        discriminator = self.trainer.unwrap(self.discriminator)
        with frozen(discriminator), self.trainer.accelerator.autocast():
            on_fake = discriminator(_noisy(fake, batch, 6), genre_ids).float().mean()
            self.trainer.accelerator.backward(score + DEPTH_WEIGHT * depth - ADVERSARIAL_WEIGHT * on_fake)
        if self.trainer.accelerator.sync_gradients:
            self.trainer.accelerator.clip_grad_norm_(self.generator.parameters(), 10.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"energy score": score, "below floor": depth} | values

    def _train_discriminator(self, batch: Batch, fake: Tensor, genre_ids: Tensor, penalize: bool) -> dict[str, Tensor]:
        places = torch.searchsorted(self.copied_shares, batch.rand(draw=4)).clamp_max(len(self.copied_shares) - 1)
        real = _noisy(patches_of(self.copies[places].float()), batch, 5).requires_grad_(penalize)
        on_real = self.discriminator(real, self._genres(self.copied_labels[places]).repeat_interleave(N_PATCHES)).float()
        on_fake = self.discriminator(_noisy(fake, batch, 7), genre_ids).float()
        loss = F.relu(1.0 - on_real).mean() + F.relu(1.0 + on_fake).mean()
        if penalize:
            penalty = gradient_penalty(self.trainer.accelerator, on_real.mean(1), real)
            loss = loss + 0.5 * PENALTY * PENALTY_EVERY * penalty
        self.trainer.accelerator.backward(loss)
        self.optimizer_d.step()
        self.optimizer_d.zero_grad()
        return {"logit real": on_real.mean(), "logit fake": on_fake.mean()}

    def _genres(self, label_ids: Tensor) -> Tensor:
        return label_ids // self.config.n_clusters

    def _generate(self, batch: Batch) -> Tensor:
        """Latents as the pipeline makes them, of the batch's labels and instances, with a tempo and a key of the label's."""
        plain = self.trained.generator  # whose memories do not learn
        weights = F.one_hot(batch.genre_ids, self.config.n_labels).float()
        noise = ClipNoise.draw(self.config, self.n_frames, lambda part, *shape: batch.randn(*shape, draw=10 + part))
        instances = batch.conditions + INSTANCE_NOISE * batch.randn(self.config.instance_dim, draw=2)
        conditions = draw_conditions(plain, weights, batch.rand(3, draw=1))
        latents = self.generator(truncated(noise), weights, *conditions, instances=instances).float()
        return plain.calibrate(latents, weights, TRUNCATION * batch.randn(N_COLOURS, draw=3))

    def preview(self, folder: Path) -> None:
        """A clip and a spectrogram for each genre."""
        write_previews(GenreGenerator(self.trained), folder, 6.0)


def _noisy(patches: Tensor, batch: Batch, draw: int) -> Tensor:
    """With noise, since a discriminator that does not mind it leads to what people hear."""
    return patches + NOISE * batch.randn(N_PATCHES, *patches.shape[1:], draw=draw).flatten(0, 1)


def _groups(generator: SpectralGenerator, learning_rate: float) -> list[dict]:
    """The generator's parameters, as Adam takes them; `LABELS_RATE` says why in two groups."""
    quick = [*generator.genre_embedding.parameters(), *generator.instance_embedding.parameters()]
    slow = [value for value in generator.parameters() if all(value is not other for other in quick)]
    return [{"params": slow}, {"params": quick, "lr": LABELS_RATE * learning_rate}]


def with_instances(generator: SpectralGenerator, source: Instances) -> SpectralGenerator:
    """The generator, knowing these instances, with noise that is heard again; one that knows them stays as it is.

    What is told of an instance changes its label as it would change from label to label, by ridge regression. The noise of the
    grid shrinks in the games, until a clip repeats with the beat; what is small has small gradients, so it begins larger.
    """
    if generator.config.n_instances:
        theirs, ours = (labels // generator.config.n_clusters for labels in (generator.instance_labels, source.labels))
        if not torch.equal(theirs, ours):
            raise TrainingError("--start-from: its instances are of other clips than those of --data")
        # its labels too: on another machine k-means may find other clusters
        source.vectors, source.labels = generator.instances.clone(), generator.instance_labels.clone()
        return generator
    told = SpectralGenerator(replace(generator.config, n_instances=len(source.vectors)))
    told.load_state_dict(told.state_dict() | generator.state_dict())
    told.instances.copy_(source.vectors)
    told.instance_labels.copy_(source.labels)
    known = source.labels.unique()
    embeddings = generator.genre_embedding.weight.detach()
    points, values = (part - part.mean(0) for part in (source.label_means[known], embeddings[known]))
    slopes = torch.linalg.solve(points.T @ points + RIDGE * torch.eye(points.shape[1]), points.T @ values)
    with torch.no_grad():
        told.instance_embedding.weight.copy_(slopes.T / told.instance_embedding.scale)
        for number, level in enumerate(told.levels):
            _enlarge(cast(EqualLinear, level.inject), NOISE_SIZE / 2**number)
    return told


def share_as(generator: SpectralGenerator, source: Instances) -> None:
    """Let the generator draw its instances, and so the clusters of a genre, as often as training does."""
    config = generator.config
    generator.instance_shares.copy_(source.shares)
    if config.n_clusters > 1:
        of_labels = torch.zeros(config.n_labels).index_add(0, source.labels, source.shares).view(-1, config.n_clusters)
        generator.cluster_shares.copy_(of_labels / of_labels.sum(1, keepdim=True))


@torch.no_grad()
def vary_half_bars(generator: SpectralGenerator) -> None:
    """Give the noise of half bars at least `HALF_BAR_SIZE`: where it is small, its gradients are too, and a clip repeats."""
    for level in generator.levels:
        _enlarge(cast(EqualLinear, level.half_bar), HALF_BAR_SIZE)


def _enlarge(noise: EqualLinear, least: float) -> None:
    """Bring what a layer makes of noise to at least this size."""
    size = noise.scale * noise.weight.square().sum(1).mean().sqrt()
    noise.weight.mul_((least / size).clamp_min(1.0))


@torch.no_grad()
def keep(generator: SpectralGenerator, beginning: list[Tensor], weight: float) -> None:
    """Take the mean of the generator's weights and those of its beginning, which have this weight.

    Fine-tuned networks are better on what they did not learn from when some of what they were is kept (Wortsman et al., "Robust
    fine-tuning of zero-shot models", CVPR 2022).
    """
    for value, before in zip(generator.parameters(), beginning, strict=True):
        value.lerp_(before.to(value.device), weight)


def draw_seed(args: argparse.Namespace, model: SpectralModel) -> int:
    """The seed of the feature network and of which instances come when: another one each time that fine-tuning is gone on with.

    `--seed` decides the split and must stay; but a network that is always the same would be pleased in ways that no other hears.
    """
    record, n_before = model.training_record or {}, 0
    while "begun as" in record:
        record, n_before = record["begun as"] or {}, n_before + 1
    return args.seed + 1000 * n_before


def prepare(args: argparse.Namespace) -> tuple[FeatureStore, Split, np.ndarray, SpectralModel, Hearing]:
    """All that takes long and is kept in the cache, before the processes need each other."""
    model = SpectralModel.load(args.start_from)
    store = load_features(args, FeatureConfig("waveform"), PAIR)
    config = model.generator.config
    if store.tracks.genres != config.genres:
        ours, theirs = ", ".join(store.tracks.genres), ", ".join(config.genres)
        raise TrainingError(f"--start-from {args.start_from}: its genres are {theirs}, those of the data {ours}; see --genres")
    split = split_tracks(store.tracks, args.split, seed=args.seed)
    learned = model.training_record or {}
    if learned.get("split") != split.summary():
        given = f"this is the {split.summary()}; give the data, the split and the seed that it learned from"
        raise TrainingError(f"--start-from {args.start_from}: it has the {learned.get('split')}; {given}")
    latents, listener, clusters = listen(args, store, split.train, model.codec, config.n_clusters)
    levelled = Levelled(model.codec.config.features.sample_rate_hz)
    steps, dtype = args.network_steps, listener.dtype
    network = kept_network(TunedThrough, store, split.train, model.codec, latents.folder, steps, draw_seed(args, model), dtype)
    network.filters.convs.to(dtype)
    return store, split, clusters, model, Hearing(listener, levelled, network)


def train(args: argparse.Namespace) -> None:
    store, split, clusters, model, hearing = prepare(args)
    trainer = Trainer(args, "cgan", store, clusters)
    trainer.say(split.summary())
    genres = np.array([model.genres.index(store.tracks.genre_names[track]) for track in split.train])
    config, seed = model.generator.config, draw_seed(args, model)
    labels = genres * config.n_clusters + clusters[: len(genres)]
    source = Instances(store, split.train, labels, config, hearing.to(trainer.device), trainer.rows_per_step, seed)
    begun_as, model.generator = model.training_record, with_instances(model.generator, source)
    share_as(model.generator, source)
    vary_half_bars(model.generator)
    beginning = [value.detach().clone() for value in model.generator.parameters()]
    task = TuningTask(trainer, model, hearing, source)
    trainer.fit(task)
    keep(task.trained.generator, beginning, args.keep)
    task.trained.generator.training_record = trainer.record(task.loader, store, split) | {"begun as": begun_as}
    trainer.finish(task.trained.save_pretrained)


def main(argv: list[str] | None = None) -> None:
    run_script(train, parse_args(argv))


if __name__ == "__main__":
    main()
