"""Batches drawn from a store: windows cut, worn and labelled on the device, all at once.

The labels are those of `windows.Window`, which says in plain loops what is meant; the tests compare
the two.
"""

import numpy as np
import torch

from wear import coloured, worn
from windows import PATCH, SLOTS, UNSURE

SMALLEST = 3.2
"""Print with small letters lower than this many px is not taught: it cannot be read."""


def spread(count):
    """For rows of `count` items each: the row of every item, and its number in the row."""
    row = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    first = count.cumsum(0) - count
    return row, torch.arange(len(row), device=count.device) - first[row]


class Frames:
    """Where the windows of a batch lie: `page` `[b]`, `scale` `[b, 2]` window px a page px (across,
    down), `corner` `[b, 2]` left and top in scaled px, `tilt` `[b]`."""

    def __init__(self, store, page, scale, corner, tilt, rows, columns):
        self.store, self.page, self.scale, self.corner, self.tilt = store, page, scale, corner, tilt
        self.rows, self.columns = rows, columns
        self.wide, self.high = columns * PATCH, rows * PATCH
        self.place = store.places[page]

    @staticmethod
    def draw(store, rng, count, rows, columns, zoomed=0.35, small=0.12, tilted=0.25):
        """Windows around a word each. `zoomed` are drawn larger or squeezed, `small` like overviews."""
        page = store.draw(rng, count)
        roll = rng.random(count)
        zoom = np.where(roll < zoomed, np.exp(rng.uniform(-0.2, 1.0, count)), 1.0)
        turn = np.where(roll < zoomed, np.exp(rng.uniform(-0.35, 0.35, count)), 1.0)
        over = (roll >= zoomed) & (roll < zoomed + small)
        zoom = np.where(over, np.exp(rng.uniform(-1.0, -0.3, count)), zoom)
        turn = np.where(over, np.exp(rng.uniform(-0.2, 0.2, count)), turn)
        tilt = np.where(rng.random(count) < tilted, rng.uniform(-0.012, 0.012, count), 0.0)
        numbers = np.stack([zoom * turn, zoom / turn, tilt, *rng.random((3, count))]).astype(np.float32)
        sx, sy, tilt, word, x, y = torch.from_numpy(numbers).to(store.device)
        page = torch.from_numpy(page).to(store.device)
        place = store.places[page]
        first, words = place[:, 3], place[:, 4] - place[:, 3]
        word = first + (word * words).long().clamp(max=words - 1)
        baseline, _, left, right = store.fields["word_band"][word].T
        wide, high = columns * PATCH, rows * PATCH
        slack_x = place[:, 2] * sx - wide
        slack_y = place[:, 1] * sy - high
        zero = torch.zeros_like(sx)
        left = (0.5 * (left + right) * sx - x * wide).maximum(slack_x.minimum(zero)).minimum(slack_x.maximum(zero))
        top = (baseline * sy - y * high).maximum(slack_y.minimum(zero)).minimum(slack_y.maximum(zero))
        return Frames(store, page, torch.stack([sx, sy], 1), torch.stack([left, top], 1).floor(), tilt, rows, columns)

    def pictures(self):
        """`[b, high, wide]` f32 grey, 0 to 255."""
        plain = ((self.scale - 1).abs().amax(1) < 1e-6) & (self.tilt == 0)
        step = 1 / self.scale.amin(1)
        out = torch.empty(len(self.page), self.high, self.wide, device=self.store.device)
        # One sample a px where that is exact, four or nine where print becomes smaller.
        for chosen, taps in ((plain, 0), (~plain & (step < 1.25), 1), (~plain & (step >= 1.25), 2)):
            index = chosen.nonzero()[:, 0]
            if len(index):
                out[index] = self.gather(index, taps)
        return out

    def gather(self, index, taps):
        pixels, device = self.store.fields["pixels"], self.store.device
        start, height, width = (v[:, None, None] for v in self.place[index, :3].T)
        left, top = (v[:, None, None] for v in self.corner[index].T)
        across, down = (v[:, None, None] for v in self.scale[index].T)
        tilt = self.tilt[index][:, None, None]
        y = torch.arange(self.high, device=device)[None, :, None]
        x = torch.arange(self.wide, device=device)[None, None, :]

        def at(row, column):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            return torch.where(inside, pixels[(start + row * width + column).clamp(0, len(pixels) - 1)], 255).float()

        if taps == 0:
            return at(y + top.long(), x + left.long())
        total = 0
        for i in range(taps):
            for j in range(taps):
                yy, xx = y + (i + 0.5) / taps, x + (j + 0.5) / taps
                # Print sinks to the right where the tilt is positive.
                px = (xx + left + tilt * (yy - self.high / 2)) / across - 0.5
                py = (yy + top - tilt * (xx - self.wide / 2)) / down - 0.5
                px0, py0 = px.floor(), py.floor()
                fx, fy = px - px0, py - py0
                c, r = px0.long(), py0.long()
                upper = at(r, c) * (1 - fx) + at(r, c + 1) * fx
                lower = at(r + 1, c) * (1 - fx) + at(r + 1, c + 1) * fx
                total = total + upper * (1 - fy) + lower * fy
        return total / taps**2

    def boxes(self, target, window, a, b, c, d):
        """Sets `target` `[b * n]` to UNSURE under boxes (left, top, right, bottom in window px)."""
        c0, c1 = (a // PATCH).clamp(min=0).long(), (c // PATCH + 1).clamp(max=self.columns).long()
        r0, r1 = (b // PATCH).clamp(min=0).long(), (d // PATCH + 1).clamp(max=self.rows).long()
        wide, high = (c1 - c0).clamp(min=0), (r1 - r0).clamp(min=0)
        box, number = spread(wide * high)
        across = wide[box]
        target[(window[box] * self.rows + r0[box] + number // across) * self.columns + c0[box] + number % across] = UNSURE

    def words(self):
        """Words that the windows show: window, word, baseline, height, shift of x."""
        window, number = spread(self.place[:, 4] - self.place[:, 3])
        word = self.place[window, 3] + number
        baseline, small, left, right = self.store.fields["word_band"][word].T
        across, down = self.scale[window].T
        left, right = left * across - self.corner[window, 0], right * across - self.corner[window, 0]
        small = small * down
        low = baseline * down - self.corner[window, 1] + self.tilt[window] * ((left + right) / 2 - self.wide / 2)
        shift = -self.tilt[window] * (low - small / 2 - self.high / 2)
        keep = (low >= -small) & (low - small <= self.high) & (right + shift >= 0) & (left + shift <= self.wide)
        return [v[keep] for v in (window, word, low, small, shift, left + shift, right + shift)]


class Batch:
    """The labels of `windows.Window` and the queries made of the windows' words, as tensors.

    `pixels` `[b, n, 588]` u8, `at` `[b, n]`, `strong` `[b, n, 2]`, `weak` `[b, n]`, `slots` `[b, n, 4]`,
    `ids`, `real`, `keys`, `stop` `[queries, longest]`; `words` is how many words the windows show.
    """

    def __init__(self, frames, rng, side, wear=True, longest=24):
        store, rows, columns = frames.store, frames.rows, frames.columns
        count, n, device = len(frames.page), rows * columns, store.device
        pictures = frames.pictures()
        if wear:
            pictures = worn(pictures, rng)
        self.pixels = coloured(pictures, rng, wear).view(count, 3, rows, PATCH, columns, PATCH).permute(
            0, 2, 4, 1, 3, 5).reshape(count, n, 3 * PATCH * PATCH)
        corner = rng.integers(0, [side - rows + 1, side - columns + 1], (count, 2))
        r0, c0 = torch.from_numpy(corner).to(device).T[:, :, None, None]
        grid_r, grid_c = torch.arange(rows, device=device)[:, None], torch.arange(columns, device=device)
        self.at = ((r0 + grid_r) * side + c0 + grid_c).reshape(count, n)
        self.label(frames, count * n)
        self.strong, self.weak = self.strong.view(count, n, 2), self.weak.view(count, n)
        self.slots = self.slots.view(count, n, SLOTS)
        self.ask(frames, rng, longest)

    def label(self, frames, patches):
        store, rows, columns, device = frames.store, frames.rows, frames.columns, frames.store.device
        unsure = torch.zeros(patches, dtype=torch.int64, device=device)
        window, number = spread(frames.place[:, 6] - frames.place[:, 5])
        box = store.fields["hidden"][frames.place[window, 5] + number]
        across, down = frames.scale[window].T
        left, top = frames.corner[window].T
        frames.boxes(unsure, window, box[:, 0] * across - left, box[:, 1] * down - top,
                     box[:, 2] * across - left, box[:, 3] * down - top)
        window, word, low, small, shift, left, right = frames.words()
        tiny = small < SMALLEST
        frames.boxes(unsure, window[tiny], left[tiny], (low - 1.5 * small)[tiny], right[tiny], (low + 0.5 * small)[tiny])
        window, word, low, small, shift = (v[~tiny] for v in (window, word, low, small, shift))
        high, centre = low - small, low - small / 2
        # The rows of patches that hold the small letters, and those that hold the rest.
        own0 = (high // PATCH).clamp(min=0).long()
        own1 = (low // PATCH + 1).clamp(max=rows).long()
        all0 = ((high - 0.6 * small) // PATCH).clamp(min=0).long()
        all1 = ((low + 0.4 * small) // PATCH + 1).clamp(max=rows).long()

        def is_own(row, of):
            middle = (row + 0.5) * PATCH
            inside = (row == (centre[of] // PATCH).long()) | ((high[of] <= middle) & (middle <= low[of]))
            return inside & (row >= own0[of]) & (row < own1[of])

        of, number = spread((own1 - own0).clamp(min=0))
        has_own = torch.zeros(len(word), dtype=torch.bool, device=device)
        mine = is_own(own0[of] + number, of)
        has_own[of[mine]] = True

        # Pieces, then their columns, then their rows.
        parts = store.fields["word_parts"][word]
        of, number = spread(parts[:, 1] - parts[:, 0])
        piece = parts[of, 0] + number
        across, corner = frames.scale[window[of], 0], frames.corner[window[of], 0]
        a, b = store.fields["piece_edges"][piece].T
        a, b = a * across - corner + shift[of], b * across - corner + shift[of]
        inside = b.clamp(max=frames.wide) - a.clamp(min=0)
        whole = (inside >= 0.6 * (b - a)) & has_own[of]
        part = ~whole & (inside > 0)
        frames.boxes(unsure, window[of[part]], a[part], high[of[part]], b[part], low[of[part]])
        seen = torch.zeros(len(word), dtype=torch.bool, device=device)
        seen[of[whole]] = True
        self.seen = (window[seen], word[seen])
        of, piece, a, b = of[whole], piece[whole], a[whole], b[whole]
        key = store.fields["piece_ids"][piece, 1]
        c0 = (a // PATCH).clamp(min=0).long()
        c1 = ((b - 0.01) // PATCH).clamp(max=columns - 1).long()
        item, number = spread((c1 - c0 + 1).clamp(min=0))
        column = c0[item] + number
        overlap = b[item].minimum((column + 1.0) * PATCH) - a[item].maximum(column * 1.0 * PATCH)
        best = torch.zeros(len(piece), device=device).scatter_reduce(0, item, overlap, "amax")
        good = (overlap >= 5) | (overlap == best[item])
        cell, number = spread((all1 - all0).clamp(min=0)[of[item]])
        item, column, overlap, good = item[cell], column[cell], overlap[cell], good[cell]
        of, key = of[item], key[item]
        row = all0[of] + number
        mine = is_own(row, of)
        at = (window[of] * rows + row) * columns + column
        self.weak = torch.zeros(patches, dtype=torch.int64, device=device)
        self.weak.scatter_reduce_(0, at[~mine], key[~mine], "amax")
        self.weak = torch.where(unsure == UNSURE, UNSURE, self.weak)
        chosen = mine & good
        at, code = at[chosen], ((overlap[chosen] * 256).long() << 32) + key[chosen]
        none = torch.zeros(patches, dtype=torch.int64, device=device)
        first = none.scatter_reduce(0, at, code, "amax")
        second = none.scatter_reduce(0, at, torch.where(code == first[at], 0, code), "amax")
        self.strong = torch.stack([first, second], 1) & 0xFFFFFFFF

        # Letters, each in the slot that its middle lies in.
        of, number = spread(parts[:, 3] - parts[:, 2])
        letter = parts[of, 2] + number
        x = store.fields["letter_x"][letter] * frames.scale[window[of], 0] - frames.corner[window[of], 0] + shift[of]
        there = (x >= 0) & (x < frames.wide)
        of, x, kind = of[there], x[there], store.fields["letter_class"][letter][there]
        item, number = spread((own1 - own0).clamp(min=0)[of])
        row = own0[of[item]] + number
        mine = is_own(row, of[item])
        item, row = item[mine], row[mine]
        slot = (x[item] / PATCH * SLOTS).long()
        at = (window[of[item]] * rows + row) * columns * SLOTS + slot
        self.slots = torch.zeros(patches * SLOTS, dtype=torch.int64, device=device)
        self.slots.scatter_reduce_(0, at, kind[item], "amax")
        self.slots = self.slots.view(patches, SLOTS)
        self.slots[(self.weak == UNSURE) & (self.strong[:, 0] == 0)] = UNSURE

    def ask(self, frames, rng, longest):
        """Phrases of the words seen, in order or shuffled: mostly short, in some windows long."""
        store, device, count = frames.store, frames.store.device, len(frames.page)
        window, word = self.seen
        self.words = len(word)
        numbers = np.stack([rng.random(count) < 0.3, np.where(rng.random(count) < 0.75, 1 / 3, 1 / 12)])
        shuffled, cut = torch.from_numpy(numbers.astype(np.float32)).to(device)
        place = torch.where(shuffled[window] > 0, torch.rand(len(word), device=device),
                            torch.arange(len(word), device=device) / max(len(word), 1))
        order = (window + place.double() * 0.999).argsort()
        window, word = window[order], word[order]
        parts = store.fields["word_parts"][word]
        pieces = parts[:, 1] - parts[:, 0]
        begins = torch.rand(len(word), device=device) < cut[window]
        begins[1:] |= window[1:] != window[:-1]
        begins[:1] = True
        room = torch.where(cut[window] > 0.2, 10, longest - 6)
        # Cut again where a phrase would have more pieces than there is room for.
        shelf = before(pieces, begins) // room
        begins[1:] |= shelf[1:] != shelf[:-1]
        offset, line = before(pieces, begins), begins.cumsum(0) - 1
        of, number = spread(pieces)
        position = offset[of] + number
        keep = position < longest
        of, number, position = of[keep], number[keep], position[keep]
        piece = parts[of, 0] + number
        size = (int(line[-1]) + 1 if len(line) else 0, int(position.max()) + 1 if len(position) else 1)
        self.ids = torch.zeros(size, dtype=torch.int64, device=device)
        self.keys, self.stop = torch.zeros_like(self.ids), torch.zeros(size, dtype=torch.bool, device=device)
        where = (line[of], position)
        self.ids[where] = store.fields["piece_ids"][piece, 0]
        self.keys[where] = store.fields["piece_ids"][piece, 1]
        self.stop[where] = store.fields["word_stop"][word[of]]
        self.real = self.keys > 0


def before(sizes, begins):
    """Of each item, the sizes of those before it in its run; `begins` marks the first of a run."""
    total = sizes.cumsum(0) - sizes
    starts = total[begins]
    return total - starts[begins.cumsum(0) - 1]


class Sampler:
    """Draws one batch of about `patches` patches a call, its windows as high as one of `rows`."""

    def __init__(self, store, side, rows, columns, patches, seed, wear=True):
        self.store, self.side, self.rows, self.columns, self.patches = store, side, rows, columns, patches
        self.rng, self.wear = np.random.default_rng(seed), wear

    def __call__(self):
        rows = int(self.rng.choice(self.rows))
        count = max(self.patches // (rows * self.columns), 1)
        plain = {} if self.wear else {"zoomed": 0, "small": 0, "tilted": 0}
        frames = Frames.draw(self.store, self.rng, count, rows, self.columns, **plain)
        return Batch(frames, self.rng, self.side, self.wear)
