import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common.errors import ConfigError, DataError, DeviceError, NotConnected, Stale
from sinew_sim.cell import runtime_dir
from sinew_sim.cell.build import build_cell
from sinew_sim.cell.config import CellConfig
from sinew_sim.cell.manifest_file import manifest_from_json, manifest_to_json
from sinew_sim.cell.mirror import WorldMirror, WorldPublisher
from sinew_sim.cell.state_file import StateReader, StateWriter, WorldState
from sinew_sim.cell.world import World

HOST = """
import sys, threading
from sinew_sim.cell.build import build_cell
from sinew_sim.cell.config import CellConfig
from sinew_sim.cell.mirror import WorldPublisher
from sinew_sim.cell.world import World
world = World(*build_cell(CellConfig(n_objects=1)))
publisher = WorldPublisher(world, "other")
print("up", flush=True)
world.run_realtime(threading.Event())
"""
READER = """
from sinew_sim.cell.mirror import WorldMirror
mirror = WorldMirror("cell")
mirror.connect(10.0)
state = mirror.update()
print(state.step, mirror.data.body("panda_hand").xpos.tolist())
"""

WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from sinew_sim.cell.state_file import StateWriter, WorldState
writer = StateWriter(Path(sys.argv[1]))
step = 0
while True:
    step += 1
    writer.write(WorldState(1, step, step, 0, False, 1.0, np.full(40, float(step))))
    if step == 1:
        print("up", flush=True)
"""
PROBER = """
import sys
from sinew_sim.cell import runtime_dir
folder = runtime_dir.world_folder("busy")
print("up", flush=True)
while True:
    runtime_dir.host_alive(folder)
