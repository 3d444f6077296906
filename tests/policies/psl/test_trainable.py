"""The full policy under the trainer's interface: PPO moves it, CLIP stays and is not saved."""

from pathlib import Path

import numpy as np
import pytest
import torch
from policies.psl.lamp import Lamp

from sinew_policies.common import checkpoint
from sinew_policies.common.errors import CheckpointError
from sinew_policies.common.seeds import stream
from sinew_policies.psl.config import PSLConfig
from sinew_policies.psl.ddppo import Workers
from sinew_policies.psl.network import Observation, PSLPolicy
from sinew_policies.psl.ppo import PPOConfig
from sinew_policies.psl.predictor import Predictor
from sinew_policies.psl.trainable import TrainablePolicy
from sinew_policies.psl.trainer import TrainConfig, Trainer
from sinew_policies.psl.weights import load_policy

TINY = PSLConfig.tiny()
STEPS, ENVS = 4, 2


@pytest.fixture
def network() -> TrainablePolicy:
    torch.manual_seed(0)
    return TrainablePolicy(PSLPolicy(TINY))


def observations() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return {
        "frames": torch.randint(0, 256, (STEPS, ENVS, 48, 64, 3), dtype=torch.uint8, generator=g),
        "goal": torch.randn(STEPS, ENVS, 1, TINY.clip.code, generator=g),
    }


def test_it_evaluates_as_the_policy_and_trains_all_but_clip(network: TrainablePolicy) -> None:
    o = observations()
    actions, masks = torch.zeros(STEPS, ENVS, dtype=torch.int64), torch.ones(STEPS, ENVS, dtype=torch.bool)
    network.eval()
    out = network(o, actions, masks, network.initial_state(ENVS))
    want = network.policy.unroll(Observation(o["frames"], o["goal"]), network.initial_state(ENVS), actions, masks)
    assert torch.equal(out.logits, want.log_probs)
    assert out.values.shape == (STEPS, ENVS)
    assert torch.equal(out.state, want.state)
    o["image_code"] = want.image_code
    again = network(o, actions, masks, network.initial_state(ENVS))
    torch.testing.assert_close(again.logits, out.logits)

    network.train()
    clip = {k: v.clone() for k, v in network.policy.clip.state_dict().items()}
    before = {k: v.clone() for k, v in network.state_dict().items()}
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 1e-2)
    augmented = network.augment(o, stream(0, "augmentation"))
    out = network(augmented, actions, masks, network.initial_state(ENVS))
    (out.values.square().mean() - out.logits[..., 2].mean()).backward()
    optimiser.step()
    assert all(torch.equal(v, clip[k]) for k, v in network.policy.clip.state_dict().items())
    assert all(not torch.equal(v, before[k]) for k, v in network.state_dict().items() if "action_emb" not in k)


def test_what_it_saves_the_predictor_loads(network: TrainablePolicy, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "weights", network.state_dict(), network.config, "test")
    torch.save(network.policy.clip.state_dict(), tmp_path / "clip.pt")
    loaded = load_policy(tmp_path / "weights", clip=tmp_path / "clip.pt")
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in network.policy.state_dict().items())
    torch.manual_seed(9)
    other = TrainablePolicy(PSLPolicy(TINY))
    other.load_state_dict(network.state_dict())
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in network.state_dict().items())
    short = network.state_dict()
    del short["critic.fc.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: critic\.fc\.bias"):
        other.load_state_dict(short)


@pytest.mark.slow
def test_ppo_teaches_it_to_see_and_its_folder_acts(tmp_path: Path) -> None:
    config = TrainConfig(tmp_path / "run", updates=70, ppo=PPOConfig(rollout_steps=16, lr=4e-3))

    def network() -> TrainablePolicy:
        return TrainablePolicy(PSLPolicy(TINY))

    trainer = Trainer(config, lambda rank: Lamp(8, TINY, rank=rank), network, Workers())
    assert trainer.run()
    reward = [row.reward for row in trainer.history]
    assert np.mean(reward[:4]) < 1.0  # chance: 4 steps of 1/6
    assert np.mean(reward[-4:]) > 3.6  # of 4; without looking at the picture at most 2
    torch.save(trainer.network.policy.clip.state_dict(), tmp_path / "clip.pt")
    predictor = Predictor.from_pretrained(tmp_path / "run" / "weights", tmp_path / "clip.pt", device="cpu")
    turns = predictor.start(np.ones((100, 1, TINY.clip.code)), greedy=True)
    world = Lamp(100, TINY, rank=1)  # pictures that it was not trained on
    decision = turns.step(world.reset()["frames"])
    assert world.step(decision.actions).rewards.mean() > 0.9
