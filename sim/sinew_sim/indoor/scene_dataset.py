"""`*.scene_dataset_config.json`: where a data set's scenes lie and how their files are named and turned."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from sinew_policies.common.errors import DataError, name_hint
from sinew_sim.indoor.bounded_file import MEBIBYTE, write_bytes
from sinew_sim.indoor.json_fields import Json, JsonField, Vec3, optional, read_json, shown

PLACEHOLDER = "%%CONFIG_NAME_AS_ASSET_FILENAME%%"
_MAX_BYTES = 64 * MEBIBYTE
_STAGE_KEYS = frozenset({"paths", "default_attributes"})
_ATTRIBUTE_KEYS = frozenset(
    {
        "shader_type",
        "up",
        "front",
        "origin",
        "semantic_descriptor_filename",
        "semantic_asset",
        "nav_asset",
        "has_semantic_textures",
    }
)


@dataclass(frozen=True, slots=True)
class StageAttributes:
    """What holds for every stage mesh. The defaults are HM3D's: z up, y to the front, names by placeholder."""

    up: Vec3 = (0.0, 0.0, 1.0)
    front: Vec3 = (0.0, 1.0, 0.0)
    origin: Vec3 = (0.0, 0.0, 0.0)
    shader_type: str = "flat"
    semantic_descriptor_filename: str | None = f"{PLACEHOLDER}.semantic.txt"
    semantic_asset: str | None = f"{PLACEHOLDER}.semantic.glb"
    nav_asset: str | None = None
    has_semantic_textures: bool = True
    extra: str = ""


@dataclass(frozen=True, slots=True)
class SceneDatasetConfig:
    stage_globs: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {".glb": ("*/*.basis.glb",)}
    )  # file ending -> patterns relative to the folder of the configuration
    stage_defaults: StageAttributes = StageAttributes()
    stages_extra: str = ""
    extra: str = ""


@dataclass(frozen=True, slots=True)
class SceneFiles:
    """The files of one scene that are there; None for one that is not."""

    name: str  # TEEsavR23oF
    stage: Path
    navmesh: Path | None
    semantic_mesh: Path | None
    semantic_txt: Path | None


def read_config(path: Path) -> SceneDatasetConfig:
    """Raises DataError naming file, field and value."""
    root = read_json(path, max_bytes=_MAX_BYTES)
    stages = root.at("stages")
    globs: dict[str, tuple[str, ...]] = {}
    for ending, patterns in stages.at("paths").members():
        globs[ending] = tuple(_pattern(p) for p in patterns.elements())
    defaults = stages.get("default_attributes")
    return SceneDatasetConfig(
        stage_globs=globs,
        stage_defaults=_attributes(defaults) if defaults is not None else _bare(),
        stages_extra=stages.rest(_STAGE_KEYS),
        extra=root.rest(frozenset({"stages"})),
    )


def write_config(config: SceneDatasetConfig, path: Path) -> None:
    """Writes the whole file or nothing."""
    a = config.stage_defaults
    attributes: dict[str, Json] = {
        **_others(a.extra),
        "shader_type": a.shader_type,
        "up": list(a.up),
        "front": list(a.front),
        "origin": list(a.origin),
        "has_semantic_textures": a.has_semantic_textures,
    }
    names = {
        "semantic_descriptor_filename": a.semantic_descriptor_filename,
        "semantic_asset": a.semantic_asset,
        "nav_asset": a.nav_asset,
    }
    attributes.update({key: name for key, name in names.items() if name is not None})
    stages: dict[str, Json] = {
        **_others(config.stages_extra),
        "paths": {ending: list(patterns) for ending, patterns in config.stage_globs.items()},
        "default_attributes": attributes,
    }
    content: dict[str, Json] = {**_others(config.extra), "stages": stages}
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def list_scenes(config_path: Path, config: SceneDatasetConfig | None = None) -> dict[str, SceneFiles]:
    """Scene name -> its files, over all patterns of the configuration.

    Raises DataError where the configuration is damaged or a name stands for two scenes.
    """
    config = config or read_config(config_path)
    found: dict[str, SceneFiles] = {}
    for patterns in config.stage_globs.values():
        for pattern in patterns:
            for stage in sorted(config_path.parent.glob(pattern)):
                scene = _scene(stage, config.stage_defaults, config_path)
                if scene.name in found and found[scene.name].stage != stage:
                    raise DataError(
                        f"{config_path}: {scene.name} is {found[scene.name].stage} as well as {stage}; "
                        "narrow the patterns under stages.paths"
                    )
                found[scene.name] = scene
    return found


