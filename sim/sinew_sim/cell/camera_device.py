"""The simulated camera: follows a world from its own process and renders at a rate of simulated time."""

import threading
import time
from collections import deque
from dataclasses import replace

from sinew_hardware.interfaces import DeviceState, Health
from sinew_policies.common.errors import (
    ConfigError,
    DeviceError,
    DeviceTimeout,
    NotConnected,
    SinewError,
    Stale,
    name_hint,
)
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import CameraFrame, CameraModel
from sinew_sim.camera.geometry import camera_model
from sinew_sim.camera.noise import DepthNoise, apply_noise, noise_preset
from sinew_sim.camera.render import SceneRenderer
from sinew_sim.cell.layout import CameraMount, optical_frame
from sinew_sim.cell.mirror import DEFAULT_WORLD, WorldMirror
from sinew_sim.cell.state_file import WorldState

_SILENCE_S = 2.0
_SLICE_S = 0.2


class SimCamera:
    """Implements the camera protocol over the world that a host publishes under `world`.

    A thread of its own, which alone owns the graphics context, renders one frame per period of simulated
    time. A frame's stamp is the simulated time of the state it shows; with `latency_s` it is handed out
    that much simulated time later. Depth noise depends on seed, camera and stamp only. Width, height and
    rate are those of the cell unless given.
    """

    def __init__(
        self,
        camera: str = "scene_camera",
        world: str = DEFAULT_WORLD,
        *,
        rate_hz: float | None = None,
        noise: str | DepthNoise | None = None,
        seed: int = 0,
        latency_s: float = 0.0,
        render: str = "auto",
    ) -> None:
        self._camera = camera
        self._world = world
        self._wanted_rate_hz = rate_hz
        self._noise_choice = noise_preset(noise) if isinstance(noise, str) else noise
        self._seed = seed
        self._latency_ns = round(latency_s * 1e9)
        self._render = render
        self._mirror: WorldMirror | None = None
        self._mount: CameraMount | None = None
        self._model: CameraModel | None = None
        self._noise: DepthNoise | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._arrived = threading.Condition()
        self._frame: CameraFrame | None = None
        self._fault: SinewError | None = None
        self._state = DeviceState.DISCONNECTED
        self.render_ms = 0.0
        """Duration of the newest exposure: rendering and noise."""

    @property
    def name(self) -> str:
        return self._camera

    @property
    def model(self) -> CameraModel:
        if self._model is None:
            raise self._unconnected()
        return self._model

    @property
    def optical_frame(self) -> str:
        return optical_frame(self._camera)

    @property
    def rate_hz(self) -> float:
        if self._wanted_rate_hz is not None:
            return self._wanted_rate_hz
        if self._mount is None:
            raise self._unconnected()
        return self._mount.rate_hz

    def connect(self, timeout_s: float = 5.0) -> None:
        """Finds the host; NotConnected when there is none, ConfigError for a camera that the cell lacks."""
        mirror = WorldMirror(self._world)
        mirror.connect(timeout_s)
        self._adopt(mirror)
        self._mirror = mirror
        self._fault = None
        self._state = DeviceState.INACTIVE

    def activate(self) -> None:
        if self._mirror is None:
            raise self._unconnected()
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name=f"camera-{self._camera}", daemon=True)
            self._thread.start()
        self._state = DeviceState.ACTIVE

    def deactivate(self) -> None:
        self._join()
        if self._state is not DeviceState.DISCONNECTED:
            self._state = DeviceState.INACTIVE

    def close(self) -> None:
        self._join()
        if self._mirror is not None:
            self._mirror.close()
            self._mirror = None
        self._state = DeviceState.DISCONNECTED

    def health(self) -> Health:
        if self._fault is not None:
            return Health(DeviceState.FAULT, False, str(self._fault))
        connected = self._state is not DeviceState.DISCONNECTED
        return Health(self._state, connected, "" if connected else str(self._unconnected()))

    def recover(self) -> None:
        """Connects anew, for instance after the host was started again, and goes on if it was active."""
        was_active = self._state is DeviceState.ACTIVE
        self.close()
        self.connect()
        if was_active:
            self.activate()

    def latest(self, max_age_s: float) -> CameraFrame:
        with self._arrived:
            frame = self._frame
        self._raise_fault()
        if frame is None:
            raise Stale(f"camera '{self._camera}' has delivered no frame yet; is it active and the world running?")
        age_s = (time.monotonic_ns() - frame.t_mono_ns) / 1e9
        if age_s > max_age_s:
            raise Stale(f"newest frame of camera '{self._camera}' is {age_s:.3f} s old, allowed are {max_age_s} s")
        return frame

    def wait(self, after_seq: int, timeout_s: float) -> CameraFrame:
        deadline = time.monotonic() + timeout_s
        with self._arrived:
            while self._frame is None or self._frame.seq <= after_seq:
                self._raise_fault()
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise DeviceTimeout(
                        f"camera '{self._camera}' delivered no frame after number {after_seq} within {timeout_s} "
                        "s; is it active and the world running?"
                    )
                self._arrived.wait(left_s)
            return self._frame

    # -- the rendering thread

    def _run(self) -> None:
        try:
            self._follow()
        except SinewError as fault:
            self._fail(fault)
        except Exception as fault:
            self._fail(DeviceError(f"camera '{self._camera}' cannot render: {type(fault).__name__}: {fault}"))

    def _follow(self) -> None:
        mirror = self._mirror
        assert mirror is not None
        assert self._mount is not None
        waiting: deque[CameraFrame] = deque()
        renderer: SceneRenderer | None = None
        made_for = -1
        seq = 0 if self._frame is None else self._frame.seq
        period_ns = round(1e9 / self.rate_hz)
        due_ns = -(-mirror.peek().time_ns // period_ns) * period_ns
        try:
            while not self._stop.is_set():
                target_ns = min(due_ns, waiting[0].stamp_ns + self._latency_ns) if waiting else due_ns
                if not self._reached(mirror, target_ns):
                    continue
                while waiting and mirror.peek().time_ns >= waiting[0].stamp_ns + self._latency_ns:
                    self._deliver(waiting.popleft())
                if mirror.peek().time_ns < due_ns:
                    continue
                state = mirror.update()
                if renderer is None or made_for != mirror.generation:
                    if renderer is not None:
                        renderer.close()
                        self._adopt(mirror)
                    renderer = SceneRenderer(
                        mirror.model, self._camera, self._mount.width, self._mount.height, backend=self._render
                    )
                    made_for = mirror.generation
                    # The first exposure makes the graphics context and loads compiled code: too late to keep.
                    self._expose(mirror, renderer, state, seq)
                    continue
                seq += 1
                waiting.append(self._expose(mirror, renderer, state, seq))
                # Multiples of the period keep two cameras in phase; a slow one skips instead of lagging.
                due_ns = (state.time_ns // period_ns + 1) * period_ns
                if self._latency_ns == 0:
                    self._deliver(waiting.popleft())
        finally:
            if renderer is not None:
                renderer.close()

    def _reached(self, mirror: WorldMirror, time_ns: int) -> bool:
        mirror.check_host(_SILENCE_S)
        try:
            mirror.wait_until(time_ns, _SLICE_S)
        except DeviceTimeout:
            return False
        return True

    def _expose(self, mirror: WorldMirror, renderer: SceneRenderer, state: WorldState, seq: int) -> CameraFrame:
        assert self._noise is not None
        start = time.perf_counter()
        image = renderer.render(mirror.data)
        rng = stream(self._seed, "depth_noise", self._camera, state.time_ns)
        depth_m = apply_noise(image.depth_m, image.model, self._noise, rng)
        self.render_ms = (time.perf_counter() - start) * 1e3
        return CameraFrame(seq, state.time_ns, 0, image.model, image.rgb, depth_m, self.optical_frame)

    def _deliver(self, frame: CameraFrame) -> None:
        arrived = replace(frame, t_mono_ns=time.monotonic_ns())
        with self._arrived:
            self._frame = arrived
            self._arrived.notify_all()

    def _adopt(self, mirror: WorldMirror) -> None:
        """Takes size, pose and noise of the camera from the (new) manifest."""
        mounts = {mount.name: mount for mount in mirror.manifest.cameras}
        if self._camera not in mounts:
            raise ConfigError(f"camera '{self._camera}' is not in the cell; {name_hint(self._camera, mounts)}")
        mount = mounts[self._camera]
        self._mount = mount
        self._model = camera_model(mirror.model, self._camera, mount.width, mount.height)
        self._noise = self._noise_choice or noise_preset(mirror.manifest.noise)

    def _fail(self, fault: SinewError) -> None:
        with self._arrived:
            self._fault = fault
            self._arrived.notify_all()

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _join(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10.0)
            self._thread = None

    def _unconnected(self) -> NotConnected:
        return NotConnected(f"camera '{self._camera}' is not connected; call connect first")
