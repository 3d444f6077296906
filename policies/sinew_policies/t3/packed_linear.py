"""Linear layers whose weights are laid out for oneDNN once rather than at every call, for inference on a CPU.

A frame of T3 tiny takes a tenth less time on one thread (tests/bench/t3). The operators are those that
torch.compile itself uses after freezing; where a build of PyTorch lacks them, layers stay as they are.
"""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

_M = TypeVar("_M", bound=nn.Module)


class PackedLinear(nn.Module):
    """Computes what `linear` (float32, on the CPU) did when this was made; has no gradient."""

    def __init__(self, linear: nn.Linear, n_rows: int) -> None:
        """`n_rows`: of the usual input, all but the last dimension flattened; others are right too, but slower."""
        super().__init__()
        weight = linear.weight.detach().contiguous()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, n_rows)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")
        return y


def with_packed_linears(module: _M, n_rows: int) -> _M:
    """A copy of `module` with packed linear layers; everything else shares its weights with the original.

    Costs the memory of the linear weights once more. Later changes of those weights are not seen.
    """
    shared = {id(t): t for t in (*module.parameters(), *module.buffers())}
    copy = deepcopy(module, shared)
    if _can_pack():
        for parent in list(copy.modules()):
            for name, child in parent.named_children():
                if type(child) is nn.Linear and _packable(child):
                    setattr(parent, name, PackedLinear(child, n_rows))
    return copy


def _can_pack() -> bool:
    names = ("_reorder_linear_weight", "_linear_pointwise")
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _packable(linear: nn.Linear) -> bool:
    return linear.weight.dtype == torch.float32 and linear.weight.device.type == "cpu"
