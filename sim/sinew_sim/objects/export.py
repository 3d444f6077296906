"""`sinew datagen objects`: writes generated objects as OBJ files in metres, z up."""

import argparse
import sys
from pathlib import Path

from sinew_policies.common.errors import SinewError
from sinew_sim.objects.generator import FAMILIES, generate
from sinew_sim.objects.model import ObjectModel


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sinew datagen objects", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the OBJ files, made if missing")
    parser.add_argument("--count", type=_positive, default=60, help="number of objects (default 60)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generator (default 0)")
    parser.add_argument("--split", choices=("train", "test"), default="test", help="default: test")
    parser.add_argument("--family", choices=FAMILIES, default=None, help="one family only (default: all in turn)")
    args = parser.parse_args(argv)
    try:
        paths = export(args.out, args.count, args.seed, args.split, args.family)
    except SinewError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"error: cannot write to {args.out}: {e.strerror}", file=sys.stderr)
        return 2
    print(f"{len(paths)} objects in {args.out}")
    return 0


def export(out: Path, count: int, seed: int, split: str = "test", family: str | None = None) -> list[Path]:
    """Writes objects 0 to `count` - 1 of `seed`, one OBJ each named after the object."""
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(count):
        obj = generate(seed, i, family, "train" if split == "train" else "test")
        paths.append(out / f"{obj.name}.obj")
        paths[-1].write_text(obj_text(obj), encoding="utf-8")
    return paths


def obj_text(obj: ObjectModel) -> str:
    """Wavefront OBJ of the visual mesh, coordinates to a micrometre."""
    lines = [f"# {obj.family}, metres, z up", f"o {obj.name}"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in obj.vertices]
    lines += [f"f {a} {b} {c}" for a, b, c in obj.faces + 1]
    return "\n".join(lines) + "\n"


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} objects; expected at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
