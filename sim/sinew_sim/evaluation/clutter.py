"""One round of clutter removal with the floating hand (VGN's protocol).

One grasp at a time; the round ends when the workspace is empty or after two failures in a row. Success means
lifted 10 cm and held for a second; the object is then taken away. No executable grasp counts as a failed
attempt. Objects knocked out of the workspace are gone but not cleared.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sinew_policies.common.pointcloud import NETWORK_VIEW, from_depth
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import CameraFrame, Grasp, PointCloud
from sinew_sim.camera.noise import noise_preset
from sinew_sim.evaluation.policies import GraspPolicy, Observation
from sinew_sim.floating.execute import FloatingHand
from sinew_sim.floating.scene import build_scene
from sinew_sim.floating.view import NOMINAL_VIEW, CalibrationError, SceneCamera
from sinew_sim.scenes.make import make_scene
from sinew_sim.scenes.spec import SceneKind, SceneSpec
from sinew_sim.scenes.table import WORKSPACE_HIGH, WORKSPACE_LOW

N_OBJECTS = 5
MAX_CONSECUTIVE_FAILURES = 2
_STRAY_MARGIN_M = 0.05
_SAME_PLACE_M, _SAME_ANGLE_COS = 0.015, np.cos(np.deg2rad(25.0))


@dataclass(frozen=True)
class RoundSpec:
    kind: SceneKind
    seed: int
    index: int
    objects_dir: Path | None = None
    n_objects: int = N_OBJECTS
    noise: str = "stereo"
    split: str = "test"


@dataclass(frozen=True)
class Attempt:
    object_name: str  # what was held or nearest to the grasp, "" when no grasp was found
    family: str
    success: bool
    outcome: str  # success, missed, lost, no_grasp
    collided: bool
    score: float
    stage_ms: tuple[tuple[str, float], ...]
    reason: str = ""  # of a failure, in the task's words; only the whole arm says it


@dataclass(frozen=True)
class RoundResult:
    spec: RoundSpec
    policy: str
    presented: int
    cleared: int
    strays: int
    attempts: tuple[Attempt, ...]


def run_round(spec: RoundSpec, policy: GraspPolicy) -> RoundResult:
    """Plays one round; the same specification and policy give the same result."""
    rng = stream(spec.seed, "round", spec.kind, spec.index)
    made = make_scene(
        SceneSpec(
            spec.kind,
            int(rng.integers(2**31)),
            n_objects=spec.n_objects,
            split=spec.split,  # type: ignore[arg-type]
            objects_dir=spec.objects_dir,
        )
    )
    scene = build_scene(made.objects, made.poses)
    hand = FloatingHand(scene)
    hand.settle()
    attempts: list[Attempt] = []
    failed: list[Grasp] = []
    strays = cleared = consecutive = 0
    with SceneCamera(scene) as camera:
        while any(hand.present) and consecutive < MAX_CONSECUTIVE_FAILURES:
            start = time.perf_counter()
            cloud = _look(camera, hand, spec, rng)
            seen_ms = (time.perf_counter() - start) * 1e3
            proposed = policy.propose(Observation(cloud, hand), int(rng.integers(2**31)))
            total_ms = (time.perf_counter() - start) * 1e3
            stages = (("camera", seen_ms), *proposed.stage_ms, ("proposal", total_ms - seen_ms))
            grasp = next((g for g in proposed.executable if not _tried(g, failed)), None)
            if grasp is None:
                attempts.append(Attempt("", "", False, "no_grasp", False, 0.0, stages))
                consecutive += 1
                continue
            target = _nearest_object(hand, grasp)
            result = hand.execute(grasp.T_base_grasp, grasp.width_m)
            which = result.object_index if result.object_index >= 0 else target
            outcome = "success" if result.success else "lost" if result.lost else "missed"
            attempts.append(
                Attempt(
                    made.objects[which].name,
                    made.objects[which].family,
                    result.success,
                    outcome,
                    result.collided,
                    grasp.score,
                    stages,
                )
            )
            cleared += result.success
            consecutive = 0 if result.success else consecutive + 1
            failed = [] if result.success else [*failed, grasp]
            hand.settle()
            strays += hand.remove_strays(WORKSPACE_LOW - _STRAY_MARGIN_M, WORKSPACE_HIGH + _STRAY_MARGIN_M)
    return RoundResult(spec, policy.name, len(made.objects), cleared, strays, tuple(attempts))


def _look(camera: SceneCamera, hand: FloatingHand, spec: RoundSpec, rng: np.random.Generator) -> PointCloud:
    exposure = camera.expose(hand.data, NOMINAL_VIEW, noise_preset(spec.noise), CalibrationError(), rng)
    black = np.zeros((exposure.model.height, exposure.model.width, 3), np.uint8)
    frame = CameraFrame(0, 0, 0, exposure.model, black, exposure.depth_m, "scene_camera_color_optical_frame")
    return from_depth(frame, exposure.T_assumed, bounds=NETWORK_VIEW)


def _tried(grasp: Grasp, failed: list[Grasp]) -> bool:
    """Whether a grasp like this one just failed; trying it again would fail again."""
    for old in failed:
        moved = np.linalg.norm(grasp.T_base_grasp[:3, 3] - old.T_base_grasp[:3, 3])
        turned = abs(float(grasp.T_base_grasp[:3, 0] @ old.T_base_grasp[:3, 0]))
        if moved < _SAME_PLACE_M and turned > _SAME_ANGLE_COS:
            return True
    return False


def _nearest_object(hand: FloatingHand, grasp: Grasp) -> int:
    """The object still there whose origin is nearest to the contact line's middle."""
    T = grasp.T_base_grasp
    middle = T[:3, 3] + 0.1034 * T[:3, 2]
    there = [i for i, p in enumerate(hand.present) if p]
    distance = [np.linalg.norm(hand.scene.object_pose(hand.data, i)[:3, 3] - middle) for i in there]
    return there[int(np.argmin(distance))]
