"""Predictor: many fingers in one pass, memory of reference frames, refusals; backends beside plain torch."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from policies.t3.small_networks import frame, images, network

from sinew_policies.common.errors import CheckpointError, ConfigError, DataError, MissingExtra
from sinew_policies.t3 import components
from sinew_policies.t3.backbone import TorchBackbone
from sinew_policies.t3.device_statistics import Channels
from sinew_policies.t3.finger import Finger
from sinew_policies.t3.openvino_backbone import OpenVINOBackbone, agreement
from sinew_policies.t3.pose import LabelNorm, rotation_from_columns
from sinew_policies.t3.predictor import Predictor
from sinew_policies.t3.preprocess import Preprocessing, preprocess_batch
from sinew_policies.t3.sets import SetInfo, write_info
from sinew_policies.t3.touch import Classification, Estimate, RelativePose

DIGIT = Preprocessing.of_sensor("digit")
POSE = "pose_estimation_6d_mini"
ALL = ("cls_cnc", "variance_estimation", POSE, "pose_estimation_3d", "slip", "embedding")


def fingers(heads: tuple[str, ...] = ALL) -> dict[str, Finger]:
    """Two sensors of one kind around one of another, so that rows must be put back in order."""
    return {
        "left": Finger("digit", DIGIT, heads),
        "middle": Finger("mini", DIGIT, ("cls_cnc", POSE)),
        "right": Finger("digit", DIGIT, heads),
    }


def frames(seed: int = 0) -> dict[str, np.ndarray]:
    return {name: frame(10 * seed + i) for i, name in enumerate(fingers())}


def test_together_as_alone() -> None:
    net = network()
    together = Predictor(net, fingers())
    first, second = together.touch(frames(0)), together.touch(frames(1))
    for name, image in frames(0).items():
        alone = Predictor(net, fingers())
        for got, want in ((first[name], alone.touch({name: image})[name]), (second[name], None)):
            if want is None:
                want = alone.touch({name: frames(1)[name]})[name]
            np.testing.assert_allclose(got.embedding, want.embedding, atol=1e-4)
            np.testing.assert_allclose(got.mean_embedding, want.mean_embedding, atol=1e-4)
            assert list(got.outputs) == list(want.outputs)
            for head, output in got.outputs.items():
                np.testing.assert_allclose(numbers(output), numbers(want.outputs[head]), atol=1e-4)


def test_outputs_are_those_of_the_network() -> None:
    net = network()
    predictor = Predictor(net, fingers())
    predictor.touch(frames(0))
    got = predictor.touch(frames(1))["left"].outputs
    a, b = (preprocess_batch([frames(i)["left"]], DIGIT) for i in (0, 1))
    with torch.no_grad():
        logits = net("digit", "cls_cnc", b)[0]
        d9 = net("digit", POSE, a, b)[0].double().numpy()
        slip = net("digit", "slip", a, b)[0]
    assert isinstance(got["cls_cnc"], Classification)
    np.testing.assert_allclose(got["cls_cnc"].probabilities, logits.softmax(0), atol=1e-5)
    assert got["cls_cnc"].label == int(logits.argmax())
    pose = got[POSE]
    assert isinstance(pose, RelativePose)
    np.testing.assert_allclose(pose.translation_mm, d9[:3], atol=1e-5)
    np.testing.assert_allclose(pose.rotation, rotation_from_columns(d9[None, 3:])[0], atol=1e-4)
    assert isinstance(got["slip"], Estimate)
    np.testing.assert_allclose(got["slip"].values, slip, atol=1e-5)
    assert isinstance(got["variance_estimation"], Estimate)


def test_first_frame_has_no_pose_and_label_norm_restores_units() -> None:
    norm = LabelNorm(tuple(np.arange(9.0)), (2.0,) * 9)
    plain, scaled = (
        Predictor(network(), {"left": Finger("digit", DIGIT, (POSE,), norms)}) for norms in ({}, {POSE: norm})
    )
    assert plain.touch({"left": frame(0)})["left"].outputs == {POSE: None}
    scaled.touch({"left": frame(0)})
    a, b = (p.touch({"left": frame(1)})["left"].outputs[POSE] for p in (plain, scaled))
    assert isinstance(a, RelativePose)
    assert isinstance(b, RelativePose)
    np.testing.assert_allclose(b.translation_mm, 2.0 * a.translation_mm + np.arange(3.0), atol=1e-6)
    np.testing.assert_allclose(b.rotation @ b.rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(b.rotation) == pytest.approx(1.0)


def test_reference_is_the_previous_frame_until_held() -> None:
    net = network()
    predictor = Predictor(net, {"left": Finger("digit", DIGIT, (POSE,))})

    def pose(seed: int) -> RelativePose | None:
        found = predictor.touch({"left": frame(seed)})["left"].outputs[POSE]
        assert found is None or isinstance(found, RelativePose)
        return found

    def expected(reference: int, now: int) -> np.ndarray:
        a, b = (preprocess_batch([frame(i)], DIGIT) for i in (reference, now))
        with torch.no_grad():
            return net("digit", POSE, a, b)[0, :3].numpy()

    def check(found: RelativePose | None, reference: int, now: int, age: int) -> None:
        assert found is not None
        assert found.reference_age == age
        np.testing.assert_allclose(found.translation_mm, expected(reference, now), atol=1e-5)

    assert pose(0) is None
    check(pose(1), 0, 1, 1)
    predictor.hold_reference("left")
    check(pose(2), 1, 2, 1)
    check(pose(3), 1, 3, 2)
    predictor.release_reference("left")
    check(pose(4), 1, 4, 3)
    check(pose(5), 4, 5, 1)
    predictor.reset("left")
    assert pose(6) is None


def test_warming_up_leaves_no_memory() -> None:
    predictor = Predictor(network(), fingers())
    predictor.warm_up()
    assert predictor.touch(frames(0))["left"].outputs[POSE] is None
    assert [stage for stage, _ in predictor.stage_ms] == ["preprocess", "backbone", "heads"]


def test_same_frames_same_outputs() -> None:
    net = network()
    a, b = (Predictor(net, fingers()).touch(frames(0))["right"].embedding for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_a_finger_is_set_up_as_its_training_data(tmp_path: Path) -> None:
    norm = LabelNorm(tuple(map(float, range(9))), (2.0,) * 9)
    write_info(
        tmp_path, SetInfo("digit", (POSE,), DIGIT.normalisation, norm, channel_order="bgr", frame_px=(60, 80))
    )
    finger = Finger.of_set(tmp_path, ALL)
    assert finger == Finger("digit", replace(DIGIT, channel_order="bgr", frame_px=(60, 80)), ALL, {POSE: norm})
    Predictor(network(), {"left": finger}).touch({"left": np.ascontiguousarray(frame(0)[:, :, ::-1])})
    write_info(tmp_path, SetInfo("digit", (POSE,), DIGIT.normalisation))
    with pytest.raises(ConfigError, match=f"does not state label_norm, which {POSE} needs"):
        Finger.of_set(tmp_path, [POSE])
    write_info(tmp_path, SetInfo("digit"))
    with pytest.raises(ConfigError, match="does not state a normalisation"):
        Finger.of_set(tmp_path)


def test_only_asked_components_are_loaded(tmp_path: Path) -> None:
    components.save(tmp_path / "net", network(), "x")
    one = {"left": Finger("digit", DIGIT, ("cls_cnc",))}
    predictor = Predictor.from_pretrained(tmp_path / "net", one)
    assert predictor.network.config.sensors == ("digit",)
    assert list(predictor.network.config.heads) == ["cls_cnc"]
    with pytest.raises(CheckpointError, match="lacks encoders/wedge"):
        Predictor.from_pretrained(tmp_path / "net", {"left": Finger("wedge", DIGIT)})


def test_swapped_channels_are_refused_and_leave_no_trace() -> None:
    predictor = Predictor(network(), fingers())
    seen = frame(0, mean=DIGIT.normalisation.mean)
    bad = np.ascontiguousarray(seen[:, :, ::-1])
    with pytest.raises(DataError, match=r"frames of 'right'.*Set channel_order to 'bgr'"):
        predictor.touch({"left": seen, "right": bad})
    with pytest.raises(DataError, match="no frame has been added"):
        predictor.channel_report("left")
    assert predictor.touch({"left": seen, "right": seen})["left"].outputs[POSE] is None
    assert predictor.channel_report("right").channels is Channels.IN_ORDER
    lenient = Predictor(network(), {"left": replace(fingers()["left"], check_channels=False)})
    lenient.touch({"left": bad})
    assert lenient.channel_report("left").channels is Channels.SWAPPED


def test_changed_resolution_is_refused_until_reset() -> None:
    predictor = Predictor(network(), fingers())
    predictor.touch({"left": frame(0)})
    other = frame(0, size=(96, 96))
    with pytest.raises(DataError, match=r"\(96, 96, 3\), its first was \(60, 80, 3\)"):
        predictor.touch({"left": other})
    predictor.reset("left")
    predictor.touch({"left": other})


def test_frames_of_wrong_form_are_refused_by_finger() -> None:
    predictor = Predictor(network(), fingers())
    with pytest.raises(
        DataError, match=r"finger 'right': a tactile frame is float32 \(60, 80, 3\); expected uint8"
    ):
        predictor.touch({"left": frame(0), "right": frame(0).astype(np.float32)})
    for odd in (None, [[1, 2]], "x.jpg"):
        with pytest.raises(
            DataError, match=rf"finger 'right': a tactile frame is a {type(odd).__name__}; expected"
        ):
            predictor.touch({"left": frame(0), "right": odd})
    with pytest.raises(DataError, match="no frames were given"):
        predictor.touch([frame(0)])
    assert predictor.touch({"left": frame(0, size=(96, 96))})["left"].outputs[POSE] is None


def test_bad_calls_are_refused() -> None:
    predictor = Predictor(network(), fingers())
    with pytest.raises(DataError, match="no frames were given"):
        predictor.touch({})
    with pytest.raises(ConfigError, match="there is no finger 'lefft'; did you mean 'left'"):
        predictor.touch({"lefft": frame(0)})
    with pytest.raises(DataError, match="has seen no frame"):
        predictor.hold_reference("left")


def test_fingers_that_do_not_fit_are_refused() -> None:
    net = network()
    with pytest.raises(ConfigError, match="no encoder for sensor 'wedge'"):
        Predictor(net, {"left": Finger("wedge", DIGIT)})
    with pytest.raises(ConfigError, match="no head 'cls_cncc'; did you mean 'cls_cnc'"):
        Predictor(net, {"left": Finger("digit", DIGIT, ("cls_cncc",))})
    with pytest.raises(ConfigError, match="images of 192 pixels, the encoder takes 224"):
        Predictor(net, {"left": Finger("digit", replace(DIGIT, image_px=192))})
    with pytest.raises(ConfigError, match="label_norm of 3 numbers"):
        Predictor(net, {"left": Finger("digit", DIGIT, (POSE,), {POSE: LabelNorm.identity(3)})})
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        Predictor(net, fingers(), device="gpu")


@pytest.mark.parametrize(("precision", "cosine", "error"), [("f32", 1.0 - 1e-9, 1e-4), ("bf16", 0.999, 0.1)])
def test_openvino_agrees_with_torch_for_any_batch(precision: str, cosine: float, error: float) -> None:
    pytest.importorskip("openvino", reason="the extra quant is not installed")
    net = network()
    backbone = OpenVINOBackbone(net, precision, sensors=["mini"])
    for n in (1, 3):
        found = agreement(net, backbone, "mini", images(n))
        assert found.cosine > cosine
        assert found.max_error < error
    with pytest.raises(ConfigError, match="sensor 'digit' was not compiled"):
        backbone.tokens({"digit": images(1)})


def test_int8_agrees_and_is_kept_in_the_cache(tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="the extra quant is not installed")
    net, calibration = network(), {"mini": images(8, seed=1)}

    def make() -> OpenVINOBackbone:
        return OpenVINOBackbone(net, "int8", sensors=["mini"], calibration=calibration, cache=tmp_path)

    first = make()
    assert agreement(net, first, "mini", images(2)).cosine > 0.995
    files = {f: f.stat().st_mtime_ns for f in tmp_path.iterdir()}
    assert {f.suffix for f in files} == {".xml", ".bin"}
    again = make().tokens({"mini": images(1)})["mini"]
    torch.testing.assert_close(again, first.tokens({"mini": images(1)})["mini"], atol=1e-5, rtol=0)
    assert {f: f.stat().st_mtime_ns for f in tmp_path.iterdir()} == files
    next(f for f in files if f.suffix == ".xml").write_text("<not a model")
    with pytest.raises(CheckpointError, match="not a readable OpenVINO model"):
        make()


def test_predictor_runs_on_another_backbone(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra quant is not installed")
    net = network()
    pair = {name: finger for name, finger in fingers().items() if finger.sensor == "digit"}
    seen = {name: frames(0)[name] for name in pair}
    components.save(tmp_path / "net", net, "x")
    other = Predictor.from_pretrained(tmp_path / "net", pair, backbone=lambda n: OpenVINOBackbone(n, "f32"))
    got, want = other.touch(seen), Predictor(net, pair).touch(seen)
    for name in pair:
        np.testing.assert_allclose(got[name].embedding, want[name].embedding, atol=1e-4)


def test_backends_say_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    with pytest.raises(ConfigError, match="unknown precision 'int4'; did you mean 'int8'"):
        OpenVINOBackbone(net, "int4")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"'openvino' is not installed.*\[quant\]"):
        OpenVINOBackbone(net, "f32")
    assert TorchBackbone(net, torch.device("cpu")).tokens({"mini": images(1)})["mini"].shape == (1, 197, 32)


def test_int8_wants_calibration_images() -> None:
    pytest.importorskip("nncf", reason="the extra quant is not installed")
    with pytest.raises(ConfigError, match="int8 needs calibration images of sensor 'mini': 3 given"):
        OpenVINOBackbone(network(), "int8", sensors=["mini"], calibration={"mini": images(3)})


def numbers(output: object) -> np.ndarray:
    match output:
        case Classification(p):
            return p
        case Estimate(v):
            return v
        case RelativePose(t, R, _):
            return np.concatenate([t, R.ravel()])
        case _:
            return np.zeros(0)
