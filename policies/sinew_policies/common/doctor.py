"""`sinew doctor`: what keeps sinew from running well on this machine, each fault with its fix."""

import ctypes
import ctypes.util
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sinew_policies.common.dds import SEGMENT_BYTES, segment_bytes, shared_memory_free
from sinew_policies.common.ros_environment import with_overlay, workspace_built, workspace_install

_TIMEOUT_S = 60.0
_SMALLEST_SEGMENT_BYTES = 4 << 20  # holds one colour image, in pieces, with room for its neighbour


class Grade(Enum):
    OK = "ok"
    NOTE = "note"  # works, but slower or with less
    FAULT = "FAULT"


@dataclass(frozen=True)
class Finding:
    subject: str
    grade: Grade
    state: str
    fix: str = ""


def main(argv: Sequence[str]) -> int:
    """Prints a line per check; exit code 1 if there is any fault."""
    if argv:
        print("usage: sinew doctor    (no arguments)")
        return 0 if argv[0] in ("-h", "--help") else 2
    findings: list[Finding] = []
    for check in CHECKS:
        finding = check()
        findings.append(finding)
        print(f"{finding.grade.value:>5}  {finding.subject:<14} {finding.state}", flush=True)
        if finding.fix:
            print(f"{'':21} fix: {finding.fix}")
    faults = sum(finding.grade is Grade.FAULT for finding in findings)
    print(f"\n{faults} faults" if faults else "\nno faults")
    return 1 if faults else 0


def python() -> Finding:
    state = f"{sys.version.split()[0]} at {sys.executable}"
    if sys.version_info[:2] < (3, 11):  # noqa: UP036  someone may run this file with any interpreter
        return Finding("Python", Grade.FAULT, state, "install Python 3.11 or newer, then run scripts/setup")
    if sys.prefix == sys.base_prefix:
        return Finding(
            "Python", Grade.NOTE, f"{state}, no virtual environment", "use .venv/bin/sinew of scripts/setup"
        )
    return Finding("Python", Grade.OK, state)


def build_tools() -> Finding:
    missing = [name for name in ("cmake", "c++") if shutil.which(name) is None]
    if missing:
        fix = "sudo apt-get install -y cmake g++ ninja-build"
        return Finding("build tools", Grade.FAULT, f"{' and '.join(missing)} not found", fix)
    text = _output(["cmake", "--version"])
    version = text.split()[2] if len(text.split()) > 2 else "0"
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < (3, 21):
        return Finding("build tools", Grade.FAULT, f"cmake {version}; 3.21 is needed", "pip install cmake")
    return Finding("build tools", Grade.OK, f"cmake {version}")


def system_libraries() -> Finding:
    wanted = {"libEGL.so.1": "libegl1", "libGL.so.1": "libgl1", "libgomp.so.1": "libgomp1"}
    wanted["libusb-1.0.so.0"] = "libusb-1.0-0"
    missing = [package for library, package in wanted.items() if not _loads(library)]
    if missing:
        return Finding(
            "libraries",
            Grade.FAULT,
            f"missing: {', '.join(missing)}",
            f"sudo apt-get install -y {' '.join(missing)}",
        )
    return Finding("libraries", Grade.OK, ", ".join(wanted.values()))


def rendering() -> Finding:
    code = (
        "import mujoco; m = mujoco.MjModel.from_xml_string("
        "\"<mujoco><worldbody><geom size='1'/></worldbody></mujoco>\"); "
        "r = mujoco.Renderer(m, 48, 64); d = mujoco.MjData(m); mujoco.mj_forward(m, d); r.update_scene(d); "
        "assert r.render().shape == (48, 64, 3); from OpenGL import GL; "
        "print(GL.glGetString(GL.GL_RENDERER).decode())"
    )
    text, ok = _python(code, {"MUJOCO_GL": "egl"})
    if ok:
        return Finding("rendering", Grade.OK, f"EGL: {text}")
    fix = "sudo apt-get install -y libegl1 libgl1-mesa-dri; until then images come from slower ray casting"
    return Finding("rendering", Grade.FAULT, f"no image from EGL: {text}", fix)


