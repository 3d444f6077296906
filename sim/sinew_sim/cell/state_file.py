"""One state in shared memory, one writer, many readers: a sequence lock with a checksum.

An ordinary memory-mapped file rather than multiprocessing.shared_memory, whose resource tracker unlinks
the segment when the first reader exits.
"""

import mmap
import os
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64

_MAGIC = b"SINEWST1"
_SEQ = 1  # 8-byte word of the sequence: 0 before the first state, odd while the writer is inside
_CRC = struct.Struct("<I")  # of header and payload
_CRC_START = 16
_HEADER = struct.Struct("<QQqqIIf")  # generation, step, time, monotonic, paused, length of the payload, rtf
_START = 64
_PAYLOAD = _START + _HEADER.size
_CAPACITY = 1 << 16
_PATIENCE_S = 0.5
_MIN_TRIES = 50  # this process, too, may have been away for long


@dataclass(frozen=True)
class WorldState:
    """What a reader needs to draw the world."""

    generation: int  # counts models: another one means that the model file was replaced
    step: int
    time_ns: int  # simulated
    mono_ns: int  # time.monotonic_ns() of the writing
    paused: bool
    real_time_factor: float  # NaN when unknown
    qpos: F64  # (nq,)


class StateWriter:
    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, _CAPACITY)
            self._map = mmap.mmap(fd, _CAPACITY)
        finally:
            os.close(fd)
        self._map[: len(_MAGIC)] = _MAGIC
        # One store of eight bytes per assignment. `struct.pack_into` clears its target first and then fills it byte
        # by byte: a reader in between would see sequence 0, as if nothing had ever been written.
        self._words = memoryview(self._map).cast("Q")

    def write(self, state: WorldState) -> None:
        payload = np.ascontiguousarray(state.qpos, np.float64).tobytes()
        if len(payload) > _CAPACITY - _PAYLOAD:
            raise DataError(f"a state of {len(state.qpos)} coordinates does not fit; the most is 8000")
        body = (
            _HEADER.pack(
                state.generation,
                state.step,
                state.time_ns,
                state.mono_ns,
                int(state.paused),
                len(payload),
                state.real_time_factor,
            )
            + payload
        )
        self._words[_SEQ] += 1
        _CRC.pack_into(self._map, _CRC_START, zlib.crc32(body))
        self._map[_START : _START + len(body)] = body
        self._words[_SEQ] += 1

    def close(self) -> None:
        self._words.release()
        self._map.close()


class StateReader:
    def __init__(self, path: Path) -> None:
        self._path = path
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._inode = os.fstat(fd).st_ino
            self._map = mmap.mmap(fd, _CAPACITY, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)
        self._words = memoryview(self._map).cast("Q")

    def is_current(self) -> bool:
        """Whether the path still leads to the file we opened; not so once its writer has started anew."""
        try:
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def read(self) -> WorldState | None:
        """The newest state, None before the first one. Never a mixture of two.

        DataError when the writer died inside a write, or the file is not ours.
        """
        deadline = time.monotonic() + _PATIENCE_S
        tries = 0
        while tries < _MIN_TRIES or time.monotonic() < deadline:
            if tries > 0:
                time.sleep(0.0002)  # the writer may have lost its processor inside a write
            tries += 1
            before = self._words[_SEQ]
            if before == 0:
                return None
            if (magic := self._map[: len(_MAGIC)]) != _MAGIC:
                raise DataError(f"shared state begins with {magic!r}, expected {_MAGIC!r}: another program's file")
            if before % 2:
                continue
            head = self._map[_START:_PAYLOAD]
            generation, step, time_ns, mono_ns, paused, length, rtf = _HEADER.unpack(head)
            payload = self._map[_PAYLOAD : _PAYLOAD + length]
            (crc,) = _CRC.unpack_from(self._map, _CRC_START)
            # The checksum covers what a processor with weak memory order could still reorder.
            if self._words[_SEQ] == before and zlib.crc32(payload, zlib.crc32(head)) == crc:
                qpos = np.frombuffer(payload, np.float64).copy()
                return WorldState(generation, step, time_ns, mono_ns, bool(paused), rtf, qpos)
        raise DataError("shared state stays half written: its writer died in the middle; restart the host")

    def close(self) -> None:
        self._words.release()
        self._map.close()
