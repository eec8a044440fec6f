"""Owns the order of things in a run: Algorithm 1 of the paper, and what is due after a step."""

from torch import Tensor

from trainer.errors import StoppedError
from trainer.networks import set_learning_rates
from trainer.recorder import Recorder
from trainer.step import Terms, discriminator_step, refine, refiner_step, variety_step, wide_step
from trainer.training import Training


def train(run: Training, recorder: Recorder | None) -> None:
    """Bring a run from wherever it is to its end; `recorder` is the main process's.

    Raises DivergedError when a loss or a gradient stops being finite, DiskFullError, and StoppedError when it
    was asked to stop: after the step, saved.
    """
    config, clock = run.config, run.clock

    # Let an estimator learn the synthetic labels, where there are any.
    if run.consistency is not None and run.consistency.score is None:
        if recorder is not None:
            recorder.learning(run.consistency)
        with run.stopping.at_once():
            run.consistency.learn(run.world)
        if recorder is not None:
            recorder.learned(run.consistency)

    # Warm up R on self-regularization alone.
    while clock.warmup_refiner < config.warmup_refiner_steps:
        _update_refiner(run, adversarial=False)
        clock.warmup_refiner += 1
        _finish_step(run, recorder, "warmup_refiner", clock.warmup_refiner, config.warmup_refiner_steps)

    # Warm up D alone.
    while clock.warmup_discriminator < config.warmup_discriminator_steps:
        _update_discriminator(run)
        clock.warmup_discriminator += 1
        _finish_step(
            run,
            recorder,
            "warmup_discriminator",
            clock.warmup_discriminator,
            config.warmup_discriminator_steps,
        )

    # Algorithm 1: K_g updates of R with D frozen, then K_d updates of D with R frozen.
    while clock.step < run.length.last:
        share = run.length.rate(clock.step)
        set_learning_rates(run.networks, config, clock.step, share=share, pace=run.pace.factor)
        for _ in range(config.refiner_updates_per_step):
            refined = _update_refiner(run, adversarial=True)
        reused = refined if config.reuse_refined else None
        for _ in range(config.discriminator_updates_per_step):
            run.pace.add(_update_discriminator(run, reused))
            reused = None
        clock.step += 1
        losing = run.regularization.raises > 0
        run.pace.step(clock.step, run.world, losing=losing)
        run.say.step(clock.step, run.world, losing=losing)
        _finish_step(run, recorder, "training", clock.step, run.length.last)


def _update_refiner(run: Training, *, adversarial: bool) -> Tensor:
    """One update of R; returns the refined images it was made on."""
    update = run.clock.refiner_updates
    synthetic = run.streams.refiner_synthetic.draw(update)
    noise = run.noise("refiner/noise", update)
    terms, refined = refiner_step(
        run.refiner,
        run.discriminator.module,
        run.objective,
        synthetic,
        noise,
        self_regularization_weight=run.regularization.weight,
        noise_reader=run.noise_reader,
        variety=None if run.variety is None else run.variety.module,
        wide=None if run.wide is None else run.wide.module,
        wide_weight=run.config.weight_of_wide * run.say.factor,
        views=run.views("refiner/views", update),
        comparison=run.comparison(update),
        adversarial=adversarial,
    )
    run.clock.refiner_updates += 1
    run.ema.update(run.networks.refiner, run.clock.refiner_updates)
    run.meters.add(terms, run.clock.iteration + 1)
    return refined


def _update_discriminator(run: Training, refined: Tensor | None = None) -> Terms:
    """One update of D, on fresh refinements unless some are given; returns its terms."""
    update = run.clock.discriminator_updates
    real = run.streams.discriminator_real.draw(update)
    if refined is None:
        synthetic = run.streams.discriminator_synthetic.draw(update)
        noise = run.noise("discriminator/noise", update)
        refined = refine(run.refiner.module, run.objective, synthetic, noise)
    of_refined, of_real = (run.views(stream, update) for stream in ("views/refined", "views/real"))
    views = None if of_refined is None or of_real is None else (of_refined, of_real)
    mixed = _with_history(run, refined)
    terms = discriminator_step(run.discriminator, run.objective, mixed, real, views=views, update=update)
    if run.wide is not None:
        of_wide = wide_step(run.wide, run.wide_objective, mixed, real, views=views)
        run.say.add(of_wide["wide_accuracy"])
        run.meters.add(of_wide, run.clock.iteration + 1)
    if run.variety is not None:
        run.meters.add(variety_step(run.variety, run.objective, refined, real), run.clock.iteration + 1)
    run.clock.discriminator_updates += 1
    run.meters.add(terms, run.clock.iteration + 1)
    return terms


def _with_history(run: Training, refined: Tensor) -> Tensor:
    """Half of the global batch from the buffer (§2.3); every process keeps the same buffer."""
    if run.history is None:
        return refined
    mixed = run.history.mix(run.world.gather(refined))
    return mixed[run.world.shard(run.config.batch_size)]


def _finish_step(run: Training, recorder: Recorder | None, phase: str, step: int, last: int) -> None:
    """Finite check, validation, log, sample grid and checkpoint, each when it is due."""
    config = run.config
    stopped = run.stopping.signal
    log_due = _due(step, last, config.log_every)
    save_due = _due(step, last, config.checkpoint_every) or stopped is not None
    if log_due or save_due:
        run.meters.check(run.world)
    if phase == "training" and _due(step, last, config.validate_every):
        _validate(run, recorder, step)
    if log_due:
        means = run.meters.read(run.world)
        if recorder is not None:
            recorder.log(run, phase, step, means)
    if recorder is not None:
        if phase == "training" and _due(step, last, config.grid_every):
            recorder.grid(run, step)
        if save_due:
            recorder.checkpoint(run)
    if stopped is not None:
        raise StoppedError(stopped, f"stopped by {stopped.name} after {phase} step {step}, which is saved")


def _validate(run: Training, recorder: Recorder | None, step: int) -> None:
    """Measure the averaged refiner; lambda and the length of the run follow, in all processes alike."""
    found = None if recorder is None else recorder.validate(run, step)
    found = run.world.from_main(found)
    if found is None:
        return
    run.regularization.observe(found.lost)
    if run.length.observe(step, found.share_left) and recorder is not None:
        recorder.extended(run, step)


def _due(step: int, last: int, every: int) -> bool:
    return step == last or (every > 0 and step % every == 0)
