"""How far the predictor's towers are from the recorded policy, by the parity cases of tests/parity."""

from dataclasses import dataclass

import numpy as np
import torch
from parity.psl_oracle import Case, case_folders
from parity.recorded import read_arrays

from sinew_policies.common.report import Cell
from sinew_policies.psl.network import Observation
from sinew_policies.psl.predictor import Predictor


@dataclass(frozen=True)
class Agreement:
    precision: str
    code_error: float  # largest |difference| of an image code's entry
    code_spread: float  # standard deviation of the recorded codes' entries
    log_prob_error: float  # largest |difference| of a log-probability
    same_action: int  # steps with the recorded likeliest action
    steps: int

    def row(self) -> dict[str, Cell]:
        return {"name": f"agreement {self.precision}", **vars(self)}


def agreement(precision: str) -> Agreement:
    """Over every step of every recorded sequence without antialiasing."""
    code_error, log_prob_error, codes_seen, same, steps = 0.0, 0.0, [], 0, 0
    for folder in case_folders():
        case = Case.read(folder)
        for file, antialias in case.recordings.items():
            if antialias:
                continue
            want = read_arrays(folder / file)
            policy = case.network(antialias=False)
            frames, masks = torch.from_numpy(case.frames()), torch.from_numpy(case.inputs["masks"]).bool()
            goal = torch.from_numpy(case.inputs["goal"])
            codes = Predictor(policy, device="cpu", precision=precision).encode_frames(frames.flatten(0, 1))
            with torch.inference_mode():
                out = policy.unroll(
                    Observation(frames, goal.expand(len(masks), *goal.shape), codes.unflatten(0, masks.shape)),
                    policy.initial_state(masks.shape[1]),
                    torch.from_numpy(case.inputs["prev_actions"]),
                    masks,
                )
            code_error = max(code_error, float(np.abs(out.image_code.numpy() - want["zS"]).max()))
            log_prob_error = max(log_prob_error, float(np.abs(out.log_probs.numpy() - want["logits"]).max()))
            codes_seen.append(want["zS"].ravel())
            same += int((out.log_probs.argmax(-1, keepdim=True).numpy() == want["act"]).sum())
            steps += masks.numel()
    return Agreement(precision, code_error, float(np.concatenate(codes_seen).std()), log_prob_error, same, steps)
