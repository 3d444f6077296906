"""ROS 2 nodes of sinew: subscribe, convert, call, convert, publish."""

import os
import signal
import sys

if "--ros-args" in sys.argv:
    # A node that is told to stop while it still imports its libraries has nothing to end: it goes quietly,
    # with neither traceback nor failure, until its own handlers take over.
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, lambda *_: os._exit(0))
