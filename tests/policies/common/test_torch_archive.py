"""PyTorch files are read without running what is in them; damaged ones are refused by name."""

import contextlib
import io
import pickle
import re
import zipfile
import zlib
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from sinew_policies.common import inert_pickle
from sinew_policies.common.errors import CheckpointError
from sinew_policies.common.inert_pickle import Inert
from sinew_policies.common.torch_archive import read_archive, tensors_of


class Hostile:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("pwned"),))


class Settings(dict):
    """As a training configuration is pickled: a dict subclass with attributes."""

    def __init__(self) -> None:
        super().__init__(lr=1e-3)
        self.frozen = True


def tensors() -> OrderedDict:
    base = torch.arange(24, dtype=torch.float32).view(4, 6)
    return OrderedDict(
        whole=base,
        turned=base.T,
        part=base[1:3, ::2],
        half=torch.tensor([0.5, -1.5], dtype=torch.float16),
        brain=torch.tensor([0.5, -1.5], dtype=torch.bfloat16),
        counts=torch.tensor(7),
        flags=torch.tensor([True, False]),
        none=torch.zeros(0, 3),
        learnt=torch.nn.Parameter(torch.ones(2)),
    )


def test_tensors_come_back_equal_views_and_types_included(tmp_path: Path) -> None:
    torch.save({"state_dict": tensors(), "step": 3}, tmp_path / "a.pth")
    content = read_archive(tmp_path / "a.pth")
    assert isinstance(content, dict)
    assert content["step"] == 3
    found = tensors_of(content["state_dict"])
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_objects_become_inert_and_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = {
        "config": Settings(),
        "evil": Hostile(),
        "args": Namespace(lr=1),
        "kind": np.dtype("float32"),
        "number": np.float64(2.0),
        "path": Path("/x"),
        "state_dict": {"w": torch.ones(3)},
    }
    torch.save(content, tmp_path / "a.pth")
    found = read_archive(tmp_path / "a.pth")
    assert isinstance(found, dict)
    assert not (tmp_path / "pwned").exists()
    assert isinstance(found["evil"], Inert)
    assert isinstance(found["config"], Inert)
    assert found["config"]["lr"] == 1e-3
    assert found["config"].attributes["frozen"] is True
    assert found["config"].origin.endswith("Settings")
    assert torch.equal(tensors_of(found)["state_dict.w"], torch.ones(3))


def test_a_program_is_read_as_its_numbers(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Sequential(torch.nn.BatchNorm2d(4)))
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.trace(net.eval(), torch.zeros(1, 3, 8, 8)).save(str(tmp_path / "net.pt"))
    found = tensors_of(read_archive(tmp_path / "net.pt"))
    assert found.keys() == net.state_dict().keys()
    for name, tensor in net.state_dict().items():
        assert torch.equal(found[name], tensor), name


def test_a_pickle_cannot_reach_what_it_names(saved: Path) -> None:
    """Attributes set on a class, a recipe or a tensor (opcode BUILD with a slot state) touch nothing of ours."""
    slots = b"N}X\x01\x00\x00\x00xK\x01s\x86b"  # (None, {"x": 1}), then BUILD
    for name in (b"torch\nFloatStorage", b"torch._utils\n_rebuild_tensor_v2", b"collections\nOrderedDict"):
        evil = rewritten(
            saved, saved.with_name("evil.pth"), {"data.pkl": b"\x80\x02c" + name + b"\n" + slots + b"."}
        )
        with contextlib.suppress(CheckpointError):
            read_archive(evil)
    assert not hasattr(torch.float32, "x")
    assert not hasattr(OrderedDict, "x")
    assert not hasattr(Inert, "x")
    assert torch.equal(tensors_of(read_archive(saved))["w"], torch.ones(100))


