import threading
import time

import numpy as np
import pytest

from sinew_policies.common.errors import DeviceTimeout
from sinew_sim.cell import layout
from sinew_sim.cell.build import build_cell
from sinew_sim.cell.config import CellConfig
from sinew_sim.cell.devices import SimArm, SimGripper
from sinew_sim.cell.world import World


def with_robot(model, manifest) -> World:
    world = World(model, manifest)
    for device in (SimArm(world), SimGripper(world)):
        device.connect()
    return world


def put(world: World, body: str, position: tuple[float, float, float]) -> None:
    with world.lock:
        start = int(world.model.joint(body).qposadr[0])
        world.data.qpos[start : start + 3] = position


def test_same_seed_same_state_after_1000_steps(built):
    hashes = set()
    for _ in range(2):
        world = with_robot(*build_cell(CellConfig(seed=7)))
        world.step(1000)
        hashes.add(world.state_hash())
    assert len(hashes) == 1
    other = with_robot(*build_cell(CellConfig(seed=8)))
    other.step(1000)
    assert other.state_hash() not in hashes


def test_stepping_in_ticks_or_steps_is_the_same(built):
    a, b = with_robot(*built), with_robot(*built)
    a.step(50)
    for _ in range(10):
        b.tick()
    assert a.state_hash() == b.state_hash()
    assert a.time_ns == b.time_ns == 100_000_000


def test_reset_restores_the_start_but_time_goes_on(built):
    world = with_robot(*built)
    start = world.data.qpos.copy()
    put(world, "object_0", (0.4, 0.4, 0.3))
    world.step(200)
    world.reset()
    assert np.array_equal(world.data.qpos, start)
    assert world.time_ns == 400_000_000
    world.step(200)
    assert np.abs(world.data.qpos - start).max() < 1e-3


def test_ground_truth_tells_bin_table_and_fallen(world):
    assert world.objects_in_bin() == ()
    put(world, "object_0", (*layout.BIN_CENTRE_M, 0.2))
    put(world, "object_1", (-0.9, 0.0, 0.2))
    world.step(500)
    places = {o.body: o.place for o in world.objects()}
    assert world.objects_in_bin() == ("object_0",)
    assert places["object_1"] == "fell"
    assert places["object_2"] == "table"


def test_an_object_above_or_beside_the_bin_does_not_count():
    x, y = layout.BIN_CENTRE_M
    assert layout.in_bin(np.array([x, y, 0.02]))
    assert not layout.in_bin(np.array([x, y, 0.3]))
    assert not layout.in_bin(np.array([x, y - 0.2, 0.02]))
    assert not layout.in_bin(np.array([x + 0.15, y, 0.02]))


def test_replacing_the_scene_keeps_time_and_robot(built):
    world = with_robot(*built)
    world.step(100)
    world.replace(*build_cell(CellConfig(seed=2, scene="pile", n_objects=3)))
    assert world.generation == 1
    assert len(world.objects()) == 3
    assert world.time_ns == 200_000_000
    world.step(100)
    assert np.abs(world.data.qvel[:7]).max() < 1e-3


def test_realtime_keeps_the_wall_clock_pauses_and_stops(built):
    world = with_robot(*built)
    stop = threading.Event()
    thread = threading.Thread(target=world.run_realtime, args=(stop,))
    start = time.monotonic()
    thread.start()
    try:
        world.wait_until(1_500_000_000, timeout_s=10.0)
        assert time.monotonic() - start > 1.4
        assert 0.8 < world.real_time_factor < 1.1
        world.pause()
        held = world.time_ns
        with pytest.raises(DeviceTimeout, match="paused"):
            world.wait_until(held + 50_000_000, timeout_s=0.2)
        assert world.time_ns == held
        world.step(5)
        assert world.time_ns == held + 10_000_000
        world.pause(False)
        world.wait_until(held + 100_000_000, timeout_s=5.0)
    finally:
        stop.set()
        thread.join(5.0)
    assert not thread.is_alive()


def test_faster_than_real_time(built):
    world = with_robot(*built)
    world.step(50)
    start = time.thread_time()
    world.step(500)
    assert 1.0 / (time.thread_time() - start) > 2.0
