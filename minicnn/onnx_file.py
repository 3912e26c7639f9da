"""The weights in an ONNX file: its initializers, read by the `onnx` package. No model is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .errors import MinicnnError
from .files import reason


def read_onnx(path: str | Path) -> dict[str, np.ndarray]:
    """The initializers of the graph by their names; those that hold integers are shapes, not weights, and left out.

    Raises MinicnnError where the package is missing, for what is no ONNX file, and for data that lie in other files.
    """
    try:
        import onnx
    except ImportError:
        raise MinicnnError(f"{path}: the onnx package reads such files: pip install 'minicnn[onnx]'") from None
    try:
        model = onnx.ModelProto.FromString(Path(path).read_bytes())
    except OSError as error:
        raise MinicnnError(f"{path}: cannot be read: {reason(error)}") from None
    except Exception as error:  # protobuf's errors differ between its implementations
        raise MinicnnError(f"{path}: no ONNX file, or damaged ({' '.join(str(error).split())[:200]})") from None
    found: dict[str, np.ndarray] = {}
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise MinicnnError(f"{path}: {tensor.name!r:.80} lies in another file, which is not read")
        try:
            array = onnx.numpy_helper.to_array(tensor)
        except Exception as error:  # of whatever kind: its bytes do not fit its shape or its type
            raise MinicnnError(f"{path}: {tensor.name!r:.80} is damaged ({str(error)[:200]})") from None
        if tensor.name in found:
            raise MinicnnError(f"{path}: two initializers {tensor.name!r:.80}")
        if array.dtype.kind not in "iub":
            found[tensor.name] = array
    if not found:
        raise MinicnnError(f"{path}: no weights in it, or no ONNX file")
    return found
