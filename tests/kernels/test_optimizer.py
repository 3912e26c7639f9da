from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .oracles import DTYPES, assert_agree, family, few_examples, normal

STEPS = 5
SGD: dict[str, dict[str, Any]] = {
    "plain": {"lr": 0.1},
    "weight_decay": {"lr": 0.1, "weight_decay": 0.05},
    "momentum": {"lr": 0.1, "momentum": 0.9},
    "momentum_and_weight_decay": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05},
    "nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05},
}


def torch_steps(torch: Any, optimizer: Any, value: np.ndarray, grads: list[np.ndarray], **options: Any) -> np.ndarray:
    """The value after one step of torch's optimizer for each gradient."""
    parameter = torch.nn.Parameter(torch.tensor(value))
    stepper = optimizer([parameter], **options)
    for grad in grads:
        parameter.grad = torch.from_numpy(grad)
        stepper.step()
    return parameter.detach().numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", SGD.values(), ids=SGD)
def test_torch_takes_the_same_sgd_steps(ops: Any, torch: Any, rng: Any, options: dict[str, Any], dtype: str) -> None:
    value, grads = normal(rng, (7,), dtype), [normal(rng, (7,), dtype) for _ in range(STEPS)]
    expected = torch_steps(torch, torch.optim.SGD, value, grads, **options)
    velocity = np.zeros_like(value) if "momentum" in options else None
    for grad in grads:
        ops.sgd_step(value, grad, velocity, **options)
    assert_agree(value, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("options", [{}, {"beta1": 0.5, "beta2": 0.9, "eps": 1e-2}], ids=["default", "others"])
def test_torch_takes_the_same_adam_steps(
    ops: Any, torch: Any, rng: Any, options: dict[str, float], weight_decay: float, dtype: str
) -> None:
    value, grads = normal(rng, (7,), dtype), [normal(rng, (7,), dtype) for _ in range(STEPS)]
    names = {"betas": (options.get("beta1", 0.9), options.get("beta2", 0.999)), "eps": options.get("eps", 1e-8)}
    expected = torch_steps(torch, torch.optim.Adam, value, grads, lr=0.1, weight_decay=weight_decay, **names)
    m, v = np.zeros_like(value), np.zeros_like(value)
    for step, grad in enumerate(grads, start=1):
        ops.adam_step(value, grad, m, v, lr=0.1, weight_decay=weight_decay, step=step, **options)
    assert_agree(value, expected)


@pytest.mark.parametrize("name", ["test_momentum", "test_nesterov_momentum"])
def test_onnx_publishes_the_same_momentum(ops: Any, onnx_case: Any, name: str) -> None:
    attributes, (lr, _, value, grad, velocity), (expected, expected_velocity) = onnx_case(name)
    value, velocity = value.copy(), velocity.copy()
    ops.sgd_step(
        value,
        grad,
        velocity,
        lr=float(lr),
        momentum=attributes["alpha"],
        nesterov=attributes["mode"] == b"nesterov",
        weight_decay=attributes["norm_coefficient"],
    )
    assert_agree(value, expected)
    assert_agree(velocity, expected_velocity)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_step_writes_to_its_state_and_not_to_the_gradient(ops: Any, rng: Any, weight_decay: float) -> None:
    grad = normal(rng, (5,), "float32")
    before = grad.copy()
    value, m, v = (np.zeros(5, np.float32) for _ in range(3))
    ops.sgd_step(value, grad, m, lr=0.1, momentum=0.9, nesterov=True, weight_decay=weight_decay)
    ops.adam_step(value, grad, m, v, lr=0.1, weight_decay=weight_decay, step=1)
    np.testing.assert_array_equal(grad, before)
    assert value.any()
    assert m.any()
    assert v.any()


def test_a_step_works_on_views_of_one_flat_buffer(ops: Any, rng: Any) -> None:
    buffer, grads = np.ones(6), normal(rng, (6,))
    ops.sgd_step(buffer[2:4], grads[2:4], None, lr=0.5)
    assert_agree(buffer, np.array([1, 1, *(1 - 0.5 * grads[2:4]), 1, 1]))
    np.testing.assert_array_equal(buffer[[0, 1, 4, 5]], 1)


def test_momentum_without_a_velocity_is_refused_and_not_dropped(ops: Any) -> None:
    with pytest.raises(ValueError, match="velocity"):
        ops.sgd_step(np.zeros(2), np.ones(2), None, lr=0.1, momentum=0.9)


@few_examples
@given(st.integers(0, 9), st.sampled_from(list(SGD)), st.integers(0, 99))
def test_the_families_take_the_same_sgd_steps(size: int, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    value, grad, velocity = normal(rng, (size,)), normal(rng, (size,)), normal(rng, (size,))
    results = []
    for kernels in (family("array"), family("reference")):
        state = [value.copy(), velocity.copy()]
        kernels.sgd_step(state[0], grad, state[1], **SGD[name])
        results.append(state)
    for actual, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-14)


def test_the_size_of_the_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch, rng: Any) -> None:
    start, grad = normal(rng, (7,)), normal(rng, (7,))
    ends = []
    for chunk in (1 << 16, 3):
        monkeypatch.setattr("minicnn.kernels.array.blocks.BLOCK", chunk)
        value, m, v = start.copy(), np.zeros(7), np.zeros(7)
        family("array").sgd_step(value, grad, m, lr=0.1, momentum=0.9, nesterov=True)
        family("array").adam_step(value, grad, m, v, lr=0.1, weight_decay=0.1, step=2)
        ends.append(value)
    np.testing.assert_array_equal(ends[0], ends[1])
