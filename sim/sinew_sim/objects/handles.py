"""Swept family: arches and drawer pulls, standing on their feet or lying flat."""

import numpy as np

from sinew_sim.objects.shapes import Shape, rectangle, sweep


def handle(rng: np.random.Generator) -> Shape:
    """Half a superellipse on two short legs, swept with a rectangular or octagonal section."""
    half_span, rise = rng.uniform(0.03, 0.055), rng.uniform(0.03, 0.055)
    leg = rng.uniform(0.006, 0.012)
    power = rng.uniform(2.0, 3.2)
    thick, wide = rng.uniform(0.012, 0.02), rng.uniform(0.022, 0.034)
    chamfer = rng.choice([0.0, 0.25]) * thick
    angle = np.linspace(0.0, np.pi, 9)
    c, s = np.cos(angle), np.sin(angle)
    s[-1] = 0.0
    path = np.zeros((11, 3))
    path[1:-1, 0] = half_span * np.sign(c) * np.abs(c) ** (2.0 / power)
    path[1:-1, 2] = leg + rise * s ** (2.0 / power)
    path[0, 0], path[-1, 0] = half_span, -half_span
    v, f, pieces = sweep(path, rectangle(thick, wide, chamfer), [0.0, -1.0, 0.0])
    if rng.random() < 0.5:
        return Shape(v, f, pieces)
    lie = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    return Shape(v @ lie.T, f, tuple((p @ lie.T, g) for p, g in pieces))
