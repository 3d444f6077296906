"""The demo's side of the graph: sends the goal, listens to what the run's picture and table need."""

import threading
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.action.client import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from sinew_interfaces.action import ClearTable
from sinew_interfaces.msg import GraspArray, ObjectCount

from sinew_nodes import convert, qos, topics
from sinew_nodes.action_goal import send_goal
from sinew_nodes.demo.picture import draw_grasps
from sinew_nodes.tf.listener import TransformListener
from sinew_policies.common.errors import DeviceTimeout

CAMERA = "scene_camera"


class DemoClient:
    """A node spun in a thread of its own between construction and close()."""

    def __init__(self) -> None:
        self.node = Node("demo", parameter_overrides=[Parameter("use_sim_time", Parameter.Type.BOOL, True)])
        self.tf = TransformListener(self.node)
        self.image: Image | None = None
        self.info: CameraInfo | None = None
        self.first_grasps: GraspArray | None = None
        self.image_of_first_grasps: Image | None = None
        self.count: ObjectCount | None = None
        self._fault = ""  # what the lifecycle manager says cannot be brought up
        self.node.create_subscription(Image, topics.color(CAMERA), self._on_image, qos.SENSOR)
        self.node.create_subscription(CameraInfo, topics.color_info(CAMERA), self._on_info, qos.SENSOR)
        self.node.create_subscription(GraspArray, topics.GRASP_CANDIDATES, self._on_grasps, qos.LATCHED)
        self.node.create_subscription(ObjectCount, topics.OBJECT_COUNT, self._on_count, qos.LATCHED)
        self.node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, qos.DIAGNOSTICS)
        self._client: Any = ActionClient(self.node, ClearTable, topics.TASK_CLEAR_TABLE)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._closing = False
        self._thread = threading.Thread(target=self._spin, name="demo-client", daemon=True)
        self._thread.start()

    def wait_for_task(self, timeout_s: float, alive: Callable[[], bool]) -> None:
        """Until the task's server takes goals and the first image and count are here. Raises DeviceTimeout."""
        deadline = time.monotonic() + timeout_s
        while not (self._client.server_is_ready() and self.image is not None and self.count is not None):
            if not alive():
                raise DeviceTimeout("the launch ended before the task was ready; its log says why")
            if self._fault:
                raise DeviceTimeout(self._fault)
            if time.monotonic() > deadline:
                missing = [
                    name
                    for name, there in (
                        ("the action server of task_node", self._client.server_is_ready()),
                        (f"an image of {CAMERA}", self.image is not None),
                        (f"/{topics.OBJECT_COUNT}", self.count is not None),
                    )
                    if not there
                ]
                raise DeviceTimeout(f"waited {timeout_s:.0f} s for {' and '.join(missing)}")
            threading.Event().wait(0.05)

    def clear_table(
        self,
        on_feedback: Callable[[ClearTable.Feedback], None],
        timeout_s: float,
        alive: Callable[[], bool],
        *,
        max_consecutive_failures: int = 0,
    ) -> ClearTable.Result:
        """Sends the goal (again while the task is still being activated) and waits for its result."""
        deadline = time.monotonic() + timeout_s
        while True:
            handle = self._wait(
                send_goal(
                    self.node,
                    self._client,
                    ClearTable.Goal(max_consecutive_failures=max_consecutive_failures),
                    lambda m: on_feedback(m.feedback),
                ),
                deadline,
                alive,
            )
            if handle.accepted:
                break
            threading.Event().wait(0.5)
        return self._wait(handle.get_result_async(), deadline, alive).result

    def close(self) -> None:
        self._closing = True
        self._executor.wake()
        self._thread.join(timeout=2.0)
        self._executor.remove_node(self.node)
        self.node.destroy_node()

    def _wait(self, future: Any, deadline: float, alive: Callable[[], bool]) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        while not done.wait(0.05):
            if not alive():
                raise DeviceTimeout("the launch ended while the task was running; its log says why")
            if time.monotonic() > deadline:
                raise DeviceTimeout("the task did not end in time")
        return future.result()

    def _spin(self) -> None:
        while not self._closing:
            self._executor.spin_once(timeout_sec=0.2)

    def _on_image(self, message: Image) -> None:
        self.image = message

    def _on_info(self, message: CameraInfo) -> None:
        self.info = message

    def _on_grasps(self, message: GraspArray) -> None:
        if self.first_grasps is None and message.grasps:
            self.first_grasps, self.image_of_first_grasps = message, self.image

    def _on_count(self, message: ObjectCount) -> None:
        self.count = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.level == DiagnosticStatus.ERROR and "cannot be brought up" in status.message:
                self._fault = status.message

    def first_picture(self) -> Any:
        """The image of the first grasps with the best ten drawn in, or None when there were none."""
        if self.first_grasps is None or self.image_of_first_grasps is None or self.info is None:
            return None
        grasps = convert.grasp_set(self.first_grasps)
        T_base_cam = self.tf.buffer.lookup(grasps.frame_id, self.info.header.frame_id, timeout_s=2.0)
        best, model = grasps.executable[:10], convert.camera_model(self.info)
        return draw_grasps(convert.rgb(self.image_of_first_grasps), best, model, T_base_cam)
