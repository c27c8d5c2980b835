"""What scanners, screens and JPEG do to print, on many windows at once."""

import math

import numpy as np
import torch
import torch.nn.functional as F

LUMINANCE = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""


def some(rng, count, share, device):
    """Indexes of about `share` of `count` windows."""
    return torch.from_numpy(np.flatnonzero(rng.random(count) < share)).to(device)


def numbers(rng, low, high, count, device):
    return torch.from_numpy(rng.uniform(low, high, count).astype(np.float32)).to(device)


def worn(x, rng):
    """`x` `[b, high, wide]` f32, 0 to 255: each kind of wear on some of the windows."""
    count, high, wide = x.shape
    device = x.device
    at = some(rng, count, 0.2, device)
    if len(at):
        factor = rng.uniform(0.7, 0.97)
        small = (max(round(high * factor), 8), max(round(wide * factor), 8))
        y = F.interpolate(x[at][:, None], small, mode="bicubic", antialias=True)
        x[at] = F.interpolate(y, (high, wide), mode="bicubic")[:, 0].clamp(0, 255)
    at = some(rng, count, 0.15, device)
    if len(at):
        x[at] = blurred(x[at], numbers(rng, 0.3, 0.9, len(at), device))
    at = some(rng, count, 0.12, device)
    if len(at):
        # PIL's SHARPEN.
        kernel = torch.full((1, 1, 3, 3), -2 / 16, device=device)
        kernel[0, 0, 1, 1] = 2
        x[at] = F.conv2d(F.pad(x[at][:, None], (1, 1, 1, 1), "replicate"), kernel)[:, 0].clamp(0, 255)
    at = some(rng, count, 0.05, device)
    if len(at):
        x[at] = -F.max_pool2d(-x[at][:, None], 3, 1, 1)[:, 0]
    at = some(rng, count, 0.1, device)
    if len(at):
        # Towards black and white, as copies are.
        middle, gain = numbers(rng, 100, 190, len(at), device), numbers(rng, 1, 5, len(at), device)
        x[at] = ((x[at] - middle[:, None, None]) * gain[:, None, None] + middle[:, None, None]).clamp(0, 255)
    at = some(rng, count, 0.25, device)
    if len(at):
        x[at] = jpeg(x[at], numbers(rng, 30, 85, len(at), device))
    return x


def blurred(x, sigma):
    """Gaussian of five px, each window with its own `sigma`."""
    offsets = torch.arange(-2, 3, device=x.device)
    weights = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    weights = weights / weights.sum(1, keepdim=True)
    y = F.pad(x[:, None], (2, 2, 2, 2), "replicate")[:, 0]
    y = sum(weights[:, i, None, None] * y[:, :, i : i + x.shape[2]] for i in range(5))
    return sum(weights[:, i, None, None] * y[:, i : i + x.shape[1]] for i in range(5))


def jpeg(x, quality):
    """Rounds the cosine coefficients of 8 x 8 px as a grey JPEG of `quality` `[b]` does."""
    count, high, wide = x.shape
    device = x.device
    k = torch.arange(8, device=device, dtype=torch.float32)
    basis = torch.cos(math.pi / 8 * (k[None] + 0.5) * k[:, None]) * math.sqrt(2 / 8)
    basis[0] /= math.sqrt(2)
    table = torch.tensor([float(v) for v in LUMINANCE.split()], device=device).view(8, 8)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    table = ((table * scale + 50) / 100).floor().clamp(1, 255)[:, None, None]
    blocks = (x - 128).view(count, high // 8, 8, wide // 8, 8).transpose(2, 3)
    rounded = (basis @ blocks @ basis.T / table).round() * table
    return (basis.T @ rounded @ basis).transpose(2, 3).reshape(count, high, wide).add(128).clamp(0, 255)


def coloured(x, rng, wear):
    """`[b, 3, high, wide]` u8: ink and paper of some colour, shade, noise."""
    count, high, wide = x.shape
    device = x.device
    if not wear:
        return (x + 0.5).clamp(0, 255).to(torch.uint8)[:, None].expand(-1, 3, -1, -1)
    roll = rng.random((count, 1))
    ink = np.where(roll < 0.35, rng.uniform(0, 90, (count, 3)), 0)
    paper = np.where(roll < 0.2, 255 - rng.uniform(0, 50, (count, 3)), 255)
    swapped = rng.random((count, 1)) < 0.05
    ink, paper = np.where(swapped, paper, ink), np.where(swapped, ink, paper)
    noise = np.where(rng.random(count) < 0.25, rng.uniform(1, 10, count), 0)
    shade = np.where(rng.random((count, 1)) < 0.08, rng.uniform(-25, 25, (count, 2)), 0)
    packed = np.concatenate([ink, paper - ink, noise[:, None], shade], 1).astype(np.float32)
    packed = torch.from_numpy(packed).to(device)[:, :, None, None]
    y = packed[:, :3] + packed[:, 3:6] * (x[:, None] / 255)
    across = torch.linspace(-1, 1, wide, device=device)
    down = torch.linspace(-1, 1, high, device=device)[:, None]
    y = y + packed[:, 7:8] * across + packed[:, 8:9] * down
    y = y + packed[:, 6:7] * torch.randn(count, 1, high, wide, device=device)
    return (y + 0.5).clamp(0, 255).to(torch.uint8)
