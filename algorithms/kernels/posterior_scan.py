"""The world model's recurrence on CUDA: all steps in one launch, and all steps back in another.

What ``WorldModel.observe`` does step by step (world_model.py), for every row on its own:

    x[t]    = SiLU(LN(W_d d[t-1] + u[t]))                      u: what action and role give
    r, c, z = LN(W_g [x[t], h[t-1]])                           reset, candidate, update
    h[t]    = sigmoid(z - 1) tanh(sigmoid(r) c) + (1 - sigmoid(z - 1)) h[t-1]
    y[t]    = SiLU(LN(W_h h[t] + v[t]))                        v: what the observation gives
    l[t]    = W_l y[t] + b_l                                   logits of S variables, C classes
    d[t]    = one-hot draw from (1 - unimix) softmax l[t] + unimix / C, straight-through

A program takes ``ROWS`` rows through all their steps. A product reads its rows, which the layer
before has just written to global memory, and its weights, which stay in the L2 cache, in chunks of
``CHUNK`` columns, so that registers hold little more than sums. A barrier stands between what is
written and its reading.
Products are "tf32x3": three products of tensor cores, with float32's accuracy.

The way back writes the gradients of what the products and the normalisations give; the gradients of
the weights are then one product or sum each, over all steps at once.

Shapes: M rows of real steps, packed (packing.py), R rows of the first step, T steps, H width, S
variables of C classes. H and C are powers of two, H and S C at least ``CHUNK``.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from benchmark.training.replay import send

ROWS = tl.constexpr(16)  #: of a program: the fewest that tensor cores multiply
CHUNK = tl.constexpr(32)  #: columns that a product reads at a time
EPS = tl.constexpr(1e-3)  #: of every layer normalisation, as in world_model.py
#: Warps of a program, and chunks in flight: the most that leave no register spilt.
LAUNCH = {"num_warps": 8, "num_stages": 3}


# What both ways use. ``rows``: where every row begins, [ROWS] pointers; ``real``: which there are.


@triton.jit
def _load(rows, real, SIZE: tl.constexpr):
    return tl.load(rows[:, None] + tl.arange(0, SIZE)[None, :], mask=real[:, None], other=0)


@triton.jit
def _store(rows, real, values, SIZE: tl.constexpr):
    tl.store(rows[:, None] + tl.arange(0, SIZE)[None, :], values, mask=real[:, None])


@triton.jit
def _product(total, rows, real, columns, step, SIZE: tl.constexpr):
    """total + rows @ weight, [ROWS, N] + [ROWS, SIZE] @ [SIZE, N].

    ``columns``: where the weight's columns begin, [N]; ``step``: from one of its rows to the next.
    """
    for begin in range(0, SIZE, CHUNK):
        left = _load(rows + begin, real, CHUNK)
        k = begin + tl.arange(0, CHUNK)
        right = tl.load(columns[None, :] + k[:, None] * step)
        total = tl.dot(left, right, total, input_precision="tf32x3")
    return total


@triton.jit
def _normal(x, SIZE: tl.constexpr):
    """x with mean 0 and variance 1 in every row; and 1 / its standard deviation, [ROWS, 1]."""
    x -= (tl.sum(x, 1) / SIZE)[:, None]
    scale = (1 / tl.sqrt(tl.sum(x * x, 1) / SIZE + EPS))[:, None]
    return x * scale, scale


@triton.jit
def _three_normal(rows, real, SIZE: tl.constexpr):
    """The same of rows of three blocks."""
    a, b = _load(rows, real, SIZE), _load(rows + SIZE, real, SIZE)
    c = _load(rows + 2 * SIZE, real, SIZE)
    mean = ((tl.sum(a, 1) + tl.sum(b, 1) + tl.sum(c, 1)) / (3 * SIZE))[:, None]
    a, b, c = a - mean, b - mean, c - mean
    squares = tl.sum(a * a, 1) + tl.sum(b * b, 1) + tl.sum(c * c, 1)
    scale = (1 / tl.sqrt(squares / (3 * SIZE) + EPS))[:, None]
    return a * scale, b * scale, c * scale, scale


@triton.jit
def _affine(normal, weight, bias, SIZE: tl.constexpr):
    k = tl.arange(0, SIZE)
    return normal * tl.load(weight + k)[None, :] + tl.load(bias + k)[None, :]


@triton.jit
def _layer(x, weight, bias, SIZE: tl.constexpr):
    """SiLU(LN(x))."""
    normal, _ = _normal(x, SIZE)
    y = _affine(normal, weight, bias, SIZE)
    return y * tl.sigmoid(y)


@triton.jit
def _layer_back(d_out, x, weight, bias, SIZE: tl.constexpr):
    """The gradients of x and of LN(x), given that of SiLU(LN(x))."""
    normal, scale = _normal(x, SIZE)
    y = _affine(normal, weight, bias, SIZE)
    gate = tl.sigmoid(y)
    d_y = d_out * gate * (1 + y * (1 - gate))
    d_normal = d_y * tl.load(weight + tl.arange(0, SIZE))[None, :]
    mean = (tl.sum(d_normal, 1) / SIZE)[:, None]
    along = (tl.sum(d_normal * normal, 1) / SIZE)[:, None]
    return scale * (d_normal - mean - along * normal), d_y


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def _gates(r, c, z, weight, bias, SIZE: tl.constexpr):
    """The reset gate, the candidate before it, and the update gate."""
    reset = tl.sigmoid(_affine(r, weight, bias, SIZE))
    candidate = _affine(c, weight + SIZE, bias + SIZE, SIZE)
    update = tl.sigmoid(_affine(z, weight + 2 * SIZE, bias + 2 * SIZE, SIZE) - 1)
    return reset, candidate, update


@triton.jit
def _softmax(logits, S: tl.constexpr, C: tl.constexpr):
    """[ROWS, S C] -> [ROWS, S, C]."""
    logits = tl.reshape(logits, [ROWS, S, C])
    shares = tl.exp(logits - tl.max(logits, 2)[:, :, None])
    return shares / tl.sum(shares, 2)[:, :, None]


@triton.jit
def _count_steps(sizes, first, T: tl.constexpr):
    """Steps of a program's first row, which has the most."""
    return tl.sum((tl.load(sizes + tl.arange(0, T)) > first).to(tl.int32), 0)


