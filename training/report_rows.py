"""What is compared: the report's rows, its ablations and its future work, and the waveform GANs that they need."""

from __future__ import annotations

from dataclasses import dataclass

from genre_gan.features import FeatureConfig
from training.waveform_task import WHOLE_TRACK_S

PROTOCOLS = ("segment", "artist", "fold")
GROUPS = ("table", "future", "ablations", "extra")
# 2 s is the shortest clip of the data this was made for: every track gives slices, all of one length.
SLICES = FeatureConfig("mfcc-segment", hop_length=1024, segment_s=2.0)
WHOLE_TRACKS = FeatureConfig("mfcc", hop_length=1024)
WAVES = FeatureConfig("waveform", segment_s=4.0)


@dataclass(frozen=True)
class GANSpec:
    """A waveform GAN to train. `genres` is `all` (one generator), `each` (one for each genre) or the name of one genre."""

    model: str
    whole_track: bool = False
    latent_dim: int = 100
    output_activation: str = "none"
    genres: str = "all"
    width: int = 256
    batch_size: int = 64

    @property
    def clip_s(self) -> float:
        return WHOLE_TRACK_S if self.whole_track else WAVES.segment_s


GANS = {
    "cnn": GANSpec("cnn", whole_track=True, width=64, batch_size=16),
    "fcn": GANSpec("fcn", whole_track=True, batch_size=32),
    "fcn-4s": GANSpec("fcn"),
    "fcn-4s-z10": GANSpec("fcn", latent_dim=10),
    "fcn-4s-z1000": GANSpec("fcn", latent_dim=1000),
    "fcn-4s-sigmoid": GANSpec("fcn", output_activation="sigmoid"),
    "fcn-4s-blues": GANSpec("fcn", genres="blues"),
    "fcn-4s-each": GANSpec("fcn", genres="each"),
}


@dataclass(frozen=True)
class Row:
    """One classifier of the comparison.

    Attributes:
        name, group: as `--only` takes them.
        report: the report's loss, train accuracy and "valid", where it has the row.
        epochs: at `--scale 1`.
        optimizer: `adam` or `sgd`.
        whole_tracks: train on whole tracks instead of slices.
        enlarged: train on all slices of the training side; else on one in three of each track.
        generated: key of `GANS`, or `best` for `--best-generator`; None adds nothing.
        amount: generated slices for each real one.
        spread: how those divide over the genres: `even`, or `matched` to each genre's number of real slices, or `blues` alone
            (as many as there are real ones of it).
        schedule: `mixed`, or `pretrain`: half of the epochs on generated slices, then the other half on real ones.
        filtered: keep only slices that a classifier trained on the real training side names as they are labelled.
        protocols, seeds: to run under, unless the command says otherwise. Extra rows keep the split of seed 0 throughout.
    """

    name: str
    group: str
    report: tuple[float, float, float] | None = None
    epochs: int = 50
    optimizer: str = "adam"
    whole_tracks: bool = False
    enlarged: bool = False
    generated: str | None = None
    amount: float = 1.0
    spread: str = "even"
    schedule: str = "mixed"
    filtered: bool = False
    protocols: tuple[str, ...] = ("segment", "artist")
    seeds: int = 3


def _generated(name: str, group: str, generated: str, **settings) -> Row:
    return Row(name, group, **{"epochs": 100, "generated": generated} | settings)


def _extra(name: str, generated: str | None = "best", **settings) -> Row:
    return Row(name, "extra", **{"generated": generated, "epochs": 100, "protocols": ("fold",), "seeds": 5} | settings)


ROWS = (
    Row("LSTM_SGD_50no_segment", "table", (2.0408, 0.380, 0.359), optimizer="sgd", whole_tracks=True),
    Row("LSTM_ADAM_50_no_segment", "table", (2.0317, 0.3733, 0.3199), whole_tracks=True),
    Row("LSTM_ADAM_50_segment", "table", (0.8796, 0.881, 0.509)),
    Row("LSTM_ADAM_50_segment (enlarged set)", "table", (0.8265, 0.915, 0.753), enlarged=True),
    _generated("LSTM_CNN_GAN_segment", "table", "cnn", report=(1.381, 0.572, 0.471), enlarged=True),
    _generated("LSTM_FCN_GAN_segment", "table", "fcn", report=(0.8621, 0.837, 0.480), enlarged=True),
    _generated("LSTM2_FCN_4S_GAN_segment", "table", "fcn-4s", report=(1.2787, 0.550, 0.454), enlarged=True),
    _generated("one generator for each label, matched amounts", "future", "fcn-4s-each", spread="matched", enlarged=True),
    _generated("one generator for all labels, matched amounts", "future", "fcn-4s", spread="matched", enlarged=True),
    Row("nothing generated", "ablations", epochs=100),
    _generated("z of 100, no sigmoid", "ablations", "fcn-4s"),
    _generated("z of 10", "ablations", "fcn-4s-z10"),
    _generated("z of 1000", "ablations", "fcn-4s-z1000"),
    _generated("sigmoid", "ablations", "fcn-4s-sigmoid"),
    _generated("blues from the generator of all labels", "ablations", "fcn-4s", spread="blues"),
    _generated("blues from a generator of blues alone", "ablations", "fcn-4s-blues", spread="blues"),
    _extra("real slices alone, 100 epochs", None),
    _extra("real slices alone, 125 epochs", None, epochs=125),  # as many steps as 100 epochs with generated ones
    _extra("a quarter generated", amount=0.25),
    _extra("a quarter generated, filtered", amount=0.25, filtered=True),
    _extra("a quarter generated first, then real", amount=0.25, schedule="pretrain"),
)
