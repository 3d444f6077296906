"""A trained network behind one call: cloud in, ranked grasps out."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinew_policies.common import checkpoint
from sinew_policies.common.compute_device import choose_device
from sinew_policies.common.errors import CheckpointError, ConfigError
from sinew_policies.common.pointcloud import select, validate_cloud
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F32, GraspSet, PointCloud
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.dataset import network_input
from sinew_policies.m2t2.network import M2T2
from sinew_policies.m2t2.postprocess import rank_grasps
from sinew_policies.m2t2.ranking import ranked_candidates
from sinew_policies.m2t2.sampling import choose_points

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"

_MAX_DECODED = 1500  # contacts that enter pose suppression, best first
_RGB_MEAN, _RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Predictor:
    """Proposes grasps for a cloud in base_link (z = 0 the table top), cropped to the workspace, robot removed."""

    def __init__(self, network: M2T2, device: str = "auto") -> None:
        self.device = choose_device(device)
        self.network = network.to(self.device).eval()
        self.config: M2T2Config = network.config
        if self.config.n_text_tokens:
            raise ConfigError("this network wants text tokens; Predictor serves networks that pick without text")

    @staticmethod
    def from_pretrained(path: Path | str | None = None, device: str = "auto") -> "Predictor":
        """A weights folder, a published `m2t2.pth`, or the shipped weights (None). `device`: auto, cpu or cuda.

        Raises CheckpointError when they are missing, damaged or do not fit.
        """
        folder = SHIPPED_WEIGHTS if path is None else Path(path)
        if not folder.exists():
            what = "the shipped weights are missing" if path is None else "there are no weights"
            raise CheckpointError(
                f"{what}: {folder} does not exist; train them with `sinew datagen grasp --out data/grasp` and "
                "`sinew train m2t2 --data data/grasp --out runs/m2t2 --minutes 90`, then give runs/m2t2/weights"
            )
        if folder.name == checkpoint.WEIGHTS and folder.is_file():
            folder = folder.parent  # the file inside a weights folder was named
        if folder.is_file():
            network = M2T2(M2T2Config.published())
            checkpoint.load_into(network, checkpoint.load_published(folder), folder)
        else:
            network = M2T2(checkpoint.load_config(folder, M2T2Config))
            checkpoint.load_into(network, _widened(checkpoint.load_state(folder)), folder)
        return Predictor(network, device)

    @staticmethod
    def random(config: M2T2Config, seed: int = 0, device: str = "cpu") -> "Predictor":
        """An untrained network, for tests of what surrounds it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Predictor(M2T2(config), device)

    def warm_up(self) -> None:
        """Compiles and allocates, so that the first scene is as fast as the next."""
        rng = stream(0, "warm up")
        xyz = rng.uniform((0.35, -0.15, 0.0), (0.65, 0.15, 0.1), (4 * self.config.n_points, 3))
        self.grasps(PointCloud(xyz.astype(np.float32), np.zeros((len(xyz), 3), np.uint8), "warm_up"))

    def grasps(self, cloud: PointCloud, *, seed: int = 0) -> GraspSet:
        """Grasps best first, at most 200, near duplicates removed, none checked against the cloud yet.

        The points that the network sees are drawn from `seed`; same cloud and seed, same grasps. `object_id` is
        the row of `masks`. Raises CloudError for clouds that are empty, all NaN, tiny or of wrong shape.
        """
        clock = _Clock()
        valid = validate_cloud(cloud)
        rng = stream(seed, "m2t2 points")
        seen = select(
            valid, choose_points(valid.xyz, self.config.n_points, rng, table_share=self.config.table_share)
        )
        points = torch.from_numpy(np.ascontiguousarray(seen.xyz))[None].to(self.device)
        clock.lap("sample")
        with torch.inference_mode():
            # Published weights were trained about the mean of the complete cloud.
            mean = torch.from_numpy(valid.xyz.mean(0, dtype=np.float64).astype(np.float32)).to(self.device)
            scene = network_input(points, self.config, mean[None] if self.config.compat else None)
            if self.config.use_rgb:
                rgb = _normalised(seen.rgb, points)
                scene = replace(
                    scene, features=rgb if scene.features is None else torch.cat([rgb, scene.features], 2)
                )
            clock.lap("neighbours")
            output = self.network(scene, all_predictions=False)
            clock.lap("network")
            found = ranked_candidates(self.network, output, points[0], limit=_MAX_DECODED)
            kept = torch.unique(found.query)
            masks = output.decoder.predictions[-1].grasp_masks[0, kept].float().sigmoid()
            row = torch.searchsorted(kept, found.query)
            contacts = points[0, found.point]
        clock.lap("decode")
        ranked = rank_grasps(
            _numpy(found.poses), _numpy(found.width_m), _numpy(found.confidence), _numpy(row), _numpy(contacts)
        )
        clock.lap("rank")
        return GraspSet(
            ranked,
            cloud.frame_id,
            cloud.stamp_ns,
            masks=np.ascontiguousarray(_numpy(masks), dtype=np.float32),
            cloud=seen,
            stage_ms=clock.laps(),
        )


class _Clock:
    def __init__(self) -> None:
        self._laps: list[tuple[str, float]] = []
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps.append((name, (now - self._last) * 1e3))
        self._last = now

    def laps(self) -> tuple[tuple[str, float], ...]:
        return tuple(self._laps)


def _normalised(rgb: NDArray[np.uint8], like: Tensor) -> Tensor:
    """Colours (N, 3) as the published network takes them (1, N, 3)."""
    scaled = (rgb.astype(np.float32) / 255.0 - np.array(_RGB_MEAN, np.float32)) / np.array(_RGB_STD, np.float32)
    return torch.from_numpy(scaled)[None].to(like.device)


def _widened(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights may be stored as float16; the network computes in float32."""
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def _numpy(x: Tensor) -> F32:
    return x.cpu().numpy()
