"""Options of ONNX Runtime without which a file would not compute the same everywhere."""

import onnxruntime


def exact_integers(options: onnxruntime.SessionOptions) -> onnxruntime.SessionOptions:
    """The same options, with exact products of 8-bit integers on x86 processors without VNNI.

    Their fast instruction cuts sums of two products at 16 bits; a slower one is taken there instead.
    """
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options
