"""A grasp is drawn where the camera would see it."""

from pathlib import Path

import numpy as np
from PIL import Image

from sinew_nodes.demo.picture import draw_grasps, side_by_side
from sinew_policies.common.types import CameraModel, Grasp

MODEL = CameraModel(640, 480, 500.0, 500.0, 319.5, 239.5)


def _grasp(z: float) -> Grasp:
    T = np.eye(4)
    T[2, 3] = z
    return Grasp(T, 0.06, 0.9, np.array([0.0, 0.0, z + 0.1]))


def test_a_grasp_on_the_optical_axis_is_drawn_around_the_image_centre() -> None:
    black = np.zeros((480, 640, 3), np.uint8)
    drawn = draw_grasps(black, (_grasp(0.8),), MODEL, np.eye(4))
    v, u = np.nonzero(drawn.any(axis=2))
    # Fingers stand 34 mm off the axis at 0.86..0.90 m: about 500 * 0.034 / 0.86 = 20 pixels.
    assert abs(u.mean() - 319.5) < 2.0
    assert 17 <= u.max() - 319.5 <= 23
    assert abs(v.mean() - 239.5) < 3.0


def test_a_grasp_behind_the_camera_is_not_drawn() -> None:
    black = np.zeros((480, 640, 3), np.uint8)
    assert not draw_grasps(black, (_grasp(-1.0),), MODEL, np.eye(4)).any()


def test_panels_stand_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "run.jpg"
    side_by_side([("before", np.zeros((480, 640, 3), np.uint8))] * 2, path)
    assert Image.open(path).size == (2 * 480 + 6, 386)
