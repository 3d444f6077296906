import contextlib

import numpy as np
import pytest

from sinew_sim.cell import viewer
from sinew_sim.cell.mirror import WorldPublisher


class Window:
    """Stands in for the real window, which needs a screen; closes itself after a few frames."""

    def __init__(self, model, data):
        self.data, self.left, self.shown = data, 5, []

    def is_running(self) -> bool:
        return self.left > 0

    def lock(self):
        return contextlib.nullcontext()

    def sync(self) -> None:
        self.left -= 1
        self.shown.append(self.data.qpos.copy())


@pytest.fixture
def windows(monkeypatch, tmp_path):
    opened: list[Window] = []

    @contextlib.contextmanager
    def open_window(model, data):
        opened.append(Window(model, data))
        yield opened[-1]

    monkeypatch.setattr(viewer, "_window", open_window)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("SINEW_RUNTIME_DIR", str(tmp_path))
    return opened


def test_without_a_screen_it_says_what_to_do(monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert viewer.main([]) == 1
    assert "view:=true" in capsys.readouterr().err


def test_shows_a_running_world(windows, world):
    with WorldPublisher(world):
        world.step(50)
        assert viewer.main([]) == 0
    assert np.array_equal(windows[0].shown[-1], world.data.qpos)


def test_shows_its_own_cell_when_none_runs(windows, capsys):
    assert viewer.main(["--n-objects", "1"]) == 0
    assert len(windows[0].shown) == 5
    assert "cell of its own" in capsys.readouterr().err


def test_bad_options_are_clear(windows, capsys):
    assert viewer.main(["--n-objects", "40"]) == 1
    assert "1 to 12" in capsys.readouterr().err
