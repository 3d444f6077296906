"""Component folders: ours and published ones, complete or refused."""

import pickle
import shutil
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from policies.t3.small_networks import HEADS, config, images, network

from sinew_policies.common import checkpoint
from sinew_policies.common.errors import CheckpointError, ConfigError
from sinew_policies.t3 import components
from sinew_policies.t3.components import LoadOptions
from sinew_policies.t3.config import HeadConfig
from sinew_policies.t3.network import T3
from sinew_policies.t3.positions import sine_cosine_table

PUBLISHED = {k: HEADS[k] for k in ("cls_cnc", "variance_estimation", "pose_estimation_3d")}


def write_published(root: Path, net: T3) -> Path:
    """The folder as the published code writes it."""
    parts = {f"encoders/{s}": m for s, m in net.encoders.items()} | {"trunk": net.trunk}
    parts |= {f"decoders/{h}": m for h, m in net.decoders.items()}
    for name, module in parts.items():
        file = root / f"{name}.pth"
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(OrderedDict(module.state_dict()), file)
    return root


def same(a: T3, b: T3) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_ours_come_back_whole(tmp_path: Path) -> None:
    net = network()
    components.save(tmp_path / "net", net, "made by a test")
    back = components.load(tmp_path / "net")
    assert same(net, back)
    assert not back.training
    assert (tmp_path / "net" / "encoders" / "mini" / "card.md").read_text().startswith("# Encoder mini")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net"]
    assert {h: back.config.heads[h] for h in HEADS} == HEADS
    with torch.no_grad():
        torch.testing.assert_close(back("mini", "cls_cnc", images(1)), net("mini", "cls_cnc", images(1)))


def test_saving_again_replaces_the_whole_network(tmp_path: Path) -> None:
    components.save(tmp_path / "net", network(), "first")
    second = network(config(sensors=("wedge",)), seed=1)
    components.save(tmp_path / "net", second, "second")
    assert components.contents(tmp_path / "net").sensors == ("wedge",)
    assert same(components.load(tmp_path / "net"), second)


def test_a_network_that_cannot_be_saved_leaves_the_former(tmp_path: Path) -> None:
    net = network()
    components.save(tmp_path / "net", net, "first")
    ill = network(seed=1)
    with torch.no_grad():
        ill.decoders["cls_cnc"].model[0].weight[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="NaN"):
        components.save(tmp_path / "net", ill, "second")
    assert same(components.load(tmp_path / "net"), net)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net"]


def test_a_save_that_was_killed_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    net, ill = network(), network(seed=1)
    components.save(tmp_path / "net", net, "first")
    (tmp_path / "net").rename(tmp_path / ".net.former")  # killed between the two renames of a second save
    (tmp_path / ".net.partial/trunk").mkdir(parents=True)
    with torch.no_grad():
        ill.trunk.norm.weight[0] = float("nan")
    with pytest.raises(CheckpointError, match="NaN"):
        components.save(tmp_path / "net", ill, "third")
    assert same(components.load(tmp_path / "net"), net)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net"]


def test_the_present_folder_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net").mkdir()
    monkeypatch.chdir(tmp_path / "net")
    components.save(".", network(), "x")
    assert components.contents(tmp_path / "net").has_trunk


def test_folders_of_others_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds notes\.txt"):
        components.save(tmp_path, network(), "x")


def test_published_files_tell_their_size(tmp_path: Path) -> None:
    net = network(config(sensors=("digit", "mini"), heads=PUBLISHED, depth=3))
    back = components.load(write_published(tmp_path, net), options=LoadOptions(n_heads=2))
    assert back.config == net.config
    assert same(net, back)


def test_heads_default_to_one_per_64_channels(tmp_path: Path) -> None:
    write_published(tmp_path, network(config(width=128, heads={})))
    assert components.load(tmp_path).config.trunk.n_heads == 2
    write_published(tmp_path, network(config(width=64, heads={})))
    assert components.load(tmp_path).config.trunk.n_heads == 1


