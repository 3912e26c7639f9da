"""Operations in plain C for processors, float32: where the time goes. One file an operation, beside its C.

What is missing here comes from the array kernels, which define the meaning; kernels/choosing.py says when.
"""

from .batch_norm import batch_moments, batch_norm_backward, batch_norm_forward, scale_backward, scale_forward
from .conv import conv2d_backward, conv2d_forward
from .library import set_threads, threads
from .linear import linear_backward, linear_forward
from .lrn import local_response_norm_backward, local_response_norm_forward
from .optimizer import adam_step, sgd_step
from .pool import (
    adaptive_avg_pool2d_backward,
    adaptive_avg_pool2d_forward,
    avg_pool2d_backward,
    avg_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)
from .relu import add, leaky_relu_backward, leaky_relu_forward, relu_backward, relu_forward
from .softmax_cross_entropy import softmax_cross_entropy_backward, softmax_cross_entropy_forward
from .turn import turn

__all__ = [
    name for name in dir() if name in ("add", "turn") or name.endswith(("_forward", "_backward", "_step", "_moments"))
]
