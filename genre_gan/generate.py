"""Music by genre: the pipeline that the app, the previews, the metrics and the tests all generate through."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch

from genre_gan.clip import Clip
from genre_gan.genres import genre_weights
from genre_gan.hub import packaged_weights, resolve_model_folder
from genre_gan.models.autoencoder import Autoencoder
from genre_gan.models.judge import LatentJudge
from genre_gan.models.latent_gan import ClipLatents, LatentGenerator, noise_shapes
from genre_gan.models.vocoder import LOG_MEL_STD_DB, Vocoder
from genre_gan.models.waveform import WaveformGenerator
from genre_gan.pretrained import ModelError, read_config

MIN_DURATION_S = 1.0
MAX_DURATION_S = 120.0
MAX_VARIATION = 1.5
CROSSFADE_S = 0.1
FADE_S = 0.02
PEAK, KNEE = 0.89, 0.7  # of full scale: -1 dB, and where the limiter sets in
LEVEL_DB, LOUD_SHARE = -16.0, 0.05  # root mean square of the loudest twentieth of a clip, full scale
MAX_GAIN_DB = 24.0  # what is nearly silent stays so
MAX_LEVEL_DB = -6.0  # of a frame: generated thumps can be far louder than anything recorded
HIGH_PASS_HZ = 20.0
MAX_SEED = 2**63 - 1
_FIRST_CHUNK_FRAMES, _CHUNK_FRAMES = 16, 112  # latent frames: 1.5 s, so that playing starts at once, then 10.4 s
N_DRAFTS, _DRAFT_FRAMES = 6, 64
_N_STYLES = 256  # from which the mean style of a genre is taken


class _GeneratorModel:
    """What both kinds of generator say of themselves."""

    @property
    def genres(self) -> tuple[str, ...]:
        return self.generator.config.genres

    @property
    def training_record(self) -> dict:
        return self.generator.training_record


@dataclass
class SpectralModel(_GeneratorModel):
    """A latent generator, the judge that chooses among its drafts, and what turns latents into sound: autoencoder, vocoder."""

    generator: LatentGenerator
    autoencoder: Autoencoder
    judge: LatentJudge
    vocoder: Vocoder

    def __post_init__(self) -> None:
        made, read = self.generator.config, self.autoencoder.config
        if made.latent_dim != read.latent_dim:
            raise ModelError(f"the generator makes {made.latent_dim} latents a frame, the autoencoder reads {read.latent_dim}")
        if read.features != self.vocoder.config.features:
            raise ModelError("the autoencoder's spectrograms are not those that the vocoder was trained on")

    @classmethod
    def load(cls, folder: Path) -> SpectralModel:
        """Load a folder with the generator's files, and `autoencoder`, `judge` and `vocoder` below it."""
        return cls(
            LatentGenerator.load(folder),
            Autoencoder.load(folder / "autoencoder"),
            LatentJudge.load(folder / "judge"),
            Vocoder.load(folder / "vocoder"),
        )

    def save_pretrained(self, folder: Path) -> Path:
        """Write all four, so that one folder, or one Hub id, is enough to generate."""
        self.autoencoder.save_pretrained(folder / "autoencoder", half=True)
        self.judge.save_pretrained(folder / "judge", half=True)
        self.vocoder.save_pretrained(folder / "vocoder", half=True)
        return self.generator.save_pretrained(folder, half=True)

    @property
    def name(self) -> str:
        return "mel"

    @property
    def sample_rate_hz(self) -> int:
        return self.vocoder.config.features.sample_rate_hz

    def chunks(self, weights: torch.Tensor, n_samples: int, seed: int, variation: float) -> Iterator[np.ndarray]:
        """Consecutive parts of at least `n_samples` samples. Only latents are held for the whole clip, 2.8 kB a second."""
        n_frames = -(-n_samples // (self.autoencoder.config.stride * self.vocoder.config.features.hop_length))
        latents = self.compose(weights, n_frames, seed, variation)
        yield from self.render(latents, self.find_gain_db(latents[:, :_DRAFT_FRAMES]))  # a longer clip begins as a shorter one

    def compose(self, weights: torch.Tensor, n_frames: int, seed: int, variation: float) -> torch.Tensor:
        """Autoencoder latents Tensor[1 x n_frames x latent_dim] for genre weights Tensor[1 x n_genres].

        Of `N_DRAFTS` beginnings the one is gone on with in which the judge hears the genre best.
        """
        config, rng = self.generator.config, np.random.default_rng(seed)
        style, pulse = _normal(rng, N_DRAFTS, config.style_dim)[0], _normal(rng, N_DRAFTS, 2)[0]
        mapped = self.generator.map_style(style, weights.expand(N_DRAFTS, -1))
        styles = _normal(np.random.default_rng(0), _N_STYLES, config.style_dim)[0]
        mean = self.generator.map_style(styles, weights.expand(_N_STYLES, -1)).mean(0, keepdim=True)
        mapped = mean + variation * (mapped - mean)
        # one stream of noise for each draft and level: a longer clip begins as a shorter one does
        streams = [draft.spawn(config.n_levels) for draft in rng.spawn(N_DRAFTS)]
        shapes = noise_shapes(config, _DRAFT_FRAMES)
        noise = [torch.cat([_normal(draft[level], *shape) for draft in streams]) for level, shape in enumerate(shapes)]
        drafts = self.generator.synthesize(ClipLatents(style, pulse, noise), mapped)
        best = int((self.judge(drafts).log_softmax(1) @ weights[0]).argmax())
        only = slice(best, best + 1)
        if n_frames <= _DRAFT_FRAMES:
            return drafts[only, :n_frames]
        more = noise_shapes(config, -(-n_frames // config.stride) * config.stride - _DRAFT_FRAMES)
        noise = [torch.cat([begun[only], _normal(stream, *shape)], 1) for begun, stream, shape in zip(noise, streams[best], more)]
        return self.generator.synthesize(ClipLatents(style[only], pulse[only], noise), mapped[only])[:, :n_frames]

    def find_gain_db(self, latents: torch.Tensor) -> float:
        """What brings the loud parts of these latents to `LEVEL_DB`, before any sound is made."""
        level_db = self.vocoder.estimate_level_db(self.autoencoder.decode_components(latents))
        return _gain_db(float(level_db.quantile(1.0 - LOUD_SHARE)))

    def _set_level(self, log_mel: torch.Tensor, gain_db: float) -> torch.Tensor:
        """Normalised log-mel with the gain, and no frame above `MAX_LEVEL_DB`."""
        log_mel = log_mel + gain_db / LOG_MEL_STD_DB
        excess_db = (self.vocoder.estimate_level_db(log_mel) - MAX_LEVEL_DB).clamp_min(0.0)
        return log_mel - excess_db[..., None] / LOG_MEL_STD_DB

    def render(self, latents: torch.Tensor, gain_db: float = 0.0) -> Iterator[np.ndarray]:
        """Samples [shape=(n,)] of autoencoder latents Tensor[1 x T x latent_dim], chunk by chunk and without seams.

        The gain changes the spectrograms, so that the vocoder gets levels as it learned them. With each chunk go as many
        frames on either side as the networks look at; they are decoded too and cut off. The vocoder's phase accumulates from
        the beginning on, so it is carried along.
        """
        stride, hop_length = self.autoencoder.config.stride, self.vocoder.config.features.hop_length
        n_frames, margin = latents.shape[1], -(-self.vocoder.context_frames // stride)
        start, length = 0, _FIRST_CHUNK_FRAMES
        cycles, first = None, 0
        while start < n_frames:
            stop = min(start + length, n_frames)
            last = min(n_frames, stop + margin)
            low, high = max(0, first - self.autoencoder.context), min(n_frames, last + self.autoencoder.context)
            log_mel = self.autoencoder.decode(latents[:, low:high])[:, stride * (first - low) : stride * (last - low)]
            log_mel = self._set_level(log_mel, gain_db)
            samples = self.vocoder(log_mel, cycles)[0].numpy()
            wanted = (stop - start) * stride * hop_length
            samples = samples[(start - first) * stride * hop_length :][:wanted]
            # the very last frame of a clip has no successor to overlap with
            yield np.pad(samples, (0, wanted - len(samples)))
            following = max(0, stop - margin)
            if following > first:
                passed = self.vocoder.estimate_magnitude(log_mel[:, : stride * (following - first)])
                cycles = self.vocoder.accumulate(passed, cycles)[:, -1]
            start, first, length = stop, following, _CHUNK_FRAMES


@dataclass
class WaveformModel(_GeneratorModel):
    """One of the report's generators of fixed length: longer clips are several segments, cross-faded."""

    generator: WaveformGenerator

    @classmethod
    def load(cls, folder: Path) -> WaveformModel:
        return cls(WaveformGenerator.load(folder))

    def save_pretrained(self, folder: Path) -> Path:
        return self.generator.save_pretrained(folder)

    @property
    def name(self) -> str:
        return self.generator.config.model

    @property
    def sample_rate_hz(self) -> int:
        return self.generator.config.sample_rate_hz

    def chunks(self, weights: torch.Tensor, n_samples: int, seed: int, variation: float) -> Iterator[np.ndarray]:
        """Consecutive parts of at least `n_samples` samples; `variation` scales z. The first segment's level sets the gain."""
        n_fade = round(CROSSFADE_S * self.sample_rate_hz)
        rise = np.sin(np.linspace(0.0, np.pi / 2, n_fade, dtype=np.float32)) ** 2
        rng = np.random.default_rng(seed)
        tail, n_made, gain = None, 0, None
        while n_made < n_samples:
            z = variation * _normal(rng, self.generator.config.latent_dim)
            segment = self.generator(z, weights)[0].numpy()
            if gain is None:
                gain = np.float32(10 ** (_gain_db(10 * np.log10(np.mean(np.square(segment)) + 1e-10)) / 20))
            segment = segment * gain
            if tail is not None:
                segment[:n_fade] = tail * (1.0 - rise) + segment[:n_fade] * rise
            segment, tail = segment[:-n_fade], segment[-n_fade:]
            n_made += len(segment)
            yield segment
            if n_samples - n_made <= n_fade:
                yield tail
                return


_MODELS = {"latent-gan": SpectralModel, "waveform-gan": WaveformModel}


class GenreGenerator:
    """Generate clips of a genre.

    Attributes:
        genres: what can be asked for.
        sample_rate_hz: of the clips.
        name: of the model: `mel`, `fcn` or `cnn`.
        source: where its weights came from.
    """

    min_duration_s = MIN_DURATION_S
    max_duration_s = MAX_DURATION_S

    def __init__(self, model: SpectralModel | WaveformModel, source: str = "memory"):
        self.model = model
        self.genres, self.sample_rate_hz, self.name = model.genres, model.sample_rate_hz, model.name
        self.source = source

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike | None = None, revision: str | None = None) -> GenreGenerator:
        """Load weights: those inside the package by name (`mel`, the default, `fcn` or `cnn`), of a folder, or of a Hub id.

        Raises:
            genre_gan.pretrained.ModelError: nothing there, damaged, or of another family.
        """
        folder = packaged_weights("mel") if source is None else resolve_model_folder(source, revision)
        family = read_config(folder)["family"]
        if family not in _MODELS:
            raise ModelError(f"{folder} holds a model of the family {family!r}, wanted one of {', '.join(_MODELS)}")
        is_packaged = folder.parent == packaged_weights("mel").parent
        return cls(_MODELS[family].load(folder), "packaged weights" if is_packaged else os.fspath(source))

    @overload
    def generate(
        self, genre: str | Mapping[str, float], duration_s: float = ..., seed: int | None = ..., variation: float = ...,
        stream: Literal[False] = ...,
    ) -> Clip: ...

    @overload
    def generate(
        self, genre: str | Mapping[str, float], duration_s: float = ..., seed: int | None = ..., variation: float = ...,
        *, stream: Literal[True],
    ) -> Iterator[Clip]: ...

    def generate(self, genre, duration_s=8.0, seed=None, variation=1.0, stream=False):
        """Make one clip.

        Args:
            genre: a name, or a blend such as `{"jazz": 0.7, "hiphop": 0.3}`.
            duration_s: from 1 to 120 seconds.
            seed: the same seed gives the same clip; None draws one at random.
            variation: how far the clip may stray from the genre's average, from 0, not at all, to 1.5.
            stream: give the clip in consecutive parts, as soon as each is made.

        Returns:
            A `Clip` with float32 samples in [-1, 1] [shape=(round(duration_s * sample_rate_hz),)]; with `stream` an
            iterator of clips that joined are the very same.

        Raises:
            ValueError: an unknown genre, or a duration, seed or variation out of range.
        """
        weights = torch.tensor([genre_weights(genre, self.genres)])
        check_duration(duration_s)
        check_variation(variation)
        if seed is None:
            seed = secrets.randbelow(2**31)
        check_seed(seed)
        parts = self._parts(weights, round(duration_s * self.sample_rate_hz), int(seed), float(variation))
        if stream:
            return (Clip(samples, self.sample_rate_hz) for samples in parts)
        return Clip(np.concatenate(list(parts)), self.sample_rate_hz)

    def _parts(self, weights: torch.Tensor, n_samples: int, seed: int, variation: float) -> Iterator[np.ndarray]:
        finisher = Finisher(n_samples, self.sample_rate_hz)
        chunks = self.model.chunks(weights, n_samples, seed, variation)
        while True:
            with torch.inference_mode():  # not around the yield: it would leak into the caller
                chunk = next(chunks, None)
            if chunk is None or finisher.n_left == 0:
                return
            yield finisher.finish(chunk)


class Finisher:
    """The last touch to a clip that comes in parts.

    A high pass removes the constant part and rumble, a smooth limiter keeps peaks under -1 dB full scale, and both ends are
    faded.
    """

    def __init__(self, n_samples: int, sample_rate_hz: int):
        self.n_left = n_samples
        self._n_samples = n_samples
        self._n_fade = min(round(FADE_S * sample_rate_hz), n_samples // 2)
        self._high_pass = _HighPass(sample_rate_hz)

    def finish(self, samples: np.ndarray) -> np.ndarray:
        """The next part, cut to what is still wanted; float32 [shape=(n,)]."""
        samples = _limit(self._high_pass(samples[: self.n_left]))
        position = self._n_samples - self.n_left + np.arange(len(samples))
        to_end = np.minimum(position, self._n_samples - 1 - position)
        samples *= np.minimum(1.0, to_end / max(1, self._n_fade)).astype(np.float32)
        self.n_left -= len(samples)
        return samples


class _HighPass:
    """A one-pole high pass that goes on from part to part."""

    def __init__(self, sample_rate_hz: int):
        from scipy.signal import butter

        self._coefficients = butter(1, HIGH_PASS_HZ, "highpass", fs=sample_rate_hz)
        self._state = np.zeros(1)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        from scipy.signal import lfilter

        filtered, self._state = lfilter(*self._coefficients, samples, zi=self._state)
        return filtered.astype(np.float32)


def _gain_db(level_db: float) -> float:
    """What brings loud parts of this level to `LEVEL_DB`, up to `MAX_GAIN_DB`."""
    return min(MAX_GAIN_DB, LEVEL_DB - level_db)


def _limit(samples: np.ndarray) -> np.ndarray:
    """Leave what is below `KNEE` alone and bend what is above towards, never beyond, `PEAK`."""
    size = np.abs(samples)
    bent = KNEE + (PEAK - KNEE) * np.tanh((size - KNEE) / (PEAK - KNEE))
    return np.where(size <= KNEE, samples, np.copysign(bent, samples)).astype(np.float32)


def check_duration(duration_s: float) -> None:
    """Raise `ValueError` unless `duration_s` is a number of seconds that can be generated."""
    if not _is_number(duration_s) or not MIN_DURATION_S <= duration_s <= MAX_DURATION_S:
        raise ValueError(f"duration_s must be from {MIN_DURATION_S:g} to {MAX_DURATION_S:g} seconds, got {duration_s!r}")


def check_variation(variation: float) -> None:
    """Raise `ValueError` unless `variation` is a number from 0 to 1.5."""
    if not _is_number(variation) or not 0.0 <= variation <= MAX_VARIATION:
        raise ValueError(f"variation must be from 0 to {MAX_VARIATION:g}, got {variation!r}")


def check_seed(seed: int) -> None:
    """Raise `ValueError` unless `seed` is a whole number from 0 to 2**63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be a whole number from 0 to {MAX_SEED}, got {seed!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _normal(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    """Normal noise Tensor[1 x *shape]; drawn one after the other, so that more of it begins with the same values."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))[None]
