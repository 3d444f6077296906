"""`sinew train robomimic`: robomimic's behaviour cloning on recorded episodes in its HDF5 layout."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from sinew_policies.common.report import Metric, Report, Row
from sinew_sim.robomimic.cloning import Request, train


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 when finished, 130 when interrupted; robomimic cannot resume, so that starts anew."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="sinew train robomimic", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="HDF5 file in robomimic's layout")
    parser.add_argument("--out", type=Path, required=True, help="folder for model.pth and train.log")
    parser.add_argument("--mask", default=None, help="train on the demos of this mask only")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100, help="per epoch")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")
    args = parser.parse_args(argv)
    if args.json:
        Report.check_writable(args.json)
    console, begun = Console(markup=False), time.monotonic()
    request = Request(
        data=str(args.data),
        out=str(args.out),
        epochs=args.epochs,
        steps_per_epoch=args.steps,
        batch=args.batch,
        seed=args.seed,
        mask=args.mask,
    )
    try:
        losses = train(request, lambda epoch, loss: console.print(f"epoch {epoch}/{args.epochs}: loss {loss:.4f}"))
    except KeyboardInterrupt:
        console.print("interrupted; robomimic keeps nothing, the same command starts anew")
        return 130
    console.print(f"policy in {request.checkpoint}", highlight=False)
    if args.json:
        rows: list[Row] = [{"epoch": k, "loss": loss} for k, loss in enumerate(losses, 1)]
        last = Metric(losses[-1], float("nan"), float("nan"), request.steps_per_epoch, "action²")
        Report("train robomimic", args.seed, time.monotonic() - begun, {"loss": last}, rows).write(args.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
