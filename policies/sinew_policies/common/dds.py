"""The DDS middleware's surroundings: local discovery, shared memory of the right size, a domain of one's own.

By default, messages above half a megabyte between two processes are lost with best-effort delivery, because the
shared-memory segment is that small. The profile of `sinew_bringup` makes it larger; where /dev/shm itself is small
(containers have 64 MB) a copy with smaller figures is written.
"""

import fcntl
import os
import random
import re
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

SEGMENT_BYTES = 64 << 20
"""Segment of one process; it is taken whole from /dev/shm when the process starts."""
MESSAGE_BYTES = 16 << 20

_SHM = Path("/dev/shm")
_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_MIN_SEGMENT_BYTES = 1 << 20
_DOMAINS = range(1, 101)  # above 101 the ports collide with those the system hands out
_PROCESSES = 16
_FRESH_S = 10.0
_OURS = re.compile(r"^(?:sem\.)?((?:fastdds|fastrtps)_(?:port\d+|[0-9a-f]{8,}))(?:_el|_sl|_mutex)?$")


def dds_environment(environment: Mapping[str, str], shm_bytes: int | None = None) -> dict[str, str]:
    """Variables to add to `environment`; what the user has set himself is left alone."""
    added: dict[str, str] = {}
    if not environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE"):
        added["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if not any(environment.get(name) for name in _PROFILE_VARIABLES):
        shipped = _shipped_profile(environment)
        if shipped is not None:
            segment = segment_bytes(shared_memory_free() if shm_bytes is None else shm_bytes)
            file = shipped if segment == SEGMENT_BYTES else _smaller_profile(shipped, segment)
            added[_PROFILE_VARIABLES[0]] = str(file)
    return added


def segment_bytes(free_bytes: int) -> int:
    """Segment size for a shared memory with so much room: a launch and its tools are up to 16 processes."""
    return max(_MIN_SEGMENT_BYTES, min(SEGMENT_BYTES, (free_bytes // _PROCESSES) >> 20 << 20))


def shared_memory_free() -> int:
    """Bytes free in /dev/shm; where there is none, plenty is assumed."""
    try:
        stat = os.statvfs(_SHM)
    except OSError:
        return 4 * SEGMENT_BYTES
    return stat.f_bavail * stat.f_frsize


def free_domain(environment: Mapping[str, str] | None = None) -> int:
    """A ROS_DOMAIN_ID whose discovery port nobody on this machine listens to; the set one where there is one."""
    named = (os.environ if environment is None else environment).get("ROS_DOMAIN_ID")
    if named:
        return int(named)
    for domain in random.sample(_DOMAINS, len(_DOMAINS)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Without address reuse this fails where any participant of the domain has the port open.
                probe.bind(("127.0.0.1", 7400 + 250 * domain))
                return domain
            except OSError:
                continue
    return random.choice(_DOMAINS)


def clean_stale_segments(folder: Path = _SHM) -> int:
    """Removes the shared-memory files that killed processes left behind; returns how many."""
    groups: dict[str, list[Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _OURS.match(path.name)
        if match:
            groups.setdefault(match[1], []).append(path)
    mapped = _mapped_names(folder) if groups else set()
    removed = 0
    for base, paths in groups.items():
        if base in mapped or not all(_abandoned(path) for path in paths):
            continue
        for path in paths:
            try:
                path.unlink()
                removed += 1
            except OSError:
                continue  # another user's, or just gone
    return removed


def _abandoned(path: Path) -> bool:
    try:
        if time.time() - path.stat().st_mtime < _FRESH_S:
            return False
        if not path.name.endswith(("_el", "_sl")):
            return True
        with path.open("rb") as lock:
            # The owner holds this lock for as long as it lives.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def _mapped_names(folder: Path) -> set[str]:
    """Base names of the segments that some process has in its memory or holds open."""
    names: set[str] = set()
    prefix = f"{folder}/"
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines = (process / "maps").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if prefix in line:
                match = _OURS.match(line[line.index(prefix) + len(prefix) :].removesuffix(" (deleted)"))
                if match:
                    names.add(match[1])
    return names


def _shipped_profile(environment: Mapping[str, str]) -> Path | None:
    for entry in environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        file = Path(entry) / "share" / "sinew_bringup" / "config" / "fastdds.xml"
        if entry and file.is_file():
            return file
    return None


def _smaller_profile(shipped: Path, segment: int) -> Path:
    message = min(MESSAGE_BYTES, segment // 4)
    text = (
        shipped.read_text()
        .replace(f">{SEGMENT_BYTES}<", f">{segment}<")
        .replace(f">{MESSAGE_BYTES}<", f">{message}<")
    )
    file = Path(tempfile.gettempdir()) / f"sinew-fastdds-{os.getuid()}-{segment >> 20}.xml"
    if not file.is_file() or file.read_text() != text:
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(text)
        partial.replace(file)
    return file


if __name__ == "__main__":  # for scripts: a domain that is free now
    print(free_domain())
