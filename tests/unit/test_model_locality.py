"""Locality: a refiner that sees more than it declares is refused, however it does so."""

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from model.card import NoiseSpec  # noqa: E402
from model.errors import LocalityError, NonFiniteError  # noqa: E402
from model.locality import require_local  # noqa: E402
from model.refiner import Refiner, RefinerConfig  # noqa: E402

pytestmark = pytest.mark.train

CONFIG = RefinerConfig(width=8, blocks=1)


class Custom(Refiner):
    """A refiner of the user's: something of his own comes before the paper's network."""

    def __init__(self, own: nn.Module, config: RefinerConfig = CONFIG) -> None:
        torch.manual_seed(0)
        super().__init__(config)
        self.own = own

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        return super().forward(self.own(image), noise)


class Function(nn.Module):
    """A layer that no list of types can know."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Tensor:
        return self.function(image)


def brighter_below(image: Tensor) -> Tensor:
    return image + torch.linspace(0.0, 1.0, image.shape[2])[:, None]


def half_size(image: Tensor) -> Tensor:
    small = image[..., ::2, ::2]
    return small.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., : image.shape[2], : image.shape[3]]


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        RefinerConfig(channels=3, width=8, blocks=2, kernel_size=5, output="residual"),
        RefinerConfig(
            width=8, blocks=1, noise=NoiseSpec(pixel_channels=1, smooth_channels=0, image_channels=1)
        ),
        RefinerConfig(width=8, blocks=2, padding="replicate"),
        RefinerConfig(
            width=8,
            blocks=1,
            grid=4,
            output="residual",
            noise=NoiseSpec(pixel_channels=1, smooth_channels=1, image_channels=2),
        ),
        RefinerConfig(width=8, blocks=2, grid=2, padding="replicate"),
        RefinerConfig(width=8, blocks=1, grid=4, head_width=5),
    ],
)
def test_our_refiners_are_local(config: RefinerConfig) -> None:
    require_local(Refiner(config).eval())


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        (nn.InstanceNorm2d(1), r"layer 'own' \(InstanceNorm2d\) takes statistics over the whole image"),
        (nn.GroupNorm(1, 1), r"\(GroupNorm\) takes statistics over the whole image"),
        (nn.BatchNorm2d(1), r"\(BatchNorm2d\) takes statistics over the batch"),
        (nn.AdaptiveAvgPool2d(1), r"\(AdaptiveAvgPool2d\) pools over the whole image"),
        (nn.AdaptiveMaxPool2d(1), r"\(AdaptiveMaxPool2d\) pools over the whole image"),
        (nn.Sequential(nn.Dropout2d()), r"layer 'own\.0' \(Dropout2d\) is random"),
    ],
)
def test_a_layer_that_cannot_be_local_is_refused_by_its_name(own: nn.Module, sentence: str) -> None:
    with pytest.raises(LocalityError, match=sentence):
        require_local(Custom(own).eval())


@pytest.mark.parametrize(
    "function",
    [
        lambda image: image - image.mean(dim=(2, 3), keepdim=True),
        lambda image: image / image.abs().amax(dim=(2, 3), keepdim=True),
        brighter_below,
        half_size,
    ],
    ids=["whole-image mean", "whole-image maximum", "position", "stride"],
)
def test_a_function_that_looks_beyond_the_field_is_found_by_measuring(
    function: Callable[[Tensor], Tensor],
) -> None:
    with pytest.raises(LocalityError, match="declares a receptive field radius of 3 px"):
        require_local(Custom(Function(function)).eval())


def test_a_layer_that_widens_the_field_without_saying_so_is_refused() -> None:
    with pytest.raises(LocalityError, match="looks further"):
        require_local(Custom(nn.Conv2d(1, 1, 3, padding=1)).eval())


def test_a_pixelwise_layer_of_the_users_is_welcome() -> None:
    require_local(Custom(nn.Conv2d(1, 1, 1)).eval())


def test_a_refiner_that_mixes_the_images_of_a_batch_is_refused() -> None:
    with pytest.raises(LocalityError, match="the other image of a batch"):
        require_local(Custom(Function(lambda image: image - image.mean(dim=0, keepdim=True) / 2)).eval())


def test_a_refiner_whose_output_is_not_a_number_is_refused() -> None:
    with pytest.raises(NonFiniteError, match="gives NaN or infinite values"):
        require_local(Custom(Function(lambda image: image * float("nan"))).eval())
