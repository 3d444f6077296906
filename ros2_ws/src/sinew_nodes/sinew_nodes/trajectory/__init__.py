"""Running joint trajectories tick by tick. No ROS in here."""
