"""`sinew devices view`: MuJoCo's own viewer on a running cell, or on one of its own when none runs."""

import argparse
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import mujoco

from sinew_policies.common.errors import ConfigError, MissingExtra, NotConnected, SinewError
from sinew_sim.cell.build import build_cell
from sinew_sim.cell.config import CellConfig
from sinew_sim.cell.devices import SimArm, SimGripper
from sinew_sim.cell.mirror import DEFAULT_WORLD, WorldMirror
from sinew_sim.cell.world import World

_FRAME_S = 1.0 / 60.0


def main(argv: list[str] | None = None) -> int:
    """Runs until the window is closed; 0 on success, 1 with a message on stderr."""
    options = _parser().parse_args(argv)
    try:
        _need_screen()
        mirror = WorldMirror(options.world)
        try:
            mirror.connect(timeout_s=0.2)
        except NotConnected:
            config = CellConfig(options.seed, options.scene, options.n_objects, options.objects, noise="none")
            print(f"no running world '{options.world}': showing a cell of its own", file=sys.stderr)
            _show_own(config)
        else:
            _show_mirror(mirror)
    except SinewError as fault:
        print(f"sinew devices view: {fault}", file=sys.stderr)
        return 1
    return 0


def _show_mirror(mirror: WorldMirror) -> None:
    """Follows the host; nothing done in the window changes its world."""
    while True:
        generation = mirror.generation
        mirror.update()
        with _window(mirror.model, mirror.data) as window:
            while window.is_running() and mirror.generation == generation:
                start = time.monotonic()
                mirror.check_host()
                if mirror.peek().generation != generation:
                    break  # another scene: the window belongs to the old model
                with window.lock():
                    mirror.update()
                window.sync()
                time.sleep(max(0.0, _FRAME_S - (time.monotonic() - start)))
            if not window.is_running():
                return


def _show_own(config: CellConfig) -> None:
    world = World(*build_cell(config))
    for device in (SimArm(world), SimGripper(world)):
        device.connect()
    stop = threading.Event()
    runner = threading.Thread(target=world.run_realtime, args=(stop,), name="world", daemon=True)
    shown = mujoco.MjData(world.model)
    with _window(world.model, shown) as window:
        runner.start()
        while window.is_running():
            with window.lock(), world.lock:
                shown.qpos[:] = world.data.qpos
                shown.time = world.time_ns / 1e9
                mujoco.mj_forward(world.model, shown)
            window.sync()
            time.sleep(_FRAME_S)
    stop.set()
    runner.join(2.0)


def _window(model: mujoco.MjModel, data: mujoco.MjData) -> Any:
    try:
        from mujoco import viewer
    except ImportError as fault:
        raise MissingExtra(fault.name or "glfw", "sim") from fault
    return viewer.launch_passive(model, data, show_left_ui=False, show_right_ui=False)


def _need_screen() -> None:
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ConfigError(
            "there is no screen: neither DISPLAY nor WAYLAND_DISPLAY is set; run it on a desktop or with "
            "ssh -X, or look at the cell in a browser with: sinew launch pick view:=true"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sinew devices view", description=__doc__)
    parser.add_argument("--world", default=DEFAULT_WORLD, help="name of the running world (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="scene seed, when no world runs")
    parser.add_argument("--scene", choices=("packed", "pile"), default="packed", help="kind of scene")
    parser.add_argument("--n-objects", type=int, default=5, help="0 to 12 objects")
    parser.add_argument("--objects", type=Path, help="folder of meshes instead of generated objects")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