@triton.jit
def _scan(
    u, v, uniforms, h_start, d_start, h, d, logits, x_in, x, gates, y_in, y,
    w_d, x_weight, x_bias, w_g, g_weight, g_bias, w_h, y_weight, y_bias, w_l, b_l,
    sizes, unimix, H: tl.constexpr, S: tl.constexpr, C: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Writes h, d, l, and for the way back what the products give (``x_in``, ``gates``, ``y_in``).

    ``sizes``: rows of every step, and zeros up to T, a power of two.
    """
    first = tl.program_id(0) * ROWS
    row, k = first + tl.arange(0, ROWS), tl.arange(0, H)
    L: tl.constexpr = S * C
    h_before, d_before = h_start + row * 0, d_start + row * 0
    start = 0  # the step's first row
    for t in tl.range(0, _count_steps(sizes, first, T), disable_licm=True):
        size = tl.load(sizes + t)
        real, now = row < size, start + row

        total = _load(u + now * H, real, H)
        total = _product(total, d_before, real, w_d + k * L, 1, L)
        _store(x_in + now * H, real, total, H)
        _store(x + now * H, real, _layer(total, x_weight, x_bias, H), H)
        tl.debug_barrier()

        for gate in range(3):
            weight = w_g + (gate * H + k) * (2 * H)  # of x, then of h
            total = tl.zeros([ROWS, H], tl.float32)
            total = _product(total, x + now * H, real, weight, 1, H)
            total = _product(total, h_before, real, weight + H, 1, H)
            _store(gates + now * (3 * H) + gate * H, real, total, H)
        tl.debug_barrier()

        r, c, z, _ = _three_normal(gates + now * (3 * H), real, H)
        reset, inner, update = _gates(r, c, z, g_weight, g_bias, H)
        candidate = _tanh(reset * inner)
        moved = update * candidate + (1 - update) * _load(h_before, real, H)
        _store(h + now * H, real, moved, H)
        tl.debug_barrier()

        total = _load(v + now * H, real, H)
        total = _product(total, h + now * H, real, w_h + k * H, 1, H)
        _store(y_in + now * H, real, total, H)
        _store(y + now * H, real, _layer(total, y_weight, y_bias, H), H)
        tl.debug_barrier()

        columns = tl.arange(0, L)
        total = tl.zeros([ROWS, L], tl.float32) + tl.load(b_l + columns)[None, :]
        total = _product(total, y + now * H, real, w_l + columns * H, 1, H)
        _store(logits + now * L, real, total, L)
        mixed = (1 - unimix) * _softmax(total, S, C) + unimix / C
        uniform = _load(uniforms + now * S, real, S)
        drawn = tl.sum((tl.cumsum(mixed, 2) <= uniform[:, :, None]).to(tl.int32), 2)
        drawn = tl.minimum(drawn, C - 1)
        codes = (drawn[:, :, None] == tl.arange(0, C)[None, None, :]).to(tl.float32)
        _store(d + now * L, real, tl.reshape(codes, [ROWS, L]), L)
        tl.debug_barrier()
        h_before, d_before, start = h + now * H, d + now * L, start + size


@triton.jit
def _scan_back(
    d_h, d_d, d_l, h_start, d_start, h, d, logits, x_in, gates, y_in,
    w_d, x_weight, x_bias, w_g, g_weight, g_bias, w_h, y_weight, y_bias, w_l,
    d_u, d_x_norm, d_gates, d_g_norm, d_v, d_y_norm, d_logits, h_past, d_past, d_h_past, d_d_past,
    sizes, unimix, H: tl.constexpr, S: tl.constexpr, C: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Writes the gradients of what the products and the normalisations give.

    ``h_past`` and ``d_past`` get the states before every step, [M, ...]; ``d_h_past`` and
    ``d_d_past``, which come as zeros, the gradients of those before the first, [R, ...].
    """
    first = tl.program_id(0) * ROWS
    row, k = first + tl.arange(0, ROWS), tl.arange(0, H)
    L: tl.constexpr = S * C
    steps = _count_steps(sizes, first, T)
    t_all = tl.arange(0, T)
    start = tl.sum(tl.where(t_all < steps, tl.load(sizes + t_all), 0), 0)
    for back in tl.range(0, steps, disable_licm=True):
        t = steps - 1 - back
        size, size_before = tl.load(sizes + t), tl.load(sizes + tl.maximum(t - 1, 0))
        start -= size
        real, now = row < size, start + row
        h_before = tl.where(t > 0, h + (now - size_before) * H, h_start + row * 0)
        d_before = tl.where(t > 0, d + (now - size_before) * L, d_start + row * 0)
        _store(d_past + now * L, real, _load(d_before, real, L), L)

        # A draw passes its gradient on to the probabilities.
        shares = _softmax(_load(logits + now * L, real, L), S, C)
        d_drawn = _load(d_d + now * L, real, L) + _load(d_d_past + row * L, real, L)
        d_shares = (1 - unimix) * tl.reshape(d_drawn, [ROWS, S, C])
        d_shares = shares * (d_shares - tl.sum(d_shares * shares, 2)[:, :, None])
        total = tl.reshape(d_shares, [ROWS, L]) + _load(d_l + now * L, real, L)
        _store(d_logits + now * L, real, total, L)
        tl.debug_barrier()

        total = tl.zeros([ROWS, H], tl.float32)
        total = _product(total, d_logits + now * L, real, w_l + k, H, L)
        total, d_norm = _layer_back(total, _load(y_in + now * H, real, H), y_weight, y_bias, H)
        _store(d_v + now * H, real, total, H)
        _store(d_y_norm + now * H, real, d_norm, H)
        tl.debug_barrier()

        d_new = _load(d_h + now * H, real, H) + _load(d_h_past + row * H, real, H)
        d_new = _product(d_new, d_v + now * H, real, w_h + k, H, H)
        r, c, z, scale = _three_normal(gates + now * (3 * H), real, H)
        reset, inner, update = _gates(r, c, z, g_weight, g_bias, H)
        candidate = _tanh(reset * inner)
        past = _load(h_before, real, H)
        _store(h_past + now * H, real, past, H)
        _store(d_h_past + row * H, real, d_new * (1 - update), H)
        d_z = d_new * (candidate - past) * update * (1 - update)
        d_c = d_new * update * (1 - candidate * candidate)
        d_r = d_c * inner * reset * (1 - reset)
        d_c *= reset
        place = d_g_norm + now * (3 * H)
        _store(place, real, d_r, H)
        _store(place + H, real, d_c, H)
        _store(place + 2 * H, real, d_z, H)
        d_r *= tl.load(g_weight + k)[None, :]
        d_c *= tl.load(g_weight + H + k)[None, :]
        d_z *= tl.load(g_weight + 2 * H + k)[None, :]
        mean = ((tl.sum(d_r, 1) + tl.sum(d_c, 1) + tl.sum(d_z, 1)) / (3 * H))[:, None]
        along = tl.sum(d_r * r, 1) + tl.sum(d_c * c, 1) + tl.sum(d_z * z, 1)
        along = (along / (3 * H))[:, None]
        place = d_gates + now * (3 * H)
        _store(place, real, scale * (d_r - mean - along * r), H)
        _store(place + H, real, scale * (d_c - mean - along * c), H)
        _store(place + 2 * H, real, scale * (d_z - mean - along * z), H)
        tl.debug_barrier()

        total = _load(d_h_past + row * H, real, H)
        total = _product(total, place, real, w_g + H + k, 2 * H, 3 * H)
        _store(d_h_past + row * H, real, total, H)
        total = tl.zeros([ROWS, H], tl.float32)
        total = _product(total, place, real, w_g + k, 2 * H, 3 * H)
        total, d_norm = _layer_back(total, _load(x_in + now * H, real, H), x_weight, x_bias, H)
        _store(d_u + now * H, real, total, H)
        _store(d_x_norm + now * H, real, d_norm, H)
        tl.debug_barrier()

        columns = tl.arange(0, L)
        total = tl.zeros([ROWS, L], tl.float32)
        total = _product(total, d_u + now * H, real, w_d + columns, L, H)
        _store(d_d_past + row * L, real, total, L)
        tl.debug_barrier()


# As operators of torch ---------------------------------------------------------------------------


def _padded(sizes: Sequence[int], device: torch.device) -> Tensor:
    """The sizes as the kernels read them: zeros up to a power of two, the same for most maps."""
    padding = max(512, triton.next_power_of_2(len(sizes))) - len(sizes)
    return send(torch.tensor([*sizes, *[0] * padding], dtype=torch.int32), device)


@torch.library.custom_op("r3dm::posterior_scan", mutates_args=())
def _forward(
    u: Tensor,
    v: Tensor,
    uniforms: Tensor,
    h_start: Tensor,
    d_start: Tensor,
    weights: Sequence[Tensor],
    sizes: Sequence[int],
    unimix: float,
) -> list[Tensor]:
    outputs = _outputs(u, v, uniforms, h_start, d_start, weights, sizes, unimix)
    sizes_, variables = _padded(sizes, u.device), uniforms.shape[1]
    _scan[(triton.cdiv(sizes[0], ROWS.value),)](
        *(one.contiguous() for one in (u, v, uniforms, h_start, d_start)),
        *outputs,
        *(weight.contiguous() for weight in weights),
        sizes_,
        unimix,
        H=u.shape[1],
        S=variables,
        C=len(d_start) // variables,
        T=len(sizes_),
        **LAUNCH,
    )
    return outputs


@_forward.register_fake
def _outputs(u, v, uniforms, h_start, d_start, weights, sizes, unimix):
    width = u.shape[1]
    columns = [width, len(d_start), len(d_start), width, width, 3 * width, width, width]
    return [u.new_empty(len(u), column) for column in columns]


@torch.library.custom_op("r3dm::posterior_scan_back", mutates_args=())
def _backward(
    gradients: Sequence[Tensor],
    saved: Sequence[Tensor],
    weights: Sequence[Tensor],
    sizes: Sequence[int],
    variables: int,
    unimix: float,
) -> list[Tensor]:
    outputs = _back_outputs(gradients, saved, weights, sizes, variables, unimix)
    h_start, d_start, *_ = saved
    sizes_ = _padded(sizes, h_start.device)
    _scan_back[(triton.cdiv(sizes[0], ROWS.value),)](
        *(one.contiguous() for one in (*gradients, *saved, *weights)),
        *outputs,
        sizes_,
        unimix,
        H=len(h_start),
        S=variables,
        C=len(d_start) // variables,
        T=len(sizes_),
        **LAUNCH,
    )
    return outputs


@_backward.register_fake
def _back_outputs(gradients, saved, weights, sizes, variables, unimix):
    d_h, d_d, _ = gradients
    (rows, width), latent = d_h.shape, d_d.shape[1]
    columns = [width, width, 3 * width, 3 * width, width, width, latent, width, latent]
    outputs = [d_h.new_empty(rows, column) for column in columns]
    return [*outputs, d_h.new_zeros(sizes[0], width), d_h.new_zeros(sizes[0], latent)]


def _save(ctx, inputs, output):
    _, _, uniforms, h_start, d_start, weights, sizes, unimix = inputs
    ctx.save_for_backward(h_start, d_start, *output, *weights)
    ctx.settings = sizes, uniforms.shape[1], unimix
    ctx.set_materialize_grads(False)


def _gradients(ctx, d_outputs):
    h_start, d_start, h, d, logits, x_in, x, gates, y_in, y, *weights = ctx.saved_tensors
    of_states = zip(d_outputs, (h, d, logits), strict=False)
    d_states = [torch.zeros_like(one) if grad is None else grad for grad, one in of_states]
    saved = [h_start, d_start, h, d, logits, x_in, gates, y_in]
    d_u, d_x_norm, d_gates, d_g_norm, d_v, d_y_norm, d_logits, h_past, d_past, *d_start_rows = (
        _backward(d_states, saved, weights[:-1], *ctx.settings)
    )
    d_weights = [
        d_u.t() @ d_past,
        *_norm_gradients(x_in, d_x_norm),
        torch.cat([d_gates.t() @ x, d_gates.t() @ h_past], dim=1),
        *_norm_gradients(gates, d_g_norm),
        d_v.t() @ h,
        *_norm_gradients(y_in, d_y_norm),
        d_logits.t() @ y,
        d_logits.sum(0),
    ]
    return d_u, d_v, None, *(rows.sum(0) for rows in d_start_rows), d_weights, None, None


def _norm_gradients(x: Tensor, d_y: Tensor) -> tuple[Tensor, Tensor]:
    """Of the weight and the bias in y = LN(x)."""
    return (F.layer_norm(x, x.shape[1:], eps=EPS.value) * d_y).sum(0), d_y.sum(0)


_forward.register_autograd(_gradients, setup_context=_save)


def posterior_scan(
    u: Tensor,
    v: Tensor,
    uniforms: Tensor,
    h_start: Tensor,
    d_start: Tensor,
    weights: Sequence[Tensor],
    sizes: Sequence[int],
    unimix: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The states after every step.

    Args:
        u, v: what action and role, and what the observation give, [M, H].
        uniforms: uniform in [0, 1), one per draw, [M, S].
        h_start, d_start: before the first step, of all rows, [H] and [S C].
        weights: W_d, its normalisation's weight and bias, W_g and its, W_h and its, W_l, b_l.
        sizes: rows of every step, longest first.
        unimix: uniform share of every class's probability.

    Returns:
        h [M, H], d [M, S C] and l [M, S C].
    """
    h, d, logits, *_ = _forward(u, v, uniforms, h_start, d_start, list(weights), sizes, unimix)
    return h, d, logits
