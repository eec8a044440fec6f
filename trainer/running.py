"""Owns `fit` and `resume`: the processes, the run folder, and the way from one to the other."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from trainer.allocator import keep_freed_memory
from trainer.checkpoint import fitting, load_newest
from trainer.config import TrainConfig
from trainer.console import Console
from trainer.data import TrainingData, load_data
from trainer.distributed import World, open_world
from trainer.errors import ConfigError, DataError
from trainer.hardware import Hardware, agreed, backend, choose_hardware, telling_memory
from trainer.labels.task import Lesson, load_lesson
from trainer.loop import train
from trainer.networks import variety_group
from trainer.options import validate
from trainer.recorder import Recorder
from trainer.run_folder import RunFolder, claim_run_folder
from trainer.sources import Reading, label_images, parse_source, whole_path
from trainer.training import Training, build_training
from trainer.validation import SMALLEST_PX


def fit(config: TrainConfig) -> RunFolder:
    """Train a new run to its end; a run that cannot start leaves no folder behind."""
    keep_freed_memory()
    with open_world(backend(config)) as world:
        world.shard(config.batch_size, _together(config))
        hardware = choose_hardware(config, world.local_rank, world.local_size)
        hardware = agreed(hardware, world)
        config = _settled(config, hardware)
        folder = world.from_main(claim_run_folder(config) if world.is_main else RunFolder(Path()))
        with folder.locked() if world.is_main else nullcontext():
            try:
                run = _prepare(config, folder, world, hardware)
            except BaseException:
                if world.is_main:
                    folder.discard()
                raise
            _run(run, folder)
    return folder


def resume(path: Path, steps: int | None = None) -> RunFolder:
    """Go on with a run from its newest whole checkpoint, or from its beginning when there is none yet.

    `steps` replaces the number of steps of Algorithm 1; the run makes as many, no more.
    """
    keep_freed_memory()
    folder = RunFolder(path)
    config = folder.read_config()
    with open_world(backend(config)) as world, folder.locked() if world.is_main else nullcontext():
        if steps is not None:
            config = validate({**config.model_dump(), "steps": steps, "steps_limit": 0})
        hardware = choose_hardware(config, world.local_rank, world.local_size)
        run = _prepare(config, folder, world, hardware)
        _restore(run, folder)
        if world.is_main:
            folder.write_config(config)
        _run(run, folder)
    return folder


def _together(config: TrainConfig) -> int:
    """Images of a batch that no two processes may share."""
    return variety_group(config) if config.variety_weight else 1


def _settled(config: TrainConfig, hardware: Hardware) -> TrainConfig:
    """The config with its measured precision fixed, so that a resumed run cannot decide otherwise.

    And with whole paths, so that it finds its images wherever it is resumed.
    """
    paths = {name: whole_path(getattr(config, name)) for name in ("synthetic", "real", "labels")}
    return config.model_copy(update={"precision": "bf16" if hardware.bf16 else "fp32", **paths})


def _prepare(config: TrainConfig, folder: RunFolder, world: World, hardware: Hardware) -> Training:
    console = Console()
    data = load_data(
        config,
        folder.cache,
        console.decoding if world.is_main else lambda _role, _done, _total: None,
        owns_cache=world.is_main,
        barrier=world.barrier,
    )
    lesson = _lesson(config, data)
    if world.is_main:
        console.say(f"{folder.path}: {data}; {hardware}")
        for sentence in _left_out(config):
            console.say(sentence)
    run = build_training(config, data, world, hardware, lesson)
    if world.is_main and config.validate_every and run.validator is None:
        console.say(
            f"images of less than {SMALLEST_PX} px a side are not measured while training: lambda and the "
            "length of the run stay as they are, and its last refiner is handed over"
        )
    return run


def _left_out(config: TrainConfig) -> Iterator[str]:
    """Sentences about images in the folders that nothing is learned from."""
    for role, text in (("synthetic", config.synthetic), ("real", config.real)):
        source = parse_source(role, text)
        files = label_images(source)
        if files:
            yield (
                f"{len(files)} images below {source} are taken for images of labels and left out, the first "
                f"is {files[0].relative_to(source.path)}"
            )


def _lesson(config: TrainConfig, data: TrainingData) -> Lesson | None:
    """The labels of the synthetic images; DataError when they are those of others."""
    if config.labels == "none":
        return None
    reading = Reading(config.resize, config.crop, data.channels, data.bit_depth)
    lesson = load_lesson(Path(config.labels), config.synthetic, reading)
    if len(lesson.labels) != len(data.synthetic):
        raise DataError(
            f"{config.labels} labels {len(lesson.labels)} synthetic images, there are {len(data.synthetic)}"
        )
    return lesson


def _restore(run: Training, folder: RunFolder) -> None:
    console = Console()
    checkpoint = run.world.from_main(
        load_newest(folder.checkpoints, console.say) if run.world.is_main else None
    )
    if checkpoint is not None:
        with fitting(checkpoint):
            run.load_state_dict(checkpoint.state)
    if run.clock.step > run.length.last:
        raise ConfigError(
            f"--steps {run.config.steps}: {folder.path} has already made {run.clock.step} steps; ask for more"
        )
    if run.world.is_main:
        origin = "the beginning: there is no checkpoint yet" if checkpoint is None else str(checkpoint.path)
        console.say(f"going on from {origin}")
        if checkpoint is not None and _images(run) != checkpoint.state.get("images", _images(run)):
            console.say(
                "there are more or fewer images than when the run was saved: its numbers will not be those "
                "of a run that never stopped"
            )


def _images(run: Training) -> list[int]:
    return [len(run.data.synthetic), len(run.data.real)]


def _run(run: Training, folder: RunFolder) -> None:
    if not run.world.is_main:
        train(run, None)
        return
    console = Console()
    recorder = Recorder(folder, run, console)
    try:
        with run.stopping.listening() if run.world.size == 1 else nullcontext(), telling_memory():
            train(run, recorder)
    finally:
        recorder.close()
    _summarise(run, folder, console)


def _summarise(run: Training, folder: RunFolder, console: Console) -> None:
    console.say(f"finished step {run.clock.step}: {folder.path}")
    for alarm in run.alarms.told():
        console.alarm(alarm)
