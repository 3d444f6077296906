"""The simulated cell in one process: physics, `/clock`, and the arm and gripper nodes over its devices.

The stepping thread does everything that must happen once per control tick, in order: physics, the arm's loop,
the gripper's loop, the clock. Each node's services and actions run in a thread of their own. Cameras follow the
world from their own processes.
"""

import faulthandler
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sinew_interfaces.msg import ObjectCount
from std_srvs.srv import Trigger

from sinew_nodes import convert, qos, spin, topics
from sinew_nodes.arm_node import ArmNode
from sinew_nodes.base import SinewNode
from sinew_nodes.gripper_node import GripperNode
from sinew_nodes.meters import Reading
from sinew_nodes.params import parameter
from sinew_nodes.ticking import Work
from sinew_policies.common.errors import ConfigError, NotConnected
from sinew_sim.cell.build import build_cell
from sinew_sim.cell.config import CellConfig
from sinew_sim.cell.devices import SimArm, SimGripper
from sinew_sim.cell.mirror import WorldPublisher
from sinew_sim.cell.world import World

_SLOW = 0.9
_STUCK_S = 10.0
"""A host whose physics stands still for so long says where every thread is and ends, so that the launch ends."""
_ARM_WATCHDOG_EVERY = 100  # control ticks


@dataclass(frozen=True)
class SimHostConfig:
    world: str = parameter("cell", "name under which cameras and viewers find the world")
    scene: str = parameter("packed", "how the objects lie", choices=("packed", "pile", "empty"))
    seed: int = parameter(0, "seed of objects and poses", low=0, high=2**31 - 1)
    n_objects: int = parameter(5, "objects on the table", low=0, high=50)
    objects_dir: str = parameter("", "folder of meshes instead of generated objects")
    split: str = parameter("test", "which generated objects", choices=("train", "test"))
    robot: str = parameter("panda", "robot of the cell", choices=("panda",))
    noise: str = parameter("stereo", "depth noise of the cameras")


class WorldSlot:
    """Where the host puts its world and the device nodes find it. Also their ticker: one call per control tick."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._world: World | None = None
        self._works: list[Work] = []
        self._last_ns = 0

    def put(self, world: World | None) -> None:
        with self._lock:
            self._world = world
            self._last_ns = world.time_ns if world is not None else 0
        if world is not None:
            world.add_listener(self._on_tick)

    def world(self) -> World:
        with self._lock:
            if self._world is None:
                raise NotConnected("there is no simulated world yet; configure sim_host first")
            return self._world

    def attach(self, work: Work) -> Callable[[], None]:
        world = self.world()
        with world.lock:
            self._works.append(work)

        def detach() -> None:
            with world.lock:
                if work in self._works:
                    self._works.remove(work)

        return detach

    def _on_tick(self, world: World) -> None:
        dt_s = (world.time_ns - self._last_ns) * 1e-9
        self._last_ns = world.time_ns
        if dt_s > 0.0:
            for work in self._works:
                work(dt_s)


class SimHost(SinewNode[SimHostConfig]):
    config_type = SimHostConfig

    def __init__(self, slot: WorldSlot) -> None:
        super().__init__("sim_host")
        self._slot = slot
        self._world: World | None = None
        self._stop_running = threading.Event()
        self._thread: threading.Thread | None = None
        self._ticks = 0

    def build(self, config: SimHostConfig) -> None:
        folder = Path(config.objects_dir) if config.objects_dir else None
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"objects_dir '{folder}' is not a folder; give one with OBJ, STL, PLY or GLB files")
        cell = CellConfig(
            seed=config.seed,
            scene="packed" if config.scene == "empty" else config.scene,  # type: ignore[arg-type]
            n_objects=0 if config.scene == "empty" else config.n_objects,
            objects_dir=folder,
            split=config.split,  # type: ignore[arg-type]
            robot=config.robot,
            noise=config.noise,
        )
        model, manifest = build_cell(cell)
        world = World(model, manifest)
        mirror = WorldPublisher(world, config.world)
        self.on_clear(mirror.close)
        self._clock_out = self.publisher(Clock, topics.CLOCK, qos.CLOCK)
        self._count = self.publisher(ObjectCount, topics.OBJECT_COUNT, qos.LATCHED)
        self.owned_service(Trigger, "sim_host/reset_world", self._on_reset)
        self.timer(0.5, self._publish_count)
        self._world = world
        self._slot.put(world)
        world.add_listener(self._publish_clock)
        self.on_clear(self._forget)
        # Time runs from the configuration on: nodes that configure later wait for stamps and transforms.
        self._stop_running = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(world, self._stop_running), name="physics", daemon=True
        )
        self._thread.start()

    def report(self, reading: Reading) -> tuple[str, dict[str, str]]:
        if self._world is None:
            return "", {}
        factor = self._world.real_time_factor
        slow = f"simulation runs at {factor:.2f} of real time; the machine is too slow" if factor < _SLOW else ""
        return slow, {"real_time_factor": f"{factor:.3f}", "sim_time_s": f"{self._world.time_ns * 1e-9:.2f}"}

    def _run(self, world: World, stop: threading.Event) -> None:
        try:
            world.run_realtime(stop)
        except Exception as error:  # without physics nothing here is true any more
            self.problem("physics", f"simulation stopped: {type(error).__name__}: {error}")
            raise

    def _forget(self) -> None:
        self._stop_running.set()
        faulthandler.cancel_dump_traceback_later()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        self._slot.put(None)
        self._world = None

    def _publish_clock(self, world: World) -> None:
        if self._ticks % _ARM_WATCHDOG_EVERY == 0 and not self._stop_running.is_set():
            # Counted outside the interpreter: it also fires where a lock or the interpreter itself is stuck.
            faulthandler.dump_traceback_later(_STUCK_S, exit=True)
        self._ticks += 1
        self._clock_out.publish(Clock(clock=convert.stamp_msg(world.time_ns)))
        self.meters.tick("clock")

    def _publish_count(self) -> None:
        if self._world is None:
            return
        objects = self._world.objects()
        in_bin = [o.name for o in objects if o.place == "bin"]
        fell = sum(o.place == "fell" for o in objects)
        message = ObjectCount(
            total=len(objects),
            in_bin=len(in_bin),
            elsewhere=fell,
            on_table=len(objects) - len(in_bin) - fell,
            in_bin_names=in_bin,
        )
        message.header.stamp = convert.stamp_msg(self._world.time_ns)
        message.header.frame_id = "base_link"
        self._count.publish(message)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._world is None:
            response.message = "there is no world yet; configure sim_host first"
            return response
        self._world.reset()
        response.success, response.message = True, "robot at home, objects where they settled"
        return response


def nodes() -> Sequence[Node]:
    slot = WorldSlot()
    return [
        SimHost(slot),
        ArmNode(make=lambda _: SimArm(slot.world()), ticker=slot),
        GripperNode(make=lambda _: SimGripper(slot.world()), ticker=slot),
    ]


def main() -> int:
    return spin.run(nodes)


if __name__ == "__main__":
    sys.exit(main())
