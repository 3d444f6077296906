"""Boxes on a table with analytic grasps: enough to see whether a network learns."""

import numpy as np

from sinew_policies.common.seeds import stream
from sinew_policies.m2t2.sampling import choose_points
from sinew_policies.m2t2.shards import TrainingScene


def box_scene(scene_id: int, n: int = 4096, n_boxes: int = 4) -> TrainingScene:
    """Upright boxes 3-7 cm wide; side faces are contacts of top-down grasps across the box."""
    rng = stream(scene_id, "boxes")
    table = np.column_stack([rng.uniform(-0.15, 0.15, (n, 2)), np.zeros(n)])
    parts = [(table, np.full(n, -1), np.zeros((n, 3)), np.zeros(n))]
    spots = rng.permutation(9)[:n_boxes]
    for i, spot in enumerate(spots):
        size = rng.uniform([0.03, 0.03, 0.04], [0.07, 0.07, 0.12])
        yaw = rng.uniform(0, 2 * np.pi)
        c, s = np.cos(yaw), np.sin(yaw)
        R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        centre = np.array([(spot % 3 - 1) * 0.1, (spot // 3 - 1) * 0.1, size[2] / 2])
        m = n // 3
        face = rng.integers(0, 5, m)  # ±x, ±y, top
        p = rng.uniform(-0.5, 0.5, (m, 3))
        normal = np.zeros((m, 3))
        for f, (axis, sign) in enumerate([(0, 1), (0, -1), (1, 1), (1, -1), (2, 1)]):
            p[face == f, axis] = 0.5 * sign
            normal[face == f, axis] = sign
        side = (face < 4) & (p[:, 2] > 0.0)  # the upper half can be reached
        width = np.where(face < 2, size[0], size[1])
        parts.append(
            ((p * size) @ R.T + centre, np.where(side, i, -1), -normal @ R.T * side[:, None], width * side)
        )
    xyz, label, contact, width = (np.concatenate(x) for x in zip(*parts, strict=True))
    idx = choose_points(xyz.astype(np.float32), n, rng)
    xyz, label, contact, width = xyz[idx], label[idx], contact[idx], width[idx]
    approach = np.where(label[:, None] >= 0, [0.0, 0.0, -1.0], 0.0)
    xyz = xyz + rng.normal(0, 0.0005, xyz.shape) + [0.5, 0, 0]
    return TrainingScene(
        xyz.astype(np.float32),
        label.astype(np.int16),
        label.astype(np.int16),
        contact.astype(np.float32),
        approach.astype(np.float32),
        width.astype(np.float32),
        scene_id,
        0,
    )
