"""Ids, states and counts of jobs."""

import random
import re

import pytest

from app.jobs.counts import MAX_REASON_CHARACTERS, MAX_REASONS, OTHER_REASONS, Counts
from app.jobs.job import ACTIVE, FINISHED, FOLLOWERS, is_job_id, new_job_id


def test_ids_sort_by_the_time_they_were_made():
    chance = random.Random(0)
    seconds = [0.0, 0.001, 1.0, 1_700_000_000.0, 1_700_000_000.001, 4_000_000_000.0]

    ids = [new_job_id(lambda at=at: at, chance.randbytes) for at in seconds]

    assert ids == sorted(ids)


def test_ids_made_at_the_same_time_differ():
    chance = random.Random(0)

    assert len({new_job_id(lambda: 1.0, chance.randbytes) for _ in range(1000)}) == 1000


def test_an_id_is_safe_in_urls_and_as_a_file_name():
    for chance in (b"\0" * 10, b"\xff" * 10):
        made = new_job_id(lambda: 2.0**47 / 1000, lambda count, chance=chance: chance[:count])
        assert re.fullmatch("[0-9a-z]{26}", made)
        assert is_job_id(made)


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "U" * 26, "l" * 26, "../" + "0" * 23, "0" * 26 + "\n"]
)
def test_other_text_is_no_id(text):
    assert not is_job_id(text)


def test_every_state_can_be_reached_and_every_active_one_can_fail_or_be_cancelled():
    assert set().union(*FOLLOWERS.values()) == set(FOLLOWERS) - {"queued"}
    assert all({"failed", "cancelled"} <= FOLLOWERS[state] for state in ACTIVE)
    assert {"done", "failed", "cancelled"} == FINISHED


def test_counts_add_up():
    one = Counts({"accepted": 2, "softened": 1}, copied=3, failures={"broken": 1})
    other = Counts({"accepted": 5}, copied=1, dropped=4, failures={"broken": 2, "too large": 1})

    total = one + other

    assert total == Counts(
        {"accepted": 7, "softened": 1}, copied=4, dropped=4, failures={"broken": 3, "too large": 1}
    )
    assert (total.refined, total.failed, total.files) == (8, 4, 20)


def test_counts_survive_being_written_down():
    counts = Counts({"unchecked": 2}, 1, 3, {"broken": 4})

    assert Counts.from_json(counts.to_json()) == counts


def test_only_so_many_reasons_are_told_apart_and_none_is_lost():
    total = Counts()
    for number in range(3 * MAX_REASONS):
        total += Counts(failures={f"reason {number}": 2})

    assert len(total.failures) == MAX_REASONS + 1
    assert total.failures["reason 0"] == 2
    assert total.failures[OTHER_REASONS] == 2 * 2 * MAX_REASONS
    assert total.failed == 2 * 3 * MAX_REASONS
    assert (total + Counts(failures={"reason 0": 1})).failures["reason 0"] == 3


def test_a_chunk_with_too_many_reasons_is_bounded_when_it_is_written_down():
    counts = Counts(failures={f"reason {number}": 1 for number in range(1000)})

    read = Counts.from_json(counts.to_json())

    assert (len(read.failures), read.failed) == (MAX_REASONS + 1, 1000)


def test_a_reason_may_name_any_file():
    counts = Counts() + Counts(failures={"a\udc80\0b": 1, "x" * 1000: 1})

    (odd, long) = Counts.from_json(counts.to_json()).failures
    assert odd == "a\\udc80\\x00b"
    assert len(long) == MAX_REASON_CHARACTERS
