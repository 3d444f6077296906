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
_SEQ = struct.Struct("<8sQ")  # magic, sequence: odd while the writer is inside
_HEADER = struct.Struct("<QQqqIIIf")  # generation, step, time, monotonic, paused, length, crc, rtf
_START = 64
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
        self._seq = 0

    def write(self, state: WorldState) -> None:
        payload = np.ascontiguousarray(state.qpos, np.float64).tobytes()
        if len(payload) > _CAPACITY - _START - _HEADER.size:
            raise DataError(f"a state of {len(state.qpos)} coordinates does not fit; the most is 8000")
        self._seq += 1
        _SEQ.pack_into(self._map, 0, _MAGIC, self._seq)
        _HEADER.pack_into(
            self._map,
            _SEQ.size,
            state.generation,
            state.step,
            state.time_ns,
            state.mono_ns,
            int(state.paused),
            len(payload),
            zlib.crc32(payload),
            state.real_time_factor,
        )
        self._map[_START + _HEADER.size : _START + _HEADER.size + len(payload)] = payload
        self._seq += 1
        _SEQ.pack_into(self._map, 0, _MAGIC, self._seq)

    def close(self) -> None:
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

    def is_current(self) -> bool:
        """Whether the path still leads to the file we opened; not so once its writer has started anew."""
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
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
            magic, before = _SEQ.unpack_from(self._map, 0)
            if before == 0:
                return None
            if magic != _MAGIC:
                raise DataError(f"shared state begins with {magic!r}, expected {_MAGIC!r}: another program's file")
            if before % 2:
                continue
            head = _HEADER.unpack_from(self._map, _SEQ.size)
            generation, step, time_ns, mono_ns, paused, length, crc, rtf = head
            start = _START + _HEADER.size
            payload = self._map[start : start + length]
            after = _SEQ.unpack_from(self._map, 0)[1]
            # The checksum covers what a processor with weak memory order could still reorder.
            if before == after and zlib.crc32(payload) == crc:
                qpos = np.frombuffer(payload, np.float64).copy()
                return WorldState(generation, step, time_ns, mono_ns, bool(paused), rtf, qpos)
        raise DataError("shared state stays half written: its writer died in the middle; restart the host")

    def close(self) -> None:
        self._map.close()