def rewritten(source: Path, target: Path, change: dict[str, bytes | None], compression: int = 0) -> Path:
    """A copy of a zip with some records replaced (None: left out)."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for info in old.infolist():
            content = change.get(info.filename.split("/", 1)[1], old.read(info))
            if content is not None:
                new.writestr(info.filename, content)
    return target


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.save({"w": torch.ones(100)}, tmp_path / "good.pth")
    return tmp_path / "good.pth"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"data/0": None}, "lacks its record"),
        ({"data/0": b"\0" * 16}, "has 16 bytes, its 100 numbers need 400"),
        ({"data/0": b"\0" * 4000}, "holds 4000 bytes"),
        ({"data.pkl": None}, "without PyTorch's data.pkl"),
        ({"data.pkl": b"\x80\x02}q"}, "not a readable PyTorch file"),
        ({"data.pkl": b"not a pickle"}, "not a readable PyTorch file"),
        ({"data.pkl": b"\x80\x02}p65536\n."}, "holds the instruction PUT, which torch.save does not write"),
        ({"data.pkl": b"\x80\x04\x8f."}, "holds the instruction EMPTY_SET, which torch.save does not write"),
        ({"data.pkl": b"\x80\x02}a."}, "IndexError"),
        ({"data.pkl": b"\x80\x02}(]Nu."}, "has a list as key"),
        ({"data.pkl": b"\x80\x02}(\x8a\x08" + b"\x10" * 8 + b"Nu."}, "has a int as key; expected text or a small"),
    ],
)
def test_damaged_records_are_named(saved: Path, change: dict[str, bytes | None], text: str) -> None:
    with pytest.raises(CheckpointError, match=text):
        read_archive(rewritten(saved, saved.with_name("bad.pth"), change))


def test_compressed_and_truncated_files_are_refused(saved: Path) -> None:
    bomb = rewritten(saved, saved.with_name("bomb.pth"), {}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="PyTorch does not write such files"):
        read_archive(bomb)
    content = saved.read_bytes()
    cut = saved.with_name("cut.pth")
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="download it again"):
        read_archive(cut)


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (90, (100,), (1,)),
        (0, (1 << 16, 1 << 17), (0, 0)),
        (0, (2, 51), (0, 1)),
        (0, (2,), (1 << 62,)),
        (1 << 62, (1,), (1,)),
        (0, (2,), (-1,)),
        (0, (-2,), (1,)),
    ],
)
def test_a_tensor_may_not_reach_beyond_its_numbers(saved: Path, offset: int, shape: tuple, stride: tuple) -> None:
    class Far:
        def __reduce__(self) -> tuple:
            base = torch.ones(100)
            rebuild, (storage, *_), *_ = base.__reduce_ex__(2)
            return rebuild, (storage, offset, shape, stride, False, OrderedDict())

    torch.save({"w": Far()}, saved)
    with pytest.raises(CheckpointError, match=rf"{re.escape(str(shape))} reaches beyond its 100 numbers"):
        read_archive(saved)


def test_endless_nesting_is_refused() -> None:
    deep: dict = {"w": torch.ones(1)}
    for _ in range(200):
        deep = {"a": deep}
    with pytest.raises(CheckpointError, match="nests deeper"):
        tensors_of(deep)
    ring: dict = {"w": torch.ones(1)}
    ring["again"] = ring
    assert list(tensors_of(ring)) == ["w"]
    plain = io.BytesIO(pickle.dumps(1))
    assert not zipfile.is_zipfile(plain)


def test_many_views_of_one_storage_cannot_fill_the_memory(tmp_path: Path) -> None:
    base = torch.zeros(1 << 16)
    torch.save([base.view(1 << 16) for _ in range(3)], tmp_path / "few.pth")
    read_archive(tmp_path / "few.pth")
    torch.save([base.view(1 << 16) for _ in range(8)], tmp_path / "many.pth")
    with pytest.raises(CheckpointError, match="over 4 times the size of the file"):
        read_archive(tmp_path / "many.pth")


def test_objects_of_endless_text_are_not_written_out(saved: Path) -> None:
    deep = shared_pairs()
    name, text = b"ctorch\nFloatStorage\n", b"X\x01\0\0\x000"
    for kind, key in ((deep, text), (name, deep)):
        pid = b"(X\x07\0\0\0storage" + kind + key + text + b"K\x01tQ."
        with pytest.raises(CheckpointError, match="referred to by something else"):
            read_archive(rewritten(saved, saved.with_name("deep.pth"), {"data.pkl": b"\x80\x02" + pid}))


def shared_pairs() -> bytes:
    """Program that leaves a pair of pairs of pairs …, both halves the same object: 2^40 ways to the innermost."""
    return b")q\0" + b"".join(b"h%c\x86q%c" % (k, k + 1) for k in range(40))


def test_keys_that_hash_forever_are_refused(saved: Path) -> None:
    """A hash visits every way to every part: some 10^12 here. Sets and frozen sets hash too."""
    deep = shared_pairs()
    for program in (
        b"}(" + deep + b"Nu.",
        b"}" + deep + b"Ns.",
        b"(" + deep + b"\x91.",
        b"\x8f(" + deep + b"\x90.",
    ):
        with pytest.raises(CheckpointError, match=r"has a \w+ as key|holds the instruction"):
            read_archive(rewritten(saved, saved.with_name("deep.pth"), {"data.pkl": b"\x80\x02" + program}))


def test_a_storage_type_cannot_be_given_a_name_that_hashes_forever(saved: Path) -> None:
    """An object whose attribute 'origin' is such a tuple stands where the type of the numbers belongs."""
    named = b"cx\nY\n)\x81}X\x06\0\0\0origin" + shared_pairs() + b"sb"
    pid = b"(X\x07\0\0\0storage" + named + b"X\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ."
    with pytest.raises(CheckpointError, match=r"numbers of type 'x\.Y'"):
        read_archive(rewritten(saved, saved.with_name("named.pth"), {"data.pkl": b"\x80\x02" + pid}))


@pytest.mark.parametrize("program", [b"N" * 2001, b"ca\nb\n" * 102, b"ca\nb\n" + b"h\0)R" * 101])
def test_endless_programs_are_refused(saved: Path, program: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inert_pickle, "_MAX_INSTRUCTIONS", 2000)
    monkeypatch.setattr(inert_pickle, "_MAX_OBJECTS", 100)
    change = {"data.pkl": b"\x80\x02" + program.replace(b"h", b"q\0h", 1) + b"."}
    with pytest.raises(CheckpointError, match="has over 2000 instructions or 100 objects"):
        read_archive(rewritten(saved, saved.with_name("long.pth"), change))


def test_records_within_records_cannot_fill_the_memory(tmp_path: Path) -> None:
    """A record whose bytes are a record again counts twice; n of them would take n times the file's size."""
    inner = zipfile.ZipInfo("x/data/1")
    numbers = bytes(4 * 2**12)
    inner.file_size = inner.compress_size = len(numbers)
    inner.CRC = zlib.crc32(numbers)
    outer = inner.FileHeader() + numbers
    outer += bytes(-len(outer) % 4)
    torch.save([torch.zeros(len(outer) // 4), torch.zeros(2**12)], tmp_path / "good.pth")
    with zipfile.ZipFile(tmp_path / "good.pth") as good, zipfile.ZipFile(tmp_path / "bad.pth", "w") as bad:
        bad.writestr("x/data.pkl", good.read("good/data.pkl"))
        bad.writestr("x/data/0", outer)
        inner.header_offset = bad.filelist[-1].header_offset + 30 + len("x/data/0")
        bad.filelist.append(inner)
    with zipfile.ZipFile(tmp_path / "bad.pth") as bad:
        assert bad.read("x/data/1") == numbers
    with pytest.raises(CheckpointError, match="or more than the file has"):
        read_archive(tmp_path / "bad.pth")


def test_a_list_of_records_that_fills_the_memory_is_not_read(tmp_path: Path) -> None:
    """60 bytes an entry become a kilobyte in memory."""
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as file:
        file.writestr("a", b"")
    content = (tmp_path / "many.zip").read_bytes()
    start, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    copies = (40 << 20) // (end - start)
    tail = bytearray(content[end:])
    tail[12:16] = ((end - start) * copies).to_bytes(4, "little")
    (tmp_path / "many.pth").write_bytes(content[:start] + content[start:end] * copies + tail)
    with pytest.raises(CheckpointError, match=r"list of records has \d+ bytes, expected at most"):
        read_archive(tmp_path / "many.pth")


def test_containers_that_share_children_are_not_walked_forever() -> None:
    shared: dict = {"w": torch.ones(1)}
    for _ in range(40):
        shared = {"a": shared, "b": shared}
    with pytest.raises(CheckpointError, match="over 100000 entries"):
        tensors_of(shared)
