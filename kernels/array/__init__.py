"""Every operation in NumPy and CuPy, one source: what everything runs on. One file an operation."""

from .activations import (
    sigmoid_backward,
    sigmoid_forward,
    softmax_backward,
    softmax_forward,
    tanh_backward,
    tanh_forward,
)
from .add import add
from .avg_pool import (
    adaptive_avg_pool2d_backward,
    adaptive_avg_pool2d_forward,
    avg_pool2d_backward,
    avg_pool2d_forward,
)
from .batch_norm import batch_moments, batch_norm_backward, batch_norm_forward
from .conv import conv2d_backward, conv2d_forward
from .conv1d import conv1d_backward, conv1d_forward
from .dropout import dropout_backward, dropout_forward
from .linear import linear_backward, linear_forward
from .lrn import local_response_norm_backward, local_response_norm_forward
from .max_pool import max_pool2d_backward, max_pool2d_forward
from .optimizer import adam_step, sgd_step
from .pad import zero_pad2d_backward, zero_pad2d_forward
from .relu import leaky_relu_backward, leaky_relu_forward, relu_backward, relu_forward
from .scale import scale_backward, scale_forward
from .softmax_cross_entropy import softmax_cross_entropy_backward, softmax_cross_entropy_forward
from .turn import turn

__all__ = [
    name for name in dir() if name in ("add", "turn") or name.endswith(("_forward", "_backward", "_step", "_moments"))
]
