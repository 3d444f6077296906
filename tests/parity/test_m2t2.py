"""M2T2 against recordings of the published network; the cases come from SINEW_ORACLES (see the README there)."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from parity.m2t2_oracle import (
    ATOL,
    FOLDER,
    LOSS_RTOL,
    POSES_MAY_DISAGREE,
    Case,
    case_kinds,
    loss_batch,
    loss_config,
)
from parity.recorded import Arrays, read_arrays

from sinew_policies.m2t2.decode import decode_grasps, decode_placements, kept_queries
from sinew_policies.m2t2.losses import LossResult, m2t2_loss
from sinew_policies.m2t2.neighbours import LevelNeighbours
from sinew_policies.m2t2.network import M2T2, M2T2Output


@cache
def recorded(folder: Path) -> tuple[Case, M2T2, M2T2Output, Arrays]:
    case = Case(folder)
    network = case.network()
    with torch.no_grad():
        output = network(case.scene())
    return case, network, output, read_arrays(folder / "outputs.npz")


def check_indices_are_exact(folder: Path) -> None:
    case, network, output, want = recorded(folder)
    levels: list[LevelNeighbours] = list(output.neighbours.levels)
    held = case.scene().held_xyz
    assert held is not None
    levels += network.object_encoder.levels(held)
    got: dict[str, torch.Tensor] = {}
    for i, level in enumerate(levels):
        got[f"fps_{i}"] = level.centres[0]
        got[f"ball_{2 * i}"] = level.small[0, :: case.strides.ball]
        got[f"ball_{2 * i + 1}"] = level.large[0, :: case.strides.ball]
    for i, table in enumerate(output.neighbours.interpolations[::-1]):
        got[f"nn3_{i}_idx"] = table.idx[0, :: case.strides.nn3]
        np.testing.assert_allclose(table.d2[0, :: case.strides.nn3], want[f"nn3_{i}_d2"], rtol=1e-6, atol=1e-9)
    names = {k for k in want if k.startswith(("fps_", "ball_")) or (k.startswith("nn3_") and k.endswith("_idx"))}
    assert names == set(got)
    for name in sorted(names):
        np.testing.assert_array_equal(got[name].numpy(), want[name], err_msg=name)


def check_features(folder: Path) -> None:
    case, _, output, want = recorded(folder)
    got = {f"feat_res{k}": f[0].T[:, :: case.strides.features[k]] for k, f in enumerate(output.features)}
    first = 5 - len(output.held_features)
    got |= {f"objfeat_res{k}": f[0].T[:, :: case.strides.held] for k, f in enumerate(output.held_features, first)}
    names = {k for k in want if k.startswith(("feat_", "objfeat_"))}
    assert names == set(got)
    for name in sorted(names):
        np.testing.assert_allclose(got[name], want[name], atol=ATOL, rtol=0, err_msg=name)


def check_logits_of_every_layer(folder: Path) -> None:
    case, _, output, want = recorded(folder)
    last = len(output.decoder.predictions) - 1
    got: dict[str, torch.Tensor] = {"final_embed_grasp": output.decoder.grasp_embedding[0]}
    if output.decoder.place_embedding is not None:
        got["final_embed_place"] = output.decoder.place_embedding[0]
    for i, prediction in enumerate(output.decoder.predictions):
        step = case.strides.masks_ends if i in (0, last) else case.strides.masks_between
        got[f"layer{i}_grasping_masks"] = prediction.grasp_masks[0, :, ::step]
        if prediction.place_masks is not None:
            got[f"layer{i}_placement_masks"] = prediction.place_masks[0, :, ::step]
        if prediction.objectness is not None:
            got[f"layer{i}_objectness"] = prediction.objectness[0]
    names = {k for k in want if k.startswith(("layer", "final_embed"))}
    assert names == set(got)
    for name in sorted(names):
        np.testing.assert_allclose(got[name], want[name], atol=ATOL, rtol=0, err_msg=name)
    np.testing.assert_array_equal(output.decoder.blocked_counts[0], want["attn_blocked_count"])


def check_grasps(folder: Path, rule: str) -> None:
    case, network, output, want = recorded(folder)
    if f"kept_{rule}" not in want and network.config.has_objectness:
        pytest.fail(f"the case lacks kept_{rule}")
    odd_only = rule == "official"
    points = torch.from_numpy(case.inputs["points"])
    with torch.no_grad():
        got = decode_grasps(network, output, points, odd_only=odd_only)
    if not network.config.has_objectness:
        rule = "official"  # one query is always kept, under either rule
    else:
        np.testing.assert_array_equal(got.kept, want[f"kept_{rule}"])
    counts = torch.bincount(got.query, minlength=network.config.n_grasp_queries)[got.kept]
    np.testing.assert_array_equal(counts, want[f"grasp_{rule}_counts"])
    check_poses(case, got.poses, got.confidence, want[f"grasp_{rule}_poses"], want[f"grasp_{rule}_conf"])
    cut = slice(case.strides.poses)
    np.testing.assert_allclose(points[got.point][cut], want[f"grasp_{rule}_contacts"], atol=ATOL, rtol=0)


def check_placements(folder: Path) -> None:
    case, _, output, want = recorded(folder)
    t = {k: torch.from_numpy(case.inputs[k]) for k in ("points", "ee_pose", "bottom_center")}
    got = decode_placements(output, t["points"], t["ee_pose"], t["bottom_center"], case.config)
    counts = torch.bincount(got.slot, minlength=case.config.n_place_queries)
    np.testing.assert_array_equal(counts, want["place_counts"])
    check_poses(case, got.poses, got.confidence, want["place_poses"], want["place_conf"])


def check_extra_regressions_of_the_language_variant(folder: Path) -> None:
    _, network, output, want = recorded(folder)
    assert ("params" in want) == (network.config.n_extra_params > 0)
    if network.config.n_extra_params:
        with torch.no_grad():
            extras = network.grasp_mlp.extras(output.decoder.grasp_embedding)
        np.testing.assert_allclose(extras.params, want["params"], atol=ATOL, rtol=0)
        np.testing.assert_allclose(extras.release_logit, want["release"], atol=ATOL, rtol=0)


@cache
def computed_losses(folder: Path, block: str) -> tuple[Case, M2T2, LossResult]:
    case = Case(folder)
    network = case.network().train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()  # recorded with running statistics
    scene, targets = loss_batch(case)
    settings = replace(loss_config(case.raw["loss"]), published_label_order=block == "official")
    result = m2t2_loss(network, network(scene), targets, settings)
    result.total.backward()
    return case, network, result


def check_loss_terms(folder: Path, block: str) -> None:
    _, _, result = computed_losses(folder, block)
    want = json.loads((folder / "losses.json").read_text())[block]
    assert set(result.terms) == set(want["terms"])
    for name, term in want["terms"].items():
        got = result.terms[name]
        assert got.weight == pytest.approx(term["weight"]), name
        assert got.value.item() == pytest.approx(term["value"], rel=LOSS_RTOL), name
    assert result.total.item() == pytest.approx(want["total"], rel=LOSS_RTOL)


def check_matching(folder: Path, block: str) -> None:
    case, _, result = computed_losses(folder, block)
    want = json.loads((folder / "losses.json").read_text())[block]
    n_scenes = len(case.raw["scenes"])
    per_layer = [m.per_scene(n_scenes) for m in result.matchings]
    assert per_layer[0] == want["matched"]
    assert {f"layer{i}/matched_idx": m for i, m in enumerate(per_layer[1:], 1)} == want["matched_per_layer"]
    last = result.matchings[0]
    counts = [result.n_predictions[last.scene == i].tolist() for i in range(n_scenes)]
    assert counts == want["predicted_grasps_per_slot"]


def check_gradients(folder: Path, block: str) -> None:
    _, network, _ = computed_losses(folder, block)
    want = json.loads((folder / "losses.json").read_text())[block]
    norms = json.loads((folder / "gradnorms.json").read_text())[block]
    gradients = {k: p.grad for k, p in network.named_parameters() if p.grad is not None}
    total = float(np.sqrt(sum(float(g.double().square().sum()) for g in gradients.values())))
    assert total == pytest.approx(want["grad_norm"], rel=LOSS_RTOL)
    assert sorted(set(dict(network.named_parameters())) - set(gradients)) == sorted(want["params_without_gradient"])
    assert set(norms) == set(gradients)
    for name, norm in norms.items():
        # Gradients that vanish by symmetry are rounding noise of their surroundings.
        assert gradients[name].norm().item() == pytest.approx(norm, rel=LOSS_RTOL, abs=1e-6 * total), name
    samples = {k: v for k, v in read_arrays(folder / "grad_samples.npz").items() if k.startswith(f"{block}|")}
    assert samples
    for key, sample in samples.items():
        flat = gradients[key.split("|", 1)[1]].flatten()
        got = flat[:: max(1, len(flat) // 64)][:64].numpy()
        scale = np.abs(sample).max()
        np.testing.assert_allclose(got, sample, rtol=LOSS_RTOL, atol=LOSS_RTOL * scale, err_msg=key)


def check_poses(
    case: Case,
    poses: torch.Tensor,
    confidence: torch.Tensor,
    want_poses: NDArray[np.generic],
    want_confidence: NDArray[np.generic],
) -> None:
    cut = slice(case.strides.poses)
    assert len(poses[cut]) == len(want_poses)
    np.testing.assert_allclose(confidence[cut], want_confidence, atol=ATOL, rtol=0)
    off = (np.abs(poses[cut].numpy() - want_poses) > ATOL).any((1, 2))
    assert off.sum() <= POSES_MAY_DISAGREE[case.raw["subsampling"]] * len(off)


CHECKS: dict[str, list[Callable[[Path], None]]] = {
    "inference": [
        check_indices_are_exact,
        check_features,
        check_logits_of_every_layer,
        partial(check_grasps, rule="official"),
        partial(check_grasps, rule="intended"),
        check_placements,
        check_extra_regressions_of_the_language_variant,
    ],
    "loss": [
        partial(check, block=block)
        for block in ("official", "intended")
        for check in (check_loss_terms, check_matching, check_gradients)
    ],
}


def case_id(value: Path | Callable[[Path], None]) -> str:
    if isinstance(value, Path):
        return value.name
    if isinstance(value, partial):
        return "_".join([value.func.__name__, *value.keywords.values()])
    return value.__name__


def test_there_are_cases_and_all_are_of_a_known_kind() -> None:
    kinds = case_kinds()
    assert kinds, f"no case under {FOLDER}"
    assert set(kinds.values()) <= set(CHECKS)


@pytest.mark.parametrize(
    ("folder", "check"),
    [(folder, check) for folder, kind in case_kinds().items() for check in CHECKS.get(kind, [])],
    ids=case_id,
)
def test_case(folder: Path, check: Callable[[Path], None]) -> None:
    check(folder)


def test_keep_rules_differ_in_even_counts_only() -> None:
    objectness, counts = torch.tensor([4.0, 4.0, 4.0, -4.0]), torch.tensor([0, 2, 3, 3])
    assert kept_queries(objectness, counts, 0.5, odd_only=True).tolist() == [2]
    assert kept_queries(objectness, counts, 0.5, odd_only=False).tolist() == [1, 2]
