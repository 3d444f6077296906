"""One Meta-World task as a seeded environment, on the MuJoCo that is installed.

Observation (39): hand 0:3 m, gripper opening 3 (0..1), first object's position 4:7 m and quaternion 7:11 (wxyz),
second object 11:18, the same 18 numbers one step earlier 18:36, goal 36:39 m. Action (4): hand displacement in
[-1, 1] (1 = 1 cm target shift) and gripper effort. Meta-World never ends an episode by itself.
"""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64
from sinew_sim.metaworld.tasks import VERSION_SUFFIX, canonical

OBSERVATION_DIM = 39
ACTION_DIM = 4
HORIZON_STEPS = 500  # Meta-World refuses to step beyond


@dataclass(frozen=True)
class Step:
    observation: F64  # (39,)
    reward: float
    success: bool


class TaskEnvironment:
    """A task whose layout (object and goal) is drawn anew from the seed of each reset; the goal is observed.

    The same seed and actions give the same numbers, whatever was played before.
    Raises ConfigError for an unknown task.
    """

    def __init__(self, task: str) -> None:
        self.task = canonical(task)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of space bounds' precision: nothing to act on
            self._env: Any = _environment_class(self.task)()
            self._env._partially_observable = False
            self._env._freeze_rand_vec = False
            self._env.seeded_rand_vec = True
            self._env._set_task_called = True
            del self._env.sawyer_observation_space  # cached for the hidden goal
            self._env.seed(0)

    def reset(self, seed: int) -> F64:
        """First observation (39,) of the layout that `seed` draws."""
        self._env.seed(seed)
        observation, _ = self._env.reset()
        return observation

    def step(self, action: F64) -> Step:
        """Plays `action` (4,), clipped to [-1, 1].

        Raises DataError for another shape or a number that is not finite.
        """
        if action.shape != (ACTION_DIM,) or not np.isfinite(action).all():
            raise DataError(
                f"task '{self.task}': action is {action!r}; expected {ACTION_DIM} finite numbers in [-1, 1]; check "
                "the policy that gave it"
            )
        observation, reward, _, _, info = self._env.step(np.clip(action, -1.0, 1.0))
        return Step(observation, float(reward), bool(info["success"]))


class _TaskEnvironmentOnNewMujoco:
    """Meta-World writes 11 numbers into each weld's row, which has 12 since MuJoCo 4; the 11 keep their meaning."""

    def reset_mocap_welds(self) -> None:
        import mujoco

        model: Any = self.model  # type: ignore[attr-defined]
        welds = model.eq_type == mujoco.mjtEq.mjEQ_WELD
        # Anchor at the origin, relative position 0, quaternion (-1, 0, 0, 0), torque scale 5.
        model.eq_data[welds, :11] = [0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5]


@cache
def _environment_class(task: str) -> type:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    base = ALL_V3_ENVIRONMENTS[task + VERSION_SUFFIX]
    return type(base.__name__, (_TaskEnvironmentOnNewMujoco, base), {})
