"""What is compared: the report's rows, its future work and ablations, and the GANs that they need, as options of the scripts."""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOLS = ("segment", "artist")
GROUPS = {
    "table": "The report's table",
    "future": "The future work that it names",
    "ablations": "Ablations",
    "extra": "Does generated data help? With the best generator of this project",
}
# 2 s is the shortest clip of the data this was made for: every track gives slices, all of one length.
SLICES = "--features mfcc-segment --segment-s 2 --hop-length 1024"
ONE_IN_THREE = SLICES + " --slice-step 3"
WHOLE_TRACKS = "--features mfcc --hop-length 1024 --batch-size 16"
GAN_EPOCHS = 500


@dataclass(frozen=True)
class GAN:
    """A waveform GAN.

    Attributes:
        options: of `train_cgan.py`.
        genres: `all` (one generator), `each` (one for each genre) or the name of one genre.
        clip_s: length of what it makes.
    """

    options: str
    genres: str = "all"
    clip_s: float = 4.0


GANS = {
    "cnn": GAN("--model cnn --whole-track --width 64 --batch-size 16", clip_s=30.0),
    "fcn": GAN("--model fcn --whole-track --batch-size 32", clip_s=30.0),
    "fcn-4s": GAN("--model fcn"),
    "fcn-4s-z10": GAN("--model fcn --latent-dim 10"),
    "fcn-4s-z1000": GAN("--model fcn --latent-dim 1000"),
    "fcn-4s-sigmoid": GAN("--model fcn --output-activation sigmoid"),
    "fcn-4s-blues": GAN("--model fcn", genres="blues"),
    "fcn-4s-each": GAN("--model fcn", genres="each"),
}


@dataclass(frozen=True)
class Row:
    """One classifier of a table.

    Attributes:
        name, group: as `--only` takes them.
        options: of `train_lstm.py`.
        report: the report's loss, train accuracy and "valid", where it has the row.
        epochs: at `--scale 1`.
        generated: a key of `GANS`, or what `train_lstm.py --generated` takes; None adds nothing.
        beside: the row that trains as many steps on real slices alone, to be compared with seed by seed.
        protocols, seeds: to run under, unless the command says otherwise.
    """

    name: str
    group: str
    options: str
    report: tuple[float, float, float] | None = None
    epochs: int = 50
    generated: str | None = None
    beside: str | None = None
    protocols: tuple[str, ...] = PROTOCOLS
    seeds: int = 3


def _generated(name: str, group: str, generated: str, options: str = SLICES, report: tuple | None = None) -> Row:
    return Row(name, group, options, report, epochs=100, generated=generated, seeds=1)


def _extra(name: str, epochs: int, amount: float = 0.0, beside: str | None = None) -> Row:
    """Slices of 2 s by the fold that `mel` was trained with, whatever the seed."""
    options, generated = SLICES + " --fold 0", None
    if amount:
        options, generated = f"{options} --generated-amount {amount:g}", "mel"
    return Row(name, "extra", options, None, epochs, generated, beside, protocols=("artist",), seeds=5)


ROWS = (
    Row("LSTM_SGD_50no_segment", "table", WHOLE_TRACKS + " --optimizer sgd", (2.0408, 0.380, 0.359)),
    Row("LSTM_ADAM_50_no_segment", "table", WHOLE_TRACKS, (2.0317, 0.3733, 0.3199)),
    Row("LSTM_ADAM_50_segment", "table", ONE_IN_THREE, (0.8796, 0.881, 0.509)),
    Row("LSTM_ADAM_50_segment (enlarged set)", "table", SLICES, (0.8265, 0.915, 0.753)),
    _generated("LSTM_CNN_GAN_segment", "table", "cnn", report=(1.381, 0.572, 0.471)),
    _generated("LSTM_FCN_GAN_segment", "table", "fcn", report=(0.8621, 0.837, 0.480)),
    _generated("LSTM2_FCN_4S_GAN_segment", "table", "fcn-4s", report=(1.2787, 0.550, 0.454)),
    _generated("one generator for each label, matched amounts", "future", "fcn-4s-each", SLICES + " --generated-spread matched"),
    _generated("one generator for all labels, matched amounts", "future", "fcn-4s", SLICES + " --generated-spread matched"),
    Row("nothing generated", "ablations", ONE_IN_THREE, epochs=100, seeds=1),
    _generated("z of 100, no sigmoid", "ablations", "fcn-4s", ONE_IN_THREE),
    _generated("z of 10", "ablations", "fcn-4s-z10", ONE_IN_THREE),
    _generated("z of 1000", "ablations", "fcn-4s-z1000", ONE_IN_THREE),
    _generated("sigmoid", "ablations", "fcn-4s-sigmoid", ONE_IN_THREE),
    _generated("blues alone, by its own generator", "ablations", "fcn-4s-blues", ONE_IN_THREE + " --generated-spread matched"),
    _extra("real slices alone", 100),
    _extra("a quarter generated", 100, 0.25, beside="real slices alone, as many steps as with a quarter"),
    _extra("real slices alone, as many steps as with a quarter", 125),
    _extra("as much generated as real", 100, 1.0, beside="real slices alone, as many steps as with as much"),
    _extra("real slices alone, as many steps as with as much", 200),
)
