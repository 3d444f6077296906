"""semantic.txt, the scene data set configuration and the axes of Habitat."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sinew_policies.common.errors import DataError
from sinew_sim.indoor import axes
from sinew_sim.indoor.scene_dataset import (
    SceneDatasetConfig,
    StageAttributes,
    find_scene,
    list_scenes,
    read_config,
    write_config,
)
from sinew_sim.indoor.semantic_txt import Instance, SemanticScene, read_semantic, write_semantic

_categories = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=12)
_colours = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
_instances = st.lists(
    st.builds(Instance, st.integers(1, 9999), _colours, _categories, st.integers(0, 99)),
    max_size=6,
    unique_by=lambda i: i.id,
)


@given(instances=_instances)
@settings(max_examples=80, deadline=None)
def test_semantic_txt_comes_back(tmp_path_factory: pytest.TempPathFactory, instances: list[Instance]) -> None:
    path = tmp_path_factory.getbasetemp() / "a.semantic.txt"
    scene = SemanticScene(tuple(instances))
    write_semantic(scene, path)
    assert read_semantic(path) == scene


def test_semantic_txt_of_hm3d_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "a.semantic.txt"
    path.write_text(
        'HM3D Semantic Annotations\r\n1,A0b1C2,"dining chair",0\n2,000000,"19" tv, old",3\n\n7,A0B1C2,"chair",0\n'
    )
    scene = read_semantic(path)
    assert scene.instances[0] == Instance(1, (0xA0, 0xB1, 0xC2), "dining chair", 0)
    assert scene.instances[1].category == '19" tv, old'
    assert scene.shared_colours() == ((1, 7),)
    assert scene.by_colour()[0xA0, 0xB1, 0xC2].id == 1
    assert scene.categories() == {"dining chair": 1, '19" tv, old': 1, "chair": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an empty file; expected 'HM3D Semantic Annotations'"),
        ("1,A0B1C2,chair,0", "the first line is '1,A0B1C2,chair,0'"),
        ('HM3D Semantic Annotations\n1,A0B1C2,"chair"', "line 2 is"),
        ('HM3D Semantic Annotations\n1,A0B1C,"chair",0', "line 2: colour is 'A0B1C'; expected six hexadecimal"),
        ('HM3D Semantic Annotations\n1,+0B1C2,"chair",0', "colour is '+0B1C2'"),
        ('HM3D Semantic Annotations\n0,A0B1C2,"chair",0', "line 2: id is '0'; expected a whole number from 1"),
        ('HM3D Semantic Annotations\n٣,A0B1C2,"chair",0', "line 2: id is '٣'"),
        ('HM3D Semantic Annotations\n1,A0B1C2,"chair",-1', "line 2: region is '-1'"),
        ('HM3D Semantic Annotations\n99999999999,A0B1C2,"chair",1', "id is '99999999999'"),
        ('HM3D Semantic Annotations\n1,A0B1C2,"a",0\n1,A0B1C3,"b",0', "line 3: id 1 stands in line 2 already"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.semantic.txt"
    path.write_text(text)
    with pytest.raises(DataError) as fault:
        read_semantic(path)
    assert words in str(fault.value)
    assert str(path) in str(fault.value)


def test_semantic_txt_must_be_text(tmp_path: Path) -> None:
    path = tmp_path / "a.semantic.txt"
    path.write_bytes(b'HM3D Semantic Annotations\n1,A0B1C2,"ch\xe9",0\n')
    with pytest.raises(DataError, match="is not UTF-8 text: byte 38 is 0xe9"):
        read_semantic(path)


def test_a_category_of_two_lines_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has a line break"):
        write_semantic(SemanticScene((Instance(1, (0, 0, 0), "a\nb", 0),)), tmp_path / "a")
    with pytest.raises(DataError, match="expected an id from 1"):
        write_semantic(SemanticScene((Instance(1, (0, 256, 0), "a", 0),)), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_mutated_semantics_and_configurations_end_in_our_errors_only(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = random.Random(seed)
    folder = tmp_path_factory.getbasetemp()
    for name, data, read in (
        ("m.semantic.txt", b'HM3D Semantic Annotations\n1,A0B1C2,"chair",0\n2,A0B1C3,"sofa",1\n', read_semantic),
        ("m.scene_dataset_config.json", json.dumps(HM3D_CONFIG).encode(), list_scenes),
    ):
        mutated = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(mutated))
            mutated[at : at + rng.randint(0, 3)] = bytes(rng.choices(b'",/.*\x00\xff0[]{}\n9', k=rng.randint(0, 3)))
        path = folder / name
        path.write_bytes(bytes(mutated))
        message = ""
        try:
            read(path)
        except DataError as error:
            message = str(error)
        assert message.isprintable()


HM3D_CONFIG = {
    "stages": {
        "paths": {".glb": ["val/*/*.basis.glb", "train/00861-GLAQ4DNUx5U/GLAQ4DNUx5U.basis.glb"]},
        "default_attributes": {
            "shader_type": "flat",
            "up": [0, 0, 1],
            "front": [0, 1, 0],
            "origin": [0, 0, 0],
            "semantic_descriptor_filename": "%%CONFIG_NAME_AS_ASSET_FILENAME%%.semantic.txt",
            "semantic_asset": "%%CONFIG_NAME_AS_ASSET_FILENAME%%.semantic.glb",
            "has_semantic_textures": True,
            "units_to_meters": 1.0,
        },
    },
    "scene_instances": {"default_attributes": {"default_lighting": "no_lights"}},
}


def _data_set(folder: Path) -> Path:
    scene = folder / "val/00800-TEEsavR23oF"
    scene.mkdir(parents=True)
    for ending in ("basis.glb", "basis.navmesh", "semantic.glb", "semantic.txt"):
        (scene / f"TEEsavR23oF.{ending}").write_bytes(b"")
    bare = folder / "train/00861-GLAQ4DNUx5U"
    bare.mkdir(parents=True)
    (bare / "GLAQ4DNUx5U.basis.glb").write_bytes(b"")
    config = folder / "hm3d_annotated_basis.scene_dataset_config.json"
    config.write_text(json.dumps(HM3D_CONFIG))
    return config


@pytest.mark.parametrize(
    "scene_id", ["TEEsavR23oF", "00800-TEEsavR23oF", "hm3d/val/00800-TEEsavR23oF/TEEsavR23oF.basis.glb"]
)
def test_a_scene_is_found_by_any_of_its_names(tmp_path: Path, scene_id: str) -> None:
    scene = find_scene(scene_id, _data_set(tmp_path))
    folder = tmp_path / "val/00800-TEEsavR23oF"
    assert scene.stage == folder / "TEEsavR23oF.basis.glb"
    assert scene.navmesh == folder / "TEEsavR23oF.basis.navmesh"
    assert scene.semantic_mesh == folder / "TEEsavR23oF.semantic.glb"
    assert scene.semantic_txt == folder / "TEEsavR23oF.semantic.txt"


def test_missing_files_are_none_and_missing_scenes_named(tmp_path: Path) -> None:
    config = _data_set(tmp_path)
    scene = find_scene("GLAQ4DNUx5U", config)
    assert (scene.navmesh, scene.semantic_mesh, scene.semantic_txt) == (None, None, None)
    with pytest.raises(DataError, match="finds no scene 'TEEsavR23oX'; did you mean 'TEEsavR23oF'"):
        find_scene("TEEsavR23oX", config)


def test_two_scenes_of_one_name_are_refused(tmp_path: Path) -> None:
    config = _data_set(tmp_path)
    again = tmp_path / "val/00900-TEEsavR23oF"
    again.mkdir()
    (again / "TEEsavR23oF.basis.glb").write_bytes(b"")
    with pytest.raises(DataError, match="narrow the patterns"):
        list_scenes(config)


def test_the_configuration_comes_back(tmp_path: Path) -> None:
    config = read_config(_data_set(tmp_path))
    assert config.stage_defaults.up == (0.0, 0.0, 1.0)
    assert json.loads(config.stage_defaults.extra) == {"units_to_meters": 1.0}
    for each in (
        config,
        SceneDatasetConfig(),
        SceneDatasetConfig({".glb": ()}, StageAttributes(nav_asset="a.navmesh")),
    ):
        write_config(each, tmp_path / "b.scene_dataset_config.json")
        assert read_config(tmp_path / "b.scene_dataset_config.json") == each


@pytest.mark.parametrize("pattern", ["/etc/*", "../*.glb", "**/*.glb", "", "a\0b"])
def test_patterns_stay_below_the_configuration(tmp_path: Path, pattern: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"stages": {"paths": {".glb": [pattern]}}}))
    with pytest.raises(DataError, match=r"stages\.paths\[?.*\.glb.*\]\[0\] is .*a pattern below"):
        read_config(path)


def test_asset_names_stay_beside_the_mesh(tmp_path: Path) -> None:
    config = _data_set(tmp_path)
    content = json.loads(config.read_text())
    content["stages"]["default_attributes"]["semantic_asset"] = "../../%%CONFIG_NAME_AS_ASSET_FILENAME%%"
    config.write_text(json.dumps(content))
    with pytest.raises(DataError, match="is no plain file name"):
        list_scenes(config)


def test_habitats_axes_become_ours() -> None:
    forward, left, up = [0, 0, -1], [-1, 0, 0], [0, 1, 0]
    np.testing.assert_array_equal(axes.position_to_ros([forward, left, up]), np.eye(3))
    np.testing.assert_array_equal(axes.position_to_ros([1.0, 2.0, 3.0]), [-3.0, -1.0, 2.0])
    np.testing.assert_array_equal(axes.position_to_habitat(axes.position_to_ros([1.0, 2.0, 3.0])), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(axes.asset_to_habitat([[0, 0, 1], [0, 1, 0]]), [up, forward])


@given(st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
@settings(max_examples=50, deadline=None)
def test_orientations_turn_what_positions_turn(q: list[float]) -> None:
    habitat = np.array(q) / np.linalg.norm(q)
    ros = axes.quaternion_to_ros(habitat)
    v = np.array([0.3, -0.7, 1.1])
    turned = axes.position_to_ros(Rotation.from_quat(habitat).apply(v))
    np.testing.assert_allclose(Rotation.from_quat(ros).apply(axes.position_to_ros(v)), turned, atol=1e-9)
    np.testing.assert_allclose(axes.quaternion_to_habitat(ros), habitat, atol=1e-12)


@pytest.mark.parametrize("yaw", [-2.5, -0.4, 0.0, 1.0, 3.0])
@pytest.mark.parametrize("pitch", [-0.6, 0.0, 0.5])
def test_heading_is_yaw_whatever_the_pitch(yaw: float, pitch: float) -> None:
    habitat = (Rotation.from_rotvec([0, yaw, 0]) * Rotation.from_rotvec([pitch, 0, 0])).as_quat()
    assert axes.heading_rad(habitat) == pytest.approx(yaw)
    ros = Rotation.from_quat(axes.quaternion_to_ros(habitat)).apply([1.0, 0.0, 0.0])
    assert np.arctan2(ros[1], ros[0]) == pytest.approx(yaw)
