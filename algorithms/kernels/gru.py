"""A gated recurrent unit that is faster than ``nn.GRU`` on the CPU, with the same parameters.

For input x[t] and hidden state h[t-1], row by row (one row per agent and episode):

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)          reset gate
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)          update gate
    m = W_hn h + b_hn
    n = tanh(W_in x + b_in + r * m)                     candidate
    h' = n + z * (h - n)

What can be done for all steps at once is one matrix product each: the input's part before the scan
over time, the weights' gradients after the scan back. The scans themselves cost a matrix product
and one compiled elementwise pass per step, where torch takes a dozen operations forwards and two
dozen backwards. On CUDA and for single steps ``nn.GRU`` is as good and is used.

Shapes: T steps, R rows, I input features, H hidden; M real steps of all rows together, step by step
as in torch's ``PackedSequence`` (M = T * R without padding). ``cells`` [M, 4H] keeps m, r, z, n
side by side: the last three blocks belong to the input's weights, in the gradient the first three
to the hidden state's.
"""

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

#: Fused multiply-adds and unsigned zeros are fine; reordering would spoil ``expm1``.
_compiled = njit(error_model="numpy", fastmath={"contract", "nsz"}, nogil=True, cache=True)
_inlined = njit(error_model="numpy", fastmath={"contract", "nsz"}, inline="always")

_PER_LN2 = np.float32(1 / math.log(2))
_LN2_HIGH = np.float32(355 / 512)  # few bits, so that its multiples are exact
_LN2_LOW = np.float32(math.log(2) - 355 / 512)
_C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))
_HALF, _ONE, _TWO, _LIMIT = np.float32(0.5), np.float32(1), np.float32(2), np.float32(87)


class GRU(nn.GRU):
    """``nn.GRU`` with one layer, time-major; same parameters, names and results."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)

    def forward(
        self, inputs: Tensor | PackedSequence, hidden: Tensor
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Runs over time.

        Args:
            inputs: [T, R, I] float32, or sequences packed longest first, without padding.
            hidden: [1, R, H], before the first step.

        Returns:
            the hidden state after every step, [T, R, H] or packed, and after every row's last
            step [1, R, H].
        """
        packed = isinstance(inputs, PackedSequence)
        if hidden.device.type != "cpu" or (not packed and len(inputs) == 1):
            return super().forward(inputs, hidden.contiguous())  # cuDNN reads no strides
        rows = hidden.shape[1]
        sizes = inputs.batch_sizes if packed else torch.full((len(inputs),), rows)
        states = _Scan.apply(
            inputs.data if packed else inputs.flatten(0, 1),
            hidden[0],
            self.weight_ih_l0,
            self.weight_hh_l0,
            self.bias_ih_l0,
            self.bias_hh_l0,
            sizes.tolist(),
        )
        if not packed:
            states = states.view(-1, rows, self.hidden_size)
            return states, states[-1:]
        row = torch.arange(rows)
        last_step = (sizes[:, None] > row).sum(0) - 1
        last = states[(sizes.cumsum(0) - sizes)[last_step] + row]
        return PackedSequence(states, sizes), last.unsqueeze(0)


class _Scan(torch.autograd.Function):
    """The recurrence over whole sequences, and its gradient; ``sizes``: the rows of every step."""

    @staticmethod
    def forward(ctx, inputs, hidden, w_input, w_hidden, b_input, b_hidden, sizes):
        rows, size = hidden.shape
        cells = inputs.new_empty(len(inputs), 4 * size)
        torch.mm(inputs, w_input.t(), out=cells[:, size:])
        states = inputs.new_empty(rows + len(inputs), size)  # before the first step, then after all
        states[:rows] = hidden
        product = inputs.new_empty(rows, 3 * size)
        w_hidden_t = w_hidden.t().contiguous()
        cells_, states_, product_ = cells.numpy(), states.numpy(), product.numpy()
        biases = b_input.numpy(), b_hidden.numpy()
        for now, before, after in _steps_of(rows, sizes):
            torch.mm(states[before], w_hidden_t, out=product[: now.stop - now.start])
            _step(cells_[now], product_, *biases, states_[before], states_[after])
        ctx.save_for_backward(inputs, w_input, w_hidden, cells, states)
        ctx.sizes = sizes
        return states[rows:]

    @staticmethod
    @once_differentiable
    def backward(ctx, d_states):
        inputs, w_input, w_hidden, cells, states = ctx.saved_tensors
        rows, size = len(states) - len(inputs), states.shape[1]
        steps = _steps_of(rows, ctx.sizes)
        d_cells = torch.empty_like(cells)
        d_biases = cells.new_empty(len(steps), 4 * size)  # one row per step
        d_hidden = states.new_zeros(rows, size)
        d_product, d_inner = d_cells[:, : 3 * size], d_cells[:, size:]
        w_rolled = w_hidden.roll(size, 0)  # rows of m, r, z
        cells_, states_, d_states_ = cells.numpy(), states.numpy(), d_states.contiguous().numpy()
        d_cells_, d_biases_, d_hidden_ = d_cells.numpy(), d_biases.numpy(), d_hidden.numpy()
        for t, (now, before, _) in reversed(list(enumerate(steps))):
            _step_back(
                cells_[now], states_[before], d_states_[now], d_hidden_, d_cells_[now], d_biases_[t]
            )
            d_hidden[: now.stop - now.start].addmm_(d_product[now], w_rolled)
        befores = torch.cat([states[before] for _, before, _ in steps])
        d_bias = d_biases.sum(0)
        return (
            d_inner @ w_input if ctx.needs_input_grad[0] else None,
            d_hidden,
            d_inner.t() @ inputs,
            (d_product.t() @ befores).roll(-size, 0),
            d_bias[size:],
            d_bias[: 3 * size].roll(-size, 0),
            None,
        )


