"""The boxes-against-points check agrees with MuJoCo's own collision test, as far as one camera can see."""

import mujoco
import numpy as np
import pytest

from sinew_policies.common import geometry
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import Grasp
from sinew_policies.m2t2.postprocess import gripper_collision_filter
from sinew_sim.camera.noise import noise_preset
from sinew_sim.floating.antipodal import Surface
from sinew_sim.floating.collision import HandChecker
from sinew_sim.floating.scene import build_scene
from sinew_sim.floating.scene_grasps import find_grasps
from sinew_sim.floating.view import NOMINAL_VIEW, CalibrationError, SceneCamera
from sinew_sim.scenes.make import make_scene
from sinew_sim.scenes.spec import SceneSpec


@pytest.mark.slow
def test_collisions_are_found_in_noisy_clouds() -> None:
    """Geometrically good grasps and disturbed copies of them, in three packed scenes."""
    free_rejected, blocked_rejected = [], []
    for seed in range(3):
        settled = make_scene(SceneSpec("packed", seed, 5, "train"))
        scene = build_scene(settled.objects, settled.poses)
        data = mujoco.MjData(scene.model)
        scene.set_object_poses(data, settled.poses)
        mujoco.mj_forward(scene.model, data)
        g = stream(seed, "grasps")
        surfaces = [Surface(o.vertices, o.faces) for o in settled.objects]
        found = find_grasps(scene, data, surfaces, [None] * 5, 40, g)
        with SceneCamera(scene) as camera:
            xyz = camera.expose(data, NOMINAL_VIEW, noise_preset("stereo"), CalibrationError(), g).xyz
        checker = HandChecker(scene, data)
        for i in found.good():
            T, width_m = found.pose(i), float(found.width_m[i])
            turned = T[:3, :3] @ geometry.rot_z(g.normal(0.0, 0.5)) @ geometry.rot_x(g.normal(0.0, 0.3))
            middle = T[:3, 3] + geometry.HAND_DEPTH_M * T[:3, 2] + g.normal(0.0, 0.01, 3)
            disturbed = geometry.from_rt(turned, middle - geometry.HAND_DEPTH_M * turned[:, 2])
            for pose in (T, disturbed):
                reason = gripper_collision_filter([Grasp(pose, width_m, 1.0, middle)], xyz)[0].rejection
                clearance = checker.sweep_clearance(pose, width_m)
                if clearance >= 0.0:
                    free_rejected.append(reason in ("collision", "table"))
                elif clearance < -0.003:
                    blocked_rejected.append(reason != "")
    assert len(free_rejected) >= 100
    assert len(blocked_rejected) >= 40
    assert np.mean(free_rejected) <= 0.15
    assert np.mean(blocked_rejected) >= 0.75
