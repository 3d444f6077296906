"""Whole files in memory, but never more than was allowed; gzip is unpacked on the way, and bombs are refused."""

import gzip
import os
import zlib
from pathlib import Path

from sinew_policies.common.errors import DataError

MEBIBYTE = 1 << 20


def read_bytes(path: Path, *, max_bytes: int) -> bytes:
    """Content of `path`, unpacked where it is gzip. At most `max_bytes` + 1 are ever held.

    Raises DataError naming the file where it is missing, damaged or larger.
    """
    if path.exists() and not path.is_file():  # a pipe would keep us waiting
        raise DataError(f"{path} is a folder or a device; expected a readable file")
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    data = unpacked.read(max_bytes + 1)
            else:
                data = file.read(max_bytes + 1)
    except FileNotFoundError as fault:
        raise DataError(f"{path} does not exist; docs/indoor_data.md says which file goes where") from fault
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise DataError(f"{path} is damaged or cut short as gzip ({fault}); fetch the file again") from fault
    except OSError as fault:
        raise DataError(f"{path} cannot be read ({fault.strerror}); expected a readable file") from fault
    if len(data) > max_bytes:
        raise DataError(
            f"{path} holds more than {max_bytes} bytes once unpacked; such files of a data set are smaller: "
            "fetch it again, or raise max_bytes if you trust where it came from"
        )
    return data


def decode(data: bytes, path: Path) -> str:
    """UTF-8 text. Raises DataError naming the first byte that is none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise DataError(
            f"{path} is not UTF-8 text: byte {fault.start} is 0x{data[fault.start]:02x}; fetch the file again"
        ) from fault


def write_bytes(path: Path, data: bytes, *, packed: bool = False) -> None:
    """Writes the whole file or nothing. Packed files have no time stamp: the same content gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(gzip.compress(data, compresslevel=6, mtime=0) if packed else data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
