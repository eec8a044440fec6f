"""Owns `simtrue-train`: its commands, their flags and exit codes."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer.config import TrainConfig
from trainer.errors import StoppedError, TrainerError
from trainer.options import add_flags, flag_values, resolve


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit 0 when it did what it should, 1 with a sentence when not, 2 for a wrong flag.

    A run that was stopped exits as one killed by that signal would: 130 after Ctrl-C, 143 after SIGTERM.
    """
    words = sys.argv[1:] if arguments is None else arguments
    parsed = _parser().parse_args(words)
    parsed.command = shlex.join(["simtrue-train", *words])
    # A feature transform of the user's own is looked for where the user stands, as `python -m` would.
    sys.path.append(str(Path.cwd()))
    try:
        parsed.run(parsed)
    except StoppedError as stopped:
        again = getattr(parsed, "again", "simtrue-train resume")
        _say(f"{stopped}; {again} goes on from there")
        sys.exit(stopped.exit_code)
    except TrainerError as error:
        _say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        _say("stopped; whatever was saved before is whole")
        sys.exit(130)


def _say(sentence: str) -> None:
    """On standard error, and from the first process only: what one process knows, all know."""
    if os.environ.get("RANK", "0") == "0":
        print(f"simtrue-train: {sentence}", file=sys.stderr)  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="simtrue-train", description="Train a refiner that makes simulated images look real."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_fit, _add_resume, _add_export, _add_preview, _add_evaluate, _add_study):
        add(commands)
    return parser


def _add_fit(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    fit = commands.add_parser("fit", help="train a refiner from synthetic and real images")
    fit.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML file of settings: above the preset, below flags"
    )
    add_flags(fit)
    fit.set_defaults(run=_fit)


def _add_resume(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    resume = commands.add_parser("resume", help="go on with a run as if it had never stopped")
    resume.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    resume.add_argument("--steps", type=int, metavar="N", help="new number of steps, saved with the run")
    resume.set_defaults(run=_resume)


def _add_export(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    export = commands.add_parser("export", help="publish a run's refiner into a model repository")
    export.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    export.add_argument("--models", type=Path, required=True, metavar="ROOT", help="model repository")
    export.add_argument("--name", required=True, help="name of the model: a-z, 0-9, dot, dash, underscore")
    export.add_argument("--version", type=int, metavar="N", help="version [the highest one there plus 1]")
    for field in ("description", "licence", "attribution"):
        export.add_argument(f"--{field}", default="not stated", metavar="TEXT", help=f"{field} [not stated]")
    export.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        default="fp32",
        help="fp16: for GPUs; int8: for CPUs with VNNI, calibrated on the run's synthetic images [fp32]",
    )
    export.add_argument(
        "--int8-tolerance",
        type=int,
        default=12,
        metavar="LEVELS",
        help="largest difference of int8 from fp32 that is published, grey levels [12]",
    )
    export.set_defaults(run=_export)


def _add_preview(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    preview = commands.add_parser("preview", help="draw synthetic, refined and real samples of a run")
    preview.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    preview.add_argument("--out", type=Path, metavar="PNG", help="picture to write [RUN/preview.png]")
    preview.add_argument(
        "--strength", type=float, default=1.0, metavar="X", help="0: synthetic, 1: refined [1.0]"
    )
    preview.set_defaults(run=_preview)


def _add_evaluate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="measure how real refined images look, whether their labels hold, and whether they are useful",
    )
    evaluate.add_argument(
        "refiners", type=Path, nargs="+", metavar="RUN|ONNX", help="run folders or exported files"
    )
    evaluate.add_argument(
        "--task",
        type=Path,
        metavar="FILE",
        help="labels of the synthetic and of real test images, TOML; or of the synthetic ones, COCO .json",
    )
    evaluate.add_argument(
        "--html", type=Path, metavar="FILE", help="write the page here, too [RUN/report.html]"
    )
    evaluate.add_argument(
        "--json", type=Path, metavar="FILE", help="write the numbers here, too [RUN/evaluation.json]"
    )
    evaluate.add_argument("--synthetic", metavar="TEXT", help="synthetic images [those of the run]")
    evaluate.add_argument("--real", metavar="TEXT", help="real images [those of the run]")
    for setting in ("resize", "crop", "window"):
        text = f"{TrainConfig.model_fields[setting].description} [that of the run]"
        evaluate.add_argument(f"--{setting}", metavar="HEIGHTxWIDTH", help=text)
    evaluate.add_argument("--threads", metavar="N", help="CPU threads of this process [all cores]")
    evaluate.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="trainings of every estimator [3]"
    )
    evaluate.add_argument(
        "--variants", type=int, default=2, metavar="N", help="refinements of an image to learn from [2]"
    )
    evaluate.add_argument(
        "--updates",
        type=int,
        metavar="N",
        help="updates of every estimator; more say whether they had converged [as its labels need]",
    )
    evaluate.add_argument(
        "--images",
        type=int,
        default=2000,
        metavar="N",
        help="images of each set for realism and preservation [2000]",
    )
    evaluate.add_argument(
        "--quick", action="store_true", help="a first look: few images, short trainings [no]"
    )
    evaluate.set_defaults(run=_evaluate)


