"""What a cell is made of. One frozen dataclass; the nodes declare their parameters from it."""

from dataclasses import dataclass
from pathlib import Path

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_sim.camera.noise import NOISE_PRESETS
from sinew_sim.cell.layout import SCENE_CAMERA, WRIST_CAMERA, CameraMount
from sinew_sim.objects.generator import Split
from sinew_sim.scenes.spec import SceneKind, SceneSpec

ROBOTS = ("panda",)
TIMESTEP_S = 0.002
CONTROL_PERIOD_S = 0.01


@dataclass(frozen=True)
class CellConfig:
    """ConfigError at construction for an unknown name or an impossible number."""

    seed: int = 0
    scene: SceneKind = "packed"
    n_objects: int = 5  # 0: an empty table
    objects_dir: Path | None = None  # a folder of meshes instead of generated objects
    split: Split = "test"  # generated objects that no network of ours was trained on
    robot: str = "panda"
    noise: str = "stereo"
    cameras: tuple[CameraMount, ...] = (SCENE_CAMERA, WRIST_CAMERA)
    max_faces: int = 1500  # visual triangles per robot link

    def __post_init__(self) -> None:
        if self.robot not in ROBOTS:
            raise ConfigError(f"robot '{self.robot}' is unknown; {name_hint(self.robot, ROBOTS)}")
        if self.noise not in NOISE_PRESETS:
            raise ConfigError(f"depth noise '{self.noise}' is unknown; {name_hint(self.noise, NOISE_PRESETS)}")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; expected 0 or more")
        if self.n_objects != 0:
            self.scene_spec()

    def scene_spec(self) -> SceneSpec:
        return SceneSpec(self.scene, self.seed, self.n_objects, self.split, self.objects_dir)

    def camera(self, name: str) -> CameraMount:
        for mount in self.cameras:
            if mount.name == name:
                return mount
        raise ConfigError(f"camera '{name}' is unknown; {name_hint(name, [m.name for m in self.cameras])}")
