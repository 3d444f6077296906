"""A support set keeps its bound, and its file holds what was written or is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from policies.psl.clusters import clustered
from safetensors.numpy import save

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.psl.goal_views import unit_vectors
from sinew_policies.psl.support_set import SupportSet, build_support_set, load_support_set, save_support_set


def naive_greedy(vectors: np.ndarray, bound: float) -> list[int]:
    unit = unit_vectors(vectors, "x").astype(np.float32)
    kept: list[int] = []
    for i, v in enumerate(unit):
        if all(v @ unit[j] < bound for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("pieces", [1, 3, 40])
def test_greedy_construction_equals_the_plain_loop_whatever_the_chunks(pieces: int) -> None:
    vectors = clustered(200, 16)
    expected = vectors[naive_greedy(vectors, 0.8)].astype(np.float16)
    built = build_support_set(np.array_split(vectors, pieces), "a clip").vectors
    assert 8 <= len(built) < 200
    np.testing.assert_array_equal(built, expected)
    unit = unit_vectors(built, "x")
    assert (unit @ unit.T)[~np.eye(len(unit), dtype=bool)].max() < 0.8 + 2e-3  # float16
    first = build_support_set(np.array_split(vectors, pieces), "a clip", limit=5)
    np.testing.assert_array_equal(first.vectors, expected[:5])


def test_the_file_holds_the_set_and_nothing_else_is_left(tmp_path: Path) -> None:
    support = SupportSet(clustered(50, 8).astype(np.float16), "a clip")
    save_support_set(tmp_path / "deep/support.safetensors", support)
    read = load_support_set(tmp_path / "deep/support.safetensors")
    np.testing.assert_array_equal(read.vectors, support.vectors)
    assert read.vectors.dtype == np.float16
    assert read.clip == "a clip"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["support.safetensors"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "support.safetensors"
    with pytest.raises(DataError, match="does not exist"):
        load_support_set(file)
    save_support_set(file, SupportSet(clustered(50, 8).astype(np.float16), "a clip"))
    whole = file.read_bytes()
    note = {"format": "sinew PSL support set 1", "clip": "a clip"}
    vectors = np.ones((2, 4), np.float16)
    for content, message in (
        (whole[:-3], "not a whole safetensors file"),
        (b"", "not a whole safetensors file"),
        (pickle.dumps([1.0]), "not a whole safetensors file"),
        (save({"vectors": vectors}), "holds no support set of this version"),
        (save({"vectors": vectors, "more": vectors}, note), "holds no support set"),
        (save({"vectors": vectors.astype(np.float64)}, note), r"float64 of shape \(2, 4\); expected float16"),
        (save({"vectors": vectors[0]}, note), r"shape \(4,\); expected float16 \(V, D\)"),
        (save({"vectors": vectors * np.float16(np.nan)}, note), "NaN or infinite"),
    ):
        file.write_bytes(content)
        with pytest.raises(DataError, match=message):
            load_support_set(file)


def test_unusable_embeddings_are_named() -> None:
    with pytest.raises(DataError, match="the support set is empty"):
        build_support_set([], "a clip")
    with pytest.raises(DataError, match="width 3 after width 4"):
        build_support_set([np.eye(4), np.eye(3)], "a clip")
    with pytest.raises(ConfigError, match=r"cosine_bound is 1\.5"):
        build_support_set([np.eye(4)], "a clip", cosine_bound=1.5)
    with pytest.raises(ConfigError, match="limit is 0"):
        build_support_set([np.eye(4)], "a clip", limit=0)
    with pytest.raises(DataError, match="support embeddings: vector 1 is zero"):
        build_support_set([np.array([[1.0, 0.0], [0.0, 0.0]])], "a clip")
