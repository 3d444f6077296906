import pytest

from sinew_sim.cell.build import build_cell
from sinew_sim.cell.config import CellConfig
from sinew_sim.cell.world import World


@pytest.fixture(scope="session")
def built():
    """Model and manifest of one packed cell; compiled models are never written to, so all tests share it."""
    return build_cell(CellConfig(seed=7))


@pytest.fixture
def world(built) -> World:
    return World(*built)
