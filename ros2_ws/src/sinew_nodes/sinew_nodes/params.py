"""Parameters from a frozen dataclass: one field is one parameter with description, range and choices.

@dataclass(frozen=True)
class Config:
    rate_hz: float = parameter(30.0, "images per second", low=1.0, high=120.0)
"""

from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar, cast, get_type_hints

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from sinew_policies.common.errors import ConfigError, name_hint

ConfigT = TypeVar("ConfigT")

_declared_in_process: set[str] = set()  # nodes of one process share what the command line gives
_OTHERS = ("use_sim_time", "qos_overrides", "start_type_description_service")

_TYPES: dict[object, Parameter.Type] = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
    tuple[str, ...]: Parameter.Type.STRING_ARRAY,
    tuple[float, ...]: Parameter.Type.DOUBLE_ARRAY,
    tuple[int, ...]: Parameter.Type.INTEGER_ARRAY,
}


@dataclass(frozen=True)
class _Meta:
    description: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    live: bool


def parameter(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    live: bool = False,
) -> Any:
    """A dataclass field that is a ROS parameter. `live`: may be set while the node is active."""
    return field(default=default, metadata={"sinew": _Meta(description, low, high, tuple(choices), live)})


def declare(node: Node, config_type: type, frozen: Callable[[], bool] = lambda: False) -> None:
    """Declares every field of `config_type`; overrides from command line and file apply.

    While `frozen()`, parameters that are not live keep their values and an attempt to change one is refused.

    Raises ConfigError for a value of the wrong type or outside its range, naming the parameter.
    """
    hints = get_type_hints(config_type)
    overrides: dict[str, Parameter] = getattr(node, "_parameter_overrides", {})
    for f in fields(config_type):
        kind = _TYPES[hints[f.name]]
        _accept_whole_numbers(overrides, f.name, kind)
        default: Any = list(f.default) if isinstance(f.default, tuple) else f.default
        try:
            node.declare_parameter(f.name, default, _descriptor(f, kind))
        except Exception as error:  # rclpy raises several unrelated types here
            given = overrides[f.name].value if f.name in overrides else default
            raise ConfigError(
                f"parameter '{f.name}' of node '{node.get_name()}' cannot be {given!r}: {error}; "
                f"{_meta(f).description}"
            ) from error
    known = {f.name for f in fields(config_type)}
    checks = {f.name: f for f in fields(config_type)}

    def accept(changes: list[Parameter]) -> SetParametersResult:
        for change in changes:
            if change.name in checks:
                reason = _fault(checks[change.name], change.value)
                if not reason and frozen() and not _meta(checks[change.name]).live:
                    reason = _frozen(node, change)
                if reason:
                    return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(accept)
    _declared_in_process.update(known)


def read(node: Node, config_type: type[ConfigT]) -> ConfigT:
    """The parameters as they are now; warns of those given from outside that nobody declares.

    Raises ConfigError for a value that is not one of the choices.
    """
    for name in getattr(node, "_parameter_overrides", {}):
        if name not in _declared_in_process and not name.startswith(_OTHERS) and not node.has_parameter(name):
            node.get_logger().warning(
                f"parameter '{name}' does not exist here; {name_hint(name, _declared_in_process)}"
            )
    values: dict[str, object] = {}
    for f in fields(cast(Any, config_type)):
        value = node.get_parameter(f.name).value
        reason = _fault(f, value)
        if reason:
            raise ConfigError(f"node '{node.get_name()}': {reason}")
        values[f.name] = tuple(value) if isinstance(value, (list, tuple)) or hasattr(value, "typecode") else value
    return config_type(**values)


def _meta(f: Field) -> _Meta:
    return cast(_Meta, f.metadata["sinew"])


def _descriptor(f: Field, kind: Parameter.Type) -> ParameterDescriptor:
    meta = _meta(f)
    out = ParameterDescriptor(name=f.name, type=kind.value, description=meta.description)
    if meta.choices:
        out.additional_constraints = "one of: " + ", ".join(meta.choices)
    if meta.low is not None and meta.high is not None:
        if kind == Parameter.Type.INTEGER:
            out.integer_range = [IntegerRange(from_value=int(meta.low), to_value=int(meta.high), step=0)]
        elif kind == Parameter.Type.DOUBLE:
            out.floating_point_range = [
                FloatingPointRange(from_value=float(meta.low), to_value=float(meta.high), step=0.0)
            ]
    return out


def _fault(f: Field, value: object) -> str:
    choices = _meta(f).choices
    if choices and value not in choices:
        return f"parameter '{f.name}' is '{value}'; {name_hint(str(value), choices)}"
    return ""


def _frozen(node: Node, change: Parameter) -> str:
    now = node.get_parameter(change.name).value
    if change.value == (list(now) if hasattr(now, "typecode") else now):
        return ""
    name = node.get_fully_qualified_name()
    return (
        f"parameter '{change.name}' stays {now!r}: it is read when the node is configured, not while it runs; "
        f"give it at launch, or deactivate and clean up {name} (ros2 lifecycle set), set it, configure and activate"
    )


def _accept_whole_numbers(overrides: dict[str, Parameter], name: str, kind: Parameter.Type) -> None:
    """`rate_hz:=30` is an integer to YAML; a parameter of type double means 30.0."""
    given = overrides.get(name)
    if given is None:
        return
    if kind == Parameter.Type.DOUBLE and given.type_ == Parameter.Type.INTEGER:
        overrides[name] = Parameter(name, kind, float(given.value))
    elif kind == Parameter.Type.DOUBLE_ARRAY and given.type_ == Parameter.Type.INTEGER_ARRAY:
        overrides[name] = Parameter(name, kind, [float(v) for v in given.value])
    elif kind == Parameter.Type.STRING and given.type_ in (Parameter.Type.INTEGER, Parameter.Type.DOUBLE):
        overrides[name] = Parameter(name, kind, str(given.value))
