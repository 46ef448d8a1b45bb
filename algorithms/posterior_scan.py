"""The world model's recurrence over observed steps, compiled for the CPU.

For every row (an agent of an episode) and step, with the latent d and the memory h of the step
before, and with LN for layer normalisation:

    f = silu(LN(W_d d + from_input))                       what the memory reads
    reset, candidate, update = LN(W_c [f ; h])
    c = tanh(sigmoid(reset) * candidate),  u = sigmoid(update - 1)
    h' = u c + (1 - u) h
    g = silu(LN(W_h h' + from_obs))
    P = 0.99 softmax(W_p g + b_p) + 0.01 / C               of each latent's C classes
    d' ~ P, straight-through: its gradient is that of P

``world_model.py`` writes the same in plain torch, which CUDA uses. There each step takes some
thirty operations forwards and sixty backwards, and adds up every weight's gradient step by step.
Here a step costs four matrix products and four compiled passes either way, W_d d is a sum of the
drawn columns, and each weight's gradient is one product over all steps at once.

Shapes: R rows of a step, M rows of all steps together (packing.py), H memory, S latents, C classes.
"""

import numpy as np
import torch
from numba import njit
from torch.autograd.function import once_differentiable
from torch.nn.functional import one_hot

from algorithms.compiled import compiled, expm1, sigmoid, steps_of, tanh

#: Sums may be reordered, which vectorises them; nothing else in them is sensitive.
_summed = njit(error_model="numpy", fastmath={"contract", "nsz", "reassoc"}, nogil=True, cache=True)
#: A maximum can be vectorised too, where NaN needs no place in the order.
_greatest = njit(error_model="numpy", fastmath={"nnan", "nsz"}, nogil=True, cache=True)

NORM_EPS = 1e-3  #: of every layer normalisation of the model, on CUDA too
_EPS = np.float32(NORM_EPS)
_ONE = np.float32(1)


