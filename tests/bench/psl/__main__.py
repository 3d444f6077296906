"""Runs the benchmark from anywhere: `.venv/bin/python tests/bench/psl [--json FILE]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.psl.run import main

if __name__ == "__main__":
    main()
