"""The Panda hand without an arm: antipodal contacts, physics tests of grasps, clutter scenes."""
