"""What ONNX Runtime is told about integers."""

from pathlib import Path

import onnxruntime
import pytest

from model import session_options
from model.session_options import exact_integers, has_vnni

KEY = "session.x64quantprecision"
OLD = "processor\t: 0\nflags\t\t: fpu avx2 avx512f\nbugs\t\t:\n"
NEW = "processor\t: 1\nflags\t\t: fpu avx2 avx512_vnni amx_int8\n"


@pytest.mark.parametrize(
    ("processors", "found"),
    [
        (NEW, True),
        (NEW.replace("avx512_vnni", "avx_vnni"), True),
        (OLD, False),
        (NEW + OLD, False),
        (OLD.replace("avx512f", "no_avx512_vnni_here"), False),
        ("", False),
        ("vmx flags\t: avx512_vnni\nFeatures\t: asimd\n", False),
    ],
)
def test_vnni_is_known_where_every_processor_says_it(processors: str, found: bool) -> None:
    assert has_vnni(processors) is found


@pytest.mark.parametrize(("processors", "asked"), [(NEW, None), (OLD, "1"), (None, "1")])
def test_exact_products_are_asked_for_where_they_are_not_exact_anyway(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, processors: str | None, asked: str | None
) -> None:
    path = tmp_path / "cpuinfo"
    if processors is not None:
        path.write_text(processors)
    monkeypatch.setattr(session_options, "_PROCESSORS", path)
    session_options._exact_anyway.cache_clear()
    try:
        options = exact_integers(onnxruntime.SessionOptions())
        found = entry(options)
    finally:
        session_options._exact_anyway.cache_clear()
    assert found == asked


def entry(options: onnxruntime.SessionOptions) -> str | None:
    try:
        return str(options.get_session_config_entry(KEY))
    except RuntimeError:
        return None
