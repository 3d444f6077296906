"""Weights folders: what is saved comes back; every kind of damage is refused with its name and a remedy."""

import hashlib
import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from sinew_policies.common import checkpoint
from sinew_policies.common.errors import CheckpointError, ConfigError


@dataclass(frozen=True)
class NetConfig:
    width: int = 4
    scales: tuple[float, ...] = (1.0, 2.0)
    cap: int | None = None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"width is {self.width}, expected at least 1")


class OtherConfig(NetConfig):
    pass


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "w", network().state_dict(), NetConfig(width=7, cap=3), "# Card\nseed 0\n")
    return tmp_path / "w"


def test_what_is_saved_comes_back(folder: Path) -> None:
    state, expected = checkpoint.load_state(folder), network().state_dict()
    assert set(state) == set(expected)
    assert all(torch.equal(state[k], expected[k]) and state[k].dtype == expected[k].dtype for k in expected)
    assert checkpoint.load_config(folder, NetConfig) == NetConfig(width=7, cap=3)
    target = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    checkpoint.load_into(target, state, folder)
    assert torch.equal(target[0].weight, expected["0.weight"])


def test_card_and_config_carry_the_same_hash(folder: Path) -> None:
    digest = yaml.safe_load((folder / "config.yaml").read_text())["weights"]["sha256"]
    card = (folder / "card.md").read_text()
    assert card.startswith("# Card\nseed 0\n")
    assert digest in card
    assert sorted(p.name for p in folder.iterdir()) == ["card.md", "config.yaml", "weights.safetensors"]


def test_half_precision_rounds_floats_and_keeps_integers(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, network().state_dict(), NetConfig(), "card", dtype=torch.float16)
    state = checkpoint.load_state(tmp_path)
    assert state["0.weight"].dtype == torch.float16
    assert state["1.num_batches_tracked"].dtype == torch.int64
    target = network()
    checkpoint.load_into(target, state, tmp_path)
    assert target[0].weight.dtype == torch.float32


def test_views_of_one_storage_are_saved(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    checkpoint.save(tmp_path, {"a": base, "b": base.T, "c": base[:, 1]}, NetConfig(), "card")
    state = checkpoint.load_state(tmp_path)
    assert torch.equal(state["b"], base.T)
    assert torch.equal(state["c"], base[:, 1])


def _drop(state: dict[str, Tensor]) -> None:
    del state["0.bias"]


def _add(state: dict[str, Tensor]) -> None:
    state["head.weight"] = torch.zeros(2)


def _reshape(state: dict[str, Tensor]) -> None:
    state["0.weight"] = torch.zeros(4, 5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_drop, "1 missing: 0.bias"),
        (_add, "1 extra: head.weight"),
        (_reshape, "1 mis-shaped: 0.weight is (4, 5), expected (4, 3)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: Callable[[dict[str, Tensor]], None], words: str) -> None:
    target, state = network(), dict(network().state_dict())
    before = {k: v.clone() for k, v in target.state_dict().items()}
    state["1.weight"] = torch.full((4,), 9.0)  # must not arrive when another tensor does not fit
    change(state)
    with pytest.raises(CheckpointError) as e:
        checkpoint.load_into(target, state, "some/folder")
    assert words in str(e.value)
    assert "some/folder" in str(e.value)
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


def test_a_changed_byte_is_found(folder: Path) -> None:
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=r"config\.yaml says [0-9a-f]{64}; the file is damaged"):
        checkpoint.load_state(folder)


class _Bomb:
    fired = False

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return (_fire, ())


def _fire() -> None:
    _Bomb.fired = True


def _pickle_beside(folder: Path) -> None:
    (folder / "optimizer.pkl").write_bytes(pickle.dumps(_Bomb()))


def _pickle_unnamed(folder: Path) -> None:
    (folder / "notes.txt").write_bytes(pickle.dumps(_Bomb()))


def _torch_file(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / "extra.dat")


def _pickle_inside(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(pickle.dumps(_Bomb()))


@pytest.mark.parametrize("plant", [_pickle_beside, _pickle_unnamed, _torch_file, _pickle_inside])
def test_pickles_are_refused_unopened(folder: Path, plant: Callable[[Path], None]) -> None:
    plant(folder)
    _Bomb.fired = False
    with pytest.raises(CheckpointError, match="pickle"):
        checkpoint.load_state(folder)
    assert not _Bomb.fired


def _edit(folder: Path, **values: object) -> None:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"widht": 3}, "did you mean 'width'?"),
        ({"width": "wide"}, "Couldn't parse 'wide' into an int"),
        ({"width": 0}, "width is 0, expected at least 1"),
    ],
)
def test_a_broken_configuration_is_named(folder: Path, config: dict[str, object], words: str) -> None:
    _edit(folder, config=config)
    with pytest.raises(CheckpointError) as e:
        checkpoint.load_config(folder, NetConfig)
    assert words in str(e.value)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="belongs to a NetConfig, expected OtherConfig"):
        checkpoint.load_config(folder, OtherConfig)


