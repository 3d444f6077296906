"""Rays meet boxes where geometry says."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_sim.maze.boxes import cast, inflated, inside

BOX = np.array([[[1.0, -1.0, 2.0, 1.0]]])


def test_a_ray_stops_at_the_near_face_and_knows_which_axis_it_crossed() -> None:
    directions = np.array([[[1.0, 0.0], [-1.0, 0.0], [1.0, 2.0], [0.0, 1.0]]])
    hits = cast(np.zeros((1, 2)), directions, BOX)
    np.testing.assert_allclose(hits.distance[0], [1.0, np.inf, np.inf, np.inf])
    slanted = cast(np.array([[0.5, -2.0]]), np.array([[[0.6, 0.8]]]), BOX)  # meets z = -1 at x = 1.25
    np.testing.assert_allclose(slanted.distance[0, 0], 1.25)
    assert not slanted.along_x[0, 0]
    assert hits.along_x[0, 0]


def test_the_nearest_of_several_boxes_is_named() -> None:
    boxes = np.array([[[5.0, -1, 6, 1], [2.0, -1, 3, 1], [-3.0, -1, -2, 1]]])
    hits = cast(np.zeros((1, 2)), np.array([[[1.0, 0.0], [-1.0, 0.0]]]), boxes)
    assert hits.box[0].tolist() == [1, 2]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 100_000))
def test_just_before_a_hit_is_outside_and_just_behind_it_inside(seed: int) -> None:
    draw = np.random.default_rng(seed)
    low = draw.uniform(-5, 5, (4, 2))
    boxes = np.column_stack([low, low + draw.uniform(0.2, 2.0, (4, 2))])
    origin = draw.uniform(-6, 6, (1, 2))
    angle = draw.uniform(0, 2 * np.pi, (1, 16))
    directions = np.stack([np.cos(angle), np.sin(angle)], -1)
    hits = cast(origin, directions, boxes[None])
    for d, t, b in zip(directions[0], hits.distance[0], hits.box[0], strict=True):
        if not np.isfinite(t):
            continue
        corner = np.abs(origin[0] + t * d - boxes[b].reshape(2, 2)).max(1).min() < 1e-3
        if not corner:
            assert inside(origin[0] + (t + 1e-6) * d, boxes[b : b + 1])
        assert not inside(origin[0] + (t - 1e-6) * d, boxes[b : b + 1])


def test_a_ray_from_inside_leaves() -> None:
    assert np.isinf(cast(np.array([[1.5, 0.0]]), np.array([[[1.0, 0.0]]]), BOX).distance[0, 0])


def test_boxes_grow_on_every_side() -> None:
    np.testing.assert_allclose(inflated(BOX[0], 0.5), [[0.5, -1.5, 2.5, 1.5]])
    assert inside(np.array([0.6, 0.0]), inflated(BOX[0], 0.5))
    assert not inside(np.array([0.6, 0.0]), BOX[0])
