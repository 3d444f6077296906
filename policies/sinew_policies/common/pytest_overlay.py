"""pytest plugin (`-p` in pyproject): runs the tests inside the ROS 2 workspace, from a shell that sourced nothing.

It acts while it is imported: `-p` plugins are loaded before pytest redirects the output streams, and a process that
re-executes itself after that would lose everything that it prints.
"""

from sinew_policies.common.ros_environment import enter_overlay

enter_overlay()
