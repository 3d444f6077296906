"""What `sinew launch` says to words it cannot use."""

import pytest

from sinew_nodes.launch_runner.command import main
from sinew_policies.common.errors import LaunchError

pytestmark = pytest.mark.ros


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pick", "seed=4"], "'seed=4' after 'pick' is no argument; write seed:=4"),
        (["pick", "seed"], "write seed:=VALUE"),
        (["pikc"], "did you mean 'pick'"),
        (["no_package", "pick"], "package 'no_package' is not in AMENT_PREFIX_PATH"),
        (["pick", ":=4"], "has no name before ':='"),
        (["--print", "pick", "sead:=4"], "there is no argument 'sead'; did you mean 'seed'"),
        (["--print", "pick", "compute:=gpu"], "argument 'compute' is 'gpu'"),
        (["/nonexistent/x.launch.xml"], "does not exist"),
        ([], "no launch file was named"),
    ],
)
def test_words_that_fit_nothing_are_refused_with_what_would(words: list[str], message: str) -> None:
    with pytest.raises(LaunchError) as error:
        main(words)
    assert message in str(error.value)
