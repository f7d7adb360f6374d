"""What is set when the spectral GAN has learned: how much its music moves, and how much its clips differ.

An average of weights plays more evenly than the weights of any one step, as the details in which they differ cancel. So the
deviation over time of each coefficient in each row is measured once more and brought to what real music has, and what the spectra
of clips differ too little is added. For the same reason averaged networks measure the statistics of batch normalisation anew
(Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018, section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import trange

from genre_gan.data.latents import to_grid
from genre_gan.models.codec import Codec
from genre_gan.models.generator import N_COLOURS, ClipNoise, SpectralGenerator
from genre_gan.models.pulse import Pulse, grid_tempo
from genre_gan.recipe import BEATS_PER_BAR
from genre_gan.spectral import TRUNCATION, SpectralModel
from training.launch import is_main_process
from training.paired_crops import PairedCrops
from training.spectral_task import floored

N_CLIPS = 64  # of each label, generated and real
MIN_DEVIATION = 0.02  # of latents, which are of about unit size; less is silence
MIN_GAIN, MAX_GAIN = 0.6, 1.8


@torch.inference_mode()
def calibrate(model: SpectralModel, source: PairedCrops) -> None:
    """Set `gain`, `centre` and `colours` of the generator from its own clips and from real crops of each label."""
    generator, n_frames = model.generator, source.lengths[0]
    for label in trange(generator.config.n_labels, desc="calibration", unit="label", leave=False, disable=not is_main_process()):
        crops = source.crops(label, n_frames, N_CLIPS).to(model.device)
        real = to_grid(crops, generator.config.n_coefficients)
        made = _generate(generator, model.codec, label, n_frames)
        gain = (real.std(3).mean(0) + MIN_DEVIATION) / (made.std(3).mean(0) + MIN_DEVIATION)
        generator.gain[label] = gain = gain.clamp(MIN_GAIN, MAX_GAIN)
        generator.centre[label] = made.mean((0, 3))
        lacking = torch.cov(real.mean(3)[:, 0].T) - torch.cov((gain * made.mean(3))[:, 0].T)
        variances, directions = torch.linalg.eigh(lacking)
        generator.colours[label] = (directions * variances.clamp_min(0.0).sqrt())[:, -N_COLOURS:]


def _generate(generator: SpectralGenerator, codec: Codec, label: int, n_frames: int) -> Tensor:
    """Latents Tensor[N_CLIPS x C x R x T] of a label, as the codec's floor leaves them."""
    config, rng = generator.config, torch.Generator().manual_seed(label)
    device = codec.mean.device

    weights = F.one_hot(torch.full((N_CLIPS,), label, device=device), config.n_labels).float()
    noise = ClipNoise.draw(config, n_frames, lambda _, *shape: torch.randn(N_CLIPS, *shape, generator=rng).to(device))
    uniform = torch.rand(N_CLIPS, 3, generator=rng).to(device)
    return floored(codec, generator(truncated(noise), weights, *draw_conditions(generator, weights, uniform)))[0]


def truncated(noise: ClipNoise) -> ClipNoise:
    """Noise with a style as near to the mean as the pipeline takes it."""
    return noise._replace(style=TRUNCATION * noise.style)


def draw_conditions(generator: SpectralGenerator, weights: Tensor, uniform: Tensor) -> tuple[Tensor, Pulse]:
    """A key and a pulse for each row of label weights, as the pipeline takes them, by numbers Tensor[B x 3] from 0 to 1."""
    tempo_bpm, _ = grid_tempo(generator.draw_tempo_bpm(weights, uniform[:, 0]), generator.config.latent_rate_hz)
    return generator.draw_key(weights, uniform[:, 2]), Pulse(tempo_bpm, BEATS_PER_BAR * uniform[:, 1])
