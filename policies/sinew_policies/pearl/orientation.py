"""The sign check: is the good end of the source coupled to the good end of the target, or to the bad one?

Three kinds of evidence, none of them the labels that are to be made:
- structure: how much worse distances fit when the best source segments are coupled to the worst targets;
- cue: whether smooth actions go with progress in the target, where the source's labels prefer them;
- agreement: a few target labels against the transferred ones. Only they can expose a target whose preferences are
  inverted while everything recorded is the same, so without them nothing is accepted: it stays provisional.
"""

import math
from dataclasses import dataclass

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.report import rate

ACCEPTED, PROVISIONAL, REFUSED = "accepted", "provisional", "refused"


@dataclass(frozen=True)
class SignConfig:
    min_labels: int = 8  # decided target labels from which agreement decides
    min_agreement: float = 0.65
    strict_agreement: float = 0.6  # lower end of agreement's 95 % interval, where label-free evidence is wanting
    min_evidence: float = 0.15  # (2 cue + structure) / 3, each -1..1; a mirrored task has the opposite sign
    min_structure: float = 0.45  # where there is no cue: structure alone errs more often
    min_source_accuracy: float = 0.6  # of the anchor on held-out source trajectories

    def __post_init__(self) -> None:
        for name in ("min_agreement", "strict_agreement", "min_source_accuracy"):
            if not 0.5 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"sign {name} is {getattr(self, name)}; expected 0.5 (chance) to 1")
        if self.min_labels < 1:
            raise ConfigError(f"sign min_labels is {self.min_labels}; expected 1 or more")


@dataclass(frozen=True)
class SignCheck:
    verdict: str  # ACCEPTED, PROVISIONAL or REFUSED
    reason: str  # why it is refused or provisional
    labels: int  # decided target labels
    agreement: float  # share of them that transferred labels agree with; NaN without any
    structure: float  # -1..1: (energy mirrored - energy) / their sum; NaN: not measured
    cue: float  # -1..1: rank correlation of smoothness with progress in the target; NaN: no cue in the source
    source_accuracy: float  # the anchor's, on held-out source trajectories; NaN without an anchor

    @property
    def evidence(self) -> float:
        """What was measured without target labels, -1..1; the cue errs less and counts twice. NaN: nothing was."""
        if math.isnan(self.cue) or math.isnan(self.structure):
            return self.structure if math.isnan(self.cue) else self.cue
        return (2.0 * self.cue + self.structure) / 3.0


def judge(
    config: SignConfig,
    *,
    labels: int,
    agreement: float,
    structure: float,
    cue: float,
    source_accuracy: float,
) -> SignCheck:
    """Weighs the evidence; NaN is evidence that is missing."""
    raw = SignCheck(PROVISIONAL, "", labels, agreement, structure, cue, source_accuracy)
    verdict, reason = _verdict(config, raw)
    return SignCheck(verdict, reason, labels, agreement, structure, cue, source_accuracy)


def _verdict(config: SignConfig, c: SignCheck) -> tuple[str, str]:
    if c.source_accuracy < config.min_source_accuracy:
        return REFUSED, (
            f"the anchor explains {c.source_accuracy:.0%} of held-out source labels, expected at least "
            f"{config.min_source_accuracy:.0%}: the source's preferences do not follow the declared features"
        )
    least = config.min_structure if math.isnan(c.cue) else config.min_evidence
    doubtful = not c.evidence >= least
    if c.labels and not c.agreement >= config.min_agreement:
        return REFUSED, (
            f"{c.agreement:.0%} of {c.labels} target labels agree, expected {config.min_agreement:.0%} or more: "
            "the coupling may be mirrored; take another source"
        )
    if c.labels and doubtful:
        low = rate(round(c.agreement * c.labels), c.labels).low
        if low < config.strict_agreement:
            return REFUSED, (
                f"{c.agreement:.0%} of {c.labels} target labels agree, so perhaps only {low:.0%}, and structure "
                f"({c.structure:+.2f}) and action cue ({c.cue:+.2f}) do not speak for this orientation: expected "
                f"{config.strict_agreement:.0%} or more; label more target pairs"
            )
    if c.labels >= config.min_labels:
        return ACCEPTED, ""
    if math.isnan(c.evidence):
        return REFUSED, "nothing tells the coupling from its mirror image; give an anchor or target labels"
    if doubtful:
        return REFUSED, (
            f"structure ({c.structure:+.2f}) and action cue ({c.cue:+.2f}) do not speak for this orientation: "
            f"together {c.evidence:+.2f}, expected {least:+.2f} or more; label {config.min_labels} target pairs"
        )
    return PROVISIONAL, (
        f"{c.labels} target labels, {config.min_labels} are needed to accept; evidence without labels speaks for it"
    )
