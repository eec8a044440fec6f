"""The service: ONNX in, HTTP out. Imports no torch."""