class PosteriorScan(torch.autograd.Function):
    """The recurrence above, and its gradient.

    Arguments: from_input [M, H], from_obs [M, H], noise [M, S], memory [R, H] and latent [R, S C]
    before the first step, W_d [H, S C], scale and shift of the first LN, W_c [3 H, 2 H], those of
    its LN, W_h [H, H], those of its LN, W_p [S C, H], b_p [S C], the rows of every step, and the
    uniform share.

    Returns: memory [M, H], latent [M, S C] (one-hot), probabilities [M, S, C].
    """

    @staticmethod
    def forward(
        ctx,
        from_input,
        from_obs,
        noise,
        memory,
        latent,
        w_latent,
        scale_in,
        shift_in,
        w_cell,
        scale_cell,
        shift_cell,
        w_memory,
        scale_out,
        shift_out,
        w_probs,
        b_probs,
        sizes,
        unimix,
    ):
        total, size = from_input.shape
        rows, latents = memory.shape[0], noise.shape[1]
        classes = latent.shape[1] // latents
        new = from_input.new_empty
        drawn = torch.empty(rows + total, latents, dtype=torch.int64)  # classes, before and after
        drawn[:rows] = latent.view(rows, latents, classes).argmax(-1)
        codes = new(rows + total, latents * classes)  # the same, one-hot
        codes[:rows] = one_hot(drawn[:rows], classes).flatten(1)
        memories = new(rows + total, size)
        memories[:rows] = memory
        seen = new(total, 2 * size)  # [f ; h]
        normed_in, normed_cell, normed_out = (
            new(total, size),
            new(total, 3 * size),
            new(total, size),
        )
        deviation = new(3, total)  # 1 / standard deviation in each LN
        gates, features = new(total, 3 * size), new(total, size)  # sigmoid(reset), c, u; g
        probs = new(total, latents * classes)
        product = new(rows, 3 * size)
        columns = w_latent.t().contiguous().numpy()  # [S C, H]
        w_cell_t, w_memory_t, w_probs_t = (w.t().contiguous() for w in (w_cell, w_memory, w_probs))
        a = [each.numpy() for each in (scale_in, shift_in, scale_cell, shift_cell)]
        b = [each.numpy() for each in (scale_out, shift_out, b_probs)]
        arrays = (drawn, memories, seen, normed_in, normed_cell, normed_out, gates, features, probs)
        drawn_, memories_, seen_, in_, cell_, out_, gates_, features_, probs_ = (
            each.numpy() for each in arrays
        )
        codes_, noise_ = codes.numpy(), noise.numpy()
        from_input_, deviation_, product_ = (
            each.numpy() for each in (from_input, deviation, product)
        )
        for now, before, after in steps_of(rows, sizes):
            count = now.stop - now.start
            wide, narrow = product[:count], product.view(-1)[: count * size].view(count, size)
            _gather(columns, drawn_[before], from_input_[now], seen_[now], memories_[before])
            _norm_silu(seen_[now, :size], in_[now], deviation_[0, now], a[0], a[1], seen_[now])
            torch.mm(seen[now], w_cell_t, out=wide)
            _norm(product_[:count], cell_[now], deviation_[1, now])
            _remember(cell_[now], a[2], a[3], gates_[now], memories_[before], memories_[after])
            torch.mm(memories[after], w_memory_t, out=narrow)
            narrow += from_obs[now]
            _norm_silu(narrow.numpy(), out_[now], deviation_[2, now], b[0], b[1], features_[now])
            torch.mm(features[now], w_probs_t, out=probs[now])
            _draw(probs_[now], b[2], noise_[now], unimix, drawn_[after], codes_[after])
        ctx.save_for_backward(
            w_latent, scale_in, shift_in, w_cell, scale_cell, shift_cell, w_memory, scale_out,
            shift_out, w_probs, codes, memories, seen, normed_in, normed_cell, normed_out,
            deviation, gates, features, probs,
        )  # fmt: skip
        ctx.sizes, ctx.unimix, ctx.latents = sizes, unimix, latents
        return memories[rows:], codes[rows:], probs.view(total, latents, classes)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_memory, d_latent, d_probs):
        (
            w_latent, scale_in, shift_in, w_cell, scale_cell, shift_cell, w_memory, scale_out,
            shift_out, w_probs, codes, memories, seen, normed_in, normed_cell, normed_out,
            deviation, gates, features, probs,
        ) = ctx.saved_tensors  # fmt: skip
        total, size = features.shape
        rows = len(memories) - total
        width = probs.shape[1]
        steps = steps_of(rows, ctx.sizes)
        new = features.new_empty
        d_logits, d_out, d_parts, d_in = (
            new(total, width),
            new(total, size),
            new(total, 3 * size),
            new(total, size),
        )
        # Gradients of scales and shifts, one row per step: in, out, cell.
        d_norms = features.new_zeros(len(steps), 2, 5 * size)
        d_hidden, d_drawn = features.new_zeros(rows, size), features.new_zeros(rows, width)
        d_features, d_seen = new(rows, size), new(rows, 2 * size)
        d_memory, d_latent = d_memory.contiguous(), d_latent.contiguous()
        d_probs = d_probs.reshape(total, width)
        scales = [
            each.numpy()
            for each in (scale_in, shift_in, scale_out, shift_out, scale_cell, shift_cell)
        ]
        arrays = (memories, normed_in, normed_cell, normed_out, deviation, gates, probs)
        memories_, in_, cell_, out_, deviation_, gates_, probs_ = (each.numpy() for each in arrays)
        arrays = (d_logits, d_out, d_parts, d_in, d_norms, d_hidden, d_drawn, d_features, d_seen)
        d_logits_, d_out_, d_parts_, d_in_, d_norms_, d_hidden_, d_drawn_, d_features_, d_seen_ = (
            each.numpy() for each in arrays
        )
        d_latent_, d_probs_ = d_latent.numpy(), d_probs.numpy()
        for t, (now, before, _) in reversed(list(enumerate(steps))):
            count = now.stop - now.start
            _draw_back(
                probs_[now],
                d_probs_[now],
                d_latent_[now],
                d_drawn_[:count],
                ctx.latents,
                ctx.unimix,
                d_logits_[now],
            )
            torch.mm(d_logits[now], w_probs, out=d_features[:count])
            _norm_silu_back(
                d_features_[:count], out_[now], deviation_[2, now], scales[2], scales[3],
                d_out_[now], d_norms_[t, :, size : 2 * size],
            )  # fmt: skip
            d_hidden[:count].add_(d_memory[now]).addmm_(d_out[now], w_memory)
            _remember_back(
                d_hidden_[:count], cell_[now], deviation_[1, now], gates_[now], memories_[before],
                scales[4], scales[5], d_parts_[now], d_norms_[t, :, 2 * size :],
            )  # fmt: skip
            torch.mm(d_parts[now], w_cell, out=d_seen[:count])
            d_hidden[:count] += d_seen[:count, size:]
            _norm_silu_back(
                d_seen_[:count, :size], in_[now], deviation_[0, now], scales[0], scales[1],
                d_in_[now], d_norms_[t, :, :size],
            )  # fmt: skip
            torch.mm(d_in[now], w_latent, out=d_drawn[:count])
        befores = torch.cat([codes[before] for _, before, _ in steps])
        d_scale, d_shift = d_norms.sum(0)
        norms = [
            (d_scale[part], d_shift[part])
            for part in (slice(size), slice(2 * size, None), slice(size, 2 * size))
        ]
        return (
            d_in, d_out, None, d_hidden, d_drawn,
            d_in.t() @ befores, *norms[0],
            d_parts.t() @ seen, *norms[1],
            d_out.t() @ memories[rows:], *norms[2],
            d_logits.t() @ features, d_logits.sum(0),
            None, None,
        )  # fmt: skip