def test_fine_tuned_number_of_classes_is_read_from_the_file(tmp_path: Path) -> None:
    net = network(config(heads={"cls_cnc": HeadConfig("mlp", 11), "pose_estimation_3d": HeadConfig("pose", 2)}))
    back = components.load(write_published(tmp_path, net))
    assert back.config.heads["cls_cnc"].n_out == 11
    assert back.config.heads["pose_estimation_3d"].n_out == 2


@pytest.mark.parametrize("kind", ["mae", "cross_mae"])
def test_reconstruction_heads_tell_their_kind(tmp_path: Path, kind: str) -> None:
    heads = {"mae_recon_single": HeadConfig(kind, recon_width=64, recon_depth=2)}
    net = network(config(heads=heads, masking=0.4))
    write_published(tmp_path, net)
    back = components.load(tmp_path, options=LoadOptions(n_heads=2, masking=0.4))
    assert back.config.heads["mae_recon_single"] == heads["mae_recon_single"]
    noise = torch.rand(1, 196, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            back.reconstruct("mini", "mae_recon_single", images(1), noise).patches,
            net.reconstruct("mini", "mae_recon_single", images(1), noise).patches,
        )


def test_encoders_pass_from_reconstruction_to_supervision(tmp_path: Path) -> None:
    heads = {"mae_recon_single": HeadConfig("mae", recon_width=32, recon_depth=1, recon_heads=2)}
    first = network(config(heads=heads, masking=0.4))
    components.save(tmp_path / "stage1", first, "pretrained")
    second = components.load(tmp_path / "stage1")
    assert not second.config.heads  # reconstruction is left behind
    assert second.encoder("mini").config.norm_eps == 1e-6
    assert torch.equal(second.encoder("mini").pos_embed, sine_cosine_table(14, 32))
    assert second.encoder("mini").pos_embed.requires_grad
    third = components.load(tmp_path / "stage1", options=LoadOptions(masking=0.4))
    assert third.encoder("mini").config.norm_eps == 1e-5
    assert not third.encoder("mini").pos_embed.requires_grad
    assert same(third, first)


def test_another_image_size_resizes_positions(tmp_path: Path) -> None:
    write_published(tmp_path, network(config(heads=PUBLISHED)))
    back = components.load(tmp_path, options=LoadOptions(n_heads=2, image_px=320))
    assert back.encoder("mini").pos_embed.shape == (1, 401, 32)
    with torch.no_grad():
        assert back("mini", "pose_estimation_3d", *[torch.zeros(1, 3, 320, 320)] * 2).shape == (1, 3)


