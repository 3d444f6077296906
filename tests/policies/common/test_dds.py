import os
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinew_policies.common import dds

HELD = "fastdds_00000000000000aa"
LEFT = "fastdds_00000000000000bb"


@given(st.integers(0, 1 << 40))
def test_sixteen_processes_fit_into_the_shared_memory_or_have_the_smallest_segment(free: int) -> None:
    segment = dds.segment_bytes(free)
    assert 1 << 20 <= segment <= dds.SEGMENT_BYTES
    assert segment * 16 <= free or segment == 1 << 20
    assert segment == dds.SEGMENT_BYTES or free < 16 * (dds.SEGMENT_BYTES + (1 << 20))


def test_the_users_own_settings_are_left_alone() -> None:
    own = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "FASTDDS_DEFAULT_PROFILES_FILE": "/my.xml", **_index()}
    assert dds.dds_environment(own) == {}
    assert dds.dds_environment({**_index(), "FASTRTPS_DEFAULT_PROFILES_FILE": "/my.xml"}) == {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"
    }


def test_the_profile_shrinks_with_the_shared_memory() -> None:
    full = Path(dds.dds_environment(_index(), shm_bytes=4 << 30)["FASTDDS_DEFAULT_PROFILES_FILE"])
    small = Path(dds.dds_environment(_index(), shm_bytes=64 << 20)["FASTDDS_DEFAULT_PROFILES_FILE"])
    assert _sizes(full) == (dds.SEGMENT_BYTES, dds.MESSAGE_BYTES)
    assert _sizes(small) == (4 << 20, 1 << 20)


def test_a_domain_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.setattr(dds, "_DOMAINS", range(90, 92))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 7400 + 250 * 90))
        assert {dds.free_domain() for _ in range(5)} == {91}
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    assert dds.free_domain() == 7


def test_only_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    for base in (HELD, LEFT):
        for name in (base, f"{base}_el"):
            _aged(tmp_path / name)
    _aged(tmp_path / "fastdds_port17411")
    _aged(tmp_path / "someone_else")
    (tmp_path / "fastdds_00000000000000cc").touch()  # being made at this moment
    with _another_process(f"import fcntl; f = open('{tmp_path}/{HELD}_el'); fcntl.flock(f, fcntl.LOCK_SH)"):
        assert dds.clean_stale_segments(tmp_path) == 3
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {HELD, f"{HELD}_el", "someone_else", "fastdds_00000000000000cc"}


def test_a_segment_that_a_process_has_mapped_stays(tmp_path: Path) -> None:
    _aged(tmp_path / LEFT)
    with _another_process(f"import mmap; f = open('{tmp_path}/{LEFT}', 'r+b'); m = mmap.mmap(f.fileno(), 8)"):
        assert dds.clean_stale_segments(tmp_path) == 0
    assert dds.clean_stale_segments(tmp_path) == 1


@contextmanager
def _another_process(code: str) -> Iterator[None]:
    """Has run `code` and goes on to live for the time of the block."""
    code += "; print(1, flush=True); import sys; sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.communicate(timeout=10)


def _aged(path: Path) -> None:
    path.write_bytes(b"\0" * 8)
    past = time.time() - 60
    os.utime(path, (past, past))


def _index() -> dict[str, str]:
    return {"AMENT_PREFIX_PATH": os.environ["AMENT_PREFIX_PATH"]}


def _sizes(file: Path) -> tuple[int, int]:
    space = "{http://www.eprosima.com}"
    root = ET.parse(file).getroot()
    found = [int(root.findtext(f".//{space}{tag}") or 0) for tag in ("segment_size", "maxMessageSize")]
    return found[0], found[1]
