"""Predictor: same cloud and seed, same grasps; bad clouds and weights are refused with a remedy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sinew_policies.common import checkpoint
from sinew_policies.common.errors import CheckpointError, CloudError, ConfigError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import PointCloud
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.network import M2T2
from sinew_policies.m2t2.predictor import Predictor

SMALL = replace(M2T2Config.small(), n_points=1024, width=0.25, object_threshold=0.0, mask_threshold=0.0)


def cloud(n: int = 5000, frame: str = "base_link") -> PointCloud:
    rng = stream(0, "predictor test")
    xyz = rng.uniform((0.35, -0.15, 0.0), (0.65, 0.15, 0.1), (n, 3)).astype(np.float32)
    return PointCloud(xyz, np.zeros((n, 3), np.uint8), frame, 123)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.random(SMALL, 0)


def test_grasps_are_ranked_rigid_and_refer_to_the_masks(predictor: Predictor) -> None:
    found = predictor.grasps(cloud())
    assert 0 < len(found.grasps) <= 200
    scores = [g.score for g in found.grasps]
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 <= s <= 1.0 for s in scores)
    assert found.cloud is not None
    assert found.masks.shape[1] == len(found.cloud) == SMALL.n_points
    assert (found.frame_id, found.stamp_ns) == ("base_link", 123)
    seen = {tuple(p) for p in found.cloud.xyz.tolist()}
    for g in found.grasps:
        R = g.T_base_grasp[:3, :3]
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-5)
        assert 0 <= g.object_id < len(found.masks)
        assert tuple(np.float32(g.contact).tolist()) in seen
        assert 0.0 < g.width_m < 0.08
    assert {name for name, _ in found.stage_ms} == {"sample", "neighbours", "network", "decode", "rank"}


def test_same_seed_same_grasps(predictor: Predictor) -> None:
    a, b, c = (predictor.grasps(cloud(), seed=s) for s in (3, 3, 4))
    assert [g.score for g in a.grasps] == [g.score for g in b.grasps]
    np.testing.assert_array_equal(a.grasps[0].T_base_grasp, b.grasps[0].T_base_grasp)
    assert [g.score for g in a.grasps] != [g.score for g in c.grasps]


def test_grasps_move_with_the_cloud(predictor: Predictor) -> None:
    """A cloud shifted along the table gives the same grasps, shifted."""
    here = cloud()
    shift = np.array([0.25, -0.125, 0.0], np.float32)
    a, b = predictor.grasps(here), predictor.grasps(replace(here, xyz=here.xyz + shift))
    near = [
        np.linalg.norm(g.T_base_grasp[:3, 3] + shift - h.T_base_grasp[:3, 3])
        for g, h in zip(a.grasps, b.grasps, strict=False)
    ]
    assert np.median(near) < 1e-3


@pytest.mark.parametrize("kind", ["empty", "nan", "tiny", "shape"])
def test_bad_clouds_are_refused(predictor: Predictor, kind: str) -> None:
    xyz = {
        "empty": np.zeros((0, 3), np.float32),
        "nan": np.full((500, 3), np.nan, np.float32),
        "tiny": cloud(5).xyz,
        "shape": np.zeros((500, 2), np.float32),
    }[kind]
    with pytest.raises(CloudError):
        predictor.grasps(PointCloud(xyz, np.zeros((len(xyz), 3), np.uint8), "base_link"))


def test_some_nan_points_are_left_out(predictor: Predictor) -> None:
    good = cloud()
    xyz = good.xyz.copy()
    xyz[::7] = np.nan
    found = predictor.grasps(replace(good, xyz=xyz))
    assert found.cloud is not None
    assert np.isfinite(found.cloud.xyz).all()
    assert all(np.isfinite(g.T_base_grasp).all() for g in found.grasps)


def test_a_million_points_are_fine(predictor: Predictor) -> None:
    assert len(predictor.grasps(cloud(1_000_000)).grasps) > 0


def test_one_point_repeated_is_fine(predictor: Predictor) -> None:
    good = cloud(500)
    predictor.grasps(replace(good, xyz=np.tile(good.xyz[:1], (500, 1))))


def test_weights_folder_round_trip(predictor: Predictor, tmp_path: Path) -> None:
    checkpoint.save(tmp_path, predictor.network.state_dict(), predictor.config, "# test")
    again = Predictor.from_pretrained(tmp_path, device="cpu")
    assert again.config == predictor.config
    assert Predictor.from_pretrained(tmp_path / checkpoint.WEIGHTS, device="cpu").config == predictor.config
    a, b = predictor.grasps(cloud()), again.grasps(cloud())
    assert [g.score for g in a.grasps] == [g.score for g in b.grasps]


def test_half_precision_weights_work(predictor: Predictor, tmp_path: Path) -> None:
    checkpoint.save(tmp_path, predictor.network.state_dict(), predictor.config, "# test", dtype=torch.float16)
    assert len(Predictor.from_pretrained(tmp_path, device="cpu").grasps(cloud()).grasps) > 0


def test_published_file_loads_strictly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = M2T2(M2T2Config.published()).state_dict()
    path = tmp_path / "m2t2.pth"
    torch.save({"epoch": 160, "model": state, "optimizer": {}}, path)
    assert Predictor.from_pretrained(path, device="cpu").config == M2T2Config.published()
    state.pop("transformer.norm.bias")
    torch.save({"epoch": 160, "model": state, "optimizer": {}}, path)
    with pytest.raises(CheckpointError, match=r"transformer\.norm\.bias"):
        Predictor.from_pretrained(path, device="cpu")


def test_wrong_weights_are_refused(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="sinew train m2t2"):
        Predictor.from_pretrained(tmp_path / "nowhere")
    state = dict(predictor.network.state_dict())
    state["point_head.mlp.0.weight"] = state["point_head.mlp.0.weight"][:, :-1]
    checkpoint.save(tmp_path / "shape", state, predictor.config, "# test")
    with pytest.raises(CheckpointError, match=r"point_head\.mlp\.0\.weight"):
        Predictor.from_pretrained(tmp_path / "shape")


def test_unknown_device_and_text_networks_are_refused(predictor: Predictor) -> None:
    with pytest.raises(ConfigError, match="cpu"):
        Predictor(predictor.network, "gpu")
    with pytest.raises(ConfigError, match="text"):
        Predictor.random(replace(M2T2Config.language(), n_points=256, width=0.25))