def test_missing_components_are_named_and_never_random(tmp_path: Path) -> None:
    write_published(tmp_path, network(config(heads=PUBLISHED)))
    with pytest.raises(
        CheckpointError, match=r"lacks encoders/wedge, decoders/cls_calandra17; it holds encoders digit, mini"
    ):
        components.load(tmp_path, ["mini", "wedge"], ["cls_cnc", "cls_calandra17"])
    (tmp_path / "trunk.pth").unlink()
    with pytest.raises(CheckpointError, match=r"lacks trunk; .* no trunk"):
        components.load(tmp_path)
    shutil.rmtree(tmp_path / "encoders")
    with pytest.raises(CheckpointError, match="lacks trunk"):
        components.load(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        components.load(tmp_path / "nowhere")


def test_components_of_different_widths_are_refused(tmp_path: Path) -> None:
    write_published(tmp_path, network(config(heads=PUBLISHED)))
    wide = write_published(tmp_path / "wide", network(config(width=64, heads=PUBLISHED)))
    shutil.copy(wide / "decoders" / "cls_cnc.pth", tmp_path / "decoders" / "cls_cnc.pth")
    with pytest.raises(CheckpointError, match=r"differ in width: .*trunk 32.*decoders/cls_cnc 64"):
        components.load(tmp_path)
    components.load(tmp_path, heads=["pose_estimation_3d"])
    shutil.copy(wide / "trunk.pth", tmp_path / "trunk.pth")
    with pytest.raises(CheckpointError, match=r"differ in width: encoders/digit 32, encoders/mini 32, trunk 64"):
        components.load(tmp_path, heads=[])


def test_encoders_of_different_depths_are_refused(tmp_path: Path) -> None:
    write_published(tmp_path, network(config(heads={})))
    deep = write_published(tmp_path / "deep", network(config(heads={}, depth=3)))
    shutil.copy(deep / "encoders" / "digit.pth", tmp_path / "encoders" / "digit.pth")
    with pytest.raises(CheckpointError, match=r"differ in depth: encoders/digit 3, encoders/mini 1"):
        components.load(tmp_path)


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_hostile_pickles_are_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_published(tmp_path, network(config(heads=PUBLISHED)))
    (tmp_path / "trunk.pth").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(CheckpointError, match=r"trunk\.pth"):
        components.load(tmp_path)
    torch.save({"w": Hostile()}, tmp_path / "trunk.pth")
    with pytest.raises(CheckpointError, match=r"trunk\.pth: entry 'w' is an object of '__builtin__\.print'"):
        components.load(tmp_path)
    assert "code ran" not in capsys.readouterr().out


def test_damaged_and_misplaced_files_are_refused(tmp_path: Path) -> None:
    write_published(tmp_path, network(config(heads=PUBLISHED)))
    trunk = tmp_path / "trunk.pth"
    whole = trunk.read_bytes()
    trunk.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"trunk\.pth"):
        components.load(tmp_path)
    trunk.write_bytes(whole)
    encoder = tmp_path / "encoders" / "mini.pth"
    good = encoder.read_bytes()
    encoder.write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"encoders/mini.*another component"):
        components.load(tmp_path)
    encoder.write_bytes(good)
    state = torch.load(encoder, weights_only=True)
    state["cls_token"][0, 0, 0] = np.inf
    torch.save(state, encoder)
    with pytest.raises(CheckpointError, match=r"'cls_token' in .*mini\.pth holds NaN"):
        components.load(tmp_path)
    del state["cls_token"]
    torch.save(state, encoder)
    with pytest.raises(CheckpointError, match=r"1 missing: encoders\.mini\.cls_token"):
        components.load(tmp_path)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (torch.int64, "is torch.int64; expected floating point"),
        (torch.bool, "is torch.bool; expected floating point"),
        (torch.float64, ""),
        (torch.float16, ""),
    ],
)
def test_weights_are_floating_point_and_become_float32(tmp_path: Path, dtype: torch.dtype, message: str) -> None:
    net = network(config(heads=PUBLISHED))
    write_published(tmp_path, net)
    for part in ("encoders/mini", "trunk", "decoders/pose_estimation_3d"):
        file = tmp_path / f"{part}.pth"
        whole = file.read_bytes()
        state = torch.load(file, weights_only=True)
        name = next(k for k in state if k.endswith("weight"))
        state[name] = state[name].to(dtype)
        torch.save(state, file)
        if message:
            with pytest.raises(CheckpointError, match=rf"tensor '{name}' in {file} {message}"):
                components.load(tmp_path)
        else:
            loaded = components.load(tmp_path).state_dict()
            assert all(loaded[k].dtype == v.dtype for k, v in net.state_dict().items())
        file.write_bytes(whole)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn])
def test_numbers_that_no_network_is_trained_in_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    write_published(tmp_path, network(config(heads=PUBLISHED)))
    torch.save({"norm.weight": torch.zeros(32).to(dtype)}, tmp_path / "trunk.pth")
    with pytest.raises(CheckpointError, match=r"trunk\.pth holds numbers of type .*; expected one of float64, "):
        components.load(tmp_path)


