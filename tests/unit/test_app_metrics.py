"""Nothing that was counted is lost, whoever counts it and whenever the page is read."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from app.metrics import Metrics

NOTHING = SimpleNamespace(images=0, pixels=0)


def test_counts_of_several_threads_are_all_on_the_page():
    models = SimpleNamespace(statuses=tuple, readiness=lambda: SimpleNamespace(ready=True))
    engine = SimpleNamespace(load=NOTHING, background_load=NOTHING)
    metrics = Metrics(SimpleNamespace(models=models, engine=engine), SimpleNamespace(tally=dict))

    def count(_):
        for number in range(500):
            metrics.count_request("/refine", "POST", 200, 0.01)
            metrics.count_image("grey", "accepted")
            if number % 100 == 0:
                metrics.page()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(4)))

    page = metrics.page().decode()
    assert 'simtrue_requests_total{method="POST",route="/refine",status="200"} 2000.0' in page
    assert 'simtrue_request_seconds_count{route="/refine"} 2000.0' in page
    assert 'simtrue_images_total{model="grey"} 2000.0' in page
    metrics.count_request("/refine", "PROPFIND", 405, 0.01)
    assert (
        'simtrue_requests_total{method="other",route="/refine",status="405"} 1.0' in metrics.page().decode()
    )
