"""The table of a study: means and spreads over seeds, what diverged, what went wrong, curves of the logs."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from trainer.errors import RunFolderError
from trainer.options import resolve
from trainer.run_folder import RunFolder
from trainer.studies.curves import mean_curve, minutes, read_lines
from trainer.studies.definitions import find_study, resolve_variants
from trainer.studies.outcome import Outcome, outcome_file, read_outcome, write_outcome
from trainer.studies.results import Results, table_of, troubles
from trainer.studies.writing import to_json, to_markdown, write_results

pytestmark = pytest.mark.train
BASE = resolve({"synthetic": "s|s.npz", "real": "<r>.npz", "batch_size": 8})


def outcome(variant: str, seed: int, judge: float | None, alarms: tuple[str, ...] = ()) -> Outcome:
    ended = judge is not None
    return Outcome(
        variant=variant,
        seed=seed,
        run=f"{variant}-{seed}",
        diverged=None if ended else "refiner_loss is nan in update 7: the run has diverged",
        measured_with="8 images" if ended else "",
        measures={} if judge is None else {"judge": judge, "kernel_distance": judge * 10},
        start={"judge": 0.99} if ended else {},
        floor={"judge": 0.5} if ended else {},
        alarms=alarms,
    )


def results(folder: Path, *outcomes: Outcome) -> Results:
    study = find_study("history")
    variants = resolve_variants(study, BASE)
    return Results(
        study, BASE, variants, (0, 1, 2), outcomes, folder, "simtrue-train study history --x '<y>'"
    )


THREE = (outcome("on", 0, 0.7), outcome("off", 0, None), outcome("on", 1, 0.8), outcome("off", 1, 0.9))


def test_the_table_is_mean_and_deviation_over_the_runs_that_ended(tmp_path: Path) -> None:
    table = table_of(results(tmp_path, *THREE))

    on, off, synthetic, real = table.rows
    assert [measure.name for measure in table.columns] == ["judge", "kernel_distance"]
    assert (on.runs, off.runs) == ("2 of 3", "1 of 3, 1 diverged")
    assert on.cells[0] is not None
    assert (on.cells[0].mean, on.cells[0].deviation) == pytest.approx((0.75, 0.5**0.5 / 10))
    assert off.cells[0] is not None
    assert off.cells[0].values == (0.9,)
    assert synthetic.cells[0] is not None
    assert synthetic.cells[0].mean == 0.99
    assert real.cells[1] is None  # nobody measured it


def test_markdown_says_every_number_and_the_command(tmp_path: Path) -> None:
    text = to_markdown(results(tmp_path, *THREE))

    assert "| on | the base | 2 of 3 | 75.0 ± 7.1 % | 7.50 ± 0.71 |" in text
    assert "| off | history_capacity = 0 | 1 of 3, 1 diverged | 90.0 % | 9.00 |" in text
    assert "| real | against other real ones |  | 50.0 % | – |" in text
    assert "- off, seed 0 diverged: refiner_loss is nan in update 7" in text
    assert "    simtrue-train study history --x '<y>'\n" in text


def test_a_study_without_any_end_has_a_table_of_nothing(tmp_path: Path) -> None:
    made = results(tmp_path, outcome("on", 0, None))

    assert "| on | the base | 0 of 3, 1 diverged |" in to_markdown(made)
    assert "| off | history_capacity = 0 | 0 of 3 |" in to_markdown(made)


def test_what_only_follows_the_steps_is_not_told_in_the_table(tmp_path: Path) -> None:
    study = find_study("updates")
    variants = resolve_variants(study, BASE)
    made = Results(study, BASE, variants, (0,), (), tmp_path, "simtrue-train study updates")

    assert f"| 50 | steps = {BASE.steps // 50}, refiner_updates_per_step = 50 | 0 of 1 |" in to_markdown(made)
    assert "log_every" in to_json(made)["variants"][3]["changes"]  # type: ignore[index]


def test_json_holds_spreads_and_single_runs(tmp_path: Path) -> None:
    kept = json.loads(json.dumps(to_json(results(tmp_path, *THREE)), allow_nan=False))

    on, off = kept["variants"]
    assert on["mean"]["judge"] == pytest.approx(0.75)
    assert on["standard_deviation"]["judge"] == pytest.approx(0.5**0.5 / 10)
    assert [run["seed"] for run in on["runs"]] == [0, 1]
    assert off["changes"] == {"history_capacity": 0}
    assert off["runs"][0]["diverged"].startswith("refiner_loss is nan")
    assert kept["base"]["history_capacity"] == BASE.history_capacity


def test_the_page_escapes_what_it_is_told_and_is_whole_without_logs(tmp_path: Path) -> None:
    write_results(results(tmp_path, *THREE))

    page = (tmp_path / "study.html").read_text()
    assert "&lt;r&gt;.npz" in page
    assert "<r>" not in page
    assert page.endswith("</main></body></html>\n")


def test_an_alarm_that_several_seeds_raise_is_told_once(tmp_path: Path) -> None:
    alarms = [("content is being lost: 7 %", "structure moves: by 1 px"), ("content is being lost: 9 %",)]
    made = [outcome("on", seed, 0.7, alarm) for seed, alarm in enumerate(alarms)]

    assert troubles(results(tmp_path, *made)) == [
        ("on", "2 of 2 runs: content is being lost: 7 %"),
        ("on", "1 of 2 runs: structure moves: by 1 px"),
    ]


def test_an_outcome_comes_back_as_it_was_written(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert read_outcome(run) is None

    write_outcome(run, THREE[0])
    assert read_outcome(run) == THREE[0]

    outcome_file(run).write_text('{"variant": "on"}')
    with pytest.raises(RunFolderError, match="cannot be used"):
        read_outcome(run)


def write_log(folder: Path, values: list[float], *, torn: bool = False) -> RunFolder:
    run = RunFolder(folder)
    lines = [{"phase": "warmup_discriminator", "step": 1, "images_per_s": 1.0}]
    lines += [
        {"phase": "training", "step": 10 * (i + 1), "images_per_s": 16.0, "realism_loss": value}
        for i, value in enumerate(values)
    ]
    lines.append({"iteration": 3, "alarm": "identity_refiner"})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    folder.mkdir()
    run.metrics.write_text(text + ('{"phase": "tra' if torn else ""))
    return run


def test_curves_are_means_over_the_seeds_that_came_so_far(tmp_path: Path) -> None:
    two_per_step = BASE.model_copy(update={"refiner_updates_per_step": 2})
    logs = [
        read_lines(write_log(tmp_path / "0", [1.0, 2.0, 3.0]).metrics),
        read_lines(write_log(tmp_path / "1", [3.0], torn=True).metrics),
    ]

    assert mean_curve(logs, "realism_loss", two_per_step) == ((20, 2.0), (40, 2.0), (60, 3.0))
    assert mean_curve(logs, "r1_penalty", two_per_step) == ()
    assert read_lines(tmp_path / "none") == []


def test_minutes_are_those_of_training_alone(tmp_path: Path) -> None:
    run = write_log(tmp_path / "0", [1.0] * 3)

    assert minutes(run, BASE) == pytest.approx(30 * 8 / 16.0 / 60)
