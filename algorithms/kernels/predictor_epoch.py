"""An epoch of CDS's observation predictors on CUDA: three launches per minibatch.

The minibatches are a recurrence, since each begins with the weights that the one before has left.
For both predictors, of which only the second reads the agent's one-hot number a (cds.py):

    x1 = ReLU(W1 [x, a] + b1),  x2 = ReLU(W2 [x1, a] + b2),  error = W3 x2 + b3 - o'
    loss = sum over rows of w |error|^2,       w: 1 / their number, 0 on padding
    d3 = 2 w error,  d2 = (d3 W3') [x2 > 0],  d1 = (d2 W2') [x1 > 0]      launch 1, ``_errors``
    dW3 = x2' d3,  dW2 = [x1, a]' d2,  dW1 = [x, a]' d1,  db: sums of d   launch 2, ``_gradients``
    the gradient of each predictor clipped to a norm, and a step of Adam   launch 3, ``_step``

Products are "tf32x3": three products of tensor cores, with float32's accuracy. Sums have a fixed
order.

Shapes: P rows in minibatches of at most B; IN inputs, N agents, H width, OUT outputs. A predictor's
parameters are one row of K numbers: W1 [IN + N, H], b1, W2 [H + N, H], b2, W3 [H, OUT], b3.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = tl.constexpr(16)  #: of the minibatch, per program of ``_errors``
TILE = tl.constexpr(64)  #: columns of a product's result, and its rows in ``_gradients``
CHUNK = tl.constexpr(32)  #: what a product sums over at a time
BLOCK = tl.constexpr(1024)  #: parameters per program of ``_step``
LAUNCH = {"num_warps": 4, "num_stages": 3}  #: warps of a program, and chunks in flight


@triton.jit
def _product(
    total, left, l_row, l_step, row, row_end, right, r_step, r_column, column, column_end, end
):
    """total + left @ right, where [i, k] is at left + i l_row + k l_step, [k, j] likewise.

    ``row`` and ``column``: the i and j of the result, those from ``..._end`` on count as zero;
    ``end``: of k.
    """
    for begin in range(0, end, CHUNK):
        k = begin + tl.arange(0, CHUNK)
        there = (row < row_end)[:, None] & (k < end)[None, :]
        a = tl.load(left + row[:, None] * l_row + k[None, :] * l_step, mask=there, other=0)
        there = (k < end)[:, None] & (column < column_end)[None, :]
        b = tl.load(right + k[:, None] * r_step + column[None, :] * r_column, mask=there, other=0)
        total = tl.dot(a, b, total, input_precision="tf32x3")
    return total


@triton.jit(do_not_specialize=["size"])  # one compilation, also for the last minibatch
def _errors(
    inputs, after, weight, parameters, x1, x2, d1, d2, d3, losses, first, size, K,
    IN: tl.constexpr, N: tl.constexpr, H: tl.constexpr, OUT: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """Of a minibatch, rows ``first`` to ``first + size``: every layer's input, and its d."""
    block, g = tl.program_id(0), tl.program_id(1)
    row = block * ROWS + tl.arange(0, ROWS)
    real = row < size
    inputs += first * (IN + N)
    x1 += g * B * (H + N)
    x2, d1, d2, d3 = x2 + g * B * H, d1 + g * B * H, d2 + g * B * H, d3 + g * B * OUT
    w1 = parameters + g * K
    b1 = w1 + (IN + N) * H
    w2 = b1 + H
    b2 = w2 + (H + N) * H
    w3 = b2 + H
    b3 = w3 + H * OUT
    all_rows = tl.arange(0, B)
    weights = tl.load(weight + first + all_rows, mask=all_rows < size, other=0)
    share = tl.load(weight + first + row, mask=real, other=0)
    share /= tl.maximum(tl.sum(weights, 0), 1)

    for begin in range(0, H, TILE):
        j = begin + tl.arange(0, TILE)
        there = real[:, None] & (j < H)[None, :]
        total = tl.zeros([ROWS, TILE], tl.float32) + tl.load(b1 + j, mask=j < H, other=0)[None, :]
        total = _product(total, inputs, IN + N, 1, row, size, w1, H, 1, j, H, IN + g * N)
        tl.store(x1 + row[:, None] * (H + N) + j[None, :], tl.maximum(total, 0), mask=there)
    for agent in range(N):
        a = tl.load(inputs + row * (IN + N) + IN + agent, mask=real, other=0)
        tl.store(x1 + row * (H + N) + H + agent, a * g, mask=real)
    tl.debug_barrier()
    for begin in range(0, H, TILE):
        j = begin + tl.arange(0, TILE)
        there = real[:, None] & (j < H)[None, :]
        total = tl.zeros([ROWS, TILE], tl.float32) + tl.load(b2 + j, mask=j < H, other=0)[None, :]
        total = _product(total, x1, H + N, 1, row, size, w2, H, 1, j, H, H + N)
        tl.store(x2 + row[:, None] * H + j[None, :], tl.maximum(total, 0), mask=there)
    tl.debug_barrier()
    squares = tl.zeros([ROWS], tl.float32)
    for begin in range(0, OUT, TILE):
        j = begin + tl.arange(0, TILE)
        there = real[:, None] & (j < OUT)[None, :]
        total = tl.zeros([ROWS, TILE], tl.float32) + tl.load(b3 + j, mask=j < OUT, other=0)[None, :]
        total = _product(total, x2, H, 1, row, size, w3, OUT, 1, j, OUT, H)
        place = (first + row)[:, None] * OUT + j[None, :]
        total = tl.where(there, total - tl.load(after + place, mask=there, other=0), 0)
        squares += tl.sum(total * total, 1)
        tl.store(d3 + row[:, None] * OUT + j[None, :], 2 * share[:, None] * total, mask=there)
    tl.store(losses + block * 2 + g, tl.sum(squares * share, 0))
    tl.debug_barrier()
    for begin in range(0, H, TILE):
        j = begin + tl.arange(0, TILE)
        there = real[:, None] & (j < H)[None, :]
        total = tl.zeros([ROWS, TILE], tl.float32)
        total = _product(total, d3, OUT, 1, row, size, w3, 1, OUT, j, H, OUT)
        active = tl.load(x2 + row[:, None] * H + j[None, :], mask=there, other=0) > 0
        tl.store(d2 + row[:, None] * H + j[None, :], tl.where(active, total, 0), mask=there)
    tl.debug_barrier()
    for begin in range(0, H, TILE):
        j = begin + tl.arange(0, TILE)
        there = real[:, None] & (j < H)[None, :]
        total = tl.zeros([ROWS, TILE], tl.float32)
        total = _product(total, d2, H, 1, row, size, w2, 1, H, j, H, H)
        active = tl.load(x1 + row[:, None] * (H + N) + j[None, :], mask=there, other=0) > 0
        tl.store(d1 + row[:, None] * H + j[None, :], tl.where(active, total, 0), mask=there)


