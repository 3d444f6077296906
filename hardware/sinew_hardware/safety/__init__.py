"""Safety gate, lease and limits of one actuator. Not safety-rated; see hardware protection of the robot."""
