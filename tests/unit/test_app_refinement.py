"""The way of one image through the services: which of them background work takes."""

import asyncio
import io
import threading

import numpy as np
import pytest
from PIL import Image

from app import delivery, refinement
from app.delivery import ImageJob
from app.options import RefineOptions
from app.pixel_budget import PixelBudget
from app.refinement import refine_image
from app.services import open_services
from app.settings import Settings


@pytest.fixture
def picture_png():
    file = io.BytesIO()
    Image.fromarray(np.full((4, 5), 100, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("background", "pool"), [(False, "codec"), (True, "background codec")])
def test_background_images_have_their_own_threads_and_their_own_place_in_the_engine(
    tiny_root, picture_png, monkeypatch, background, pool
):
    threads, reports = [], []
    for place, step in ((refinement, "decode"), (delivery, "encode")):
        work = getattr(place, step)

        def noted(*arguments, work=work, **options):
            threads.append(threading.current_thread().name.rpartition("_")[0])
            return work(*arguments, **options)

        monkeypatch.setattr(place, step, noted)
    with open_services(Settings(models=tiny_root, threads=1, device="cpu")) as services:
        services.engine.observe(reports.append)
        model, options = services.models.get(), RefineOptions()
        job = ImageJob(0, "a.png", picture_png, 20, None, model, options, lambda _: None, None, background)
        (refined,) = asyncio.run(refine_image(services, job, PixelBudget(1000)))
    assert (np.asarray(Image.open(io.BytesIO(refined.data))) == 110).all()
    assert threads == [pool, pool]
    assert [report.background for report in reports] == [background]
