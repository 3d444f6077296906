"""The figures hold: processor time of the best of a few repetitions, so that other loads do not decide."""

import json
import time
from pathlib import Path

import pytest
import torch
from bench.t3.run import LIMITS_MS, Results, measure, write


@pytest.mark.slow
def test_a_frame_takes_no_longer_than_allowed_and_backbones_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.perf_counter()
    results: Results = measure(repeats=15)
    torch.set_num_threads(before)
    with capsys.disabled():
        for t in results.timed:
            print(f"\n{t.group:14s} {t.name:45s} best {min(t.cpu_ms):6.1f} ms CPU, limit {t.limit_ms}", end="")
    limited = {(t.group, t.name): t for t in results.timed if t.limit_ms is not None}
    whats = ("encoder and trunk, 1 frame", "frame to embedding")
    assert set(limited) == {(backbone, what) for backbone in LIMITS_MS for what in whats}
    assert {key: min(t.cpu_ms) for key, t in limited.items() if min(t.cpu_ms) > LIMITS_MS[t.group]} == {}
    lowest = {"torch": 1.0 - 1e-9, "openvino-f32": 1.0 - 1e-6, "openvino-bf16": 0.999, "openvino-int8": 0.98}
    assert {name: a.cosine for name, a in results.agreements.items() if a.cosine < lowest[name]} == {}
    write(results, tmp_path / "bench.json", "bench", 0, start)
    assert len(json.loads((tmp_path / "bench.json").read_text())["metrics"]) == len(results.timed)
