"""One tactile device as the predictor sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.t3.config import T3Config
from sinew_policies.t3.pose import LabelNorm
from sinew_policies.t3.preprocess import Preprocessing
from sinew_policies.t3.sets import read_info
from sinew_policies.t3.tasks import TASKS


@dataclass(frozen=True)
class Finger:
    """`label_norms` restore the units of pose heads; without, their output is taken as is."""

    sensor: str
    preprocessing: Preprocessing
    heads: tuple[str, ...] = ()
    label_norms: Mapping[str, LabelNorm] = field(default_factory=dict)
    check_channels: bool = True  # refuse the first frames if their red and blue are swapped

    @staticmethod
    def of_set(folder: Path | str, heads: Sequence[str] = (), *, image_px: int = 224) -> "Finger":
        """A device that sees as the sensor of a data set did: `sets/<name>` of a training run, or a set itself.

        Raises ConfigError when the set's `set.yaml` does not say what was measured of it.
        """
        info = read_info(Path(folder))
        if info.normalisation is None:
            raise ConfigError(
                f"{folder} does not state a normalisation; give the folder that training wrote (<run>/sets/<name>)"
            )
        paired = [h for h in heads if h in TASKS and TASKS[h].kind == "pose_6d"]
        if paired and info.label_norm is None:
            raise ConfigError(f"{folder} does not state label_norm, which {paired[0]} needs to give millimetres")
        how = Preprocessing(info.normalisation, info.channel_order, image_px * 8 // 7, image_px, info.frame_px)
        norms = {} if info.label_norm is None else dict.fromkeys(paired, info.label_norm)
        return Finger(info.sensor, how, tuple(heads), norms)

    def check_fits(self, name: str, config: T3Config) -> None:
        """Raises ConfigError, naming the finger, for what a network of that configuration cannot serve."""
        if self.sensor not in config.sensors:
            raise ConfigError(
                f"finger '{name}': no encoder for sensor '{self.sensor}'; {name_hint(self.sensor, config.sensors)}"
            )
        for head in self.heads:
            if head not in config.heads:
                raise ConfigError(f"finger '{name}': no head '{head}'; {name_hint(head, config.heads)}")
            if config.heads[head].reconstructs:
                raise ConfigError(
                    f"finger '{name}': head '{head}' reconstructs pixels; it has no place in a stream"
                )
        if self.preprocessing.image_px != config.encoder.image_px:
            raise ConfigError(
                f"finger '{name}': preprocessing makes images of {self.preprocessing.image_px} pixels, the encoder "
                f"takes {config.encoder.image_px}; make image_px equal"
            )
        for head, norm in self.label_norms.items():
            n_out = config.heads[head].n_out if head in self.heads else None
            if n_out != len(norm.mean):
                raise ConfigError(
                    f"finger '{name}': label_norm of {len(norm.mean)} numbers for head '{head}', expected {n_out}; "
                    f"{name_hint(head, self.heads)}"
                )
