import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sinew_policies.common.errors import DataError
from sinew_policies.t3.fota import (
    Sample,
    index_shard,
    key_of,
    open_split,
    read_count,
    write_count,
    write_shard,
)


def image(seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3, y * 4, (x + y + 9 * seed) % 200], axis=2).astype(np.uint8)


def sample(number: int, **labels: object) -> Sample:
    return Sample(f"press-{number:03d}", image(number), {"obj_idx": number, **labels})


def write_split(folder: Path, per_shard: int = 3, shards: int = 2) -> Path:
    for number in range(shards):
        write_shard(folder, number, [sample(number * per_shard + i) for i in range(per_shard)])
    write_count(folder, per_shard * shards)
    return folder


def jpeg(array: np.ndarray | None = None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image() if array is None else array).save(buffer, "JPEG")
    return buffer.getvalue()


def tar_of(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    split = open_split(write_split(tmp_path / "train"))
    assert len(split) == 6
    for number in (5, 0, 3):
        read = split[number]
        assert read.key == f"press-{number:03d}"
        assert read.labels == {"obj_idx": number} == split.labels(number)
        assert np.abs(read.image.astype(int) - image(number)).mean() < 2.0  # JPEG
    assert (tmp_path / "train/count.txt").read_text() == "6\n"
    assert sorted(p.name for p in (tmp_path / "train").iterdir()) == [
        "count.txt",
        "data-000000.tar",
        "data-000001.tar",
    ]


def test_webdataset_reads_our_shards(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    path = write_shard(tmp_path, 0, [sample(i) for i in range(3)])
    read = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [r["__key__"] for r in read] == ["press-000", "press-001", "press-002"]
    assert [json.loads(r["json"])["obj_idx"] for r in read] == [0, 1, 2]
    assert Image.open(io.BytesIO(read[0]["jpg"])).size == (64, 48)


def test_we_read_what_webdataset_writes(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "data-000000.tar")) as sink:
        for i in range(3):
            sink.write({"__key__": f"s{i}", "jpg": image(i), "json": {"vars": 1.5 * i}})
    write_count(tmp_path, 3)
    assert [open_split(tmp_path)[i].labels for i in range(3)] == [{"vars": 0.0}, {"vars": 1.5}, {"vars": 3.0}]


def test_a_sample_without_labels_has_none(tmp_path: Path) -> None:
    tar_of(tmp_path / "data-000000.tar", [("./a.jpg", jpeg())])
    write_count(tmp_path, 1)
    assert open_split(tmp_path)[0].labels == {}


def test_keys_have_no_dots() -> None:
    assert key_of("run.3/frame.0042.jpg") == "frame-0042"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../../evil.jpg", b"x")], r"member '\.\./\.\./evil\.jpg'.*leaves its folder"),
        ([("/etc/passwd.jpg", b"x")], "leaves its folder"),
        ([("a\\b.jpg", b"x")], "leaves its folder"),
        ([("a.pkl", b"x")], r"member 'a\.pkl': expected names such as"),
        ([("noextension", b"x")], "expected names such as"),
        ([("a.jpg", b"")], "empty or cut off"),
        ([("a.json", b"{}")], r"'a\.json' has no image 'a\.jpg'"),
        ([("a.jpg", b"x"), ("a.jpg", b"y")], "two members for the image of 'a'"),
        ([("a.json", b" " * 300_000)], "has 300000 bytes; at most 262144"),
    ],
)
def test_hostile_members_are_refused_by_name(tmp_path: Path, members: list, message: str) -> None:
    path = tar_of(tmp_path / "data-000000.tar", members)
    with pytest.raises(DataError, match=message) as caught:
        index_shard(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "data-000000.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(DataError, match=r"member 'a\.jpg' is a link, device or sparse file"):
        index_shard(path)


@pytest.mark.parametrize("size", [-1, -5, -512])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_negative_size_is_refused(tmp_path: Path, size: int, kind: bytes) -> None:
    path = tar_of(tmp_path / "data-000000.tar", [("a.jpg", b"x"), ("b.jpg", b"x")])
    content = bytearray(path.read_bytes())
    content[124:136] = size.to_bytes(12, "big", signed=True)  # base 256
    content[156:157] = kind
    content[148:156] = b" " * 8
    content[148:156] = f"{sum(content[:512]):06o}\0 ".encode()
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"data-000000\.tar"):
        index_shard(path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_endless_extended_headers_are_refused(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, 13
    block = header.tobuf(tarfile.GNU_FORMAT) + b"13 path=a.jpg".ljust(512, b"\0")
    (tmp_path / "data-000000.tar").write_bytes(block * 3000 + bytes(1024))
    with pytest.raises(DataError, match=r"data-000000\.tar is not a complete tar archive"):
        index_shard(tmp_path / "data-000000.tar")


def test_names_reach_messages_without_control_characters(tmp_path: Path) -> None:
    for name in ("\x1b[31m.pkl", "\udcff\x1b.json"):
        path = tmp_path / "data-000000.tar"
        with tarfile.open(path, "w", errors="surrogateescape") as archive:
            archive.addfile(tarfile.TarInfo(name))
        with pytest.raises(DataError) as caught:
            index_shard(path)
        assert str(caught.value).isprintable()
    tar_of(tmp_path / "data-000000.tar", [("\x1b[31m.jpg", b"no image")])
    write_count(tmp_path, 1)
    with pytest.raises(DataError) as caught:
        open_split(tmp_path)[0]
    assert str(caught.value).isprintable()


def test_a_split_without_samples_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data-000000.tar").write_bytes(bytes(10240))
    write_count(tmp_path, 0)
    with pytest.raises(DataError, match=rf"{tmp_path} holds no samples.*sinew datagen touch"):
        open_split(tmp_path)


def test_a_pipe_in_place_of_a_shard_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data-000000.tar")
    write_count(tmp_path, 1)
    with pytest.raises(DataError, match="is not a regular file"):
        open_split(tmp_path)


def test_a_shard_cut_at_any_place_is_refused(tmp_path: Path) -> None:
    whole = write_shard(tmp_path / "whole", 0, [sample(i) for i in range(3)]).read_bytes()
    used = len(whole.rstrip(b"\0")) // 512 * 512 + 512  # the end mark begins here
    path = tmp_path / "data-000000.tar"
    for end in [*range(0, used + 1, 512), 100, 1000, used - 1]:
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"data-000000\.tar"):
            index_shard(path)


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = write_shard(tmp_path, 0, [sample(i) for i in range(3)])
    content = bytearray(path.read_bytes())
    start = content.index(b"press-001.jpg")
    content[start : start + 5] = b"PRESS"
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"cut off or damaged after member 'press-000'"):
        index_shard(path)


