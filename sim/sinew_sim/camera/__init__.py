"""Simulated cameras: rendering colour, depth and segmentation of a MuJoCo model, and a depth-noise chain."""
