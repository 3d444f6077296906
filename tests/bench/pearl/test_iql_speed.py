import numpy as np
import torch
from bench.pearl import iql_speed
from bench.pearl.iql_speed import N_STEPS, PlainIQL, measure
from torch import nn

from sinew_policies.common.seeds import stream
from sinew_policies.pearl.iql import IQL, IQLConfig
from sinew_policies.pearl.reward_scaling import standardised


def test_steps_are_faster_than_a_plain_loop() -> None:
    """The bench's own claim, with room for a busy machine."""
    plain, ours = np.median(measure(64, 128, policies=1, rounds=3, steps=30), 0)
    assert plain > 1.5 * ours


def test_steps_are_those_of_a_plain_loop() -> None:
    """From the same weights, data and batches, with our scales of observations, rewards and advantages."""
    config = IQLConfig(steps=60, batch=64, hidden=(32, 16))
    episodes, rng = iql_speed._episodes(), stream(0, "agreement")
    reward = rng.normal(size=N_STEPS).astype(np.float32)
    ours = IQL(episodes.transitions(), [np.zeros_like(reward), reward], config, 0)
    plain = _Scaled(episodes, np.float32(1.0 - config.discount) * standardised(reward), config, 0)
    normaliser = ours.policies()[1].network.normaliser
    for name in ("observations", "next_observations"):
        setattr(plain, name, normaliser(torch.from_numpy(getattr(plain, name))).numpy())
    for stack, k, network in (
        (ours._value, 1, plain.value),
        (ours._q, 2, plain.q1),
        (ours._q, 3, plain.q2),
        (ours._target, 2, plain.target_q1),
        (ours._target, 3, plain.target_q2),
        (ours._policy, 1, plain.policy),
    ):
        stack.copy_to(network, k)
    before = _outputs(plain)
    for index in rng.integers(0, N_STEPS, (config.steps, config.batch)):
        plain.update(index)
        ours.update(torch.from_numpy(index))
    after = _outputs(plain)
    found = _outputs(ours)
    for name, theirs in after.items():
        assert np.abs(theirs - before[name]).max() > 5e-3, name
        assert np.allclose(found[name], theirs, atol=2e-5), name


class _Scaled(PlainIQL):
    spread = torch.zeros(())

    def weights(self, advantage: torch.Tensor) -> torch.Tensor:
        spread = advantage.std()
        self.spread = torch.lerp(self.spread, spread, 0.01) if self.spread else spread
        return super().weights(advantage / self.spread)


def _outputs(training: PlainIQL | IQL) -> dict[str, np.ndarray]:
    rng = stream(1, "agreement")
    o = torch.from_numpy(rng.normal(size=(200, iql_speed.O_DIM)).astype(np.float32))
    pair = torch.cat([o, torch.from_numpy(rng.uniform(-1, 1, (200, iql_speed.A_DIM)).astype(np.float32))], 1)
    if isinstance(training, IQL):
        q, target = training._q.outputs(pair), training._target.outputs(pair)
        found = {
            "value": training._value.outputs(o)[1].T,
            "q1": q[2].T,
            "q2": q[3].T,
            "target": target[2].T,
            "policy": training._policy.outputs(o)[1].T,
            "log_std": training._log_std[1, :, 0],
        }
    else:
        networks: dict[str, tuple[nn.Module, torch.Tensor]] = {
            "value": (training.value, o),
            "q1": (training.q1, pair),
            "q2": (training.q2, pair),
            "target": (training.target_q1, pair),
            "policy": (training.policy, o),
        }
        found = {name: network(x) for name, (network, x) in networks.items()} | {"log_std": training.log_std}
    return {name: x.detach().numpy().copy() for name, x in found.items()}
