from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common.errors import ConfigError
from sinew_policies.t3.fota import open_split
from sinew_policies.t3.sets import open_sets
from sinew_policies.t3.tasks import class_id, pose
from sinew_sim.datagen import touch
from sinew_sim.datagen.touch import TouchDataConfig, generate_touch_data, random_press
from sinew_sim.datagen.touch_command import main
from sinew_sim.touch.gel import reference, sensor_of
from sinew_sim.touch.indenters import PROBES


def config(out: Path, **changes: object) -> TouchDataConfig:
    return replace(TouchDataConfig(out, samples=10, sensors=("wedge",), per_shard=4, seed=3), **changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("touch")
    generate_touch_data(config(out))
    return out


def test_sets_are_complete_and_described(generated: Path) -> None:
    sets = {s.name: s for s in open_sets(generated)}
    assert sorted(sets) == ["gel_wedge_key", "gel_wedge_probe"]
    for data in sets.values():
        assert data.info.sensor == "wedge"
        assert {name: len(split) for name, split in data.splits.items()} == {"train": 8, "val": 2}
        assert data.info.normalisation is not None
        assert data.info.frame_px == (240, 320)
    assert sets["gel_wedge_key"].info.tasks == ("pose_estimation_6d_wedge",)
    assert sets["gel_wedge_key"].info.label_norm is not None
    assert sets["gel_wedge_probe"].info.tasks == ("cls_cnc", "pose_estimation_3d", "variance_estimation")


def test_labels_say_what_was_pressed(generated: Path) -> None:
    rest = reference(sensor_of("wedge")).astype(int)
    for name in ("gel_wedge_probe", "gel_wedge_key"):
        for split in ("train", "val"):
            data = open_split(generated / name / split)
            for i in range(len(data)):
                sample = data[i]
                x, y, z = pose(sample.labels, "s")[:3]
                assert max(abs(x), abs(y)) <= 2.5
                assert -1.1 <= z <= -0.2
                # The centre of what changed lies near the labelled position.
                changed = np.abs(sample.image.astype(int) - rest).max(2) > 40
                rows, columns = np.nonzero(changed)
                centre = (np.array([columns.mean(), rows.mean()]) - [159.5, 119.5]) * 0.05
                assert np.linalg.norm(centre - [x, y]) < 2.0
                if name == "gel_wedge_probe":
                    assert PROBES[class_id("cls_cnc", sample.labels, "s")] == sample.labels["obj"]


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(generated: Path, tmp_path: Path) -> None:
    generate_touch_data(config(tmp_path / "same", workers=2))
    assert contents(tmp_path / "same") == contents(generated)
    generate_touch_data(config(tmp_path / "other", seed=4))
    assert contents(tmp_path / "other") != contents(generated)


def test_an_interrupted_run_goes_on_where_it_was(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    original = touch.make_sample

    def until_the_ninth(touch_set: touch.TouchSet, number: int, c: TouchDataConfig) -> object:
        if len(made) == 9:
            raise KeyboardInterrupt
        made.append(number)
        return original(touch_set, number, c)

    monkeypatch.setattr(touch, "make_sample", until_the_ninth)
    with pytest.raises(KeyboardInterrupt):
        generate_touch_data(config(tmp_path))
    assert not list(tmp_path.rglob("*.partial"))
    monkeypatch.setattr(touch, "make_sample", original)
    damaged = next(tmp_path.rglob("data-000000.tar"))
    damaged.write_bytes(damaged.read_bytes()[:1000])
    generate_touch_data(config(tmp_path))
    assert contents(tmp_path) == contents(generated)


def test_other_settings_are_not_mixed_into_a_folder(generated: Path) -> None:
    with pytest.raises(ConfigError, match="holds touches of other settings"):
        generate_touch_data(config(generated, samples=20))


def test_presses_stay_in_their_ranges() -> None:
    rng = np.random.default_rng(0)
    press = TouchDataConfig(Path()).press
    T = np.stack([random_press(press, rng) for _ in range(500)])
    tilt = np.degrees(np.arccos(T[:, 2, 2]))
    assert 3.8 < tilt.max() <= 4.0 + 1e-6
    turn = np.degrees(np.arctan2(T[:, 1, 0], T[:, 0, 0]))
    assert 19.0 < np.abs(turn).max() < 20.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 0}, "samples is 0; expected 1 or more"),
        ({"samples": 3}, "samples is 3; expected at least 5"),
        ({"seed": -1}, "seed is -1"),
        ({"sensors": ("mini", "digt")}, r"unknown gel sensor 'digt'; did you mean 'digit'\?"),
        ({"objects": ("kye",)}, r"unknown indenter 'kye'; did you mean 'key'\?"),
    ],
)
def test_impossible_settings_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tmp_path / "out", **change)


def test_the_command_writes_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--out", str(tmp_path), "--samples", "5", "--sensors", "mini", "--objects", "corner", "--seed", "1"]
    assert main(words) == 0
    assert "10 touches in 2 sets" in capsys.readouterr().err.replace("\n", " ")
    assert [s.name for s in open_sets(tmp_path)] == ["gel_mini_corner", "gel_mini_probe"]
