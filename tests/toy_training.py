"""A GAN on the level of slices, as small as can be, with all that a task may use: penalty, dropout, clipping and an average."""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genre_gan.features import FeatureConfig
from training.arguments import add_common_arguments, run_script
from training.batches import Batch, Slices, load_features
from training.gan import frozen, gradient_penalty
from training.trainer import Task, Trainer

LEARNING_RATE = 0.01


class ToyTask(Task):
    """G makes ten levels, D tells them from those of slices. Both have no batch statistics, as two ranks must agree."""

    def __init__(self, trainer: Trainer, store):
        self.trainer = trainer
        generator = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 10))
        discriminator = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))
        self.average = trainer.average(generator, 0.9)
        self.generator, self.discriminator, self.optimizer_g, self.optimizer_d = trainer.prepare(
            generator,
            discriminator,
            torch.optim.SGD(generator.parameters(), LEARNING_RATE),
            torch.optim.SGD(discriminator.parameters(), LEARNING_RATE),
        )
        self.loader = trainer.loader(Slices(store, store.segments(), trainer.rows_per_step, trainer.args.seed))

    def train_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        accelerator = self.trainer.accelerator
        real = batch.features[..., 0].unflatten(1, (10, -1)).abs().mean(2).requires_grad_()
        fake = self.generator(batch.randn(4))
        on_real, on_fake = self.discriminator(real)[:, 0], self.discriminator(fake.detach())[:, 0]
        penalty = gradient_penalty(accelerator, on_real, real)
        loss_d = F.softplus(-on_real).mean() + F.softplus(on_fake).mean() + 0.5 * penalty
        accelerator.backward(loss_d)
        if accelerator.sync_gradients:
            accelerator.clip_grad_norm_(self.discriminator.parameters(), 0.1)
        self.optimizer_d.step()
        self.optimizer_d.zero_grad()
        with frozen(self.discriminator):
            loss_g = F.softplus(-self.discriminator(fake)).mean()
            accelerator.backward(loss_g)
        self.optimizer_g.step()
        self.optimizer_g.zero_grad()
        return {"loss D": loss_d, "loss G": loss_g, "penalty": penalty}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_common_arguments(parser, epochs=10, batch_size=4)
    return parser.parse_args(argv)


def train(args: argparse.Namespace) -> None:
    store = load_features(args, FeatureConfig("waveform", segment_s=1.0))
    trainer = Trainer(args, "toy", store)
    trainer.fit(ToyTask(trainer, store))
    trainer.accelerator.end_training()


def main(argv: list[str] | None = None) -> None:
    run_script(train, parse_args(argv))
