"""Grasps from depth images: camera topics in, M2T2 off the executor's thread, ranked candidates out."""

import rclpy  # must be the first import that loads native libraries  # isort: skip

import queue
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from geometry_msgs.msg import Point
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from sinew_interfaces.msg import GraspArray
from sinew_interfaces.srv import PlanGrasps
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from sinew_hardware.models.self_filter import FILTERED_LINKS, robot_points
from sinew_nodes import convert, qos, topics
from sinew_nodes.base import SinewNode
from sinew_nodes.grasp.frame_sync import FrameSync
from sinew_nodes.mask_colors import mask_colors
from sinew_nodes.meters import Reading
from sinew_nodes.params import parameter
from sinew_nodes.spin import run
from sinew_nodes.tf.buffer import TransformError
from sinew_nodes.tf.listener import TransformListener
from sinew_nodes.view.page import gripper_lines
from sinew_policies.common.errors import CheckpointError, CloudError, DataError, SinewError
from sinew_policies.common.pointcloud import from_depth, select
from sinew_policies.common.pointcloud import warm_up as warm_up_clouds
from sinew_policies.common.types import F64, CameraFrame, GraspSet, PointCloud
from sinew_policies.m2t2.pipeline import Proposal, propose
from sinew_policies.m2t2.predictor import Predictor

_Response: TypeAlias = PlanGrasps.Response
_LONGEST_WAIT_S = 60.0  # whatever a request asks for


@dataclass(frozen=True)
class GraspConfig:
    camera: str = parameter("scene_camera", "name of the camera, the first part of its topics")
    base_frame: str = parameter("base_link", "frame of the workspace and of the grasps")
    weights: str = parameter("", "weights folder; empty: the weights that ship with sinew")
    compute: str = parameter("auto", "where the network runs", choices=("auto", "cpu", "cuda"))
    workspace_min_m: tuple[float, ...] = parameter((0.35, -0.15, 0.0), "lower corner of the workspace, base_frame")
    workspace_max_m: tuple[float, ...] = parameter((0.65, 0.15, 0.3), "upper corner of the workspace, base_frame")
    margin_m: float = parameter(0.02, "points this far outside the workspace still count", low=0.0, high=0.2)
    rate_hz: float = parameter(0.0, "grasps per second without being asked; 0: only on request", low=0.0, high=30.0)
    max_age_s: float = parameter(1.0, "an older image is not used", low=0.05, high=10.0)
    timeout_s: float = parameter(3.0, "default wait of a request for an image", low=0.1, high=60.0)
    max_candidates: int = parameter(100, "candidates per image", low=1, high=1000)
    seed: int = parameter(0, "seed of the point sampling", low=0, high=2**31 - 1)


class _Fault(SinewError):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class _Job:
    request: PlanGrasps.Request | None  # None: the timer's
    future: Future | None


