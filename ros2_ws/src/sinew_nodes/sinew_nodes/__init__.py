"""ROS 2 nodes of sinew: subscribe, convert, call, convert, publish."""
