"""Forwards raw CDR messages to MCAP files and to Foxglove-compatible viewers, without decoding them."""

from pathlib import Path

from sinew_nodes.record.schema import ros2msg_schema
from sinew_policies.common.errors import ConfigError, MissingExtra

try:
    import foxglove
except ImportError as error:
    raise MissingExtra("foxglove-sdk", "view") from error


class Bridge:
    """A set of channels with one sink or two: an MCAP file, a websocket server on 127.0.0.1."""

    def __init__(self, *, mcap: Path | None = None, websocket_port: int | None = None) -> None:
        self._context = foxglove.Context()
        self._channels: dict[str, foxglove.Channel] = {}
        self._writer: foxglove.MCAPWriter | None = None
        self._server: foxglove.websocket.WebSocketServer | None = None
        if mcap is not None:
            try:
                self._writer = foxglove.open_mcap(mcap, context=self._context)
            except (OSError, RuntimeError) as error:
                raise ConfigError(f"cannot write {mcap}: {error}; choose another file") from error
        if websocket_port is not None:
            try:
                self._server = foxglove.start_server(
                    name="sinew", host="127.0.0.1", port=websocket_port, context=self._context
                )
            except (OSError, RuntimeError) as error:
                raise ConfigError(
                    f"cannot open the websocket on port {websocket_port}: {error}; choose another"
                ) from error

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the bridge was made without a websocket server")
        return int(self._server.port)

    def log(self, topic: str, type_name: str, cdr: bytes, stamp_ns: int) -> None:
        """Forwards one serialised message of `type_name`, e.g. `sensor_msgs/msg/Image`."""
        channel = self._channels.get(topic)
        if channel is None:
            schema = foxglove.Schema(name=type_name, encoding="ros2msg", data=ros2msg_schema(type_name))
            channel = foxglove.Channel(topic, schema=schema, message_encoding="cdr", context=self._context)
            self._channels[topic] = channel
        channel.log(cdr, log_time=stamp_ns)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._server is not None:
            self._server.stop()
            self._server = None