def _add_study(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    study = commands.add_parser(
        "study", help="run one of the paper's own studies: train and measure variants"
    )
    study.add_argument("study", nargs="?", metavar="NAME", help="history, loss, psi, lambda or updates")
    study.add_argument("--list", action="store_true", help="say which studies there are, and end")
    study.add_argument("--seeds", default="0,1,2", metavar="N,N,…", help="seeds of every variant [0,1,2]")
    study.add_argument("--out", type=Path, metavar="FOLDER", help="what is there is kept [studies/NAME]")
    study.add_argument("--task", type=Path, metavar="FILE", help="labels: measure usefulness, too")
    study.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML file of settings: above the preset, below flags"
    )
    add_flags(study)
    study.set_defaults(run=_study, again="the same command")


# The commands import what they need: `--help` and a wrong flag must not wait for torch.


def _fit(arguments: argparse.Namespace) -> None:
    config = resolve(flag_values(arguments), arguments.config)
    from trainer.commands import fit

    fit(config)


def _resume(arguments: argparse.Namespace) -> None:
    from trainer.commands import resume

    resume(arguments.folder, arguments.steps)


def _export(arguments: argparse.Namespace) -> None:
    from trainer.commands import export, export_int8
    from trainer.publish import Label

    label = Label(arguments.name, arguments.description, arguments.licence, arguments.attribution)
    if arguments.precision == "int8":
        export_int8(arguments.folder, arguments.models, label, arguments.version, arguments.int8_tolerance)
    else:
        export(arguments.folder, arguments.models, label, arguments.version, arguments.precision)


def _preview(arguments: argparse.Namespace) -> None:
    from trainer.commands import preview

    preview(arguments.folder, arguments.out or arguments.folder / "preview.png", arguments.strength)


def _evaluate(arguments: argparse.Namespace) -> None:
    from trainer.evaluating import Request, evaluate
    from trainer.evaluation.evaluate import Plan

    names = ("synthetic", "real", "resize", "crop", "window", "threads")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    plan = Plan(
        arguments.seeds, arguments.images, arguments.variants, arguments.updates, quick=arguments.quick
    )
    evaluate(
        Request(
            tuple(arguments.refiners),
            given,
            arguments.task,
            plan,
            arguments.html,
            arguments.json,
            arguments.command,
        )
    )


def _study(arguments: argparse.Namespace) -> None:
    from trainer.studies.definitions import describe_studies, find_study

    if arguments.list:
        print(describe_studies())  # noqa: T201
        return
    study = find_study(arguments.study or "")
    from trainer.studies.command import Asked, run

    asked = Asked(study, arguments.seeds, arguments.out, arguments.task, arguments.command)
    run(asked, flag_values(arguments), arguments.config)


if __name__ == "__main__":
    main()