@triton.jit
def _tile(tile, read, height, filled, d, width, gradient, size):
    """read' d of one tile, and the sums of d where it is the first of its columns; their squares.

    ``filled``: columns of ``read`` [size, height] that the predictor reads.
    """
    wide = tl.cdiv(width, TILE)
    i = tile // wide * TILE + tl.arange(0, TILE)
    j = tile % wide * TILE + tl.arange(0, TILE)
    total = tl.zeros([TILE, TILE], tl.float32)
    total = _product(total, read, 1, height, i, filled, d, width, 1, j, width, size)
    there = (i < height)[:, None] & (j < width)[None, :]
    tl.store(gradient + i[:, None] * width + j[None, :], total, mask=there)
    squares = tl.sum(tl.sum(total * total, 1), 0)
    if tile < wide:
        sums = tl.zeros([TILE], tl.float32)
        for begin in range(0, size, CHUNK):
            row = begin + tl.arange(0, CHUNK)
            real = (row < size)[:, None] & (j < width)[None, :]
            sums += tl.sum(tl.load(d + row[:, None] * width + j[None, :], mask=real, other=0), 0)
        tl.store(gradient + height * width + j, sums, mask=j < width)
        squares += tl.sum(sums * sums, 0)
    return squares


@triton.jit(do_not_specialize=["size"])
def _gradients(
    inputs, x1, x2, d1, d2, d3, gradients, squares, first, size, K,
    IN: tl.constexpr, N: tl.constexpr, H: tl.constexpr, OUT: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """A tile of one matrix's gradient. Tiles are numbered matrix by matrix, row by row."""
    program, g = tl.program_id(0), tl.program_id(1)
    second = tl.cdiv(IN + N, TILE) * tl.cdiv(H, TILE)  # the first tile of dW2
    third = second + tl.cdiv(H + N, TILE) * tl.cdiv(H, TILE)
    x1 += g * B * (H + N)
    x2, d1, d2, d3 = x2 + g * B * H, d1 + g * B * H, d2 + g * B * H, d3 + g * B * OUT
    w1 = gradients + g * K
    w2 = w1 + (IN + N) * H + H
    w3 = w2 + (H + N) * H + H
    if program < second:
        part = _tile(program, inputs + first * (IN + N), IN + N, IN + g * N, d1, H, w1, size)
    elif program < third:
        part = _tile(program - second, x1, H + N, H + g * N, d2, H, w2, size)
    else:
        part = _tile(program - third, x2, H, H, d3, OUT, w3, size)
    tl.store(squares + program * 2 + g, part)


@triton.jit
def _step(
    parameters, averages, squared_averages, gradients, squares, K,
    rate, root, fresh, fresh_square, eps, clip, TILES: tl.constexpr,
):  # fmt: skip
    """Adam with clipped gradients.

    ``rate`` and ``root`` have the bias corrections, ``fresh`` and ``fresh_square`` are 1 - beta.
    """
    g = tl.program_id(1)
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = k < K
    k += g * K
    tile = tl.arange(0, TILES)
    norm = tl.sqrt(tl.sum(tl.load(squares + tile * 2 + g), 0))
    gradient = tl.load(gradients + k, mask=there, other=0) * tl.minimum(clip / (norm + 1e-6), 1)
    average = tl.load(averages + k, mask=there, other=0)
    average += fresh * (gradient - average)
    squared = tl.load(squared_averages + k, mask=there, other=0)
    squared += fresh_square * (gradient * gradient - squared)
    parameter = tl.load(parameters + k, mask=there, other=0)
    parameter -= rate * average / (tl.sqrt(squared) / root + eps)
    tl.store(averages + k, average, mask=there)
    tl.store(squared_averages + k, squared, mask=there)
    tl.store(parameters + k, parameter, mask=there)


# As an operator of torch -------------------------------------------------------------------------


@torch.library.custom_op(
    "r3dm::predictor_epoch", mutates_args={"parameters", "averages", "squares"}
)
def _epoch(
    parameters: Tensor,
    averages: Tensor,
    squares: Tensor,
    inputs: Tensor,
    after: Tensor,
    weight: Tensor,
    agents: int,
    batch: int,
    width: int,
    steps: int,
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    clip: float,
) -> Tensor:
    (rows, read), outputs, count = inputs.shape, after.shape[1], parameters.shape[1]
    room = triton.next_power_of_2(batch)
    sizes = {"IN": read - agents, "N": agents, "H": width, "OUT": outputs, "B": room}
    blocks = triton.cdiv(batch, ROWS.value)
    tiles = sum(
        triton.cdiv(height, TILE.value) * triton.cdiv(columns, TILE.value)
        for height, columns in ((read, width), (width + agents, width), (width, outputs))
    )
    new = inputs.new_empty
    x1, x2 = new(2, room, width + agents), new(2, room, width)
    d1, d2, d3 = torch.empty_like(x2), torch.empty_like(x2), new(2, room, outputs)
    gradients = torch.empty_like(parameters)
    parts = inputs.new_zeros(triton.next_power_of_2(tiles), 2)
    losses = new(triton.cdiv(rows, batch), blocks, 2)
    for index, first in enumerate(range(0, rows, batch)):
        size, step = min(batch, rows - first), steps + index + 1
        _errors[blocks, 2](
            inputs, after, weight, parameters, x1, x2, d1, d2, d3, losses[index],
            first, size, count, **sizes, **LAUNCH,
        )  # fmt: skip
        _gradients[tiles, 2](
            inputs, x1, x2, d1, d2, d3, gradients, parts,
            first, size, count, **sizes, **LAUNCH,
        )  # fmt: skip
        _step[triton.cdiv(count, BLOCK.value), 2](
            parameters, averages, squares, gradients, parts, count,
            rate / (1 - beta1**step), (1 - beta2**step) ** 0.5, 1 - beta1, 1 - beta2, eps, clip,
            TILES=len(parts),
        )  # fmt: skip
    return losses.sum(1)


@_epoch.register_fake
def _losses(parameters, averages, squares, inputs, after, weight, agents, batch, *settings):
    return inputs.new_empty(triton.cdiv(len(inputs), batch), 2)


@torch.no_grad()
def predictor_epoch(
    parameters: list[Tensor],
    optimizer: torch.optim.Adam,
    inputs: Tensor,
    after: Tensor,
    weight: Tensor,
    agents: int,
    batch: int,
    clip: float,
) -> Tensor:
    """Fits both predictors to all rows once.

    Args:
        parameters: W1 [2, IN + N, H], b1 [2, H], W2, b2, W3, b3; they change in place.
        optimizer: theirs; its state changes as by its own steps.
        inputs: x and a, [P, IN + N].
        after: o', [P, OUT].
        weight: 1, or 0 for padding, [P].
        agents: N.
        batch: B.
        clip: largest norm of a predictor's gradient.

    Returns:
        both mean squared errors before every step, [minibatches, 2].
    """
    states = [optimizer.state[parameter] for parameter in parameters]
    for parameter, state in zip(parameters, states, strict=True):
        if not state:  # as torch does before the first step
            state["step"] = torch.tensor(0.0)
            state |= {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
    moved = [parameters, *([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))]
    flat = [torch.cat([tensor.flatten(1) for tensor in tensors], dim=1) for tensors in moved]
    (group,) = optimizer.param_groups
    losses = _epoch(
        *flat,
        inputs,
        after,
        weight,
        agents,
        batch,
        parameters[1].shape[1],
        int(states[0]["step"]),
        group["lr"],
        *group["betas"],
        group["eps"],
        clip,
    )
    sizes = [parameter[0].numel() for parameter in parameters]
    for tensors, changed in zip(moved, flat, strict=True):
        parts = zip(changed.split(sizes, dim=1), tensors, strict=True)
        torch._foreach_copy_(tensors, [part.view_as(tensor) for part, tensor in parts])
    for state in states:
        state["step"] += len(losses)
    return losses
