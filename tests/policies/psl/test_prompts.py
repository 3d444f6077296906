"""Prompts: templates, first sentences, both modes, keys."""

import numpy as np
import pytest

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.psl.prompts import (
    average_embedding,
    category_prompt,
    category_prompts,
    first_sentence,
    instance_key,
    instance_texts,
)


def test_categories_lose_their_underscores() -> None:
    assert category_prompt("tv_monitor") == "tv monitor"
    assert category_prompt("tv_monitor", "a photo of a {cat}.") == "a photo of a tv monitor."
    assert category_prompts() == ("chair", "bed", "plant", "toilet", "tv monitor", "sofa")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The chair is red. It has arms.", "The chair is red"),
        ("  A plant\n of 1.5 m height! Beside a sofa.", "A plant of 1.5 m height"),
        ("A screen, e.g. a television. Black.", "A screen, e.g. a television"),
        ("A sofa without an end", "A sofa without an end"),
        ("Is it a bed? Yes.", "Is it a bed"),
        ("Wait... what is it? A bed.", "Wait"),
    ],
)
def test_the_first_sentence_ends_where_a_reader_ends_it(text: str, expected: str) -> None:
    assert first_sentence(text) == expected


def test_the_modes_choose_the_sentences() -> None:
    own, around = "A red chair. It is old.", "It stands beside a desk. There is a lamp."
    assert instance_texts(own, around, "intrinsic") == ("A red chair",)
    assert instance_texts(own, around, "extrinsic") == ("It stands beside a desk",)
    assert instance_texts(own, around) == ("A red chair", "It stands beside a desk")
    assert instance_texts(own, "", "intrinsic") == ("A red chair",)


def test_sentences_are_averaged_into_one_goal() -> None:
    got = average_embedding([[1.0, 0.0], [0.0, 3.0]])
    np.testing.assert_array_equal(got, [[0.5, 1.5]])


def test_instance_keys() -> None:
    assert instance_key("hm3d/val/00800-TEEsavR23oF/TEEsavR23oF.basis.glb", 14) == "TEEsavR23oF_14"
    assert instance_key("00800-TEEsavR23oF", "14") == "TEEsavR23oF_14"


def test_unusable_text_is_named() -> None:
    with pytest.raises(ConfigError, match="no text mode 'extrinsik'; did you mean 'extrinsic'"):
        instance_texts("a", "b", "extrinsik")
    with pytest.raises(DataError, match="the extrinsic attributes are empty"):
        instance_texts("A chair.", " . ", "both")
    with pytest.raises(DataError, match="category is empty"):
        category_prompt("_")
    with pytest.raises(ConfigError, match=r"does not contain \{cat\}"):
        category_prompt("chair", "a photo")
    with pytest.raises(ConfigError, match="cannot be filled"):
        category_prompt("chair", "a {colour} {cat}")
    with pytest.raises(DataError, match=r"shape \(2,\); expected \(n, D\)"):
        average_embedding([1.0, 2.0])
