"""Coordinate frames over ROS: broadcasting, and a buffer that looks transforms up at a time."""

from sinew_nodes.tf.broadcast import StaticBroadcaster, TransformBroadcaster
from sinew_nodes.tf.buffer import (
    ConnectivityError,
    ExtrapolationError,
    InvalidArgument,
    LookupFailed,
    TransformBuffer,
    TransformError,
    TransformTimeout,
)
from sinew_nodes.tf.listener import TransformListener

__all__ = [
    "ConnectivityError",
    "ExtrapolationError",
    "InvalidArgument",
    "LookupFailed",
    "StaticBroadcaster",
    "TransformBroadcaster",
    "TransformBuffer",
    "TransformError",
    "TransformListener",
    "TransformTimeout",
]
