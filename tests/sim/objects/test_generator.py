"""Laws of the generated objects: closed, convex pieces that fill them, holdable, named by their seed alone."""

import subprocess
import sys

import numpy as np
import pytest
import trimesh

from sinew_policies.common.errors import ConfigError
from sinew_sim.objects import generator
from sinew_sim.objects.generator import FAMILIES, TEST_ONLY, TRAIN_FAMILIES, generate, train_pool
from sinew_sim.objects.standing import standing_angle_rad

SAMPLES = 12


@pytest.mark.parametrize("family", FAMILIES)
def test_closed_surface_filled_by_few_convex_pieces(family: str) -> None:
    for i in range(SAMPLES):
        obj = generate(11, i, family, split="test")
        mesh = trimesh.Trimesh(obj.vertices, obj.faces, process=False)
        assert mesh.is_watertight
        assert mesh.is_winding_consistent
        assert mesh.body_count == 1
        assert mesh.volume > 0
        pieces = [trimesh.Trimesh(v, f, process=False) for v, f in obj.hulls]
        assert 1 <= len(pieces) <= 16
        assert all(p.is_watertight for p in pieces)
        # Each piece is convex: MuJoCo, which takes its hull, adds nothing to it.
        for piece in pieces:
            assert piece.convex_hull.volume == pytest.approx(piece.volume, rel=2e-3)
        assert sum(p.volume for p in pieces) == pytest.approx(mesh.volume, rel=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_lie_where_the_surface_is(family: str) -> None:
    obj = generate(12, 3, family, split="test")
    mesh = trimesh.Trimesh(obj.vertices, obj.faces, process=False)
    rng = np.random.default_rng(0)
    points = np.concatenate([v[rng.integers(len(v), size=20)] for v, _ in obj.hulls])
    distance = trimesh.proximity.closest_point(mesh, points)[1]
    inside = mesh.contains(points)
    assert distance[~inside].max(initial=0.0) < 0.0015


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_masses_and_friction_suit_the_gripper(family: str) -> None:
    for i in range(SAMPLES):
        obj = generate(13, i, family, split="test")
        sides = np.sort(obj.extents_m)
        assert 0.01 <= sides[0] <= 0.08
        assert sides[2] <= 0.14
        assert 0.05 <= obj.mass_kg <= 0.8
        assert 0.3 <= obj.friction <= 1.0
        assert all(0.0 <= c <= 1.0 for c in obj.rgba)


@pytest.mark.parametrize("family", FAMILIES)
def test_stands_steadily_about_its_centre_of_mass(family: str) -> None:
    for i in range(SAMPLES):
        obj = generate(14, i, family, split="test")
        com, _ = obj.inertia()
        assert np.abs(com).max() < 1e-9
        assert np.degrees(standing_angle_rad(obj.hull_points)) > 8.0


def test_same_seed_same_object_in_another_process() -> None:
    code = (
        "from sinew_sim.objects.generator import generate\n"
        "print([generate(5, i, split='test').content_hash() for i in range(12)])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == str([generate(5, i, split="test").content_hash() for i in range(12)])


def test_every_object_differs() -> None:
    hashes = [
        generate(s, i, split=split).content_hash() for s in (0, 1) for i in range(24) for split in ("train", "test")
    ]
    assert len(set(hashes)) == len(hashes)


def test_splits_share_neither_objects_nor_held_out_families() -> None:
    train, test = train_pool(7, 40), generator.test_pool(7, 36)
    assert not {o.content_hash() for o in train} & {o.content_hash() for o in test}
    assert {o.family for o in train} == set(TRAIN_FAMILIES)
    assert {o.family for o in test} == set(FAMILIES)
    assert len(TEST_ONLY) >= 2
    assert generator.split_families() == (TRAIN_FAMILIES, TEST_ONLY)


def test_pool_is_a_prefix_of_a_larger_pool() -> None:
    assert [o.name for o in train_pool(3, 4)] == [o.name for o in train_pool(3, 9)][:4]


def test_unknown_family_names_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'bottle'.*cylinder"):
        generate(0, 0, "botle")


def test_held_out_family_refused_for_training() -> None:
    with pytest.raises(ConfigError, match="held out"):
        generate(0, 0, TEST_ONLY[0])


def test_unknown_split_refused() -> None:
    with pytest.raises(ConfigError, match="unknown split 'val'"):
        generate(0, 0, split="val")  # type: ignore[arg-type]
