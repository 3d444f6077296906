from pathlib import Path

import numpy as np
import pytest
from policies.t3.touch_sets import write_set

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.t3.fota import Sample, write_count, write_shard
from sinew_policies.t3.pose import LabelNorm
from sinew_policies.t3.preprocess import NORMALISATIONS, Normalisation
from sinew_policies.t3.sets import SET_FILE, SetInfo, open_set, open_sets, read_info, write_info


def plain_set(folder: Path, labels: list[dict[str, object]], level: int = 100) -> Path:
    image = np.full((40, 60, 3), (level, 0, 255), np.uint8)
    for split in ("train", "val"):
        write_shard(folder / split, 0, [Sample(f"s{i}", image, fields) for i, fields in enumerate(labels)])
        write_count(folder / split, len(labels))
    return folder


def test_a_description_is_written_and_read_back(tmp_path: Path) -> None:
    info = SetInfo(
        "wedge",
        ("pose_estimation_6d_wedge",),
        Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        LabelNorm((0.0,) * 9, (2.0,) * 9),
        frame_px=(240, 320),
        channel_order="bgr",
        crop_area=(0.5, 1.0),
    )
    write_info(tmp_path, info)
    assert read_info(tmp_path) == info


def test_what_is_absent_is_measured_on_the_training_split(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "key", ("pose_estimation_6d_mini",), 60, 10, indenters=("key",))
    info = open_set(folder).info
    assert info.normalisation is not None
    assert info.label_norm is not None
    images = np.stack([open_set(folder).splits["train"][i].image for i in range(60)]) / 255.0
    np.testing.assert_allclose(info.normalisation.mean, images.mean((0, 1, 2)), atol=0.01)
    assert 1.0 < info.label_norm.std[0] < 3.0  # two uniform ±2.5 mm: 2.04
    assert info.label_norm.mean[3] == pytest.approx(0.97, abs=0.02)
    assert open_set(folder).info == info


def test_names_of_classes_come_from_the_training_split(tmp_path: Path) -> None:
    fields: list[dict[str, object]] = [
        {"has_contact": True, "object_name": "cup"},
        {"has_contact": False, "object_name": "no_contact"},
        {"has_contact": True, "object_name": "ball"},
    ]
    plain_set(tmp_path / "calandra17", fields)
    assert open_set(tmp_path / "calandra17").info.classes == ("no_contact", "ball", "cup")


@pytest.mark.parametrize(
    ("name", "sensor", "tasks", "order"),
    [
        ("cnc_Mini", "mini", ("cls_cnc", "pose_estimation_3d"), "rgb"),
        ("visgel", "gs_green", ("variance_estimation",), "rgb"),
        ("panda_warped_wedge_3_labeled", "wedge", ("pose_estimation_6d_wedge",), "rgb"),
        ("panda_warped_digit_unlabeled", "digit", (), "bgr"),
    ],
)
def test_published_sets_are_known_by_name(
    tmp_path: Path, name: str, sensor: str, tasks: tuple[str, ...], order: str
) -> None:
    info = read_info(tmp_path / name)
    assert (info.sensor, info.tasks, info.channel_order) == (sensor, tasks, order)
    assert info.normalisation == NORMALISATIONS.get(name)
    assert info.crop_and_flip == (name != "visgel")


def test_an_unknown_set_says_what_to_write(tmp_path: Path) -> None:
    plain_set(tmp_path / "mine", [{}])
    with pytest.raises(ConfigError, match=r"'mine' is none of the published.*set\.yaml does not exist; write it"):
        open_sets(tmp_path)


def test_sets_are_found_and_chosen_by_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_info(plain_set(tmp_path / name, [{}]), SetInfo("mini"))
    (tmp_path / "notes").mkdir()
    assert [s.name for s in open_sets(tmp_path)] == ["a", "b"]
    assert [s.name for s in open_sets(tmp_path, ["b"])] == ["b"]
    with pytest.raises(ConfigError, match="has no set c; it holds: a, b"):
        open_sets(tmp_path, ["c"])
    with pytest.raises(ConfigError, match=r"holds: \(none\)"):
        open_sets(tmp_path / "notes")
    with pytest.raises(DataError, match="does not exist; make one with `sinew datagen touch"):
        open_sets(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sensor: mini\ntasks: [cls_cn]", r"unknown task 'cls_cn'; did you mean 'cls_cnc'\?"),
        ("sensr: mini", "there is no setting 'sensr'; did you mean 'sensor'"),
        ("tasks: []", "sensor"),
        ("sensor: mini\nlabel_norm: {mean: [0], std: [0]}", "std over 0"),
        ("sensor: mini\ncrop_area: [0.5, 2]", "crop_area is"),
        ("sensor: [", "is not readable YAML"),
    ],
)
def test_a_wrong_description_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / SET_FILE).write_text(text)
    with pytest.raises((ConfigError, DataError), match=message):
        read_info(tmp_path)


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    folder = plain_set(tmp_path / "mine", [{}, {}])
    write_info(folder, SetInfo("mini", frame_px=(240, 320)))
    with pytest.raises(DataError, match=r"sample 's0'.*40 x 60 .*expected 240 x 320"):
        open_set(folder)
