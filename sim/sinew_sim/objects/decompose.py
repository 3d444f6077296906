"""Child process that turns one mesh file into convex pieces: `python -m sinew_sim.objects.decompose IN OUT`.

CoACD brings its own C++ runtime and must never share a process with ROS (specs: import order crashes), and a
hostile file may take memory or time without end; both stay in here. Writes OUT.clean.npz as soon as the mesh
is repaired, with its convex hull as the only piece, then OUT.npz with CoACD's pieces. Exit 3 = unusable mesh,
its reason on the last line of stdout.
"""

import ctypes
import resource
import signal
import sys
from pathlib import Path

import numpy as np
import trimesh

from sinew_policies.common.errors import MeshError
from sinew_sim.objects import pieces
from sinew_sim.objects.convex import Hull, convex_hull
from sinew_sim.objects.mesh_repair import CleanMesh, read_mesh, simplified

UNUSABLE = 3

_MEMORY_BYTES = 6 * 1024**3
_FACES = 500
_ALMOST_CONVEX = 0.97
_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    source, out = Path(argv[0]), Path(argv[1])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    try:
        mesh = read_mesh(source)
        whole = convex_hull(mesh.vertices)
    except MeshError as e:
        print(e)
        return UNUSABLE
    except MemoryError:
        print("reading it takes more memory than a mesh may take")
        return UNUSABLE
    pieces.save(out.with_suffix(".clean.npz"), _filled(mesh, (whole,)))
    hulls = (whole,) if _is_convex(mesh, whole) else _decompose(mesh)
    pieces.save(out, _filled(mesh, hulls))
    return 0


def _filled(mesh: CleanMesh, hulls: tuple[Hull, ...]) -> pieces.Pieces:
    return pieces.Pieces(mesh.vertices, mesh.faces, hulls, mesh.warnings)


def _is_convex(mesh: CleanMesh, whole: Hull) -> bool:
    if not mesh.watertight:
        return False
    volume = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).volume
    return bool(volume > _ALMOST_CONVEX * trimesh.Trimesh(*whole, process=False).volume)


def _decompose(mesh: CleanMesh) -> tuple[Hull, ...]:
    import coacd  # after scipy: first of all C++ libraries it would break the others

    coacd.set_log_level("error")
    coarse = simplified(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), _FACES)
    parts = coacd.run_coacd(
        coacd.Mesh(np.asarray(coarse.vertices), np.asarray(coarse.faces)),
        threshold=0.05,
        max_convex_hull=24,
        # CoACD would turn an open surface into a thin shell; cutting it as it is keeps it solid, and is faster.
        preprocess_mode="auto" if mesh.watertight else "off",
        preprocess_resolution=30,
        mcts_iterations=60,
        seed=0,
    )
    hulls = []
    for vertices, _ in parts:
        try:
            hulls.append(convex_hull(np.asarray(vertices, np.float64)))
        except MeshError:
            continue  # a sliver without volume holds nothing
    if not hulls:
        raise MeshError("CoACD returned no piece with a volume")
    return tuple(hulls)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
