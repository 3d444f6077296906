"""Who gets through the gate, and who does not. The upstream is a plain HTTP server on loopback."""

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sinew_nodes.view.token_gate import TokenGate, is_loopback, new_token
from sinew_policies.common.errors import ConfigError


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"inside " + self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def gate() -> Iterator[tuple[int, str]]:
    upstream = HTTPServer(("127.0.0.1", 0), _Hello)
    thread = threading.Thread(target=upstream.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    token = new_token()
    gate = TokenGate("127.0.0.1", 0, upstream.server_port, token)
    gate.start()
    yield gate.port, token
    gate.close()
    upstream.shutdown()


def _get(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    return response.status, dict(response.getheaders()), response.read()


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=wrong", "/?token=%00", "/../?tok=1"])
def test_without_the_token_nothing_reaches_the_page(gate: tuple[int, str], path: str) -> None:
    status, _, body = _get(gate[0], path)
    assert status == 401
    assert b"inside" not in body
    assert b"needs its token" in body


def test_the_token_is_traded_for_a_cookie_that_opens_the_page(gate: tuple[int, str]) -> None:
    port, token = gate
    status, headers, _ = _get(port, f"/view?a=1&token={token}")
    assert status == 302
    assert headers["Location"] == "/view?a=1"
    assert "HttpOnly" in headers["Set-Cookie"]
    cookie = headers["Set-Cookie"].split(";")[0]
    status, _, body = _get(port, "/view?a=1", Cookie=cookie)
    assert (status, body) == (200, b"inside /view?a=1")


def test_a_websocket_may_carry_the_token_in_its_address(gate: tuple[int, str]) -> None:
    status, _, body = _get(gate[0], f"/ws?token={gate[1]}", Upgrade="websocket", Connection="Upgrade")
    assert status == 200
    assert body.startswith(b"inside /ws")


def test_the_redirect_stays_on_this_host(gate: tuple[int, str]) -> None:
    status, headers, _ = _get(gate[0], f"//evil.example/x?token={gate[1]}")
    assert status == 302
    assert not headers["Location"].startswith("//")


def test_a_short_token_is_refused_by_name_of_the_address() -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0.*at least 16"):
        TokenGate("0.0.0.0", 0, 1, "short")


def test_loopback_names() -> None:
    assert is_loopback("127.0.0.1")
    assert not is_loopback("0.0.0.0")