class GraspNode(SinewNode[GraspConfig]):
    config_type = GraspConfig

    def __init__(self) -> None:
        super().__init__("grasp_node")
        self._sync = FrameSync()
        self._jobs: queue.Queue[_Job | None] = queue.Queue(maxsize=8)
        self._worker: threading.Thread | None = None
        self._predictor: Predictor | None = None
        self._looks = 0

    def build(self, config: GraspConfig) -> None:
        lower, upper = np.array(config.workspace_min_m), np.array(config.workspace_max_m)
        if lower.shape != (3,) or upper.shape != (3,) or not np.all(lower < upper):
            raise DataError(
                f"workspace {config.workspace_min_m} .. {config.workspace_max_m}: expected corners (x, y, z) in "
                "metres with lower < upper; correct workspace_min_m and workspace_max_m"
            )
        self._workspace: F64 = np.stack([lower, upper])  # (2, 3)
        try:
            self._predictor = Predictor.from_pretrained(config.weights or None, config.compute)
        except CheckpointError as error:
            raise CheckpointError(f"weights '{config.weights or 'shipped'}': {error}") from error
        self._predictor.warm_up()
        warm_up_clouds()
        self._tf = TransformListener(self)
        self.on_clear(self._tf.destroy)
        camera = config.camera
        self.subscription(Image, topics.color(camera), self._on_color, qos.SENSOR)
        self.subscription(Image, topics.depth(camera), self._on_depth, qos.SENSOR)
        self.subscription(CameraInfo, topics.color_info(camera), self._sync.info, qos.SENSOR)
        self._candidates = self.publisher(GraspArray, topics.GRASP_CANDIDATES, qos.LATCHED)
        self._markers = self.publisher(MarkerArray, topics.GRASP_MARKERS, qos.LATCHED)
        self._cloud = self.publisher(PointCloud2, topics.GRASP_CLOUD, qos.LATCHED)
        self._segments = self.publisher(PointCloud2, topics.GRASP_SEGMENTS, qos.LATCHED)
        self.owned_service(PlanGrasps, topics.PLAN_GRASPS, self._on_plan, group=ReentrantCallbackGroup())
        if config.rate_hz > 0.0:
            self.timer(1.0 / config.rate_hz, self._on_timer)

    def start(self) -> None:
        self._jobs = queue.Queue(maxsize=8)
        self._worker = threading.Thread(target=self._work, name="inference", daemon=True)
        self._worker.start()

    def stop(self) -> None:
        if self._worker is not None:
            self._refuse_waiting("grasp_node is being deactivated; activate it and ask again")
            self._jobs.put(None)
            self._worker.join(timeout=2.0)
            self._worker = None
        self._sync.clear()

    def _refuse_waiting(self, message: str) -> None:
        """Answers the requests that nobody will look at any more."""
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None and job.future is not None:
                job.future.set_result(_refusal(_Response(), _Response.INFERENCE_FAILED, message))

    def clear(self) -> None:
        self._predictor = None

    def report(self, reading: Reading) -> tuple[str, dict[str, str]]:
        device = str(self._predictor.device) if self._predictor is not None else "none"
        return "", {"device": device, "frames_dropped": str(self._sync.dropped)}

    def _on_color(self, message: Image) -> None:
        self.meters.tick("color")
        self._sync.color(message)

    def _on_depth(self, message: Image) -> None:
        self._sync.depth(message)

    def _on_timer(self) -> None:
        if self.is_active and self._jobs.empty():
            self._jobs.put_nowait(_Job(None, None))

    async def _on_plan(self, request: PlanGrasps.Request, response: PlanGrasps.Response) -> PlanGrasps.Response:
        if not self.is_active:
            return _refusal(response, _Response.INFERENCE_FAILED, "grasp_node is not active; activate it first")
        future: Future = Future(executor=self.executor)
        try:
            self._jobs.put_nowait(_Job(request, future))
        except queue.Full:
            return _refusal(response, _Response.INFERENCE_FAILED, "grasp_node is busy with 8 requests; ask again")
        return await future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            response = _Response()
            try:
                grasps, cloud = self._look(job.request)
                response.grasps = convert.grasp_array_msg(grasps)
                response.cloud = convert.cloud_msg(cloud)
                self._publish(grasps, cloud)
            except _Fault as fault:
                _refusal(response, fault.code, str(fault))
            except Exception as error:  # the worker must outlive any frame
                _refusal(response, _Response.INFERENCE_FAILED, f"{type(error).__name__}: {error}")
            self.problem("look", response.error_msg)
            if job.future is not None:
                job.future.set_result(response)
                if self.executor is not None:
                    self.executor.wake()  # set from another thread, the answer would wait for the next event

    def _look(self, request: PlanGrasps.Request | None) -> tuple[GraspSet, PointCloud]:
        assert self._predictor is not None
        frame = self._frame(request)
        started = time.perf_counter()
        with self.meters.stage("tf"):
            T_base_cam, T_base_links = self._transforms(frame)
        with self.meters.stage("cloud"):
            bounds = self._workspace + np.array([[-1.0], [1.0]]) * self.config.margin_m
            bounds[0, 2] = self._workspace[0, 2] - 0.01
            try:
                cloud = from_depth(frame, T_base_cam, bounds=bounds, frame_id=self.config.base_frame)
                if T_base_links:
                    cloud = select(cloud, ~robot_points(cloud.xyz, T_base_links))
            except CloudError as error:
                raise _Fault(_Response.BAD_CLOUD, str(error)) from error
        self._looks += 1
        limit = (
            request.max_candidates if request is not None and request.max_candidates else self.config.max_candidates
        )
        settings = Proposal(workspace=self._workspace, max_candidates=limit)
        try:
            grasps = propose(self._predictor, cloud, settings, seed=self.config.seed + self._looks)
        except CloudError as error:  # of an empty table too the camera sees the top
            raise _Fault(_Response.BAD_CLOUD, str(error)) from error
        for stage, ms in grasps.stage_ms:
            self.meters.record_ms(stage, ms)
        self.meters.record_ms("image_to_grasps", (time.perf_counter() - started) * 1e3)
        self.meters.tick("grasps")
        return replace(grasps, stamp_ns=frame.stamp_ns), cloud

    def _frame(self, request: PlanGrasps.Request | None) -> CameraFrame:
        asked_s = request.timeout_s if request is not None else 0.0
        timeout_s = min(asked_s, _LONGEST_WAIT_S) if asked_s > 0.0 else self.config.timeout_s
        oldest = self.now_ns() - int(self.config.max_age_s * 1e9)
        if request is not None:
            oldest = max(oldest, convert.stamp_ns(request.not_before))
        try:
            frame = self._sync.wait(oldest, timeout_s)
        except DataError as error:
            raise _Fault(_Response.BAD_CLOUD, str(error)) from error
        if frame is None:
            newest = self._sync.newest_ns
            seen = "none has arrived" if newest < 0 else f"the newest is {(oldest - newest) / 1e9:.2f} s too old"
            raise _Fault(
                _Response.NO_IMAGE,
                f"no image of {self.config.camera} within {timeout_s:.1f} s: {seen}; is its camera node alive, and "
                f"do colour, depth and CameraInfo carry equal stamps?",
            )
        return frame

    def _transforms(self, frame: CameraFrame) -> tuple[F64, dict[str, F64]]:
        base, buffer = self.config.base_frame, self._tf.buffer
        try:
            T_base_cam = buffer.lookup(base, frame.frame_id, frame.stamp_ns, timeout_s=0.5)
        except TransformError as error:
            raise _Fault(
                _Response.NO_TRANSFORM,
                f"no transform {base} ← {frame.frame_id} at the image's stamp: {error}; publish the camera's pose",
            ) from error
        if not any(link in buffer.frames for link in FILTERED_LINKS):
            return T_base_cam, {}
        try:
            links = {link: buffer.lookup(base, link, frame.stamp_ns, timeout_s=0.1) for link in FILTERED_LINKS}
        except TransformError as error:
            raise _Fault(
                _Response.NO_TRANSFORM,
                f"the robot cannot be taken out of the cloud, its pose at the image's stamp is unknown: {error}; "
                "is robot_state_publisher alive, and do joint states arrive?",
            ) from error
        return T_base_cam, links

    def _publish(self, grasps: GraspSet, cloud: PointCloud) -> None:
        self._candidates.publish(convert.grasp_array_msg(grasps))
        if self._markers.get_subscription_count():
            self._markers.publish(_markers(grasps))
        if self._cloud.get_subscription_count():
            self._cloud.publish(convert.cloud_msg(cloud))
        if self._segments.get_subscription_count() and grasps.cloud is not None:
            tinted = replace(grasps.cloud, rgb=mask_colors(grasps.cloud.rgb, grasps.masks))
            self._segments.publish(convert.cloud_msg(tinted))


def _refusal(response: PlanGrasps.Response, code: int, message: str) -> PlanGrasps.Response:
    response.error_code, response.error_msg = code, message
    return response


def _markers(grasps: GraspSet) -> MarkerArray:
    """Line drawings: green executable (brighter = better), grey rejected."""
    header = convert.header_msg(grasps.frame_id, grasps.stamp_ns)
    marker = Marker(header=header, ns="grasps", type=Marker.LINE_LIST, action=Marker.ADD)
    marker.scale.x = 0.0015
    marker.pose.orientation.w = 1.0
    for grasp in grasps.grasps:
        tone = ColorRGBA(r=0.6, g=0.6, b=0.6, a=0.3) if grasp.rejection else ColorRGBA(g=float(grasp.score), a=1.0)
        for end in gripper_lines(grasp).reshape(-1, 3):
            marker.points.append(Point(x=end[0], y=end[1], z=end[2]))
            marker.colors.append(tone)
    return MarkerArray(markers=[Marker(header=header, ns="grasps", action=Marker.DELETEALL), marker])


def main() -> None:
    assert rclpy is not None
    sys.exit(run(lambda: [GraspNode()]))
