"""T3 against recordings of the published network; the cases come from SINEW_ORACLES (see the README there)."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from parity.recorded import Arrays, read_arrays, read_json, recorded_files
from parity.t3_oracle import (
    FOLDER,
    GRADIENT_RTOL,
    POSE_ATOL,
    PREPROCESSING_ATOL,
    Case,
    config_files,
    inputs_file,
    preprocessing,
    raw_images,
)
from torch import Tensor

from sinew_policies.t3 import pose
from sinew_policies.t3.decoders import pool_tokens
from sinew_policies.t3.losses import reconstruction_loss, supervised_loss
from sinew_policies.t3.network import T3
from sinew_policies.t3.optimise import make_optimiser, set_learning_rate
from sinew_policies.t3.positions import resize_positions
from sinew_policies.t3.preprocess import preprocess
from sinew_policies.t3.reconstruction import reconstructed_images
from sinew_policies.t3.train_config import TrainConfig
from sinew_policies.t3.validation import root_mean_square


@lru_cache(maxsize=1)
def loaded(file: Path) -> tuple[Case, T3]:
    case = Case(file)
    return case, case.network()


def output(case: Case, network: T3, sensor: str, head: str) -> Tensor:
    images = case.images(sensor)
    other = images.roll(1, 0) if case.config.heads[head].two_towers else None
    return network(sensor, head, images, other)


def target(want: Arrays, sensor: str, head: str) -> Tensor:
    return torch.from_numpy(want[f"tgt|{sensor}|{head}"])


def check_outputs(file: Path) -> None:
    case, network = loaded(file)
    want, t = case.outputs(), case.tolerance
    with torch.no_grad():
        encoded = {s: network.encoder(s)(case.images(s)) for s in {s for s, _ in case.pairs}}
        tokens = {s: network.trunk(x) for s, x in encoded.items()}
        got: dict[str, Tensor] = {}
        for sensor, head in case.pairs:
            decoder, x = network.head(head), tokens[sensor]
            got[f"out|{sensor}|{head}"] = (
                decoder(x, x.roll(1, 0)) if case.config.heads[head].two_towers else decoder(x)
            )
            got[f"loss|{sensor}|{head}"] = supervised_loss(
                case.loss_kind(head), got[f"out|{sensor}|{head}"], target(want, sensor, head)
            )
    for sensor, x in tokens.items():
        got[f"enc|{sensor}"], got[f"trunk|{sensor}"] = encoded[sensor][:1], x[:1]
        got[f"pool_cls|{sensor}"] = got[f"cls|{sensor}"] = pool_tokens(x, "cls")
        got[f"pool_global|{sensor}"] = got[f"gap|{sensor}"] = pool_tokens(x, "global")
    names = {k for k in want if not k.startswith("tgt|")}
    assert names <= set(got), f"unknown recordings: {sorted(names - set(got))}"
    assert {f"out|{s}|{h}" for s, h in case.pairs} <= names
    for name in sorted(names):
        np.testing.assert_allclose(got[name].numpy(), want[name], atol=t.atol, rtol=t.rtol, err_msg=name)


def check_whole_network_equals_its_parts(file: Path) -> None:
    case, network = loaded(file)
    sensor, head = next((s, h) for s, h in case.pairs if case.config.heads[h].two_towers)
    want, t = case.outputs()[f"out|{sensor}|{head}"], case.tolerance
    with torch.no_grad():
        np.testing.assert_allclose(output(case, network, sensor, head), want, atol=t.atol, rtol=t.rtol)


def check_norm_epsilons(file: Path) -> None:
    case, network = loaded(file)
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.LayerNorm):
            own = "ln_eps_sensor" if name.startswith("encoders.") else "ln_eps_shared"
            assert module.eps == case.raw[own], name


def check_gradient_norms(file: Path) -> None:
    case, network = loaded(file)
    recorded = read_json(case.path("gradnorms.json"))
    assert set(recorded) == {f"{s}|{h}" for s, h in case.pairs}
    for sensor, head in case.pairs:
        network.zero_grad(set_to_none=True)
        out = output(case, network, sensor, head)
        supervised_loss(case.loss_kind(head), out, target(case.outputs(), sensor, head)).backward()
        want = recorded[f"{sensor}|{head}"]
        got = {k: p.grad.norm().item() for k, p in network.named_parameters() if p.grad is not None}
        assert set(got) == set(want)
        for name, norm in want.items():
            assert got[name] == pytest.approx(norm, rel=GRADIENT_RTOL, abs=0.0), f"{sensor}|{head} {name}"
    network.zero_grad(set_to_none=True)


def check_trajectory(file: Path) -> None:
    case = Case(file)
    network = case.network()  # its own: the steps change it
    record = read_json(case.path("trajectory.json"))
    config = TrainConfig(
        "supervise",
        Path(),
        Path(),
        steps=record["cosine_steps"],
        lr=record["lr"],
        lr_floor=record["lr_floor"],
        adam_eps=record["eps"],
        weight_decay=record["weight_decay"],
    )
    optimiser = make_optimiser(network, config)
    assert all(list(group["betas"]) == record["betas"] for group in optimiser.param_groups)
    assert record["steps"]
    for step, (sensor, head, want_loss, want_lr) in enumerate(record["steps"]):
        set_learning_rate(optimiser, step, config)
        optimiser.zero_grad(set_to_none=True)
        out = output(case, network, sensor, head)
        loss = supervised_loss(case.loss_kind(head), out, target(case.outputs(), sensor, head))
        loss.backward()
        optimiser.step()
        set_learning_rate(optimiser, step + 1, config)  # what the next step will take is recorded
        assert loss.item() == pytest.approx(want_loss, rel=GRADIENT_RTOL)
        for group in optimiser.param_groups:
            assert group["lr"] == pytest.approx(want_lr, rel=GRADIENT_RTOL)
    with torch.no_grad():
        final = output(case, network, *record["final_pair"])
    np.testing.assert_allclose(final, record["final_out"], rtol=GRADIENT_RTOL, atol=case.tolerance.atol)
    parameters = dict(network.named_parameters())
    for name, (total, norm) in record["final_param_sums"].items():
        values = parameters[name].detach().double()
        assert values.sum().item() == pytest.approx(total, rel=GRADIENT_RTOL), name
        assert values.norm().item() == pytest.approx(norm, rel=GRADIENT_RTOL), name


def check_reconstruction(file: Path) -> None:
    case, network = loaded(file)
    want, t = case.outputs(), case.tolerance
    images, patch = case.images(case.raw["sensor"]), case.raw["patch"]
    (head,) = case.config.heads
    with torch.no_grad():
        got = network.reconstruct(case.raw["sensor"], head, images, torch.from_numpy(want["noise"]))
    np.testing.assert_array_equal(got.mask, want["mask"])
    np.testing.assert_array_equal(got.ids_restore, want["ids_restore"])
    assert tuple(got.patches.shape) == tuple(want["pred_shape"])
    losses = {
        f"loss_norm_pix_{norm_pix}": reconstruction_loss(
            got.patches, images, got.mask, patch=patch, norm_pix=norm_pix
        )
        for norm_pix in (True, False)
    }
    values = {
        "pred_0": got.patches[0],
        "pred_mean": got.patches.mean((1, 2)),
        "recon_0": reconstructed_images(got.patches, got.mask, images, patch)[0, :, ::8, ::8],
        **losses,
    }
    assert set(want) == {"noise", "mask", "ids_restore", "pred_shape", *values}
    for name, value in values.items():
        np.testing.assert_allclose(value.numpy(), want[name], atol=t.atol, rtol=t.rtol, err_msg=name)


def check_preprocessing(file: Path) -> None:
    images, want = raw_images(file.parent), read_arrays(file)
    assert want
    for name in want:
        kind, _, sensor = name.partition("|")
        if kind.startswith("full_"):
            sensor, _, i = kind.removeprefix("full_").rpartition("_")
            got = preprocess(images[int(i)], preprocessing(file.parent, sensor))
        else:
            batch = np.stack([preprocess(image, preprocessing(file.parent, sensor)) for image in images])
            step = batch.shape[2] // want[name].shape[-1] if kind == "sub" else 1
            got = {"sub": batch[:, :, ::step, ::step], "mean": batch.mean((2, 3), dtype=np.float64)}[kind]
        np.testing.assert_allclose(got, want[name], atol=PREPROCESSING_ATOL, rtol=0, err_msg=name)


def check_position_resize(file: Path) -> None:
    want = read_arrays(file)
    grid = round((want["dst"].shape[1] - 1) ** 0.5)
    got = resize_positions(torch.from_numpy(want["src"]), grid)
    np.testing.assert_allclose(got, want["dst"], atol=2e-5, rtol=1e-4)


def check_pose_arithmetic(file: Path) -> None:
    want = read_arrays(file)
    norm = pose.LabelNorm(tuple(want["mean"]), tuple(want["std"]))
    delta = pose.delta_d9(want["pose_a"], want["pose_b"])
    rotations = pose.rotation_from_columns(want["pred"][:, 3:])
    distances_mm = pose.distances(want["pred"][:, :3], want["delta_d9"][:, :3])
    angles_deg = pose.angles_between_deg(want["pred"], want["delta_d9"])
    got = {
        "delta_d9": delta,
        "mean": delta.mean(0),
        "std": delta.std(0),
        "delta_norm": norm.normalise(want["delta_d9"]),
        "tra_rmse": root_mean_square(distances_mm, "mm").value,
        "rot_rmse_deg": root_mean_square(angles_deg, "deg").value,
        "rotmats": rotations,
        "rotvec_deg": pose.rotation_vectors_deg(rotations),
    }
    assert set(want) == {"pose_a", "pose_b", "pred", *got}
    for name, value in got.items():
        np.testing.assert_allclose(value, want[name], atol=POSE_ATOL, rtol=POSE_ATOL, err_msg=name)
    np.testing.assert_allclose(norm.restore(got["delta_norm"]), want["delta_d9"], atol=POSE_ATOL)


# Kinds of files that need no network, told by their arrays: the name of such a file does not matter.
FILE_CHECKS: list[tuple[Callable[[set[str]], bool], Callable[[Path], None]]] = [
    (lambda names: all(n.startswith(("sub|", "mean|", "full_")) for n in names), check_preprocessing),
    (lambda names: {"src", "dst"} <= names, check_position_resize),
    (lambda names: {"pose_a", "pose_b"} <= names, check_pose_arithmetic),
]

# Checks that need a file beside the configuration.
OPTIONAL_CHECKS: dict[str, Callable[[Path], None]] = {
    "gradnorms.json": check_gradient_norms,
    "trajectory.json": check_trajectory,
}

# First words of the names in outputs of networks, small and larger ones.
OUTPUTS = {"out", "tgt", "loss", "enc", "trunk", "pool_cls", "pool_global", "cls", "gap"}


def checks() -> list[tuple[Path, Callable[[Path], None]]]:
    found: list[tuple[Path, Callable[[Path], None]]] = []
    for file in config_files():
        case = Case(file)
        if case.reconstructs:
            found += [(file, check_reconstruction), (file, check_norm_epsilons)]
            continue
        found += [(file, c) for c in (check_outputs, check_whole_network_equals_its_parts, check_norm_epsilons)]
        found += [(file, c) for suffix, c in OPTIONAL_CHECKS.items() if case.path(suffix).is_file()]
    for file in recorded_files(FOLDER):
        if file.suffix == ".npz":
            found += [(file, check) for holds, check in FILE_CHECKS if holds(set(read_arrays(file)))]
    return found


def check_id(value: object) -> str:
    if isinstance(value, Path):
        return str(value.relative_to(FOLDER).with_suffix(""))
    return getattr(value, "__name__", "")


def test_there_is_a_case_of_every_kind() -> None:
    cases = [Case(file) for file in config_files()]
    assert {"self_attention", "cross_attention"} <= {c.raw["recon_kind"] for c in cases if c.reconstructs}
    recorded = {name.partition("|")[0] for c in cases if not c.reconstructs for name in c.outputs()}
    assert not sorted(OUTPUTS - recorded), f"no network under {FOLDER} has these outputs"
    wanted = {check.__name__ for check in (*OPTIONAL_CHECKS.values(), *(check for _, check in FILE_CHECKS))}
    assert not sorted(wanted - {check.__name__ for _, check in checks()}), f"no recording under {FOLDER} for these"


def test_every_recording_is_compared() -> None:
    read = {file for file, _ in checks()}
    for case in map(Case, config_files()):
        read |= {case.path("weights_index.json"), case.outputs_file}
        read |= set() if case.reconstructs else {case.path(name) for name in OPTIONAL_CHECKS}
    read |= {inputs_file(file.parent) for file in read}
    left = [str(file.relative_to(FOLDER)) for file in recorded_files(FOLDER) if file not in read]
    assert not left, f"of unknown kind, or without the configuration of their network: {left}"


@pytest.mark.parametrize(("file", "check"), checks(), ids=check_id)
def test_case(file: Path, check: Callable[[Path], None]) -> None:
    check(file)