def find_scene(scene_id: str, config_path: Path) -> SceneFiles:
    """`scene_id` as `TEEsavR23oF`, `00800-TEEsavR23oF` or an episode's `hm3d/val/…/TEEsavR23oF.basis.glb`.

    Raises DataError naming the nearest scene where there is none.
    """
    scenes = list_scenes(config_path)
    last = PurePosixPath(scene_id).name
    name = last.split(".")[0]
    number, _, short = name.partition("-")
    for candidate in (name, short if number.isdecimal() else ""):
        if candidate in scenes:
            return scenes[candidate]
    raise DataError(
        f"{config_path} finds no scene {shown(scene_id)}; {name_hint(name, scenes)}; "
        "docs/indoor_data.md says where HM3D's folders go"
    )


def _scene(stage: Path, attributes: StageAttributes, config_path: Path) -> SceneFiles:
    # Habitat takes two endings off: X.basis.glb -> X.
    name = stage.name.rsplit(".", 1)[0]
    name = name.rsplit(".", 1)[0]
    basis = stage.name.rsplit(".", 1)[0]
    navmesh = stage.with_name(f"{basis}.navmesh")
    if attributes.nav_asset is not None:
        navmesh = _beside(stage, attributes.nav_asset, name, config_path)
    return SceneFiles(
        name=name,
        stage=stage,
        navmesh=_there(navmesh),
        semantic_mesh=_named(stage, attributes.semantic_asset, name, config_path),
        semantic_txt=_named(stage, attributes.semantic_descriptor_filename, name, config_path),
    )


def _named(stage: Path, file_name: str | None, name: str, config_path: Path) -> Path | None:
    return None if file_name is None else _there(_beside(stage, file_name, name, config_path))


def _beside(stage: Path, file_name: str, name: str, config_path: Path) -> Path:
    filled = file_name.replace(PLACEHOLDER, name)
    if "/" in filled or "\\" in filled or "\0" in filled:
        raise DataError(
            f"{config_path}: {shown(file_name)} is no plain file name; expected one such as X.semantic.txt"
        )
    return stage.with_name(filled)


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _pattern(field_: JsonField) -> str:
    pattern = field_.text()
    parts = PurePosixPath(pattern).parts
    if not parts or pattern.startswith("/") or ".." in parts or "**" in pattern or "\0" in pattern:
        raise field_.fault("a pattern below the configuration's own folder, such as '*/*.basis.glb'")
    return pattern


def _bare() -> StageAttributes:
    """Habitat's own defaults: y up and no semantic files."""
    return StageAttributes(
        up=(0.0, 1.0, 0.0),
        front=(0.0, 0.0, -1.0),
        semantic_descriptor_filename=None,
        semantic_asset=None,
        has_semantic_textures=False,
    )


def _attributes(defaults: JsonField) -> StageAttributes:
    bare = _bare()
    up, front, origin = defaults.get("up"), defaults.get("front"), defaults.get("origin")
    textures = optional(defaults.get("has_semantic_textures"), JsonField.flag)
    return StageAttributes(
        up=bare.up if up is None else up.vec3(),
        front=bare.front if front is None else front.vec3(),
        origin=bare.origin if origin is None else origin.vec3(),
        shader_type=optional(defaults.get("shader_type"), JsonField.text) or bare.shader_type,
        semantic_descriptor_filename=optional(defaults.get("semantic_descriptor_filename"), JsonField.text),
        semantic_asset=optional(defaults.get("semantic_asset"), JsonField.text),
        nav_asset=optional(defaults.get("nav_asset"), JsonField.text),
        has_semantic_textures=bool(textures),
        extra=defaults.rest(_ATTRIBUTE_KEYS),
    )


def _others(extra: str) -> dict[str, Json]:
    return dict(json.loads(extra)) if extra else {}
