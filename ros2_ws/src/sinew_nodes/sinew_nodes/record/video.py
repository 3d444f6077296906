"""Writes camera images as a short H.264 video."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType

from sinew_policies.common.errors import MissingExtra
from sinew_policies.common.types import U8


class VideoWriter:
    """MP4 of RGB frames (H, W, 3) at a fixed rate; usable as a context manager. Sizes must be even."""

    def __init__(self, path: Path, *, rate_hz: int = 15) -> None:
        try:
            import av
        except ImportError as error:
            raise MissingExtra("av", "view") from error
        self._av = av
        # Fragments keep what was written playable even if the process is killed.
        self._file = av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"})
        self._rate_hz = rate_hz
        self._stream: av.VideoStream | None = None
        self.frames = 0

    def write(self, rgb: U8) -> None:
        if self._stream is None:
            stream = self._file.add_stream("libx264", rate=self._rate_hz)
            stream.height, stream.width = rgb.shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.options = {"preset": "veryfast", "crf": "26", "threads": "1"}
            stream.time_base = Fraction(1, self._rate_hz)
            self._stream = stream
        frame = self._av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts = self.frames
        self.frames += 1
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._stream is not None:
            self._file.mux(self._stream.encode(None))
            self._stream = None
        self._file.close()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
