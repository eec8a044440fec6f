"""Which images and which noise a step sees: a function of seed, stream and update alone."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from model.card import NoiseSpec  # noqa: E402
from trainer.batches import Batches, to_grey_levels, to_unit_range  # noqa: E402
from trainer.sampling import Sampler, draw_noise, generator, stream_seed  # noqa: E402

pytestmark = pytest.mark.train
CPU = torch.device("cpu")


def test_an_epoch_shows_every_image_once() -> None:
    sampler = Sampler(3, "refiner/synthetic", 10)
    seen = np.concatenate([sampler.indices(update, 5) for update in range(4)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_a_batch_over_the_end_of_an_epoch_goes_on_in_the_next() -> None:
    sampler = Sampler(3, "refiner/synthetic", 10)
    in_fours = np.concatenate([sampler.indices(update, 4) for update in range(5)])
    in_fives = np.concatenate([sampler.indices(update, 5) for update in range(4)])
    np.testing.assert_array_equal(in_fours, in_fives)


def test_a_batch_depends_on_nothing_drawn_before() -> None:
    steady = Sampler(3, "discriminator/real", 7)
    for update in range(9):
        drawn = steady.indices(update, 4)
        np.testing.assert_array_equal(drawn, Sampler(3, "discriminator/real", 7).indices(update, 4))


def test_streams_and_seeds_differ() -> None:
    seeds = {
        stream_seed(seed, stream, index)
        for seed in (0, 1)
        for stream in ("refiner/noise", "discriminator/noise")
        for index in (0, 1)
    }
    assert len(seeds) == 8


def test_noise_of_a_pixel_varies_and_of_an_image_is_constant_over_it() -> None:
    spec = NoiseSpec(pixel_channels=1, smooth_channels=0, image_channels=2)
    noise = draw_noise(spec, (400, 6, 5), generator(0, "refiner/noise", 4))
    assert noise is not None
    assert noise.shape == (400, 3, 6, 5)
    assert (noise[:, 1:] == noise[:, 1:, :1, :1]).all()
    assert noise[:, 0].std().item() == pytest.approx(1.0, abs=0.05)
    assert noise[:, 1:, 0, 0].std().item() == pytest.approx(1.0, abs=0.1)


def test_no_noise_channels_mean_no_noise() -> None:
    spec = NoiseSpec(pixel_channels=0, smooth_channels=0, image_channels=0)
    assert draw_noise(spec, (2, 6, 5), generator(0, "refiner/noise")) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_grey_level_survives_the_way_to_the_network_and_back(dtype: type) -> None:
    peak = int(np.iinfo(dtype).max)
    levels = np.arange(peak + 1).astype(dtype).reshape(1, 256, -1, 1)
    scaled = to_unit_range(levels, peak, CPU)
    assert (scaled.min().item(), scaled.max().item()) == (-1.0, 1.0)
    np.testing.assert_array_equal(to_grey_levels(scaled, peak), levels)


def test_the_shares_of_two_processes_are_the_batch_of_one() -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, 9, 9, 1)).astype(np.uint8)

    def draw(shard: slice) -> torch.Tensor:
        sampler = Sampler(1, "refiner/synthetic", 20)
        return Batches(images, sampler, (6, 5), 8, 255, shard, CPU).draw(3)

    torch.testing.assert_close(
        draw(slice(0, 8)), torch.cat([draw(slice(0, 4)), draw(slice(4, 8))]), rtol=0, atol=0
    )


def test_windows_cover_the_whole_image() -> None:
    rows, columns = np.mgrid[0:9, 0:9]
    images = np.repeat((rows * 9 + columns).astype(np.uint8)[None, ..., None], 50, axis=0)
    sampler = Sampler(1, "refiner/synthetic", 50)
    batch = Batches(images, sampler, (6, 5), 50, 255, slice(0, 50), CPU).draw(0)
    corners = to_grey_levels(batch, 255)[:, 0, 0, 0]
    assert {int(corner) // 9 for corner in corners} == {0, 1, 2, 3}
    assert {int(corner) % 9 for corner in corners} == {0, 1, 2, 3, 4}
    assert batch.shape == (50, 1, 6, 5)