@compiled
def _gather(columns, drawn, from_input, seen, memory):
    """seen = [W_d d + from_input ; h] for one-hot d, row by row."""
    size = memory.shape[1]
    classes = columns.shape[0] // drawn.shape[1]
    for row in range(memory.shape[0]):
        into, first, h = seen[row, :size], from_input[row], memory[row]
        for j in range(size):
            into[j] = first[j]
        for latent in range(drawn.shape[1]):
            column = columns[latent * classes + drawn[row, latent]]
            for j in range(size):
                into[j] += column[j]
        into = seen[row, size:]
        for j in range(size):
            into[j] = h[j]


@_summed
def _sum(x):
    total = np.float32(0)
    for j in range(x.shape[0]):
        total += x[j]
    return total


@_summed
def _dot(x, y):
    total = np.float32(0)
    for j in range(x.shape[0]):
        total += x[j] * y[j]
    return total


@_greatest
def _max(x):
    top = x[0]
    for j in range(1, x.shape[0]):
        top = max(top, x[j])
    return top


@compiled
def _norm(x, normed, deviation):
    """Every row of ``normed`` is that of ``x`` with mean 0 and deviation 1."""
    size = np.float32(x.shape[1])
    for row in range(x.shape[0]):
        into, values = normed[row], x[row]
        mean = _sum(values) / size
        for j in range(values.shape[0]):
            into[j] = values[j] - mean
        scale = _ONE / np.sqrt(_dot(into, into) / size + _EPS)
        deviation[row] = scale
        for j in range(values.shape[0]):
            into[j] *= scale


@compiled
def _norm_silu(x, normed, deviation, scale, shift, out):
    """silu(scale * norm(x) + shift) into the first columns of ``out``."""
    _norm(x, normed, deviation)
    for row in range(x.shape[0]):
        into, values = out[row], normed[row]
        for j in range(values.shape[0]):
            y = values[j] * scale[j] + shift[j]
            into[j] = y * sigmoid(y)


@compiled
def _norm_back(d_y, normed, deviation, scale, d_norm):
    """The gradient through scale, shift and norm of one row, in place; adds to theirs."""
    size = np.float32(d_y.shape[0])
    d_scale, d_shift = d_norm[0], d_norm[1]
    for j in range(d_y.shape[0]):
        d_scale[j] += d_y[j] * normed[j]
    for j in range(d_y.shape[0]):
        d_shift[j] += d_y[j]
    for j in range(d_y.shape[0]):
        d_y[j] *= scale[j]
    mean, slope = _sum(d_y) / size, _dot(d_y, normed) / size
    for j in range(d_y.shape[0]):
        d_y[j] = deviation * (d_y[j] - mean - normed[j] * slope)


@compiled
def _norm_silu_back(d_out, normed, deviation, scale, shift, d_x, d_norm):
    """The gradient of ``_norm_silu``."""
    for row in range(d_x.shape[0]):
        into, values, d = d_x[row], normed[row], d_out[row]
        for j in range(values.shape[0]):
            y = values[j] * scale[j] + shift[j]
            s = sigmoid(y)
            into[j] = d[j] * s * (_ONE + y * (_ONE - s))
        _norm_back(into, values, deviation[row], scale, d_norm)


