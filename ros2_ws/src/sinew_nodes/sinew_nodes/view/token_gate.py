"""A TCP gate with a token in front of a web server that listens on 127.0.0.1 only.

Neither the page server nor the websocket bridge asks who is there. To show them on another interface, the gate
listens on that interface, lets in connections whose first HTTP request carries the token (query `?token=…` or
the cookie that such a request sets) and pipes their bytes unchanged, websocket upgrades included.
"""

import asyncio
import hmac
import logging
import secrets
import threading
from http.cookies import SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from sinew_policies.common.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_COOKIE = "sinew_token"
_HEAD_LIMIT = 16384
_HEAD_TIMEOUT_S = 5.0
_log = logging.getLogger(__name__)


def is_loopback(host: str) -> bool:
    return host in LOOPBACK


def new_token() -> str:
    """A token of 128 bits, safe in a URL."""
    return secrets.token_urlsafe(16)


class TokenGate:
    """Runs in a thread of its own between start() and close()."""

    def __init__(self, host: str, port: int, upstream_port: int, token: str) -> None:
        if len(token) < 16:
            raise ConfigError(
                f"the token for bind address {host} has {len(token)} characters; use at least 16 (see new_token)"
            )
        self._host, self._port, self._upstream_port, self._token = host, port, upstream_port, token
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="token-gate", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on; useful when it was asked for port 0."""
        if self._server is None:
            raise RuntimeError("the gate has not been started")
        return int(self._server.sockets[0].getsockname()[1])

    def start(self) -> None:
        """Raises ConfigError when the address cannot be bound."""
        self._thread.start()
        opening = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, self._host, self._port, limit=_HEAD_LIMIT), self._loop
        )
        try:
            self._server = opening.result(timeout=5.0)
        except OSError as error:
            raise ConfigError(f"cannot listen on {self._host}:{self._port}: {error}; choose another") from error

    def close(self) -> None:
        if self._server is not None:
            self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=2.0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_TIMEOUT_S)
            verdict = _admit(head, self._token)
            if verdict == "pipe":
                await self._pipe(head, reader, writer)
            else:
                writer.write(_answer(verdict, self._token))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # a peer that sends no complete request within the limit gets no answer
        finally:
            writer.close()

    async def _pipe(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        up_writer.write(head)
        try:
            await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
        finally:
            up_writer.close()


def _admit(head: bytes, token: str) -> str:
    """`pipe`, `denied`, or the location to redirect a browser to once the cookie is set."""
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3:
        return "denied"
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
    cookie = SimpleCookie()
    try:
        cookie.load(headers.get("cookie", ""))
    except Exception:  # SimpleCookie raises several kinds on hostile input
        return "denied"
    if _COOKIE in cookie and _same(cookie[_COOKIE].value, token):
        return "pipe"
    url = urlsplit(parts[1])
    query = dict(parse_qsl(url.query))
    if not _same(query.pop("token", ""), token):
        return "denied"
    if headers.get("upgrade", "").lower() == "websocket":
        return "pipe"
    rest = urlencode(query)
    # One leading slash only: "//host" would be a redirect to another machine.
    return "/" + url.path.lstrip("/") + (f"?{rest}" if rest else "")


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _answer(verdict: str, token: str) -> bytes:
    if verdict == "denied":
        body = b"sinew: this page needs its token; open the address that the launch printed.\n"
        return b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (
            len(body),
            body,
        )
    location = verdict.replace("\r", "").replace("\n", "")
    return (
        f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n"
        f"Set-Cookie: {_COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/\r\n"
        "Connection: close\r\nContent-Length: 0\r\n\r\n"
    ).encode()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
