"""Runs the benchmark from anywhere: `.venv/bin/python tests/bench/t3 [--json FILE]`."""

import os
import sys
from pathlib import Path

# One thread unless the caller says otherwise; must be set before numpy and torch are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.t3.run import main

if __name__ == "__main__":
    main()
