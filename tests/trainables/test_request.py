"""The codec of study.json: what is written comes back, and corrupt input is refused."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.record import SCHEMA_VERSION
from trainables.request import (
    MOST,
    Request,
    parse_seeds,
    parse_stack_name,
    seeds_text,
    stack_name,
)
from trainables.setting import Setting
from trainables.usage import UsageError

SETTING = Setting()
REQUEST = Request(study="mine").with_settings(
    {SETTING.setting_id: SETTING.row()}, (0, 1)
)


@given(st.sets(st.integers(0, 2**32 - 1), min_size=1))
def test_seeds_come_back_from_their_text(seeds):
    assert parse_seeds(seeds_text(seeds)) == tuple(sorted(seeds))
    assert parse_stack_name(stack_name("f00d", seeds)) == ("f00d", tuple(sorted(seeds)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "1-",
        "2-1",
        "1+1",
        "0+1",
        "01",
        "0-",
        "١",
        "1 ",
        f"0-{MOST}",
        "0-9" * 99,
    ],
)
def test_no_other_text_is_read_as_seeds(text):
    with pytest.raises(ValueError):  # noqa: PT011
        parse_seeds(text)
    assert parse_stack_name(f"f00d-seeds-{text}") == (f"f00d-seeds-{text}", ())


def test_many_spans_of_seeds_are_limited_together():
    assert len(parse_seeds(f"0-{MOST - 1}")) == MOST
    with pytest.raises(ValueError, match="seeds"):
        parse_seeds(f"0-{MOST - 1}+{MOST + 1}")


def test_a_request_comes_back():
    request = REQUEST.with_stacks({SETTING.setting_id}, ["f00d-seeds-0-1"], 2)
    assert Request.from_bytes(request.to_bytes(), "other") == request
    rows = {SETTING.setting_id: SETTING.row()}
    request = request.with_settings(rows, (2, 3), confirming=True)
    assert Request.from_bytes(request.to_bytes(), "other") == request
    search = Request(study="mine", search={"seeds": [0], "trials": 3})
    assert Request.from_bytes(search.to_bytes(), "other") == search


def test_equal_requests_give_equal_bytes_in_whatever_order_they_grew():
    other = Setting(tasks=3)
    rows = {other.setting_id: other.row()}
    one = REQUEST.with_settings(rows, (5,)).with_settings(rows, (4,))
    two = Request(study="mine").with_settings(rows, (5, 4))
    two = two.with_settings({SETTING.setting_id: SETTING.row()}, (1, 0))
    assert one.to_bytes() == two.to_bytes()
    assert one.seeds[other.setting_id] == {4, 5}


def test_the_seeds_that_confirm_are_told_from_those_of_the_study():
    rows = {SETTING.setting_id: SETTING.row()}
    assert REQUEST.confirming == frozenset()
    more = REQUEST.with_settings(rows, (2, 3), confirming=True)
    assert more.confirming == {2, 3}
    assert more.seeds[SETTING.setting_id] == {0, 1, 2, 3}
    # To run the study again changes nothing; to ask for more seeds makes them its own.
    assert more.with_settings(rows, (0, 1)) == more
    assert more.with_settings(rows, (0, 1, 2)).confirming == {3}


def test_the_first_versions_lacked_some_fields():
    content = json.loads(REQUEST.to_bytes())
    old = {"schema_version": 1, "settings": content["settings"]}
    assert Request.from_bytes(json.dumps(old).encode(), "mine") == REQUEST


def test_a_newer_version_is_refused():
    content = json.loads(REQUEST.to_bytes()) | {"schema_version": SCHEMA_VERSION + 1}
    with pytest.raises(UsageError, match=f"version {SCHEMA_VERSION + 1}.*upgrade") as e:
        Request.from_bytes(json.dumps(content).encode(), "mine")
    assert "\n" not in str(e.value)


def corrupted(**fields):
    return json.dumps(json.loads(REQUEST.to_bytes()) | fields).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"schema_version": 1}',
        corrupted(settings=[{}]),
        corrupted(settings=[{"setting_id": "f00d", "seeds": "0", "setting": {}}]),
        corrupted(settings=[{"setting_id": "f00d", "seeds": 0, "setting": {}}]),
        corrupted(settings=[{"setting_id": "f00d", "seeds": "0", "setting": 1}]),
        corrupted(settings=1),
        corrupted(stacks=1),
        corrupted(slots="many"),
        corrupted(slots=float("inf")),
        corrupted(search=1),
        corrupted(confirming="2-1"),
        corrupted(confirming=[3]),
    ],
)
def test_corrupt_content_is_a_value_error(content):
    with pytest.raises(ValueError):  # noqa: PT011
        Request.from_bytes(content, "mine")


@given(st.binary())
def test_bytes_of_any_kind_are_read_or_refused(content):
    with contextlib.suppress(ValueError):
        Request.from_bytes(content, "mine")
