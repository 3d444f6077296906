"""What launch files mean, and what is said about those that are wrong."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sinew_nodes.launch_runner.interpreter import declared_arguments, evaluate
from sinew_nodes.launch_runner.plan import ProcessSpec, Say, Shutdown, Timer, processes
from sinew_nodes.launch_runner.scope import join_namespace
from sinew_policies.common.errors import LaunchError


@pytest.fixture
def index(tmp_path: Path) -> dict[str, str]:
    """An environment with one package `toy` that has the executable `walk` and a launch file `inner`."""
    prefix = tmp_path / "prefix"
    (prefix / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (prefix / "share/ament_index/resource_index/packages/toy").touch()
    (prefix / "share/toy/launch").mkdir(parents=True)
    (prefix / "share/toy/launch/inner.launch.xml").write_text(
        '<launch><arg name="speed" default="slow"/><log message="inner $(var speed) in $(dirname)"/>'
        '<let name="leak" value="yes"/></launch>'
    )
    (prefix / "lib/toy").mkdir(parents=True)
    (prefix / "lib/toy/walk").write_text("#!/bin/sh\n")
    (prefix / "lib/toy/walk").chmod(0o755)
    return {"AMENT_PREFIX_PATH": str(prefix), "PATH": os.environ["PATH"]}


@pytest.fixture
def plan(tmp_path: Path, index: dict[str, str]):
    def run(body: str, **arguments: str):
        file = tmp_path / "toy.launch.xml"
        file.write_text(f"<launch>\n{body}\n</launch>")
        return evaluate(file, arguments, index)

    return run


def said(actions) -> list[str]:
    return [action.text for action in actions if isinstance(action, Say)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("$(var a)/$(var b)", "1/two words"),
        ("$(var missing fallback)", "fallback"),
        ("$(env NOT_THERE $(var a)-x)", "1-x"),
        ("$(equals $(var a) 1.0)", "true"),
        ("$(equals $(var b) 'two words')", "true"),
        ("$(equals true 1)", "true"),
        ("$(equals left right)", "false"),
        ("$(not $(equals $(var a) 2))", "true"),
        ("$(and true $(or false true))", "true"),
        ("$(and true False)", "false"),
        (r"\$(var a)", "$(var a)"),
        ("$(dirname)", "{folder}"),
        ("$(find-pkg-share toy)", "{folder}/prefix/share/toy"),
        ("$(find-pkg-prefix toy)", "{folder}/prefix"),
    ],
)
def test_substitutions_have_their_values(plan, tmp_path: Path, text: str, value: str) -> None:
    actions = plan(f'<let name="a" value="1"/><let name="b" value="two words"/><log message="{text}"/>')
    assert said(actions) == [value.format(folder=tmp_path)]


def test_node_command_line_has_the_order_of_ros(plan) -> None:
    (spec,) = plan("""
        <push_ros_namespace namespace="cell"/>
        <set_use_sim_time value="true"/>
        <set_parameter name="gain" value="2.5"/>
        <set_remap from="/tf" to="tf"/>
        <node pkg="toy" exec="walk" name="leg" namespace="left" args="--fast 'a b'" ros_args="--log-level debug">
          <param name="count" value="3"/>
          <param name="outer"><param name="inner" value="[1.0, 2.0]"/></param>
          <remap from="in" to="out"/>
        </node>""")
    assert isinstance(spec, ProcessSpec)
    exe, *rest = spec.command
    files = [word for word in rest if word.endswith(".yaml")]
    assert exe.endswith("/lib/toy/walk")
    assert [w for w in rest if w not in files] == [
        *("--fast", "a b", "--ros-args", "--log-level", "debug", "--ros-args"),
        *("-r", "__node:=leg", "-r", "__ns:=/cell/left", "-p", "use_sim_time:=True", "-p", "gain:=2.5"),
        *("--params-file", "--params-file", "-r", "/tf:=tf", "-r", "in:=out"),
    ]
    assert yaml.safe_load(Path(files[0]).read_text()) == {"/cell/left/leg": {"ros__parameters": {"count": 3}}}
    inner = yaml.safe_load(Path(files[1]).read_text())["/cell/left/leg"]["ros__parameters"]
    assert inner == {"outer": {"inner": [1.0, 2.0]}}


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("1.0", 1.0), ("true", True), ("[a, b]", ["a", "b"]), ("hi", "hi"), ("", "")]
)
def test_parameter_values_follow_yaml(plan, text: str, value: object) -> None:
    (spec,) = plan(f'<node pkg="toy" exec="walk"><param name="x" value="{text}"/></node>')
    read = yaml.safe_load(Path(spec.command[-1]).read_text())["/**"]["ros__parameters"]["x"]
    assert read == value
    assert type(read) is type(value)


def test_a_list_is_split_before_its_elements_are_expanded(plan) -> None:
    (spec,) = plan("""
        <let name="two" value="a, b"/><let name="none" value=""/><let name="n" value="7"/>
        <node pkg="toy" exec="walk"><param name="x" value="[$(var two), $(var none)c, $(var n)]"/></node>""")
    read = yaml.safe_load(Path(spec.command[-1]).read_text())["/**"]["ros__parameters"]["x"]
    assert read == ["a, b", "c", 7]


def test_later_parameters_come_later(plan, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("/**:\n  ros__parameters: {x: 1}\n")
    (spec,) = plan(f'<node pkg="toy" exec="walk"><param from="{file}"/><param name="x" value="2"/></node>')
    files = [Path(word) for word in spec.command if word.endswith(".yaml")]
    assert files[0] == file
    assert yaml.safe_load(files[1].read_text())["/**"]["ros__parameters"] == {"x": 2}


def test_a_group_keeps_what_is_set_in_it(plan) -> None:
    actions = plan("""
        <let name="v" value="out"/>
        <group><let name="v" value="in"/><set_env name="E" value="1"/><push_ros_namespace namespace="n"/>
          <node pkg="toy" exec="walk" name="a"/></group>
        <group scoped="false"><let name="w" value="kept"/></group>
        <node pkg="toy" exec="walk" name="b"/>
        <log message="$(var v) $(var w)"/>""")
    inside, outside = processes(actions)
    assert "__ns:=/n" in inside.command
    assert not any(word.startswith("__ns") for word in outside.command)
    assert dict(inside.environment)["E"] == "1"
    assert "E" not in dict(outside.environment)
    assert said(actions) == ["out kept"]


def test_include_passes_arguments_and_leaves_its_variables(plan, tmp_path: Path) -> None:
    actions = plan("""
        <include file="$(find-pkg-share toy)/launch/inner.launch.xml"><arg name="speed" value="quick"/></include>
        <log message="leak: $(var leak), here: $(dirname)"/>""")
    assert said(actions) == [f"inner quick in {tmp_path}/prefix/share/toy/launch", f"leak: yes, here: {tmp_path}"]


def test_conditions_choose(plan) -> None:
    actions = plan("""
        <arg name="on" default="true"/>
        <log if="$(var on)" message="a"/><log unless="$(var on)" message="b"/>
        <log if="0" message="c"/><group unless="False"><log message="d"/></group>""")
    assert said(actions) == ["a", "d"]


def test_environment_is_set_and_unset_in_order(plan) -> None:
    first, second = plan("""
        <set_env name="A" value="1"/>
        <executable cmd="true"><env name="B" value="2"/></executable>
        <unset_env name="A"/><executable cmd="true"/>""")
    assert {k: v for k, v in first.environment if k in "AB"} == {"A": "1", "B": "2"}
    assert not {k for k, _ in second.environment if k in "AB"}


def test_process_attributes_reach_the_plan(plan, tmp_path: Path) -> None:
    (spec,) = plan(
        f'<executable cmd="echo hi" name="e" launch-prefix="nice -n 3" cwd="{tmp_path}" output="log" '
        'respawn="true" respawn_delay="1.5" respawn_max_retries="4" on_exit="shutdown"/>'
    )
    assert spec.command == ("nice", "-n", "3", "echo", "hi")
    assert (spec.cwd, spec.output, spec.respawn, spec.respawn_delay_s) == (str(tmp_path), "log", True, 1.5)
    assert (spec.respawn_max_retries, spec.required, spec.name) == (4, True, "e")


def test_timer_and_shutdown(plan) -> None:
    timer, end = plan('<timer period="2"><log message="later"/></timer><shutdown reason="enough"/>')
    assert timer == Timer(2.0, (Say("later"),))
    assert end == Shutdown("enough")


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        ('<nod pkg="toy" exec="walk"/>', 2, ["unknown tag <nod>", "did you mean 'node'?"]),
        ('<node pkg="toy" exec="walk" nam="x"/>', 2, ["no attribute 'nam'", "did you mean 'name'?", "respawn"]),
        ('<node exec="walk"/>', 2, ["lacks the attribute 'pkg'"]),
        ('\n<param name="x" value="1"/>', 3, ["<param> does not belong in <launch>"]),
        ('<node pkg="toi" exec="walk"/>', 2, ["package 'toi'", "did you mean 'toy'?", "scripts/setup"]),
        ('<node pkg="toy" exec="wolk"/>', 2, ["no executable 'wolk'", "valid names: walk"]),
        ('<node pkg="toy" exec="walk"><param from="/nowhere.yaml"/></node>', 2, ["'/nowhere.yaml' does not exist"]),
        ('<node pkg="toy" exec="walk"><param name="x"/></node>', 2, ["'x' has neither a value"]),
        ('<node pkg="toy" exec="walk" respawn="perhaps"/>', 2, ["'perhaps'", "true, false"]),
        ('<node pkg="toy" exec="walk" on_exit="restart"/>', 2, ["on_exit is 'restart'", "valid names: shutdown"]),
        ('<node pkg="toy" exec="walk" output="screan"/>', 2, ["did you mean 'screen'?"]),
        ('<node pkg="toy" exec="walk" respawn_delay="soon"/>', 2, ["respawn_delay is 'soon'", "a number"]),
        ('<arg name="a"/>', 2, ["argument 'a' has no default", "give a:=VALUE"]),
        ('<let name="v" value="1"/><log message="$(var w)"/>', 2, ["'w' is not set", "valid names: v"]),
        ('<log message="$(vaar v)"/>', 2, ["unknown substitution 'vaar'", "did you mean 'var'?"]),
        ('<log message="$(var a"/>', 2, ["no closing bracket"]),
        ('<log message="$(eval 1+1)"/>', 2, ["$(eval) is not supported"]),
        ('<log message="$(equals a)"/>', 2, ["1 arguments", "takes 2"]),
        ('<log if="true" unless="true" message="x"/>', 2, ["exclude each other"]),
        ('<node_container pkg="toy" exec="walk"/>', 2, ["<node_container> is not supported"]),
        ('<include file="/nowhere.launch.xml"/>', 2, ["'/nowhere.launch.xml' does not exist"]),
        (
            '<include file="$(find-pkg-share toy)/launch/inner.launch.xml"><arg name="sped" value="1"/></include>',
            2,
            ["inner.launch.xml has no argument 'sped'", "did you mean 'speed'?"],
        ),
        ("<log message='x'></lag>", 2, ["not well-formed XML", "mismatched tag"]),
        ("<group>\nstray</group>", 3, ["stray text 'stray'"]),
    ],
)
def test_a_mistake_is_named_with_file_line_and_valid_names(
    plan, tmp_path: Path, body: str, line: int, words: list[str]
) -> None:
    with pytest.raises(LaunchError) as caught:
        plan(body)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'toy.launch.xml'}:{line}: ")
    for word in words:
        assert word in message


def test_unknown_argument_names_the_file_and_the_valid_ones(plan) -> None:
    with pytest.raises(LaunchError, match=r"toy.launch.xml: there is no argument 'sped'; did you mean 'speed'\?"):
        plan('<include file="$(find-pkg-share toy)/launch/inner.launch.xml"/>', sped="1")


def test_value_outside_the_choices_lists_them(plan) -> None:
    body = '<arg name="mode" default="sim"><choice value="sim"/><choice value="real"/></arg>'
    with pytest.raises(
        LaunchError, match=r"argument 'mode' is 'reel'; did you mean 'real'\? valid names: real, sim"
    ):
        plan(body, mode="reel")


def test_files_that_include_each_other_are_refused(tmp_path: Path, index: dict[str, str]) -> None:
    file = tmp_path / "loop.launch.xml"
    file.write_text('<launch><include file="$(dirname)/loop.launch.xml"/></launch>')
    with pytest.raises(LaunchError, match="include each other"):
        evaluate(file, {}, index)


def test_arguments_of_included_files_are_listed_unless_given(tmp_path: Path, index: dict[str, str]) -> None:
    file = tmp_path / "outer.launch.xml"
    include = '<include file="$(find-pkg-share toy)/launch/inner.launch.xml">{}</include>'
    file.write_text(f'<launch><arg name="own" description="d"/>{include.format("")}</launch>')
    assert [a.name for a in declared_arguments(file, index)] == ["own", "speed"]
    given_speed = include.format('<arg name="speed" value="1"/>')
    file.write_text(f"<launch>{given_speed}</launch>")
    assert declared_arguments(file, index) == []


@given(st.lists(st.from_regex(r"[a-z]{1,4}", fullmatch=True), max_size=4), st.booleans())
def test_joined_namespaces_are_empty_or_absolute_without_doubled_slashes(names: list[str], absolute: bool) -> None:
    base = ""
    for name in names:
        base = join_namespace(base, name)
    assert base == "".join(f"/{name}" for name in names)
    assert join_namespace(base, "/x" if absolute else "x") == ("/x" if absolute else f"{base}/x")
