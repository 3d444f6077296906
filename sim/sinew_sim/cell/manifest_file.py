"""The manifest as JSON, beside the compiled model."""

import json
from dataclasses import asdict, replace

import numpy as np

from sinew_policies.common.errors import DataError
from sinew_sim.cell.build import CellManifest, ObjectEntry
from sinew_sim.cell.layout import CameraMount


def manifest_to_json(manifest: CellManifest) -> str:
    plain = asdict(replace(manifest, cameras=()))
    plain["cameras"] = [
        {**asdict(mount), "T_body_optical": mount.T_body_optical.tolist()} for mount in manifest.cameras
    ]
    return json.dumps(plain, indent=1)


def manifest_from_json(text: str) -> CellManifest:
    """DataError when the text is not a manifest of this version."""
    try:
        plain = json.loads(text)
        objects = tuple(ObjectEntry(**{**o, "start_pose": tuple(o["start_pose"])}) for o in plain.pop("objects"))
        cameras = tuple(
            CameraMount(**{**c, "T_body_optical": np.array(c["T_body_optical"])}) for c in plain.pop("cameras")
        )
        return CellManifest(**plain, objects=objects, cameras=cameras)
    except (ValueError, KeyError, TypeError) as fault:
        raise DataError(f"cell manifest cannot be read: {fault}; host and reader must be of one version") from fault
