"""Private folders in which a running world is found by name, and its host known to be alive.

`<base>/sinew-<uid>/<domain>/<world>/` with mode 0700; base is /dev/shm, else the temporary folder, or what
SINEW_RUNTIME_DIR names; domain is ROS_DOMAIN_ID. The host holds an exclusive lock on the file `host` in it
for as long as it lives. The kernel drops the lock however the host dies, so a stale folder is recognised
at once and without trusting process ids.
"""

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sinew_policies.common.errors import ConfigError, DeviceError, NotConnected, name_hint

_MAKING = ".making-"  # no world may be called so
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class HostLock:
    """The host's claim on a world's name; released by `release` or by the end of the process."""

    def __init__(self, folder: Path, fd: int) -> None:
        self.folder = folder
        self._fd = fd

    def release(self) -> None:
        """Removes the folder and gives the name back. A second call does nothing."""
        if self._fd >= 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self._fd)
            self._fd = -1


def claim(world: str) -> HostLock:
    """Takes the name for this process, cleaning away what killed hosts left behind.

    DeviceError when a living host has it.
    """
    folder = world_folder(world)
    domain = folder.parent
    with _guard(domain):
        _remove_dead(domain)
        if folder.exists():
            raise DeviceError(
                f"world '{world}' is already run by process {host_pid(world)} on ROS_DOMAIN_ID {domain.name}; "
                "stop it, or use another domain or world name"
            )
        # Gets its name only once it is locked: who looks meanwhile neither misses the host nor takes its lock.
        making = domain / f"{_MAKING}{world}"
        making.mkdir(mode=0o700)
        fd = os.open(making / "host", os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(fd, str(os.getpid()).encode())
        making.rename(folder)
    return HostLock(folder, fd)


def world_folder(world: str) -> Path:
    """Where the world named `world` is or would be; ConfigError for an unusable name or domain."""
    if not _NAME.fullmatch(world) or world.startswith("."):
        raise ConfigError(f"world name '{world}' is not usable; use up to 64 letters, digits, '_', '-' and '.'")
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    if not domain.isdigit():
        raise ConfigError(f"ROS_DOMAIN_ID is '{domain}'; expected a number from 0 to 232")
    return _private(_private(_base() / f"sinew-{os.getuid()}") / domain) / world


def host_alive(folder: Path) -> bool:
    """Whether a process holds the host's lock of this folder."""
    try:
        fd = os.open(folder / "host", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False  # any other failure, such as too many open files, says nothing about the host
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def host_pid(world: str) -> str:
    """Process id of the host as it wrote it, for messages only; '?' when unknown."""
    try:
        return (world_folder(world) / "host").read_text() or "?"
    except OSError:
        return "?"


def not_running(world: str) -> NotConnected:
    """The error for a world without a living host."""
    folder = world_folder(world)
    running = [p.name for p in folder.parent.iterdir() if p.is_dir() and p.name[0] != "." and host_alive(p)]
    return NotConnected(
        f"no simulation host runs world '{world}' on ROS_DOMAIN_ID {folder.parent.name}; start it, or check the "
        f"name: {name_hint(world, running)}"
    )


def _base() -> Path:
    chosen = os.environ.get("SINEW_RUNTIME_DIR")
    if chosen:
        return Path(chosen)
    shm = Path("/dev/shm")
    return shm if os.access(shm, os.W_OK) else Path(tempfile.gettempdir())


def _private(folder: Path) -> Path:
    """Makes the folder with mode 0700, or checks that nobody else made it for us."""
    try:
        folder.mkdir(mode=0o700, parents=False)
    except FileExistsError:
        info = folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
            raise DeviceError(
                f"runtime folder {folder} is not a private folder of user {os.getuid()}; remove it, or set "
                "SINEW_RUNTIME_DIR to a folder of your own"
            ) from None
    except OSError as fault:
        raise DeviceError(
            f"cannot make the runtime folder {folder}: {fault}; set SINEW_RUNTIME_DIR to a writable folder"
        ) from fault
    return folder


@contextmanager
def _guard(domain: Path) -> Iterator[None]:
    """Serialises claims, so that no folder is seen between its making and its locking."""
    fd = os.open(domain / ".claim", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _remove_dead(domain: Path) -> None:
    for folder in domain.iterdir():
        if folder.is_dir() and not folder.is_symlink() and not host_alive(folder):
            shutil.rmtree(folder, ignore_errors=True)
