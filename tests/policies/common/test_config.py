import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinew_policies.common import config
from sinew_policies.common.errors import ConfigError


@dataclass(frozen=True)
class Optimiser:
    lr: float = 1e-3
    betas: tuple[float, ...] = (0.9, 0.999)


@dataclass(frozen=True)
class Training:
    steps: int = 100
    name: str = "run"
    weights: str | None = None
    optimiser: Optimiser = field(default_factory=Optimiser)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; expected at least 1")


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return file


def test_overrides_beat_the_file_and_the_file_beats_the_defaults(tmp_path: Path) -> None:
    file = write(tmp_path, "steps: 5\noptimiser: {lr: 0.5}\n")
    got = config.load(Training, file, ["optimiser.lr=1e-2", "--name=x"])
    assert got == Training(steps=5, name="x", optimiser=Optimiser(lr=0.01))


@given(
    st.builds(
        Training, steps=st.integers(1, 9), name=st.text("ab1: -", min_size=1), weights=st.none() | st.just("w")
    )
)
def test_what_is_saved_is_read_back_equal(tmp_path_factory: pytest.TempPathFactory, made: Training) -> None:
    file = tmp_path_factory.mktemp("c") / "c.yaml"
    config.save(made, file)
    assert config.load(Training, file) == made


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("stepz: 3", [], r"c.yaml: there is no setting 'stepz'; did you mean 'steps'\?"),
        ("optimiser: {lrr: 3}", [], r"no setting 'optimiser.lrr'; did you mean 'optimiser.lr'\?"),
        ("optimiser: 3", [], "'optimiser' is 3; expected a group of lr, betas"),
        ("steps: many", [], "steps.*many"),
        ("steps: 0", [], "steps is 0; expected at least 1"),
        ("- 1", [], "holds a list; expected names with values"),
        ("a: [", [], "is not readable YAML"),
        ("[\n" * 20_000, [], r"c\.yaml is not readable YAML"),
        ("steps: 9999-99-99", [], r"c\.yaml is not readable YAML"),
        ("", ["steps=" + "[" * 700], r"value of 'steps=\[+' is not YAML"),
        ("", ["optimiser.lr=.nan"], r"optimiser\.lr is nan; expected a finite number"),
        ("optimiser: {betas: [0.9, -.inf]}", [], r"optimiser\.betas\[1\] is -inf; expected a finite number"),
        ("", ["optimizer.lr=1"], r"no setting 'optimizer.lr'; did you mean 'optimiser.lr'\?"),
        ("", ["steps"], "override 'steps' has no '='"),
    ],
)
def test_a_mistake_is_named_with_the_nearest_setting(
    tmp_path: Path, text: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(Training, write(tmp_path, text), overrides)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read configuration .*none.yaml"):
        config.load(Training, tmp_path / "none.yaml")


def test_aliases_that_stand_for_endless_values_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]" for k in range(1, 60))]
    bomb = "\n".join(f"  {line}" for line in lines)
    for text in (f"steps:\n{bomb}\n", f"optimiser:\n  betas: {{\n{bomb.replace(chr(10), ',' + chr(10))}\n  }}\n"):
        with pytest.raises(ConfigError, match=r"c\.yaml is not readable YAML \(an alias.*write the value out"):
            config.load(Training, write(tmp_path, text))


def test_files_that_are_no_short_text_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=r"pipe\.yaml is a folder or a device"):
        config.load(Training, tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=r"c\.yaml has over \d+ bytes; expected a short text"):
        config.load(Training, write(tmp_path, "#" * 300_000))
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match=r"c\.yaml is not readable YAML"):
        config.load(Training, tmp_path / "c.yaml")
