"""Publishes a world to other processes, and follows one from there with an own model and data."""

import time

import mujoco

from sinew_policies.common.errors import DataError, DeviceTimeout, NotConnected, Stale
from sinew_sim.camera.render import refresh
from sinew_sim.cell import runtime_dir
from sinew_sim.cell.build import CellManifest
from sinew_sim.cell.manifest_file import manifest_from_json, manifest_to_json
from sinew_sim.cell.state_file import StateReader, StateWriter, WorldState
from sinew_sim.cell.world import World

DEFAULT_WORLD = "cell"
_POLL_S = 0.001
_HALF_WRITTEN_S = 2.0


class WorldPublisher:
    """The host's side: writes the state after every tick, and the compiled model once per generation.

    Takes the world's name for this process; DeviceError when another living process has it.
    """

    def __init__(self, world: World, name: str = DEFAULT_WORLD) -> None:
        self._lock = runtime_dir.claim(name)
        self._writer = StateWriter(self._lock.folder / "state")
        self._generation = -1
        self._world: World | None = world
        self.name = name
        with world.lock:
            self._publish(world)
            world.add_listener(self._publish)

    def close(self) -> None:
        """Gives the name back; readers then see the host as gone. A second call does nothing."""
        if self._world is not None:
            with self._world.lock:
                self._world.remove_listener(self._publish)
                self._writer.close()
            self._world = None
        self._lock.release()

    def __enter__(self) -> "WorldPublisher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _publish(self, world: World) -> None:
        fresh = world.generation != self._generation
        if fresh:
            self._save_model(world)
        self._writer.write(
            WorldState(
                generation=world.generation,
                step=world.steps,
                time_ns=world.time_ns,
                mono_ns=time.monotonic_ns(),
                paused=world.paused,
                real_time_factor=world.real_time_factor,
                qpos=world.data.qpos,
            )
        )
        if fresh:  # only now does nobody ask for the old model any more
            for path in self._lock.folder.glob("model-*"):
                if path.stem != f"model-{world.generation}":
                    path.unlink()

    def _save_model(self, world: World) -> None:
        stem = self._lock.folder / f"model-{world.generation}"
        mujoco.mj_saveModel(world.model, str(stem.with_suffix(".mjb")))
        stem.with_suffix(".json").write_text(manifest_to_json(world.manifest))
        self._generation = world.generation


class WorldMirror:
    """A reader's side, for one thread: `update` brings `data` to the newest published state.

    `model`, `data` and `manifest` are this process's own. When the host replaces its scene, `update`
    loads the new model and `generation` changes; what was made from the old model must be made anew.
    """

    def __init__(self, name: str = DEFAULT_WORLD) -> None:
        self.name = name
        self._folder = runtime_dir.world_folder(name)
        self._reader: StateReader | None = None
        self._model: mujoco.MjModel | None = None
        self._data: mujoco.MjData | None = None
        self._manifest: CellManifest | None = None
        self.generation = -1

    @property
    def model(self) -> mujoco.MjModel:
        if self._model is None:
            raise NotConnected(f"mirror of world '{self.name}' has no model yet; call connect first")
        return self._model

    @property
    def data(self) -> mujoco.MjData:
        if self._data is None:
            raise NotConnected(f"mirror of world '{self.name}' has no data yet; call connect first")
        return self._data

    @property
    def manifest(self) -> CellManifest:
        if self._manifest is None:
            raise NotConnected(f"mirror of world '{self.name}' has no manifest yet; call connect first")
        return self._manifest

    def connect(self, timeout_s: float = 5.0) -> None:
        """Waits for a living host and loads its model; NotConnected when none comes."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if runtime_dir.host_alive(self._folder):
                    self._reader = StateReader(self._folder / "state")
                    if self._reader.read() is not None:
                        self.generation = -1
                        self.update()
                        return
            except (FileNotFoundError, ValueError):  # the host is just making its files
                pass
            if time.monotonic() > deadline:
                raise runtime_dir.not_running(self.name)
            time.sleep(0.02)

    def peek(self) -> WorldState:
        """The newest state without touching `data`; Stale when the host ended or stopped while publishing."""
        if self._reader is None:
            raise NotConnected(f"mirror of world '{self.name}' is not connected; call connect first")
        deadline = time.monotonic() + _HALF_WRITTEN_S
        while True:
            try:
                if (state := self._reader.read()) is not None:
                    return state
                fault = "no state is there"
            except DataError as error:
                fault = str(error)
            if time.monotonic() > deadline or not runtime_dir.host_alive(self._folder):
                raise self._lost(fault)

    def check_host(self, max_silence_s: float = 2.0) -> None:
        """Raises Stale when the host has ended, was started anew, or was silent for `max_silence_s`."""
        if self._reader is None or not runtime_dir.host_alive(self._folder):
            raise self._gone()
        if not self._reader.is_current():
            raise Stale(f"simulation host '{self.name}' has ended and another one runs in its place; reconnect")
        silence_s = (time.monotonic_ns() - self.peek().mono_ns) / 1e9
        if silence_s > max_silence_s:
            raise Stale(
                f"simulation host '{self.name}' (process {runtime_dir.host_pid(self.name)}) has published nothing "
                f"for {silence_s:.1f} s, expected at least every {max_silence_s} s; is it stopped or blocked?"
            )

    def update(self) -> WorldState:
        """Copies the newest state into `data` and brings kinematics up to date."""
        state = self.peek()
        if state.generation != self.generation:
            state = self._load(state.generation)
        self.data.qpos[:] = state.qpos
        self.data.time = state.time_ns / 1e9
        refresh(self.model, self.data)
        return state

    def wait_until(self, time_ns: int, timeout_s: float) -> WorldState:
        """Newest state once simulated time has come; DeviceTimeout after `timeout_s` real seconds."""
        deadline = time.monotonic() + timeout_s
        while (state := self.peek()).time_ns < time_ns:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise DeviceTimeout(
                    f"world '{self.name}' is at {state.time_ns / 1e9:.3f} s after {timeout_s} s of waiting for "
                    f"{time_ns / 1e9:.3f} s" + ("; it is paused" if state.paused else "")
                )
            ahead_s = (time_ns - state.time_ns) / 1e9
            time.sleep(min(left_s, max(_POLL_S, 0.8 * ahead_s), 0.05))
        return state

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _load(self, generation: int) -> WorldState:
        stem = self._folder / f"model-{generation}"
        try:
            self._model = mujoco.MjModel.from_binary_path(str(stem.with_suffix(".mjb")))
            self._manifest = manifest_from_json(stem.with_suffix(".json").read_text())
        except (OSError, ValueError, DataError) as fault:
            newest = self.peek()
            if newest.generation != generation:  # replaced once more while we were reading
                return self._load(newest.generation)
            raise self._lost(str(fault)) from fault
        self._data = mujoco.MjData(self._model)
        self.generation = generation
        newest = self.peek()
        return newest if newest.generation == generation else self._load(newest.generation)

    def _lost(self, fault: str) -> Stale:
        """A host that lives is never called gone, however slow the machine makes it."""
        if not runtime_dir.host_alive(self._folder):
            return self._gone()
        return Stale(
            f"simulation host '{self.name}' (process {runtime_dir.host_pid(self.name)}) is silent: {fault}; is it "
            "stopped or blocked?"
        )

    def _gone(self) -> Stale:
        return Stale(
            f"simulation host '{self.name}' is gone: no process holds {self._folder}; start it again and reconnect"
        )
