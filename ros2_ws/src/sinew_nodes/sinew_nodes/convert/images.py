"""Colour and depth images, camera intrinsics."""

import array
import time

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image

from sinew_nodes.convert.stamps import header_msg, stamp_ns
from sinew_policies.common.errors import DataError, name_hint
from sinew_policies.common.types import F32, U8, CameraFrame, CameraModel

COLOR_ENCODINGS = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8")
DEPTH_ENCODINGS = ("16UC1", "32FC1")
_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}


def rgb_image_msg(image: U8, frame_id: str, t_ns: int) -> Image:
    """`image` (H, W, 3) RGB."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DataError(
            f"colour image is {image.dtype} {image.shape}; expected uint8 (height, width, 3) in RGB order"
        )
    return _image_msg(image, "rgb8", frame_id, t_ns)


def depth_image_msg(depth_m: F32, frame_id: str, t_ns: int, encoding: str = "16UC1") -> Image:
    """`depth_m` (H, W) metres, 0 or NaN = no return. 16UC1 holds millimetres up to 65.5 m, 32FC1 metres."""
    if depth_m.ndim != 2:
        raise DataError(f"depth image has shape {depth_m.shape}; expected (height, width)")
    if encoding == "32FC1":
        return _image_msg(np.ascontiguousarray(depth_m, np.float32), encoding, frame_id, t_ns)
    if encoding != "16UC1":
        raise DataError(f"depth encoding '{encoding}' is unknown; {name_hint(encoding, DEPTH_ENCODINGS)}")
    mm = np.nan_to_num(depth_m, nan=0.0, posinf=0.0, neginf=0.0) * np.float32(1000.0) + np.float32(0.5)
    mm[mm >= 65536.0] = 0.0  # beyond the format: no return rather than a wrapped value
    return _image_msg(mm.astype(np.uint16), encoding, frame_id, t_ns)


def rgb(msg: Image) -> U8:
    """Colour image (H, W, 3) RGB; a view of the message where the encoding allows it."""
    channels = _CHANNELS.get(msg.encoding)
    if channels is None:
        raise DataError(
            f"image encoding '{msg.encoding}' is not a colour encoding; {name_hint(msg.encoding, COLOR_ENCODINGS)}"
        )
    pixels = _pixels(msg, np.dtype(np.uint8), channels)
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    rgb_first = pixels[:, :, :3]
    return rgb_first[:, :, ::-1] if msg.encoding.startswith("bgr") else rgb_first


def depth_m(msg: Image) -> F32:
    """Depth (H, W) in metres, 0 or NaN = no return (REP-118)."""
    if msg.encoding == "32FC1":
        return _pixels(msg, np.dtype(np.float32), 1)[:, :, 0]
    if msg.encoding in ("16UC1", "mono16"):
        return _pixels(msg, np.dtype(np.uint16), 1)[:, :, 0].astype(np.float32) * np.float32(0.001)
    raise DataError(
        f"image encoding '{msg.encoding}' is not a depth encoding; {name_hint(msg.encoding, DEPTH_ENCODINGS)}"
    )


def camera_info_msg(model: CameraModel, frame_id: str, t_ns: int) -> CameraInfo:
    fx, fy, cx, cy = (float(v) for v in (model.fx, model.fy, model.cx, model.cy))
    return CameraInfo(
        header=header_msg(frame_id, t_ns),
        width=model.width,
        height=model.height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def camera_model(msg: CameraInfo) -> CameraModel:
    """Intrinsics of a rectified image. Raises DataError when they cannot belong to a camera."""
    fx, fy, cx, cy = float(msg.k[0]), float(msg.k[4]), float(msg.k[2]), float(msg.k[5])
    if not np.all(np.isfinite([fx, fy, cx, cy])) or fx <= 0.0 or fy <= 0.0 or not msg.width or not msg.height:
        raise DataError(
            f"CameraInfo of '{msg.header.frame_id}' is not calibrated: size {msg.width}x{msg.height}, "
            f"fx {fx}, fy {fy}; expected positive values, check the camera's calibration"
        )
    if any(abs(float(v)) > 1e-9 for v in msg.d):
        raise DataError(
            f"CameraInfo of '{msg.header.frame_id}' has distortion {list(msg.d)}; expected a rectified image, "
            "subscribe to the rectified topics"
        )
    return CameraModel(int(msg.width), int(msg.height), fx, fy, cx, cy)


def camera_frame(color: Image, depth: Image, info: CameraInfo, seq: int = 0) -> CameraFrame:
    """One exposure from its three messages, which must agree in size, frame and stamp."""
    model = camera_model(info)
    for what, msg in (("colour image", color), ("depth image", depth)):
        if (msg.width, msg.height) != (model.width, model.height):
            raise DataError(
                f"{what} is {msg.width}x{msg.height} but its CameraInfo says {model.width}x{model.height}; "
                "both must come from the same stream"
            )
        if msg.header.frame_id != info.header.frame_id:
            raise DataError(
                f"{what} is in frame '{msg.header.frame_id}' but its CameraInfo in "
                f"'{info.header.frame_id}'; aligned images share one optical frame"
            )
    if stamp_ns(color.header.stamp) != stamp_ns(depth.header.stamp):
        raise DataError("colour and depth image have different stamps; pair messages by stamp first")
    return CameraFrame(
        seq=seq,
        stamp_ns=stamp_ns(depth.header.stamp),
        t_mono_ns=time.monotonic_ns(),
        model=model,
        color=rgb(color),
        depth_m=depth_m(depth),
        frame_id=depth.header.frame_id,
    )


def _image_msg(pixels: NDArray, encoding: str, frame_id: str, t_ns: int) -> Image:
    pixels = np.ascontiguousarray(pixels)
    data = array.array("B")
    data.frombytes(pixels.data.cast("B"))
    height, width = pixels.shape[:2]
    msg = Image(
        header=header_msg(frame_id, t_ns),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=pixels.strides[0],
    )
    msg.data = data  # the constructor would copy it, the setter keeps it
    return msg


def _pixels(msg: Image, dtype: np.dtype, channels: int) -> NDArray:
    """View (H, W, channels) of the message's bytes, rows may be padded."""
    if msg.is_bigendian and dtype.itemsize > 1:
        dtype = dtype.newbyteorder(">")
    row = msg.width * channels * dtype.itemsize
    if msg.width == 0 or msg.height == 0 or msg.step < row or len(msg.data) < msg.step * msg.height:
        raise DataError(
            f"image {msg.width}x{msg.height} {msg.encoding} holds {len(msg.data)} bytes with row step "
            f"{msg.step}; expected at least {row} bytes a row and {max(row, msg.step) * msg.height} in all"
        )
    raw = np.frombuffer(msg.data, np.uint8, msg.step * msg.height).reshape(msg.height, msg.step)
    if dtype.itemsize > 1 and msg.step % dtype.itemsize:
        raw = np.ascontiguousarray(raw[:, :row])
    return raw.view(dtype)[:, : msg.width * channels].reshape(msg.height, msg.width, channels)
