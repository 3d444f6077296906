"""The grasp node over fake camera topics: every fault of its input has its code, its value and its remedy."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from sinew_interfaces.msg import GraspArray
from sinew_interfaces.srv import PlanGrasps
from tf2_msgs.msg import TFMessage

from sinew_hardware.models.self_filter import FILTERED_LINKS
from sinew_nodes import convert, qos, topics
from sinew_nodes.grasp_node import GraspNode
from sinew_nodes.tf.listener import _STATIC
from sinew_policies.common import checkpoint
from sinew_policies.common.geometry import from_rt, rot_x
from sinew_policies.common.types import CameraModel
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.predictor import Predictor

pytestmark = pytest.mark.ros
Response = PlanGrasps.Response

MODEL = CameraModel(64, 48, 60.0, 60.0, 31.5, 23.5)
OPTICAL = "scene_camera_color_optical_frame"
LOOKING_DOWN = from_rt(rot_x(np.pi), [0.5, 0.0, 0.7])  # 0.7 m over the workspace's centre
TABLE = np.full((48, 64), 0.7, np.float32)


@dataclass(frozen=True)
class View:
    """What the fake camera shows; `info` and `info_frame` are CameraInfo's."""

    depth: Any = None
    info: CameraModel = MODEL
    info_frame: str = OPTICAL
    frame: str = OPTICAL


class Eye:
    """Publishes a view at 20 Hz with wall-clock stamps until closed."""

    def __init__(self, graph: Any) -> None:
        node = graph.client
        self.view: View | None = None
        self._now = node.get_clock().now
        self._color = node.create_publisher(Image, topics.color("scene_camera"), qos.SENSOR)
        self._depth = node.create_publisher(Image, topics.depth("scene_camera"), qos.SENSOR)
        self._info = node.create_publisher(CameraInfo, topics.color_info("scene_camera"), qos.SENSOR)
        self._tf = node.create_publisher(TFMessage, topics.TF_STATIC, _STATIC)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def place(self, child: str, T: Any = LOOKING_DOWN, parent: str = "base_link") -> None:
        self._tf.publish(TFMessage(transforms=[convert.transform_msg(T, parent, child, 0)]))

    def close(self) -> None:
        self._end.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        while not self._end.wait(0.05):
            if (view := self.view) is None:
                continue
            stamp = int(self._now().nanoseconds)
            color = np.full((48, 64, 3), 90, np.uint8)
            depth = TABLE if view.depth is None else view.depth
            self._color.publish(convert.rgb_image_msg(color, view.frame, stamp))
            self._info.publish(convert.camera_info_msg(view.info, view.info_frame, stamp))
            self._depth.publish(convert.depth_image_msg(depth, view.frame, stamp))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    config = replace(M2T2Config.small(), n_points=512, width=0.25, object_threshold=0.0, mask_threshold=0.0)
    predictor = Predictor.random(config)
    checkpoint.save(folder, predictor.network.state_dict(), predictor.config, "# test")
    return folder


@pytest.fixture
def node(graph: Any, weights: Path) -> GraspNode:
    node = GraspNode()
    node.set_parameters([Parameter("weights", value=str(weights)), Parameter("compute", value="cpu")])
    graph.add(node)
    node.trigger_configure()
    node.trigger_activate()
    assert node.is_active
    return node


@pytest.fixture
def eye(graph: Any) -> Iterator[Eye]:
    eye = Eye(graph)
    yield eye
    eye.close()


def plan(graph: Any, timeout_s: float = 5.0) -> PlanGrasps.Response:
    return graph.call(PlanGrasps, topics.PLAN_GRASPS, PlanGrasps.Request(timeout_s=timeout_s), 20.0)


def test_grasps_come_with_the_cloud_and_frame_they_were_seen_in(graph: Any, node: GraspNode, eye: Eye) -> None:
    found = graph.listen(GraspArray, topics.GRASP_CANDIDATES, qos.LATCHED)
    eye.place(OPTICAL)
    eye.view = View()
    answer = plan(graph)
    assert (answer.error_code, answer.error_msg) == (Response.SUCCESS, "")
    assert answer.grasps.header.frame_id == answer.cloud.header.frame_id == "base_link"
    assert answer.grasps.header.stamp == answer.cloud.header.stamp
    assert len(convert.cloud(answer.cloud)) > 300
    graph.wait(lambda: found, "the candidates on their topic")


TINY = np.full((48, 64), np.nan, np.float32)
TINY[22:25, 30:34] = 0.7  # 12 points in the workspace's middle