"""


@pytest.fixture
def running():
    """Starts a script as another process and waits until it is up."""
    processes = []

    def start(script: str, *arguments: str) -> None:
        command = [sys.executable, "-c", script, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"

    yield start
    for process in processes:
        process.kill()
        process.wait(10)


@pytest.fixture(autouse=True)
def private_runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("SINEW_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    return tmp_path


@pytest.fixture
def host():
    process = subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.wait(10)


def wait_for_stale(mirror: WorldMirror, timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            mirror.check_host(max_silence_s=0.5)
        except Stale as error:
            return str(error)
    raise AssertionError("the mirror never noticed")


def test_another_process_sees_the_same_world(world):
    with WorldPublisher(world):
        world.step(100)
        done = subprocess.run([sys.executable, "-c", READER], capture_output=True, text=True, timeout=60)
        assert done.stderr == ""  # no resource-tracker noise either
        step, hand = done.stdout.split(" ", 1)
        assert int(step) == 100
        assert np.allclose(eval(hand), world.data.body("panda_hand").xpos, atol=1e-9)
        again = subprocess.run([sys.executable, "-c", READER], capture_output=True, text=True, timeout=60)
        assert again.stdout == done.stdout  # the first reader's end took nothing away


def test_mirror_follows_and_waits(world):
    with WorldPublisher(world):
        mirror = WorldMirror()
        mirror.connect(1.0)
        runner = threading.Thread(target=world.step, args=(100,))
        runner.start()
        assert mirror.wait_until(200_000_000, timeout_s=10.0).time_ns == 200_000_000
        runner.join()
        state = mirror.update()
        assert np.array_equal(state.qpos, world.data.qpos)
        assert mirror.manifest.objects == world.manifest.objects
        assert np.allclose(mirror.data.xpos, world.data.xpos, atol=1e-4)
        mirror.check_host()
        mirror.close()


def test_new_scene_is_a_new_generation(world):
    with WorldPublisher(world):
        mirror = WorldMirror()
        mirror.connect(1.0)
        world.replace(*build_cell(CellConfig(seed=3, n_objects=2)))
        mirror.update()
        assert mirror.generation == 1
        assert mirror.model.nq == 9 + 14
        mirror.close()


def test_killed_host_is_noticed_and_named(host):
    mirror = WorldMirror("other")
    mirror.connect(5.0)
    mirror.check_host()
    host.kill()
    host.wait(10)
    message = wait_for_stale(mirror, 1.0)
    assert "simulation host 'other' is gone" in message
    mirror.close()


def test_stopped_host_is_noticed(host):
    mirror = WorldMirror("other")
    mirror.connect(5.0)
    host.send_signal(signal.SIGSTOP)
    try:
        assert "published nothing" in wait_for_stale(mirror, 5.0)
    finally:
        host.send_signal(signal.SIGCONT)
    mirror.close()


def test_left_overs_of_killed_hosts_are_cleaned(host, world):
    folder = runtime_dir.world_folder("other")
    host.kill()
    host.wait(10)
    assert folder.exists()
    with WorldPublisher(world):
        assert not folder.exists()


def test_a_restarted_host_is_not_taken_for_the_old_one(built):
    first = WorldPublisher(World(*built))
    mirror = WorldMirror()
    mirror.connect(1.0)
    first.close()
    with WorldPublisher(World(*built)):
        with pytest.raises(Stale, match="reconnect"):
            mirror.check_host()
        mirror.connect(1.0)
        mirror.check_host()
    mirror.close()


def test_a_name_belongs_to_one_living_host(built, world):
    with WorldPublisher(world), pytest.raises(DeviceError, match=f"run by process {os.getpid()}"):
        WorldPublisher(World(*built))
    WorldPublisher(World(*built)).close()


def test_folders_are_private(world, private_runtime):
    with WorldPublisher(world):
        folder = runtime_dir.world_folder("cell")
        for path in (folder, folder.parent, folder.parent.parent):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "state").stat().st_mode) == 0o600
    (private_runtime / f"sinew-{os.getuid()}").chmod(0o777)
    with pytest.raises(DeviceError, match="not a private folder"):
        WorldMirror()


def test_no_host_lists_those_that_run(world):
    with WorldPublisher(world, "kitchen"), pytest.raises(NotConnected, match="did you mean 'kitchen'"):
        WorldMirror("kitchn").connect(timeout_s=0.05)


def test_unusable_names_are_refused(monkeypatch):
    for name in ("../x", "", ".hidden", "a/b"):
        with pytest.raises(ConfigError, match="not usable"):
            WorldMirror(name)
    monkeypatch.setenv("ROS_DOMAIN_ID", "many")
    with pytest.raises(ConfigError, match="expected a number"):
        WorldMirror("x")


def test_reader_never_sees_a_mixture(tmp_path: Path):
    path = tmp_path / "state"
    writer, stop = StateWriter(path), threading.Event()

    def write() -> None:
        k = 0
        while not stop.is_set():
            k += 1
            writer.write(WorldState(0, k, k, 0, False, 1.0, np.full(500, float(k))))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        reader = StateReader(path)
        steps = set()
        deadline = time.monotonic() + 2.0
        while len(steps) < 100 and time.monotonic() < deadline:
            if (state := reader.read()) is not None:
                assert (state.qpos == state.step).all()
                steps.add(state.step)
    finally:
        stop.set()
        thread.join(5.0)
    assert len(steps) > 10


def test_half_written_state_is_an_error(tmp_path: Path):
    path = tmp_path / "state"
    writer = StateWriter(path)
    writer.write(WorldState(0, 1, 1, 0, False, 1.0, np.zeros(3)))
    reader = StateReader(path)
    with path.open("r+b") as file:  # as a writer killed inside `write` leaves it
        file.seek(8)
        file.write((3).to_bytes(8, "little"))
    with pytest.raises(DataError, match="half written"):
        reader.read()


def test_a_reader_in_another_process_always_finds_a_state(running, tmp_path: Path):
    """The sequence is never seen half stored, which looked like a host that had never published."""
    running(WRITER, str(tmp_path / "state"))
    reader = StateReader(tmp_path / "state")
    newest, deadline = 0, time.monotonic() + 2.0
    while time.monotonic() < deadline:
        state = reader.read()
        assert state is not None
        assert (state.qpos == state.step).all()
        assert state.step >= newest
        newest = state.step
    assert newest > 100


def test_a_living_host_that_hangs_in_a_write_is_silent_not_gone(world, monkeypatch):
    monkeypatch.setattr("sinew_sim.cell.mirror._HALF_WRITTEN_S", 0.1)
    with WorldPublisher(world) as publisher:
        mirror = WorldMirror()
        mirror.connect(1.0)
        state = runtime_dir.world_folder("cell") / "state"
        sequence = int.from_bytes(state.read_bytes()[8:16], "little")
        with state.open("r+b") as file:
            file.seek(8)
            file.write((sequence + 1).to_bytes(8, "little"))
        for look in (mirror.peek, mirror.check_host):
            with pytest.raises(Stale, match=rf"\(process {os.getpid()}\) is silent: .*half written"):
                look()
        publisher.close()
        with pytest.raises(Stale, match="is gone"):
            mirror.peek()
        mirror.close()


def test_exhausted_descriptors_are_not_a_dead_host(world, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    with WorldPublisher(world):
        monkeypatch.setattr(os, "open", full)
        with pytest.raises(OSError, match="too many"):
            runtime_dir.host_alive(runtime_dir.world_folder("cell"))
        monkeypatch.undo()


def test_a_name_can_be_taken_while_others_look_for_its_host(running):
    """Looking takes a shared lock for a moment; it must not meet the host's claim."""
    for _ in range(2):
        running(PROBER)
    for _ in range(300):
        claim = runtime_dir.claim("busy")
        assert runtime_dir.host_alive(claim.folder)
        claim.release()


def test_manifest_survives_its_file(built):
    _, manifest = built
    back = manifest_from_json(manifest_to_json(manifest))
    assert back.objects == manifest.objects
    assert [c.name for c in back.cameras] == [c.name for c in manifest.cameras]
    assert np.array_equal(back.cameras[0].T_body_optical, manifest.cameras[0].T_body_optical)
    with pytest.raises(DataError, match="one version"):
        manifest_from_json("{}")
