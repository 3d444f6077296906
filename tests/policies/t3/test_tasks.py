import numpy as np
import pytest

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.t3.config import PUBLISHED_HEADS
from sinew_policies.t3.tasks import TASKS, class_id, pair_labels, pose, position_mm, rolled, task_of, variance

POSE = {"x_mm": 1.0, "y_mm": -2, "z_mm": 0.5, "quat_xyzw": [0.0, 0.0, 0.0, 1.0]}


def test_every_supervised_head_has_a_task() -> None:
    assert set(TASKS) == set(PUBLISHED_HEADS) - {"mae_recon_single"}
    for name, task in TASKS.items():
        assert task.paired == PUBLISHED_HEADS[name].two_towers


@pytest.mark.parametrize(
    ("head", "fields", "expected"),
    [
        ("cls_touch_and_go", {"contact_class": -2}, 0),
        ("cls_touch_and_go", {"contact_class": 19}, 21),
        ("cls_yuan18_textile_type", {"textile_type": 3}, 3),
        ("cls_yuan18_textile_type", {"taxtile_type": 4}, 4),
        ("cls_yuan18_smoothness", {"smoothness": 4.0}, 4),
        ("cls_objectfolder", {"material_idx": 99}, 99),
        ("cls_cnc", {"obj_idx": 5}, 5),
    ],
)
def test_class_ids(head: str, fields: dict[str, object], expected: int) -> None:
    assert class_id(head, fields, "s") == expected


def test_named_classes_have_no_contact_first() -> None:
    classes = ("no_contact", "ball", "cup")
    assert class_id("cls_calandra17", {"has_contact": True, "object_name": "cup"}, "s", classes) == 2
    assert class_id("cls_calandra17", {"has_contact": False, "object_name": "cup"}, "s", classes) == 0
    with pytest.raises(DataError, match=r"s: unknown object_name; did you mean 'cup'\?"):
        class_id("cls_calandra17", {"has_contact": True, "object_name": "cups"}, "s", classes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"press-7 has no field 'obj_idx', only: \(none\)"),
        ({"obj_idx": 6}, r"press-7: obj_idx is 6; expected for cls_cnc a whole number 0\.\.5"),
        ({"obj_idx": -1}, "obj_idx is -1"),
        ({"obj_idx": 1.5}, "obj_idx is 1.5"),
        ({"obj_idx": "2"}, "obj_idx is '2'; expected a number"),
        ({"obj_idx": True}, "expected a number"),
        ({"obj_idx": 10**400}, "expected a finite number"),
    ],
)
def test_a_wrong_class_names_sample_and_field(fields: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        class_id("cls_cnc", fields, "press-7")


def test_poses_and_variance() -> None:
    np.testing.assert_array_equal(pose(POSE, "s"), [1, -2, 0.5, 0, 0, 0, 1])
    np.testing.assert_array_equal(position_mm(POSE, "s"), [1, -2, 0.5])
    assert variance({"vars": 18.5}, "s") == 18.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quat_xyzw": [0, 0, 0]}, "list of four numbers"),
        ({"quat_xyzw": [0, 0, 0, 0]}, "length 0; expected 1"),
        ({"quat_xyzw": "up"}, "list of four numbers"),
        ({"x_mm": None}, "x_mm is None"),
        ({"y_mm": 1e300}, "finite"),
    ],
)
def test_a_wrong_pose_names_sample_and_field(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=rf"press-7.*{message}"):
        pose({**POSE, **change}, "press-7")


def test_pairs_are_the_batch_and_itself_rolled() -> None:
    assert rolled(4, 1).tolist() == [3, 0, 1, 2]
    assert rolled(4, 0).tolist() == [0, 1, 2, 3]


def test_3d_labels_are_other_minus_self() -> None:
    places = np.array([[1.0, 0, 0], [4.0, 2, 0]])
    np.testing.assert_array_equal(pair_labels("pose_3d", places, places[rolled(2, 1)]), [[3, 2, 0], [-3, -2, 0]])


def test_unknown_tasks_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown task 'cls_cn'; did you mean 'cls_cnc'\?"):
        task_of("cls_cn")


def test_long_and_hostile_labels_are_shortened_in_messages() -> None:
    noise = "\x1b[31m" * 1000
    for fields in ({"quat_xyzw": [noise] * 100}, {"quat_xyzw": [noise, 0, 0, 0]}, {noise: 1, "b" * 10_000: 2}):
        with pytest.raises(DataError) as caught:
            pose(fields, "s")
        assert len(str(caught.value)) < 500
        assert str(caught.value).isprintable()
    with pytest.raises(DataError) as caught:
        class_id("cls_cnc", {"obj_idx": 10**4000}, "s")
    assert len(str(caught.value)) < 500
