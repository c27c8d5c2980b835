"""Muon (Jordan et al. 2024) with all matrices of one shape in one product.

The same steps as `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`; a small model has dozens of
small matrices, and a GPU waits for the processor when each is orthogonalized alone.
"""

import torch


def orthogonal(x, steps=5):
    """Newton-Schulz iteration on `[n, rows, columns]`: nearly the nearest orthogonal matrices."""
    a, b, c = 3.4445, -4.775, 2.0315
    tall = x.shape[1] > x.shape[2]
    x = x.bfloat16()
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon:
    def __init__(self, matrices, rate, momentum=0.95, decay=0.01):
        self.param_groups = [{"lr": rate}]
        self.momentum, self.decay, self.groups = momentum, decay, {}
        for p in matrices:
            self.groups.setdefault(tuple(p.shape), []).append(p)
        self.kept = {shape: torch.zeros(len(ps), *shape, device=ps[0].device) for shape, ps in self.groups.items()}

    @torch.no_grad()
    def step(self):
        rate = self.param_groups[0]["lr"]
        for shape, matrices in self.groups.items():
            have = [p.grad is not None for p in matrices]
            if not any(have):
                continue
            grad = torch.stack([p.grad if p.grad is not None else torch.zeros_like(p) for p in matrices])
            kept = self.kept[shape].lerp_(grad, 1 - self.momentum)
            update = orthogonal(grad.lerp(kept, self.momentum)).to(grad.dtype)
            matrices = [p for p, it_has in zip(matrices, have) if it_has]
            update = [u for u, it_has in zip(update.unbind(), have) if it_has]
            torch._foreach_mul_(matrices, 1 - rate * self.decay)
            torch._foreach_add_(matrices, update, alpha=-rate * 0.2 * max(shape) ** 0.5)

    def zero_grad(self, set_to_none=True):
        for matrices in self.groups.values():
            for p in matrices:
                p.grad = None

    def state_dict(self):
        return {"x".join(map(str, shape)): kept for shape, kept in self.kept.items()}

    def load_state_dict(self, state):
        for shape, kept in self.kept.items():
            kept.copy_(state["x".join(map(str, shape))])
