"""Point clouds: x y z as float32 and rgb packed into the fourth word, 16 bytes a point."""

import array

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from sinew_nodes.convert.stamps import header_msg, stamp_ns
from sinew_policies.common.errors import CloudError
from sinew_policies.common.types import PointCloud

_FIELDS = [
    PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
    for i, name in enumerate(("x", "y", "z", "rgb"))
]


def cloud_msg(cloud: PointCloud) -> PointCloud2:
    n = len(cloud)
    points = np.empty((n, 4), np.float32)
    points[:, :3] = cloud.xyz
    colour = cloud.rgb.astype(np.uint32)
    points[:, 3] = ((colour[:, 0] << 16) | (colour[:, 1] << 8) | colour[:, 2]).view(np.float32)
    data = array.array("B")
    data.frombytes(points.data.cast("B") if n else b"")
    msg = PointCloud2(
        header=header_msg(cloud.frame_id, cloud.stamp_ns),
        height=1,
        width=n,
        fields=_FIELDS,
        is_bigendian=False,
        point_step=16,
        row_step=16 * n,
        is_dense=bool(np.isfinite(points[:, :3]).all()),
    )
    msg.data = data  # the constructor would copy it, the setter keeps it
    return msg


def cloud(msg: PointCloud2) -> PointCloud:
    """Any PointCloud2 with float32 fields x, y, z; colour from `rgb` or `rgba`, black without."""
    offsets = {f.name: f for f in msg.fields}
    missing = [n for n in ("x", "y", "z") if n not in offsets]
    if missing:
        raise CloudError(f"cloud lacks the fields {missing}; it has {sorted(offsets)}; expected x, y, z")
    wrong = [n for n in ("x", "y", "z") if offsets[n].datatype != PointField.FLOAT32]
    if wrong or msg.is_bigendian:
        raise CloudError(f"cloud fields {wrong or 'x, y, z'} are not little-endian float32; convert them first")
    n = msg.width * msg.height
    last = max(f.offset for f in offsets.values() if f.name in ("x", "y", "z", "rgb", "rgba")) + 4
    if (
        msg.point_step < last
        or msg.row_step < msg.point_step * msg.width
        or len(msg.data) < (msg.row_step * msg.height)
    ):
        raise CloudError(
            f"cloud of {n} points holds {len(msg.data)} bytes with point step {msg.point_step} and row step "
            f"{msg.row_step}; expected {msg.point_step * n}"
        )
    raw = np.frombuffer(msg.data, np.uint8, msg.row_step * msg.height).reshape(msg.height, msg.row_step)
    raw = raw[:, : msg.width * msg.point_step].reshape(n, msg.point_step)
    xyz = np.empty((n, 3), np.float32)
    for i, name in enumerate(("x", "y", "z")):
        o = offsets[name].offset
        xyz[:, i] = np.ascontiguousarray(raw[:, o : o + 4]).view(np.float32)[:, 0]
    colour = offsets.get("rgb") or offsets.get("rgba")
    rgb = np.zeros((n, 3), np.uint8)
    if colour is not None:
        o = colour.offset
        rgb[:] = raw[:, o : o + 3][:, ::-1]
    return PointCloud(xyz=xyz, rgb=rgb, frame_id=msg.header.frame_id, stamp_ns=stamp_ns(msg.header.stamp))
