import threading
from contextlib import suppress

import numpy as np
import pytest

from sinew_hardware import registry
from sinew_hardware.interfaces import Camera, DeviceState
from sinew_policies.common.errors import ConfigError, DeviceTimeout, NotConnected, Stale
from sinew_sim.cell.camera_device import SimCamera
from sinew_sim.cell.mirror import WorldPublisher
from sinew_sim.cell.world import World


@pytest.fixture
def published(world, tmp_path, monkeypatch):
    monkeypatch.setenv("SINEW_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("SINEW_RENDER", raising=False)
    with WorldPublisher(world) as publisher:
        yield world, publisher


def running(**config) -> SimCamera:
    camera = SimCamera(**config)
    camera.connect(5.0)
    camera.activate()
    return camera


def frames(camera: SimCamera, world: World, n: int):
    """The next n frames, stepping the world from one to the next."""
    out = []
    seq = 0
    for _ in range(n):
        frame = None
        while frame is None:
            world.tick()
            try:
                frame = camera.wait(seq, timeout_s=0.02)
            except DeviceTimeout:
                continue
        seq = frame.seq
        out.append(frame)
    return out


def test_frames_show_the_world_at_their_stamp(published):
    world, _ = published
    camera = running(camera="wrist_camera", noise="none", rate_hz=20.0)
    assert isinstance(camera, Camera)
    first, second = frames(camera, world, 2)
    assert (first.color.shape, first.depth_m.shape) == ((240, 320, 3), (240, 320))
    assert first.frame_id == camera.optical_frame == "wrist_camera_color_optical_frame"
    assert second.seq == first.seq + 1
    assert second.stamp_ns // 50_000_000 > first.stamp_ns // 50_000_000  # one per period
    assert first.model == camera.model
    assert np.abs(first.depth_m - second.depth_m).max() < 1e-3  # nothing moves
    assert camera.latest(max_age_s=5.0).seq >= second.seq
    camera.close()
    assert camera.health().state is DeviceState.DISCONNECTED


def test_noise_depends_on_seed_and_stamp_only(published):
    cameras = [running(camera="wrist_camera", seed=s) for s in (1, 1, 2)]  # all of time zero
    a, b, c = (camera.wait(0, 10.0) for camera in cameras)
    assert a.stamp_ns == b.stamp_ns == c.stamp_ns
    assert np.array_equal(a.depth_m, b.depth_m)
    assert not np.array_equal(a.depth_m, c.depth_m)
    for camera in cameras:
        camera.close()


def test_latency_holds_frames_back(published):
    world, _ = published
    camera = running(camera="wrist_camera", noise="none", latency_s=0.1, rate_hz=10.0)
    with pytest.raises(DeviceTimeout, match="no frame"):
        camera.wait(0, 0.3)  # simulated time stands still, so whatever was seen stays in the queue
    frame = None
    for _ in range(60):
        world.tick()
        with suppress(DeviceTimeout):
            frame = camera.wait(0, 0.2)
            break
    assert frame is not None
    assert world.time_ns - frame.stamp_ns >= 100_000_000
    camera.close()


def test_waits_that_are_never_met_say_why(published):
    camera = running(camera="wrist_camera", noise="none")
    seq = camera.wait(0, 10.0).seq
    with pytest.raises(DeviceTimeout, match="is it active and the world running"):
        camera.wait(seq, 0.05)
    with pytest.raises(Stale, match="old, allowed"):
        camera.latest(max_age_s=0.0)
    camera.close()


def test_lost_host_reaches_every_caller_and_recover_reconnects(built, published):
    world, publisher = published
    stop = threading.Event()
    runner = threading.Thread(target=world.run_realtime, args=(stop,))
    runner.start()
    camera = running(camera="wrist_camera", noise="none")
    camera.wait(0, 10.0)
    publisher.close()
    with pytest.raises(Stale, match="host 'cell' is gone"):
        camera.wait(10**9, 5.0)
    stop.set()
    runner.join(5.0)
    health = camera.health()
    assert health.state is DeviceState.FAULT
    assert "gone" in health.message
    with pytest.raises(Stale, match="gone"):
        camera.latest(100.0)
    with WorldPublisher(World(*built)) as again:
        seq = camera._frame.seq
        camera.recover()
        assert camera.wait(seq, 10.0).seq > seq
        assert camera.health().ok
        camera.close()
        again.close()


def test_new_scene_goes_on(published, built):
    world, _ = published
    camera = running(camera="wrist_camera", noise="none", rate_hz=50.0)
    before = frames(camera, world, 1)[0]
    world.replace(*built)
    after = frames(camera, world, 3)[-1]
    assert after.seq > before.seq
    assert camera.health().ok
    camera.close()


def test_bad_names_are_refused(published):
    with pytest.raises(ConfigError, match="did you mean 'scene_camera'"):
        SimCamera("scene_cam").connect(1.0)
    with pytest.raises(ConfigError, match="valid names: kinect"):
        SimCamera("scene_camera", noise="x")
    with pytest.raises(NotConnected, match="valid names: cell"):
        SimCamera("scene_camera", world="nowhere").connect(0.05)
    with pytest.raises(NotConnected, match="call connect"):
        SimCamera("scene_camera").activate()


def test_registry_makes_it(published):
    camera = registry.create("camera", "sim", camera="wrist_camera")
    assert camera.name == "wrist_camera"
