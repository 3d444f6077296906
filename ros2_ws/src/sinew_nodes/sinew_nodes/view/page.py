"""The live 3-D page: robot, cloud, object masks, ranked grasps with the reason each was rejected, plan, stage.

Served by viser on 127.0.0.1, self-contained, for any browser. Knows value types only, no ROS.
"""

import colorsys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import ConfigError, MissingExtra
from sinew_policies.common.geometry import HAND_DEPTH_M, apply
from sinew_policies.common.types import F64, U8, Grasp, GraspSet, PointCloud

_MAX_POINTS = 30_000
_REJECTED_RGB = (150, 150, 155)
_BEST_RGB = (20, 170, 80)


@dataclass(frozen=True)
class Status:
    stage: str
    attempted: int
    removed: int
    failed: int
    detail: str = ""


class Page:
    """One page. Update calls are cheap and may come from any thread."""

    def __init__(self, port: int, *, title: str = "sinew") -> None:
        try:
            import viser
        except ImportError as error:
            raise MissingExtra("viser", "view") from error
        try:
            self._server = viser.ViserServer(host="127.0.0.1", port=port, label=title, verbose=False)
        except OSError as error:
            raise ConfigError(f"cannot open the page on port {port}: {error}; choose another port") from error
        scene, gui = self._server.scene, self._server.gui
        gui.configure_theme(control_layout="collapsible", show_logo=False, show_share_button=False)
        gui.set_panel_label(title)
        scene.set_up_direction("+z")
        scene.add_grid("/table", width=1.2, height=1.2, cell_size=0.1, position=(0.4, 0.0, -0.002))
        self._server.initial_camera.position = (1.2, -0.5, 0.62)
        self._server.initial_camera.look_at = (0.42, 0.1, 0.1)
        self._stage = gui.add_markdown("**stage** waiting for the task")
        self._camera = gui.add_image(np.zeros((120, 160, 3), np.uint8), label="scene camera", format="jpeg")
        self._table = gui.add_markdown("")
        self._show_masks = gui.add_checkbox("colour the cloud by object mask", True)
        self._show_rejected = gui.add_checkbox("show rejected grasps", True)
        self._show_masks.on_update(lambda _: self._draw_cloud())
        self._show_rejected.on_update(lambda _: self._draw_grasps())
        self._urdf: Any = None
        self._grasps: GraspSet | None = None
        self._cloud: PointCloud | None = None
        self._segments: PointCloud | None = None

    @property
    def port(self) -> int:
        return int(self._server.get_port())

    def close(self) -> None:
        self._server.stop()

    def set_robot(self, urdf_text: str, mesh_dir: Path | None = None) -> None:
        """Shows the robot of a URDF; `mesh_dir` resolves package:// names. Raises ConfigError."""
        import io

        import yourdfpy
        from viser.extras import ViserUrdf

        def resolve(name: str) -> str:
            return str((mesh_dir or Path()) / name.removeprefix("package://"))

        try:
            urdf = yourdfpy.URDF.load(io.StringIO(urdf_text), filename_handler=resolve, load_meshes=True)
        except Exception as error:
            raise ConfigError(f"robot_description cannot be shown: {error}; check the URDF") from error
        self._urdf = ViserUrdf(self._server, urdf, root_node_name="/robot")

    def set_joints(self, positions: dict[str, float]) -> None:
        if self._urdf is not None:
            names = self._urdf.get_actuated_joint_names()
            self._urdf.update_cfg(np.array([positions.get(n, 0.0) for n in names]))

    def set_image(self, rgb: U8) -> None:
        self._camera.image = rgb[::2, ::2]

    def set_cloud(self, cloud: PointCloud) -> None:
        """The workspace in its own colours."""
        self._cloud = cloud
        self._draw_cloud()

    def set_segments(self, cloud: PointCloud) -> None:
        """The same points coloured by object mask."""
        self._segments = cloud
        self._draw_cloud()

    def set_grasps(self, grasps: GraspSet) -> None:
        self._grasps = grasps
        self._draw_grasps()
        self._table.content = _ranking(grasps)

    def set_plan(self, path_xyz: F64) -> None:
        """Shows the hand's planned path, (T, 3) metres in base_link; fewer than two points hide it."""
        if len(path_xyz) < 2:
            self._server.scene.remove_by_name("/plan")
            return
        segments = np.stack([path_xyz[:-1], path_xyz[1:]], axis=1)  # (T-1, 2, 3)
        self._server.scene.add_line_segments("/plan", segments, (250, 140, 20), thickness=0.004)

    def set_status(self, status: Status) -> None:
        self._stage.content = (
            f"**stage** {status.stage}  \n**removed** {status.removed} of {status.attempted} attempts"
            f" ({status.failed} failed)  \n{status.detail}"
        )

    def _draw_cloud(self) -> None:
        cloud = self._segments if self._show_masks.value and self._segments is not None else self._cloud
        if cloud is None or len(cloud) == 0:
            return
        step = max(1, len(cloud) // _MAX_POINTS)
        self._server.scene.add_point_cloud(
            "/cloud", cloud.xyz[::step], cloud.rgb[::step], point_size=0.002, point_shape="circle"
        )

    def _draw_grasps(self) -> None:
        if self._grasps is None:
            return
        shown = [g for g in self._grasps.grasps if self._show_rejected.value or not g.rejection]
        self._server.scene.remove_by_name("/grasps")
        best = next((g for g in shown if not g.rejection), None)
        for kind, grasps, color in (
            ("rejected", [g for g in shown if g.rejection], _REJECTED_RGB),
            ("ranked", [g for g in shown if not g.rejection and g is not best], None),
            ("best", [best] if best is not None else [], _BEST_RGB),
        ):
            if grasps:
                segments = np.concatenate([gripper_lines(g) for g in grasps])
                colors = np.repeat(np.array([color or _score_color(g.score) for g in grasps], np.uint8), 5, axis=0)
                self._server.scene.add_line_segments(
                    f"/grasps/{kind}",
                    segments,
                    np.repeat(colors[:, None, :], 2, axis=1),
                    thickness=0.003 if kind == "best" else 0.0015,
                )
        for i, g in enumerate(shown[:40]):
            if g.rejection:
                tip = g.T_base_grasp[:3, 3]
                self._server.scene.add_label(f"/grasps/reason/{i}", g.rejection, position=tuple(tip))


def gripper_lines(grasp: Grasp) -> NDArray[np.float64]:
    """Drawing of a parallel hand as 5 segments, (5, 2, 3) metres in base_link."""
    half = grasp.width_m / 2.0 + 0.004
    z_tip, z_palm = HAND_DEPTH_M, 0.059
    outline = np.array(
        [
            [[0.0, 0.0, 0.0], [0.0, 0.0, z_palm]],
            [[-half, 0.0, z_palm], [half, 0.0, z_palm]],
            [[-half, 0.0, z_palm], [-half, 0.0, z_tip]],
            [[half, 0.0, z_palm], [half, 0.0, z_tip]],
            [[-half, 0.0, z_tip], [half, 0.0, z_tip]],
        ]
    )
    return apply(grasp.T_base_grasp, outline.reshape(-1, 3)).reshape(5, 2, 3)


def _score_color(score: float) -> tuple[int, int, int]:
    r, g, b = colorsys.hsv_to_rgb(0.33 * float(np.clip(score, 0.0, 1.0)), 0.85, 0.9)
    return int(255 * r), int(255 * g), int(255 * b)


def _ranking(grasps: GraspSet) -> str:
    rows = ["| # | score | width | object | verdict |", "|--:|--:|--:|--:|:--|"]
    for i, g in enumerate(grasps.grasps[:12]):
        verdict = g.rejection or "executable"
        rows.append(f"| {i} | {g.score:.2f} | {g.width_m * 1e3:.0f} mm | {g.object_id} | {verdict} |")
    executable = len(grasps.executable)
    return "\n".join([f"**{executable} of {len(grasps.grasps)} grasps executable**", "", *rows])