def _steps_of(rows: int, sizes: list[int]) -> list[tuple[slice, slice, slice]]:
    """Of every step its cells, and what it reads and writes of the states (``rows`` longer)."""
    steps, start, read = [], 0, 0
    for count in sizes:
        write = start + rows
        steps.append(
            (slice(start, start + count), slice(read, read + count), slice(write, write + count))
        )
        start, read = start + count, write
    return steps


# The compiled part. Non-linearities are written so that the loops around them can be vectorised.
# Every loop touches few arrays: with more the compiler gives up vectorising it.


@_inlined
def expm1(x):
    """exp(x) - 1 to float32's accuracy, in steps that the compiler can vectorise.

    x = k ln 2 + rest with |rest| <= ln 2 / 2; the rest by its Taylor series.
    """
    x = min(max(x, -_LIMIT), _LIMIT)
    k = np.floor(x * _PER_LN2 + _HALF)
    rest = x - k * _LN2_HIGH - k * _LN2_LOW
    series = _C2 + rest * (_C3 + rest * (_C4 + rest * (_C5 + rest * (_C6 + rest * _C7))))
    power = np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)  # 2**k
    return power * (rest + rest * rest * series) + (power - _ONE)


@_inlined
def sigmoid(x):
    return _ONE / (_TWO + expm1(-x))


@_inlined
def tanh(x):
    e = expm1(-_TWO * x)
    return -e / (_TWO + e)


@_compiled
def _step(cells, product, b_input, b_hidden, before, after):
    """One step: ``cells`` [R, 4H] comes with W_i x in its last blocks, leaves as m, r, z, n."""
    size = before.shape[1]
    b_n, b_m = b_input[2 * size :], b_hidden[2 * size :]
    for row in range(before.shape[0]):
        m, rz, n = cells[row, :size], cells[row, size : 3 * size], cells[row, 3 * size :]
        r, z = rz[:size], rz[size:]
        w_rz, w_m = product[row, : 2 * size], product[row, 2 * size :]
        h, new = before[row], after[row]
        for j in range(2 * size):
            rz[j] = sigmoid(rz[j] + w_rz[j] + (b_input[j] + b_hidden[j]))
        for j in range(size):
            m[j] = w_m[j] + b_m[j]
        for j in range(size):
            n[j] = tanh(n[j] + b_n[j] + r[j] * m[j])
        for j in range(size):
            new[j] = n[j] + z[j] * (h[j] - n[j])


@_compiled
def _step_back(cells, before, d_after, carried, d_cells, d_bias):
    """One step back.

    ``carried`` [R, H] comes with the gradient of h' that later steps sent, and leaves with that of
    h but for its way through W_h. ``d_cells`` [R, 4H] gets the gradients of what m and the three
    non-linearities take in, ``d_bias`` [4H] their sum over the rows.
    """
    size = before.shape[1]
    d_bias[:] = 0
    for row in range(before.shape[0]):
        m, r = cells[row, :size], cells[row, size : 2 * size]
        z, n = cells[row, 2 * size : 3 * size], cells[row, 3 * size :]
        d_m, d_r = d_cells[row, :size], d_cells[row, size : 2 * size]
        d_z, d_n = d_cells[row, 2 * size : 3 * size], d_cells[row, 3 * size :]
        h, d_new, d_h, d_all = before[row], d_after[row], carried[row], d_cells[row]
        for j in range(size):
            d_h[j] += d_new[j]
        for j in range(size):
            d_z[j] = d_h[j] * (h[j] - n[j]) * z[j] * (_ONE - z[j])
        for j in range(size):
            d_n[j] = d_h[j] * (_ONE - z[j]) * (_ONE - n[j] * n[j])
        for j in range(size):
            d_m[j] = d_n[j] * r[j]
        for j in range(size):
            d_r[j] = d_m[j] * m[j] * (_ONE - r[j])
        for j in range(size):
            d_h[j] *= z[j]
        for j in range(4 * size):
            d_bias[j] += d_all[j]
