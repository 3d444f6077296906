"""Runs the benchmark from anywhere: `.venv/bin/python tests/bench/launch [--json FILE]`."""

import sys
from pathlib import Path

from sinew_policies.common.ros_environment import enter_overlay

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    enter_overlay()
    from bench.launch.run import main

    main()