def shared_memory() -> Finding:
    free = shared_memory_free()
    segment = segment_bytes(free)
    state = f"{free >> 20} MiB free in /dev/shm"
    fix = "make it larger (docker: --shm-size=1g; else: sudo mount -o remount,size=1g /dev/shm)"
    if segment >= SEGMENT_BYTES:
        return Finding("/dev/shm", Grade.OK, state)
    if segment < _SMALLEST_SEGMENT_BYTES:
        return Finding("/dev/shm", Grade.FAULT, f"{state}: images and clouds will be lost", fix)
    state = f"{state}: messages above {segment >> 20} MiB between processes are lost"
    return Finding("/dev/shm", Grade.NOTE, state, fix)


def network() -> Finding:
    """DDS discovers over UDP on the loopback interface."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.settimeout(1.0)
        try:
            receiver.bind(("127.0.0.1", 0))
            sender.sendto(b"sinew", receiver.getsockname())
            receiver.recv(16)
        except OSError as error:
            return Finding("loopback", Grade.FAULT, f"no UDP to 127.0.0.1 ({error})", "sudo ip link set lo up")
    spread = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST (default of every launch)")
    return Finding("loopback", Grade.OK, f"UDP works; discovery range {spread}")


def workspace() -> Finding:
    if not workspace_built():
        return Finding("workspace", Grade.FAULT, f"{workspace_install()} is not built", "scripts/setup")
    text, ok = _python(
        "import rclpy, sinew_interfaces.msg, control_msgs.action, tf2_msgs.msg; print(rclpy.__file__)"
    )
    if not ok:
        return Finding(
            "workspace",
            Grade.FAULT,
            f"its messages cannot be imported: {text}",
            "rm -rf ros2_ws/install; scripts/setup",
        )
    return Finding("workspace", Grade.OK, str(workspace_install()))


def middleware() -> Finding:
    code = (
        "import time, rclpy; from std_msgs.msg import UInt8MultiArray as M; rclpy.init()\n"
        "n = rclpy.create_node('doctor')\n"
        "got = []; s = n.create_subscription(M, 'doctor', got.append, 1); p = n.create_publisher(M, 'doctor', 1)\n"
        "end = time.monotonic() + 10\n"
        "while not got and time.monotonic() < end: p.publish(M(data=b'x')); rclpy.spin_once(n, timeout_sec=0.1)\n"
        "assert got, 'a message did not come back within 10 s'\n"
        "import os; print(rclpy.get_rmw_implementation_identifier(), flush=True); os._exit(0)"
    )
    text, ok = _python(code)
    if ok:
        return Finding("DDS", Grade.OK, text)
    return Finding(
        "DDS",
        Grade.FAULT,
        text,
        "if it names /dev/shm: rm -f /dev/shm/*fastdds* while nothing runs",
    )


def learning() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("torch", Grade.FAULT, "not installed", "scripts/setup")
    text, ok = _python("import torch; print(torch.__version__, torch.cuda.is_available())")
    if not ok:
        return Finding("torch", Grade.FAULT, f"cannot be imported: {text}", "scripts/setup")
    version, cuda = text.split()
    gpu = _gpu()
    if cuda == "True":
        return Finding("torch", Grade.OK, f"{version} on {gpu or 'CUDA'}")
    if gpu:
        return Finding(
            "torch",
            Grade.FAULT,
            f"{version} cannot use the {gpu}",
            "SINEW_GPU=1 scripts/setup",
        )
    return Finding("torch", Grade.OK, f"{version}; no GPU, so inference runs on {os.cpu_count()} CPU cores")


CHECKS: tuple[Callable[[], Finding], ...] = (
    python,
    build_tools,
    system_libraries,
    rendering,
    shared_memory,
    network,
    workspace,
    middleware,
    learning,
)


def _gpu() -> str:
    if shutil.which("nvidia-smi") is None:
        return ""
    return _output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]).split("\n")[0]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _python(code: str, extra: dict[str, str] | None = None) -> tuple[str, bool]:
    """(last line of output, success) of a child interpreter, so that a crash in it is a finding too."""
    environment = {**with_overlay(os.environ), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", **(extra or {})}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            cwd=Path.home(),
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_TIMEOUT_S:g} s", False
    lines = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip().splitlines()
    last = lines[-1] if lines else f"exit code {done.returncode}"
    return last, done.returncode == 0


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
