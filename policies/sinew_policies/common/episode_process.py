"""Reads an episode file in a process of its own, for damaged files kill the process that reads them.

libhdf5 trusts much of a file: a few wrong bytes make it touch memory that is not its own (SIGSEGV), which no
`except` catches. So a short-lived process reads the file and hands plain arrays back, within limits on memory and
time. It starts in about 0.2 s.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from sinew_policies.common.episodes import Episode, EpisodeSet
from sinew_policies.common.errors import DataError

_ARRAYS = ("observations", "actions", "rewards", "successes", "next_observations")
_REFUSED = 3  # exit status: the output is the message of a DataError
_BASE_SECONDS = 60.0
_BYTES_PER_SECOND = 1e6  # a tenth of what a slow disk and gzip manage
_BASE_BYTES = 2 * 1024**3  # Python, NumPy, h5py and their libraries


def read_apart(
    path: Path, mask: str | None, observation_keys: Sequence[str] | None, limit_bytes: int
) -> EpisodeSet:
    """`episode_hdf5.read` in a child process.

    Raises DataError with the child's message, or naming the file where it died, or ran out of time or memory.
    """
    if path.exists() and not path.is_file():  # a pipe would keep us waiting
        raise DataError(f"{path} is a folder or a device; name an HDF5 file of episodes")
    request = json.dumps(
        [str(path), mask, None if observation_keys is None else list(observation_keys), limit_bytes]
    )
    seconds = _BASE_SECONDS + (path.stat().st_size / _BYTES_PER_SECOND if path.exists() else 0.0)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OPENBLAS_NUM_THREADS": "1",  # its threads' stacks count as memory
    }
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", __name__, request],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                env=environment,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as fault:
            raise DataError(
                f"{path}: reading the file took over {seconds:.0f} s; it is damaged; copy or record it again"
            ) from fault
        output.seek(0)
        if done.returncode == _REFUSED:
            raise DataError(output.read().decode("utf-8", "replace"))
        if done.returncode != 0:
            raise DataError(
                f"{path}: the process that read the file ended with {_status(done.returncode)}; the file is "
                "damaged; copy or record it again"
            )
        return _receive(output)


def _status(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def _send(episodes: EpisodeSet, output: IO[bytes]) -> None:
    about = {
        "task": episodes.task,
        "lengths": [e.length for e in episodes.episodes],
        "sources": [e.source for e in episodes.episodes],
        "seeds": [e.seed for e in episodes.episodes],
    }
    np.save(output, np.frombuffer(json.dumps(about).encode(), np.uint8), allow_pickle=False)
    for name in _ARRAYS:  # one after the other, so that only one exists twice
        np.save(output, np.concatenate([getattr(e, name) for e in episodes.episodes]), allow_pickle=False)


def _receive(content: IO[bytes]) -> EpisodeSet:
    about = json.loads(np.load(content, allow_pickle=False).tobytes())
    ends = np.cumsum(about["lengths"])[:-1]
    parts = [np.split(np.load(content, allow_pickle=False), ends) for _ in _ARRAYS]
    episodes = tuple(
        Episode(about["task"], *episode) for episode in zip(*parts, about["sources"], about["seeds"], strict=True)
    )
    return EpisodeSet(about["task"], episodes)


def _main() -> int:
    import resource

    from sinew_policies.common import episode_hdf5

    path, mask, keys, limit_bytes = json.loads(sys.argv[1])
    # Besides the arrays, one of them in double precision and one joined for the way back.
    allowed = _BASE_BYTES + 3 * limit_bytes
    _, most = resource.getrlimit(resource.RLIMIT_AS)  # what the user's shell set is not ours to raise
    allowed = allowed if most == resource.RLIM_INFINITY else min(allowed, most)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        episodes = episode_hdf5.read(Path(path), mask, keys, limit_bytes, trusted=True)
    except DataError as refusal:
        sys.stdout.buffer.write(str(refusal).encode("utf-8", "replace"))
        return _REFUSED
    except MemoryError:
        sys.stdout.buffer.write(
            f"{path}: reading it takes over {allowed / 1e9:.1f} GB; it is damaged, or read it in parts by "
            "masks".encode()
        )
        return _REFUSED
    _send(episodes, sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