def test_unusable_folders_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist; expected a folder with"):
        checkpoint.load_state(tmp_path / "nowhere")
    _edit(folder, format=9)
    with pytest.raises(CheckpointError, match="has format 9, this version reads 1"):
        checkpoint.load_state(folder)
    (folder / "config.yaml").write_text("[1, 2")
    with pytest.raises(CheckpointError, match="not readable YAML"):
        checkpoint.load_state(folder)
    (folder / "config.yaml").write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(CheckpointError, match="not readable YAML"):
        checkpoint.load_state(folder)
    for text in ("[\n" * 5000, "- " * 20_000, "9999-99-99", "!!int ''"):
        (folder / "config.yaml").write_text(text)
        with pytest.raises(CheckpointError, match=r"config\.yaml is not readable YAML"):
            checkpoint.load_state(folder)
    (folder / "config.yaml").write_text("format: 1\n")
    with pytest.raises(CheckpointError, match=r"lacks one of: format, config_type, weights\.sha256"):
        checkpoint.load_state(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks weights\.safetensors; it holds card\.md, config\.yaml"):
        checkpoint.load_state(folder)


def test_nan_weights_are_refused_both_ways(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tensor 'a' holds NaN.*training diverged"):
        checkpoint.save(folder, {"a": torch.tensor([1.0, float("nan")])}, NetConfig(), "card")
    with pytest.raises(CheckpointError, match=r"overflows torch\.float16"):
        checkpoint.save(folder, {"a": torch.tensor([1e6])}, NetConfig(), "card", dtype=torch.float16)
    assert set(checkpoint.load_state(folder)) == set(network().state_dict())  # the old weights are still there

    path = folder / "weights.safetensors"
    save_file({"b": torch.tensor([float("inf")])}, path)
    _edit(folder, weights={"sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    with pytest.raises(CheckpointError, match=r"tensor 'b' in .* holds NaN or infinite"):
        checkpoint.load_state(folder)


def test_a_network_without_dataclass_config_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="config is a dict, expected a dataclass"):
        checkpoint.save(tmp_path, {}, {"width": 1}, "card")


def test_published_files_are_read_without_running_code(tmp_path: Path) -> None:
    state = network().state_dict()
    nested, plain, wrapped = tmp_path / "a.pth", tmp_path / "b.pth", tmp_path / "c.pth"
    torch.save({"epoch": 160, "model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]}}, nested)
    torch.save(state, plain)
    torch.save({f"module.{k}": v for k, v in state.items()}, wrapped)
    for path in (nested, plain, wrapped):
        found = checkpoint.load_published(path)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[k], state[k]) for k in state)


def test_unusable_published_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpoint.load_published(path)
    torch.save({"model": _Bomb()}, path)
    _Bomb.fired = False
    with pytest.raises(CheckpointError, match=r"holds an object of 'tests.*_fire', no state dict"):
        checkpoint.load_published(path)
    assert not _Bomb.fired
    path.write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(CheckpointError, match="not a readable PyTorch file"):
        checkpoint.load_published(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(CheckpointError, match="entry 'epoch' is a int, expected dense tensors by name"):
        checkpoint.load_published(path)
    torch.save([1], path)
    with pytest.raises(CheckpointError, match="holds a list, no state dict"):
        checkpoint.load_published(path)


@pytest.mark.filterwarnings("ignore")
def test_published_files_damaged_anywhere_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"w": torch.zeros(3), "b": torch.ones(2)}, path)
    whole = path.read_bytes()
    start = whole.index(b"\x80\x02")  # the pickle
    for place in range(start, start + 400, 7):
        for value in (0x30, 0x52, 0x65):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            with suppress(CheckpointError):  # some damage leaves readable tensors
                checkpoint.load_published(path)


def test_names_with_control_characters_are_refused_and_shown_escaped(tmp_path: Path) -> None:
    torch.save({"\x1b[31mw": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"named '.x1b\[31mw'") as caught:
        checkpoint.load_published(tmp_path / "x.pth")
    assert str(caught.value).isprintable()


@pytest.mark.filterwarnings("ignore")
def test_tensors_without_values_of_their_own_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    repeated = torch.zeros(1).expand(1_000_000, 1_000_000)
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
    for odd in (torch.eye(3).to_sparse(), torch.zeros(3, device="meta"), repeated, nested):
        torch.save({"good": torch.zeros(1), "odd": odd}, path)
        with pytest.raises(
            CheckpointError,
            match=r"x\.pth: (entry 'odd' is an object .* expected dense|a tensor of shape .* reaches)",
        ):
            checkpoint.load_published(path)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64, torch.uint16])
def test_a_folder_in_other_types_is_refused_by_tensor_and_type(folder: Path, dtype: torch.dtype) -> None:
    replace_weights(folder, {"0.weight": torch.zeros(4, 3).to(dtype)})
    with pytest.raises(
        CheckpointError, match=rf"tensor '0\.weight' in .* is {dtype}; expected one of float64, .*use"
    ):
        checkpoint.load_state(folder)


def test_a_folder_whose_names_could_steer_a_terminal_is_refused(folder: Path) -> None:
    replace_weights(folder, {"\x1b[31mw": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"named '.x1b\[31mw'; expected printable text") as caught:
        checkpoint.load_state(folder)
    assert str(caught.value).isprintable()
    with pytest.raises(CheckpointError, match=r"1 extra: '.x1b\[31mw'"):
        checkpoint.check_fits({"\x1b[31mw": torch.zeros(1)}, {}, "x")


def replace_weights(folder: Path, state: dict[str, Tensor]) -> None:
    path = folder / "weights.safetensors"
    save_file(state, path)
    _edit(folder, weights={"sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
