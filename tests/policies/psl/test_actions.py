"""Action numbers: ours are the published policy's, Habitat swaps the two looks."""

import pytest

from sinew_policies.common.errors import DataError
from sinew_policies.psl.actions import Action, from_habitat, to_habitat


def test_only_the_looks_differ_and_the_way_back_is_the_same() -> None:
    # Habitat: stop 0, forward 1, left 2, right 3, up 4, down 5.
    assert [to_habitat(a) for a in Action] == [0, 1, 2, 3, 5, 4]
    assert from_habitat(4) is Action.LOOK_UP
    assert [from_habitat(to_habitat(a)) for a in Action] == list(Action)


@pytest.mark.parametrize("number", [-1, 6])
def test_other_numbers_are_refused_with_the_list(number: int) -> None:
    with pytest.raises(DataError, match=f"no action {number}; valid actions: 0 stop, 1 forward"):
        to_habitat(number)
    with pytest.raises(DataError, match="5 look_up"):
        from_habitat(number)
