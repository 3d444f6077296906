"""PSL against recordings of the published policy; the cases come from SINEW_ORACLES (see the README there)."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from parity.psl_oracle import ATOL, FOLDER, Case, case_folders, crops, index_places
from parity.recorded import Arrays, read_arrays, recorded_files, weights_indices

from sinew_policies.psl.network import Observation, PolicyOutput
from sinew_policies.psl.predictor import Predictor
from sinew_policies.psl.resize import resize_and_crop


@cache
def run(folder: Path, antialias: bool) -> tuple[Arrays, Arrays]:
    """The sequence step by step, and the same as one unrolled sequence; arrays lead with (T, B)."""
    case = Case.read(folder)
    policy = case.network(antialias=antialias)
    frames = torch.from_numpy(case.frames())
    goal = torch.from_numpy(case.inputs["goal"])
    masks = torch.from_numpy(case.inputs["masks"]).bool()
    actions = torch.from_numpy(case.inputs["prev_actions"])
    steps, batch = masks.shape
    assert (steps, batch) == (case.raw["steps"], case.raw["envs"])
    assert int(actions.max()) < case.raw["n_actions"]
    with torch.inference_mode():
        state, outputs = policy.initial_state(batch), []
        for t in range(steps):
            outputs.append(policy(Observation(frames[t], goal), state, actions[t], masks[t]))
            state = outputs[-1].state
        sequence = policy.unroll(
            Observation(
                frames, goal.expand(steps, *goal.shape), torch.stack([o.image_code for o in outputs])
            ),  # a known code is taken as it is
            policy.initial_state(batch),
            actions,
            masks,
        )
    stepped = _stack([_recorded(o) for o in outputs])
    stepped["hidden"] = torch.stack([o.state for o in outputs]).numpy()
    unrolled = _recorded(sequence)
    unrolled["last_hidden"] = sequence.state.numpy()
    return stepped, unrolled


def _recorded(o: PolicyOutput) -> Arrays:
    act = o.log_probs.argmax(-1, keepdim=True)
    found = {
        "zS": o.image_code,
        "zL": o.layout_code,
        "layout2048_sum": o.layout_features.sum(-1),
        "spm": o.fused,
        "rnn_in": o.rnn_input,
        "logits": o.log_probs,
        "value": o.value,
        "act": act,
        "logp": o.log_probs.gather(-1, act),
    }
    return {k: v.numpy() for k, v in found.items()}


def _stack(steps: list[Arrays]) -> Arrays:
    return {k: np.stack([s[k] for s in steps]) for k in steps[0]}


def _compare(got: Arrays, want: Arrays, what: str) -> None:
    for name in sorted(want):
        assert got[name].shape == want[name].shape, f"{what}, {name}"
        if name in ATOL:
            np.testing.assert_allclose(got[name], want[name], atol=ATOL[name], rtol=0, err_msg=f"{what}, {name}")
        else:
            np.testing.assert_array_equal(got[name], want[name], err_msg=f"{what}, {name}")


def check_every_step(folder: Path) -> None:
    for file, antialias in Case.read(folder).recordings.items():
        stepped, _ = run(folder, antialias)
        want = read_arrays(folder / file)
        assert set(want) == set(stepped)
        _compare(stepped, want, file)


def check_an_unrolled_sequence(folder: Path) -> None:
    for file, antialias in Case.read(folder).recordings.items():
        _, unrolled = run(folder, antialias)
        want = read_arrays(folder / file)
        np.testing.assert_allclose(unrolled["last_hidden"], want["hidden"][-1], atol=ATOL["hidden"], rtol=0)
        _compare(unrolled, {k: v for k, v in want.items() if k != "hidden"}, file)


def check_the_folded_tower_of_the_predictor(folder: Path) -> None:
    """Its codes, and the steps that follow from them, within the same tolerances."""
    case = Case.read(folder)
    arrays = {k: torch.from_numpy(case.inputs[k]) for k in ("masks", "prev_actions", "goal")}
    frames, masks = torch.from_numpy(case.frames()), arrays["masks"].bool()
    for file, antialias in case.recordings.items():
        want = read_arrays(folder / file)
        policy = case.network(antialias=antialias)
        codes = Predictor(policy, device="cpu").encode_frames(frames.flatten(0, 1)).unflatten(0, masks.shape)
        goals = arrays["goal"].expand(len(masks), *arrays["goal"].shape)
        with torch.inference_mode():
            out = policy.unroll(
                Observation(frames, goals, codes),
                policy.initial_state(masks.shape[1]),
                arrays["prev_actions"],
                masks,
            )
        _compare(_recorded(out), {k: v for k, v in want.items() if k != "hidden"}, f"{file}, folded")


def check_resizing(folder: Path) -> None:
    frame = torch.from_numpy(Case.read(folder).frames()[0, :1])
    for file in crops(folder):
        for name, squares in read_arrays(file).items():
            sized, kernel, suffix = name.split("_")  # resize224_bicubic_aa0
            got = resize_and_crop(frame, int(sized.removeprefix("resize")), kernel, antialias=suffix == "aa1")
            np.testing.assert_array_equal(got.to(torch.uint8), squares, err_msg=f"{file.name}, {name}")


CHECKS: list[Callable[[Path], None]] = [
    check_resizing,
    check_every_step,
    check_an_unrolled_sequence,
    check_the_folded_tower_of_the_predictor,
]


def test_there_is_a_case_of_every_kind() -> None:
    cases = case_folders()
    assert cases, f"no case under {FOLDER}"
    for folder in cases:
        assert Case.read(folder).recordings, f"{folder} names no recording"
    assert {antialias for folder in cases for antialias in Case.read(folder).recordings.values()} == {False, True}
    assert any(crops(folder) for folder in cases), f"no crops under {FOLDER}"


def test_every_recording_is_compared() -> None:
    read: set[Path] = set()
    for folder in case_folders():
        read |= {folder / name for name in ("config.json", "inputs.npz", *Case.read(folder).recordings)}
        read |= {*crops(folder), *(file for place in index_places(folder) for file in weights_indices(place))}
    left = [str(file.relative_to(FOLDER)) for file in recorded_files(FOLDER) if file not in read]
    assert not left, f"of unknown kind, or not among the antialias_files of the config.json beside it: {left}"


@pytest.mark.parametrize(
    ("folder", "check"),
    [
        (folder, check)
        for folder in case_folders()
        for check in CHECKS
        if check is not check_resizing or crops(folder)
    ],
    ids=lambda value: value.name if isinstance(value, Path) else value.__name__,
)
def test_case(folder: Path, check: Callable[[Path], None]) -> None:
    check(folder)