@compiled
def _remember(normed, scale, shift, gates, memory, after):
    """The gates and the new memory of every row."""
    size = memory.shape[1]
    for row in range(memory.shape[0]):
        y, h, new = normed[row], memory[row], after[row]
        r, c, u = gates[row, :size], gates[row, size : 2 * size], gates[row, 2 * size :]
        for j in range(size):
            r[j] = sigmoid(y[j] * scale[j] + shift[j])
        for j in range(size):
            c[j] = tanh(r[j] * (y[size + j] * scale[size + j] + shift[size + j]))
        for j in range(size):
            u[j] = sigmoid(y[2 * size + j] * scale[2 * size + j] + shift[2 * size + j] - _ONE)
        for j in range(size):
            new[j] = h[j] + u[j] * (c[j] - h[j])


@compiled
def _remember_back(d_hidden, normed, deviation, gates, memory, scale, shift, d_parts, d_norm):
    """The gradient of ``_norm`` and ``_remember``; ``d_hidden`` leaves with the part kept in h."""
    size = memory.shape[1]
    for row in range(memory.shape[0]):
        y, h, d_h = normed[row], memory[row], d_hidden[row]
        r, c, u = gates[row, :size], gates[row, size : 2 * size], gates[row, 2 * size :]
        d_all = d_parts[row]
        d_r, d_c, d_u = d_all[:size], d_all[size : 2 * size], d_all[2 * size :]
        for j in range(size):
            d_u[j] = d_h[j] * (c[j] - h[j]) * u[j] * (_ONE - u[j])
        for j in range(size):
            d_c[j] = d_h[j] * u[j] * (_ONE - c[j] * c[j])
        for j in range(size):
            candidate = y[size + j] * scale[size + j] + shift[size + j]
            d_r[j] = d_c[j] * candidate * r[j] * (_ONE - r[j])
        for j in range(size):
            d_c[j] *= r[j]
        for j in range(size):
            d_h[j] *= _ONE - u[j]
        _norm_back(d_all, y, deviation[row], scale, d_norm)


@compiled
def _draw(logits, bias, noise, unimix, drawn, latent):
    """Turns logits into probabilities in place, and draws one class of every latent."""
    latents, width = noise.shape[1], bias.shape[0]
    classes = width // latents
    share, kept = np.float32(unimix / classes), np.float32(1 - unimix)
    for row in range(noise.shape[0]):
        p, codes = logits[row], latent[row]
        for j in range(width):
            p[j] += bias[j]
        for k in range(latents):
            one = p[k * classes : (k + 1) * classes]
            top = _max(one)
            for j in range(classes):
                one[j] -= top
        for j in range(width):
            p[j] = expm1(p[j]) + _ONE
        for k in range(latents):
            one = p[k * classes : (k + 1) * classes]
            factor = kept / _sum(one)
            for j in range(classes):
                one[j] = one[j] * factor + share
        for j in range(width):
            codes[j] = 0
        for k in range(latents):
            one = p[k * classes : (k + 1) * classes]
            below, chosen, lot = np.float32(0), classes - 1, noise[row, k]
            for j in range(classes):
                below += one[j]
                if below > lot:
                    chosen = j
                    break
            drawn[row, k] = chosen
            codes[k * classes + chosen] = _ONE


@compiled
def _draw_back(probs, d_probs, d_latent, d_carried, latents, unimix, d_logits):
    """The gradient of ``_draw``; probabilities get it directly and through what was drawn."""
    width = probs.shape[1]
    classes = width // latents
    share, kept = np.float32(unimix / classes), np.float32(1 - unimix)
    for row in range(probs.shape[0]):
        p, d, d_p, d_l, d_c = probs[row], d_logits[row], d_probs[row], d_latent[row], d_carried[row]
        for j in range(width):
            d[j] = d_p[j] + d_l[j] + d_c[j]
        for k in range(latents):
            part = slice(k * classes, (k + 1) * classes)
            one, d_one = p[part], d[part]
            total = _dot(d_one, one) - share * _sum(d_one)  # kept * sum of softmax * gradient
            for j in range(classes):
                d_one[j] = (one[j] - share) * (d_one[j] - total / kept)
