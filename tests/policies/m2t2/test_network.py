"""The network's published layout, and laws that hold whatever the weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from policies.m2t2.small_networks import LANGUAGE, TINY, cloud, tiny

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.decoder import position_code
from sinew_policies.m2t2.network import M2T2, SceneInput

LAYOUTS = Path(__file__).parents[2] / "data" / "m2t2_state_dict.txt"


def published_layouts() -> list[dict[str, tuple[int, ...]]]:
    """[pick and place, language] from the recorded list of names and shapes."""
    out: list[dict[str, tuple[int, ...]]] = [{}]
    for line in LAYOUTS.read_text().splitlines():
        if line.startswith("#"):
            if out[-1]:
                out.append({})
        elif line.strip():
            name, shape, _ = line.split("\t")
            out[-1][name] = tuple(int(s) for s in shape.strip("()").split(",") if s.strip())
    return out


@pytest.mark.parametrize(("index", "parameters"), [(0, 11_411_857), (1, 7_487_381)])
def test_state_dict_is_the_published_one(index: int, parameters: int) -> None:
    network = M2T2([M2T2Config.published(), M2T2Config.language()][index])
    ours = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    assert ours == published_layouts()[index]
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_shipped_size_fits_16_mib() -> None:
    state = M2T2(M2T2Config.small()).state_dict()
    assert sum(v.numel() * v.element_size() for v in state.values()) < 16 * 2**20


def test_folded_batch_norm_equals_batch_norm() -> None:
    """A BatchNorm that is training uses batch statistics; frozen ones are folded into the weights."""
    network = tiny()
    mlp = network.backbone.SA_modules[0].mlps[0]
    x = torch.randn(1, 3, 50, 1)
    expected = torch.nn.Sequential.forward(mlp, x)[0, :, :, 0].T
    torch.testing.assert_close(mlp(x[0, :, :, 0].T[None])[0], expected, atol=1e-5, rtol=1e-5)


def test_training_batch_norm_equals_plain_modules() -> None:
    mlp = tiny().backbone.FP_modules[0].mlp.train()
    x = torch.randn(1, mlp[0].in_channels, 50, 1)
    expected = torch.nn.Sequential.forward(mlp, x)[0, :, :, 0].T
    torch.testing.assert_close(mlp(x[0, :, :, 0].T[None])[0], expected, atol=1e-5, rtol=1e-5)


def test_grouping_by_rows_equals_grouping_then_mlp() -> None:
    """The first layer's feature part is applied before grouping; the result must not change."""
    network = tiny()
    mlp = network.backbone.SA_modules[1].mlps[0]
    features = torch.randn(1, 40, mlp[0].in_channels - 3)
    offsets, idx = torch.randn(1, 7, 5, 3), torch.randint(0, 40, (1, 7, 5))
    grouped = torch.cat([offsets, features[0][idx[0]][None]], -1)  # (1, 7, 5, C)
    expected = torch.nn.Sequential.forward(mlp, grouped.permute(0, 3, 1, 2)).amax(3)[0].T
    torch.testing.assert_close(mlp.grouped(offsets, features, idx)[0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_batch_items_do_not_mix() -> None:
    network, xyz = tiny(), cloud(batch=3)
    together = network(SceneInput(xyz)).decoder.predictions[-1]
    for i in range(3):
        alone = network(SceneInput(xyz[i : i + 1])).decoder.predictions[-1]
        torch.testing.assert_close(alone.grasp_masks[0], together.grasp_masks[i], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone.objectness[0], together.objectness[i], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_encoder_ignores_translation() -> None:
    """Grouped coordinates are relative, so without the centroid rule only positions in the cloud matter."""
    network = tiny(replace(TINY, compat=False))
    near = network(SceneInput(cloud())).features[0]
    far = network(SceneInput(cloud() + torch.tensor([2.0, -1.0, 0.5]))).features[0]
    torch.testing.assert_close(near, far, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_skipping_the_held_object_changes_nothing() -> None:
    network, xyz = tiny(), cloud()
    held = torch.rand(1, 64, 3) - 0.5
    skipped = network(SceneInput(xyz, held_xyz=held))
    levels = [f * 0.0 for f in network.object_encoder(None, held)]
    assert [f.shape for f in skipped.held_features] == [f.shape for f in levels]
    assert all(bool((f == 0).all()) for f in skipped.held_features)
    pick = network(SceneInput(xyz, held_xyz=held, is_place=torch.tensor([False])))
    torch.testing.assert_close(pick.decoder.grasp_embedding, skipped.decoder.grasp_embedding)
    place = network(SceneInput(xyz, held_xyz=held, is_place=torch.tensor([True])))
    assert not torch.allclose(place.decoder.grasp_embedding, skipped.decoder.grasp_embedding)


@torch.no_grad()
def test_only_last_prediction_is_the_last_of_all() -> None:
    network, xyz = tiny(), cloud()
    every = network(SceneInput(xyz)).decoder.predictions
    last = network(SceneInput(xyz), all_predictions=False).decoder.predictions
    assert (len(every), len(last)) == (TINY.n_layers + 1, 1)
    torch.testing.assert_close(every[-1].grasp_masks, last[0].grasp_masks)


@pytest.mark.parametrize("compat", [True, False])
def test_position_code_is_finite_everywhere(compat: bool) -> None:
    xyz = torch.tensor([[[0.1, 0.1, 0.1], [0.0, 0.0, 0.0], [0.3, -0.2, 0.1]]])
    code = position_code(xyz, replace(TINY, compat=compat))
    assert code.shape == (1, 3, TINY.token_width)
    assert bool(torch.isfinite(code).all())


def test_published_position_code_cannot_tell_scaled_points_apart_ours_can() -> None:
    xyz = torch.tensor([[[0.1, 0.2, 0.3], [0.2, 0.4, 0.6]]])
    published = position_code(xyz, replace(TINY, compat=True))
    ours = position_code(xyz, replace(TINY, compat=False))
    torch.testing.assert_close(published[0, 0], published[0, 1], atol=1e-4, rtol=0)
    assert not torch.allclose(ours[0, 0], ours[0, 1], atol=0.1)


def test_missing_inputs_are_named() -> None:
    with pytest.raises(DataError, match="held_xyz"):
        tiny()(SceneInput(cloud(), is_place=torch.tensor([True])))
    with pytest.raises(DataError, match="feature channels"):
        tiny(replace(TINY, use_height=True))(SceneInput(cloud()))
    with pytest.raises(DataError, match="text tokens"):
        tiny(replace(TINY, n_text_tokens=3, text_width=8))(SceneInput(cloud()))


@pytest.mark.parametrize(
    "change", [{"token_width": 25}, {"n_points": 100}, {"n_grasp_queries": 0}, {"attended_levels": (5,)}]
)
def test_impossible_configurations_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(TINY, **change)


def test_language_variant_uses_its_text() -> None:
    network = tiny(LANGUAGE)
    with torch.no_grad():
        a, b = (network(SceneInput(cloud(), text=t)) for t in torch.randn(2, 1, 3, 8))
        extras = network.grasp_mlp.extras(a.decoder.grasp_embedding)
    assert a.decoder.predictions[-1].objectness is None
    assert not torch.allclose(a.decoder.grasp_embedding, b.decoder.grasp_embedding)
    assert extras.params.shape == (1, 1, 4)
    assert np.isfinite(extras.release_logit.numpy()).all()