def test_numbers_beyond_float32_are_refused(tmp_path: Path) -> None:
    write_published(tmp_path, network(config(heads=PUBLISHED)))
    state = torch.load(tmp_path / "trunk.pth", weights_only=True)
    state["norm.weight"] = torch.full((32,), 1e300, dtype=torch.float64)
    torch.save(state, tmp_path / "trunk.pth")
    with pytest.raises(CheckpointError, match=r"'norm\.weight' in .*trunk\.pth holds NaN or infinite"):
        components.load(tmp_path)


def test_another_network_in_a_folder_of_ours_is_refused(tmp_path: Path) -> None:
    net = network(config(sensors=("mini",), heads={}))
    components.save(tmp_path, net, "x")
    checkpoint.save(tmp_path / "encoders" / "mini", net.trunk.state_dict(), net.config.encoder, "x")
    with pytest.raises(CheckpointError, match=r"encoders/mini: tensor 'pos_embed' is missing.*another component"):
        components.load(tmp_path)


@pytest.mark.parametrize(
    ("part", "old", "new", "message"),
    [
        ("encoders/mini", "depth: 1", "depth: 10000000", "encoder depth 10000000; expected 0 to 256"),
        ("encoders/mini", "patch_px: 16", "patch_px: 0", "patch_px 0; expected 1 <= patch_px"),
        ("encoders/mini", "mlp_ratio: 4.0", "mlp_ratio: .nan", "mlp_ratio nan"),
        ("trunk", "depth: 2", "depth: 10000000", "trunk depth 10000000; expected 0 to 256"),
        ("trunk", "depth: 2", "depth: 200", "missing: "),
    ],
)
def test_configurations_out_of_range_are_refused(
    tmp_path: Path, part: str, old: str, new: str, message: str
) -> None:
    components.save(tmp_path, network(config(sensors=("mini",), heads={})), "x")
    file = tmp_path / part / "config.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(CheckpointError, match=message):
        components.load(tmp_path)


def test_twice_the_same_component_is_refused(tmp_path: Path) -> None:
    net = network(config(heads=PUBLISHED))
    components.save(tmp_path / "net", net, "x")
    write_published(tmp_path / "net", net)
    with pytest.raises(CheckpointError, match="both stand in"):
        components.load(tmp_path / "net")


def test_options_that_contradict_are_refused(tmp_path: Path) -> None:
    components.save(tmp_path / "net", network(), "x")
    with pytest.raises(ConfigError, match=r"n_heads is 4, but .* was saved with 2"):
        components.load(tmp_path / "net", options=LoadOptions(n_heads=4))


def test_unpublished_heads_need_their_configuration(tmp_path: Path) -> None:
    heads = {"slip": HeadConfig("mlp", 2, pool="global")}
    write_published(tmp_path, network(config(heads=heads)))
    with pytest.raises(ConfigError, match="'slip' is not one of the published"):
        components.load(tmp_path)
    assert components.load(tmp_path, options=LoadOptions(heads=heads)).config.heads == heads


def test_extending_keeps_what_was_and_adds_what_is_asked() -> None:
    net = network()
    wider = components.extended(
        net, sensors={"svelte": "mini", "finray": None}, heads={"cls_new": HeadConfig("mlp", 4)}
    )
    old, new = net.state_dict(), wider.state_dict()
    assert all(torch.equal(old[k], new[k]) for k in old)
    assert torch.equal(new["encoders.svelte.cls_token"], old["encoders.mini.cls_token"])
    assert not torch.equal(new["encoders.finray.cls_token"], old["encoders.mini.cls_token"])
    assert wider.config.heads["cls_new"].n_out == 4
    again = components.extended(net, sensors={"finray": None})
    assert not torch.equal(
        components.extended(net, sensors={"finray": None}, seed=1).encoders["finray"].cls_token,
        again.encoders["finray"].cls_token,
    )
    with pytest.raises(ConfigError, match="already has mini"):
        components.extended(net, sensors={"mini": None})
    with pytest.raises(ConfigError, match="no encoder for sensor 'gs_green'"):
        components.extended(net, sensors={"svelte": "gs_green"})
