import pytest

from sinew_hardware import registry
from sinew_policies.common.errors import ConfigError, MissingExtra


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    monkeypatch.setattr(registry, "_BACKENDS", {kind: dict(b) for kind, b in registry._BACKENDS.items()})


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(ConfigError, match="valid names: arm, camera, gripper"):
        registry.create("leg", "sim")
    with pytest.raises(ConfigError, match="did you mean 'sim'"):
        registry.create("arm", "simm")


def test_wrong_arguments_name_the_class():
    with pytest.raises(ConfigError, match="colour"):
        registry.create("camera", "sim", colour="red")


def test_every_backend_can_be_imported():
    for kind in registry.kinds():
        for backend in registry.backends(kind):
            with pytest.raises(ConfigError, match="no_such_argument"):
                registry.create(kind, backend, no_such_argument=1)


def test_registering():
    registry.register("arm", "decimal", "decimal:Decimal")
    assert registry.backends("arm") == ("decimal", "sim")
    assert registry.create("arm", "decimal", value="1.5") is not None
    with pytest.raises(ConfigError, match="already"):
        registry.register("arm", "decimal", "fractions:Fraction")
    with pytest.raises(ConfigError, match="malformed"):
        registry.register("arm", "x", "fractions.Fraction")


def test_missing_package_names_the_extra():
    registry.register("arm", "vendor", "no_such_vendor_sdk:Arm")
    with pytest.raises(MissingExtra, match=r"no_such_vendor_sdk.*sinew-robotics\[vendor\]"):
        registry.create("arm", "vendor")
