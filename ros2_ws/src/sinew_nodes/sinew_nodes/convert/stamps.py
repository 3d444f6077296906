"""Times: nanoseconds as int in our code, seconds and nanoseconds on the wire."""

from builtin_interfaces.msg import Duration, Time
from std_msgs.msg import Header


def stamp_msg(t_ns: int) -> Time:
    return Time(sec=t_ns // 1_000_000_000, nanosec=t_ns % 1_000_000_000)


def stamp_ns(msg: Time) -> int:
    return int(msg.sec) * 1_000_000_000 + int(msg.nanosec)


def duration_msg(t_s: float) -> Duration:
    t_ns = round(t_s * 1e9)
    return Duration(sec=t_ns // 1_000_000_000, nanosec=t_ns % 1_000_000_000)


def seconds_ns(msg: Duration) -> int:
    """A duration message in nanoseconds."""
    return int(msg.sec) * 1_000_000_000 + int(msg.nanosec)


def header_msg(frame_id: str, t_ns: int) -> Header:
    return Header(stamp=stamp_msg(t_ns), frame_id=frame_id)