def test_a_compressed_archive_is_never_inflated(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "data-000000.tar", "w:gz") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.size = 5_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(DataError, match="not a complete tar archive"):
        index_shard(tmp_path / "data-000000.tar")


def test_noise_in_place_of_a_shard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data-000000.tar").write_bytes(np.random.default_rng(0).bytes(4096))
    with pytest.raises(DataError, match="not a complete tar archive"):
        index_shard(tmp_path / "data-000000.tar")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04]q\x00.", "image cannot be read"),
        (jpeg()[:-200], "image cannot be read"),
        (jpeg(np.zeros((16, 64, 3), np.uint8)), "64x16; expected sides of 32 to 4096"),
    ],
)
def test_a_bad_image_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    tar_of(tmp_path / "data-000000.tar", [("good.jpg", jpeg()), ("bad.jpg", content)])
    write_count(tmp_path, 2)
    split = open_split(tmp_path)
    split[0]
    with pytest.raises(DataError, match=rf"data-000000\.tar, sample 'bad'.*{message}"):
        split[1]


@pytest.mark.parametrize(("side", "message"), [(0xFFFF, "decompression bomb"), (0x2000, "8192x8192; expected")])
def test_an_image_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int, message: str) -> None:
    bomb = bytearray(jpeg())
    place = bomb.index(b"\xff\xc0")  # start of frame: marker, length, precision, height, width
    bomb[place + 5 : place + 9] = side.to_bytes(2, "big") * 2
    tar_of(tmp_path / "data-000000.tar", [("bad.jpg", bytes(bomb))])
    write_count(tmp_path, 1)
    with pytest.raises(DataError, match=message):
        open_split(tmp_path)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"x_mm": 1', "cannot be read"),
        (b"[1, 2]", "holds a list; expected an object"),
        (b'{"x_mm": NaN}', "NaN is not a finite number"),
        (b'{"x_mm": [1e999]}', "1e999 is not a finite number"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_bad_json_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    tar_of(tmp_path / "data-000000.tar", [("a.jpg", jpeg()), ("a.json", content)])
    write_count(tmp_path, 1)
    split = open_split(tmp_path)
    with pytest.raises(DataError, match=rf"sample 'a'.*{message}"):
        split[0]


def test_a_missing_shard_shows_in_the_count(tmp_path: Path) -> None:
    folder = write_split(tmp_path / "train")
    (folder / "data-000001.tar").unlink()
    with pytest.raises(DataError, match="says 6 samples, but its 1 shards hold 3"):
        open_split(folder)


@pytest.mark.parametrize("text", ["six", "-1", "1e3", "", "9" * 40])
def test_a_count_that_is_no_number_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "count.txt").write_text(text)
    with pytest.raises(DataError, match=r"count\.txt holds .*expected one whole number"):
        read_count(tmp_path)


def test_an_empty_folder_names_the_generator(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no shards.*sinew datagen touch"):
        open_split(tmp_path)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Sample("a.b", image(), {}), "has a dot"),
        (Sample("../a", image(), {}), "dot or a slash"),
        (Sample("press-000", image(), {}), "occurs twice"),
        (Sample("a", image().astype(np.float32), {}), "expected uint8 RGB"),
        (Sample("a", image()[:, :, 0], {}), "expected uint8 RGB"),
        (Sample("a", image(), {"x_mm": float("nan")}), "label x_mm is nan"),
    ],
)
def test_a_refused_sample_leaves_no_shard(tmp_path: Path, bad: Sample, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_shard(tmp_path, 0, [sample(0), bad])
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_shrinks_while_it_is_used_is_named(tmp_path: Path) -> None:
    split = open_split(write_split(tmp_path / "train"))
    path = tmp_path / "train/data-000001.tar"
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match="sample 'press-005' is cut off: the file became shorter"):
        split[5]
