"""The simulated cell: a Panda at a table with a bin and two cameras, one world, many readers."""
