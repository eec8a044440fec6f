"""The errors of the model: every refusal that `model` itself can utter."""


class ModelError(Exception):
    """Root of the tree; its text is one sentence for the person who can act."""


class CardError(ModelError, ValueError):
    """The file carries no model card, or one that breaks its own rules."""


class LocalityError(ModelError):
    """The refiner looks further than it declares, or sees where in the image a pixel lies."""


class NonFiniteError(ModelError):
    """A weight or an output is NaN or infinite."""


class ParityError(ModelError):
    """Torch and ONNX Runtime disagree about the same image."""


class FeatureTransformError(ModelError, ValueError):
    """The description of a feature transform cannot be understood or loaded."""


class HistoryError(ModelError, ValueError):
    """The history and the batch (or the saved state) do not fit together."""


class ExportError(ModelError):
    """Torch could not write the refiner as the ONNX graph that the service expects."""
