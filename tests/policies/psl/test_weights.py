"""Published checkpoints and weights folders: strict where training decides, silent about CLIP's second copy."""

from pathlib import Path

import pytest
import torch

from sinew_policies.common.errors import CheckpointError
from sinew_policies.psl.config import PSLConfig
from sinew_policies.psl.network import PSLPolicy
from sinew_policies.psl.weights import load_layout, load_policy, load_state, save_policy, trainable

TINY = PSLConfig.tiny()


class Settings(dict):
    """As the published file carries its training configuration."""


@pytest.fixture(scope="module")
def policy() -> PSLPolicy:
    torch.manual_seed(3)
    return PSLPolicy(TINY).eval()


def published(policy: PSLPolicy, path: Path, **change: torch.Tensor | None) -> Path:
    state = dict(policy.state_dict())
    state |= {f"net.clip.{k}": v for k, v in policy.clip.state_dict().items()}
    for name, tensor in change.items():
        state.pop(name, None)
        if tensor is not None:
            state[name] = tensor
    state = {f"actor_critic.{k}": v for k, v in state.items()}
    torch.save({"state_dict": state, "config": Settings(a=1), "extra_state": {"step": 9}}, path)
    return path


def same(a: PSLPolicy, b: PSLPolicy) -> bool:
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_a_published_checkpoint_loads_with_its_configuration_left_closed(policy: PSLPolicy, tmp_path: Path) -> None:
    found = load_policy(published(policy, tmp_path / "psl.pth"), config=TINY)
    assert same(found, policy)
    assert not found.training
    # Without the observation's copy of CLIP the other one serves; it is the same frozen network.
    half = {k: None for k in policy.state_dict() if k.startswith("net.visual_encoder.")}
    assert same(load_policy(published(policy, tmp_path / "one.pth", **half), config=TINY), policy)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"net.layout_policy_mlp.bias": None}, "1 missing: net.layout_policy_mlp.bias"),
        ({"net.layout_policy_mlb.bias": torch.ones(8)}, "1 extra: net.layout_policy_mlb.bias"),
        ({"critic.fc.weight": torch.ones(1, 7)}, r"critic.fc.weight is \(1, 7\), expected \(1, 24\)"),
        ({"critic.fc.bias": torch.tensor([torch.inf])}, "'critic.fc.bias' in .* NaN or infinite"),
        ({"net.visual_encoder.ln_final.bias": None}, "1 missing: net.visual_encoder.ln_final.bias"),
    ],
)
def test_wrong_names_shapes_and_values_are_refused(
    policy: PSLPolicy, tmp_path: Path, change: dict[str, torch.Tensor | None], text: str
) -> None:
    path = published(policy, tmp_path / "psl.pth", **change)
    with pytest.raises(CheckpointError, match=text):
        load_policy(path, config=TINY)


def test_a_refused_state_changes_nothing(policy: PSLPolicy) -> None:
    torch.manual_seed(4)
    other = PSLPolicy(TINY)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    broken = {**policy.state_dict(), "critic.fc.bias": torch.ones(2)}
    with pytest.raises(CheckpointError, match="mis-shaped"):
        load_state(other, broken, "test")
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())


def test_other_files_are_named(policy: PSLPolicy, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_policy(tmp_path / "none.pth")
    torch.save(policy.state_dict(), tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match="has no 'state_dict'"):
        load_policy(tmp_path / "bare.pth", config=TINY)
    (tmp_path / "old.pth").write_bytes(b"\x80\x02l\n")
    with pytest.raises(CheckpointError, match=r"was saved before torch 1\.6"):
        load_policy(tmp_path / "old.pth")
    with pytest.raises(CheckpointError, match="fit the network"):
        load_policy(published(policy, tmp_path / "tiny.pth"))


def test_a_weights_folder_leaves_clip_to_the_users_file(policy: PSLPolicy, tmp_path: Path) -> None:
    save_policy(tmp_path / "weights", policy, "test")
    with pytest.raises(CheckpointError, match=r"hold no CLIP network; give the path of OpenAI's RN50\.pt"):
        load_policy(tmp_path / "weights")
    torch.save(policy.clip.state_dict(), tmp_path / "clip.pt")
    assert same(load_policy(tmp_path / "weights", clip=tmp_path / "clip.pt"), policy)
    save_policy(tmp_path / "whole", policy, "test", with_clip=True)
    assert same(load_policy(tmp_path / "whole" / "weights.safetensors"), policy)
    assert not any("visual_encoder" in k for k in trainable(policy.state_dict()))


def test_the_layout_starts_from_a_self_supervised_teacher(policy: PSLPolicy, tmp_path: Path) -> None:
    backbone = {f"module.backbone.{k}": v + 1 for k, v in policy.net.layout_encoder.backbone.state_dict().items()}
    torch.save({"teacher": {**backbone, "module.head.weight": torch.ones(2)}, "epoch": 3}, tmp_path / "o.pth")
    torch.manual_seed(5)
    fresh = PSLPolicy(TINY)
    load_layout(fresh, tmp_path / "o.pth")
    for name, tensor in fresh.net.layout_encoder.backbone.state_dict().items():
        assert torch.equal(tensor, backbone[f"module.backbone.{name}"])
    backbone.popitem()
    torch.save({"teacher": backbone}, tmp_path / "short.pth")
    with pytest.raises(CheckpointError, match="1 missing"):
        load_layout(fresh, tmp_path / "short.pth")
    torch.save({"student": backbone}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no sub-dict 'teacher'"):
        load_layout(fresh, tmp_path / "other.pth")
