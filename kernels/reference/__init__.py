"""Every operation as plain loops: the definition to read first, and the oracle of the other families. One file each.

Sums run in the dtype of the arrays, term by term: give float64 where the result is to judge others.
"""

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
    "adam_step",
    "adaptive_avg_pool2d_backward",
    "adaptive_avg_pool2d_forward",
    "add",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "batch_moments",
    "batch_norm_backward",
    "batch_norm_forward",
    "conv1d_backward",
    "conv1d_forward",
    "conv2d_backward",
    "conv2d_forward",
    "dropout_backward",
    "dropout_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "linear_backward",
    "linear_forward",
    "local_response_norm_backward",
    "local_response_norm_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "relu_backward",
    "relu_forward",
    "scale_backward",
    "scale_forward",
    "sgd_step",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax_backward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
    "softmax_forward",
    "tanh_backward",
    "tanh_forward",
    "turn",
    "zero_pad2d_backward",
    "zero_pad2d_forward",
]