@pytest.mark.parametrize(
    ("view", "code", "words"),
    [
        (None, Response.NO_IMAGE, ["no image of scene_camera within 0.5 s", "none has arrived", "camera node"]),
        (
            View(info=CameraModel(32, 24, 30.0, 30.0, 15.5, 11.5)),
            Response.BAD_CLOUD,
            ["64x48", "CameraInfo says 32x24", "same stream"],
        ),
        (View(info=replace(MODEL, fx=0.0, fy=0.0)), Response.BAD_CLOUD, ["fx", "0.0"]),
        (View(info_frame="elsewhere"), Response.BAD_CLOUD, [OPTICAL, "'elsewhere'"]),
        (
            View(frame="moon", info_frame="moon"),
            Response.NO_TRANSFORM,
            ["no transform base_link ← moon", "'moon' is unknown", "publish the camera's pose"],
        ),
        (View(depth=TINY), Response.BAD_CLOUD, ["12 "]),
        (View(depth=np.full((48, 64), np.nan, np.float32)), Response.BAD_CLOUD, ["is empty", "depth image"]),
    ],
    ids=[
        "no image",
        "size of CameraInfo",
        "zero focal length",
        "frame of CameraInfo",
        "wrong frame",
        "tiny",
        "all NaN",
    ],
)
def test_faulty_input_is_answered_with_code_value_and_remedy(
    graph: Any, node: GraspNode, eye: Eye, view: View | None, code: int, words: list[str]
) -> None:
    eye.place(OPTICAL)
    eye.view = view
    answer = plan(graph, 5.0 if view else 0.5)
    assert answer.error_code == code, answer.error_msg
    for word in words:
        assert word in answer.error_msg
    assert not answer.grasps.grasps
    assert node._problems["look"] == answer.error_msg
    eye.view = View()  # and with sound input all is well again
    graph.wait(
        lambda: plan(graph).error_code == Response.SUCCESS, "grasps"
    )  # a faulty image may be on its way still
    assert "look" not in node._problems


def test_missing_tf_is_named_and_heals_by_itself(graph: Any, node: GraspNode, eye: Eye) -> None:
    eye.view = View()
    answer = plan(graph)
    assert answer.error_code == Response.NO_TRANSFORM
    assert f"no transform base_link ← {OPTICAL}" in answer.error_msg
    eye.place(OPTICAL)
    graph.wait(lambda: plan(graph).error_code == Response.SUCCESS, "the transform")


def test_a_robot_of_which_only_a_part_is_known_is_a_fault(graph: Any, node: GraspNode, eye: Eye) -> None:
    eye.place(OPTICAL)
    eye.place(FILTERED_LINKS[0], np.eye(4))
    eye.view = View()
    graph.wait(lambda: FILTERED_LINKS[0] in node._tf.buffer.frames, "the first link")
    answer = plan(graph)
    assert answer.error_code == Response.NO_TRANSFORM
    assert f"'{FILTERED_LINKS[1]}' is unknown" in answer.error_msg
    assert "robot_state_publisher" in answer.error_msg


def test_an_endless_wait_is_not_granted_and_deactivation_answers_who_waits(graph: Any, node: GraspNode) -> None:
    client = graph.client.create_client(PlanGrasps, topics.PLAN_GRASPS)
    graph.wait(client.service_is_ready, "the service")
    waiting = [client.call_async(PlanGrasps.Request(timeout_s=float(t))) for t in ("1.0", "inf", "nan")]
    graph.wait(lambda: node._jobs.qsize() == 2, "two requests behind the first")
    node.trigger_deactivate()
    answers = [graph.result(future, "an answer") for future in waiting]
    assert [a.error_code for a in answers] == [
        Response.NO_IMAGE,
        Response.INFERENCE_FAILED,
        Response.INFERENCE_FAILED,
    ]
    assert "activate it and ask again" in answers[1].error_msg
    assert "not active" in plan(graph).error_msg


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("weights", "/nonexistent", "weights '/nonexistent': there are no weights"),
        pytest.param(
            "compute",
            "cuda",
            "torch finds no usable GPU; use 'auto' or 'cpu'",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        ("workspace_min_m", [0.9, -0.15, 0.0], "lower < upper; correct workspace_min_m"),
    ],
)
def test_a_wrong_parameter_fails_the_configuration(graph: Any, name: str, value: Any, words: str) -> None:
    node = GraspNode()
    node.set_parameters([Parameter(name, value=value)])
    graph.add(node)
    node.trigger_configure()
    assert node._state_machine.current_state[1] == "unconfigured"
    assert words in node._problems["transition"]


def test_an_active_node_keeps_its_parameters(graph: Any, node: GraspNode) -> None:
    result = node.set_parameters([Parameter("max_candidates", value=7)])[0]
    assert not result.successful
    assert "read when the node is configured" in result.reason
    assert node.get_parameter("max_candidates").value == 100
