"""Small works go side by side, are told of each for itself, and leave the event loop turns in between."""

import asyncio

from app.routes.together import Together


def steps(name, count, seen, *, fails=False):
    for number in range(count):
        seen.append((name, number))
        yield
    if fails:
        raise ValueError(name)
    return name


def run(works):
    """What `works(together, done)` is told, once nothing is left to do."""
    told = []

    async def until_nothing_is_left():
        works(Together(), told.append)
        for _ in range(20):
            await asyncio.sleep(0)

    asyncio.run(until_nothing_is_left())
    return told


def test_a_step_of_each_is_done_in_turn_and_each_ends_for_itself():
    seen = []

    def works(together, done):
        for name, count in (("a", 3), ("b", 1), ("c", 2)):
            together.begin(steps(name, count, seen), done)
        assert seen == [], "not before all are here"

    assert run(works) == ["b", "c", "a"]
    assert seen == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1), ("a", 2)]


def test_what_fails_disturbs_none_of_the_others(caplog):
    def works(together, done):
        together.begin(steps("a", 1, [], fails=True), done)
        together.begin(steps("b", 1, []), lambda _: 1 / 0)
        together.begin(steps("c", 1, []), done)

    assert run(works) == [None, "c"]
    assert "ValueError" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_many_works_let_others_in_between():
    seen = []

    def works(together, done):
        for number in range(40):
            together.begin(steps(number, 1, seen), done)
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: loop.call_soon(seen.append, "another"))

    assert run(works) == [*range(40)]
    assert 0 < seen.index("another") < 40
