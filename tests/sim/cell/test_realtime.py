"""Figure: real-time factor with both cameras on, host and cameras in two processes. Run with -m slow -s."""

import os
import subprocess
import sys
import threading
import time

import pytest

from sinew_sim.cell.build import build_cell
from sinew_sim.cell.config import CellConfig
from sinew_sim.cell.devices import SimArm, SimGripper
from sinew_sim.cell.mirror import WorldPublisher
from sinew_sim.cell.world import World

CAMERAS = """
import sys, time
from statistics import median
from sinew_hardware import registry
cameras = [registry.create("camera", "sim", camera=c, world="bench") for c in ("scene_camera", "wrist_camera")]
for camera in cameras:
    camera.connect(20.0)
    camera.activate()
first = [camera.wait(0, 20.0) for camera in cameras]
print("ready", flush=True)
begin, cpu, cost = time.monotonic(), time.process_time(), [[], []]
while time.monotonic() - begin < 10.0:
    for camera, ms in zip(cameras, cost):
        camera.wait(camera.latest(5.0).seq, 2.0)
        ms.append(camera.render_ms)
for camera, start, ms in zip(cameras, first, cost):
    last = camera.latest(5.0)
    rate = (last.seq - start.seq) / ((last.stamp_ns - start.stamp_ns) / 1e9)
    print(f"{camera.name}: {rate:.1f} Hz, render and noise {median(ms):.1f} ms, worst {max(ms):.1f} ms")
print(f"camera process: {(time.process_time() - cpu) / (time.monotonic() - begin):.2f} cores")
for camera in cameras:
    camera.close()
"""


@pytest.mark.slow
def test_real_time_factor_with_both_cameras(tmp_path, monkeypatch):
    monkeypatch.setenv("SINEW_RUNTIME_DIR", str(tmp_path))
    world = World(*build_cell(CellConfig(seed=7)))
    for device in (SimArm(world), SimGripper(world)):
        device.connect()
    cpu = time.thread_time()
    world.step(1000)
    unpaced = 2.0 / (time.thread_time() - cpu)
    stop = threading.Event()
    runner = threading.Thread(target=world.run_realtime, args=(stop,))
    with WorldPublisher(world, "bench"):
        runner.start()
        done = subprocess.run([sys.executable, "-c", CAMERAS], capture_output=True, text=True, timeout=120)
        factor = world.real_time_factor
        stop.set()
        runner.join(10.0)
    assert done.returncode == 0, done.stderr
    print(f"\n{done.stdout.removeprefix('ready')}real-time factor {factor:.4f} paced, {unpaced:.1f} unpaced")
    print(f"load average {os.getloadavg()[0]:.1f}")
    assert unpaced > 2.0
    assert factor > 0.995
