"""What the model is taught: patches and query tokens of the same print lie together.

Word spotting (Almazan et al. 2014; Sudholt and Fink 2016) with ColPali's late interaction: there is
no caption to compare, each patch knows which piece of which word it shows.
"""

import torch
import torch.nn.functional as F


def contrast(patches, tokens, strong, weak, token_keys, scale, chance):
    """Both directions of a softmax over the batch, each with many positives.

    `patches` `[n, dim]`, `tokens` `[m, dim]`, unit rows. Of patches without print a share `chance`
    stays as negatives. Returns the loss of tokens, that of patches, and how often a token's best
    patch shows its piece.
    """
    known = (weak >= 0) | (strong[:, 0] > 0)
    blank = (strong[:, 0] == 0) & (weak == 0)
    keep = known & (~blank | (torch.rand(len(blank), device=blank.device) < chance))
    # Print first, so that the patches that must be told apart are a slice.
    order = torch.cat([(keep & (strong[:, 0] > 0)).nonzero()[:, 0], (keep & (strong[:, 0] == 0)).nonzero()[:, 0]])
    inked = int((strong[:, 0] > 0).sum())
    patches, strong, weak = patches[order], strong[order], weak[order]
    with torch.autocast(tokens.device.type, enabled=False):
        logits = (tokens @ patches.T).float() * scale  # [m, n]
    keys = token_keys[:, None]
    first = strong[None, :, 0] == keys
    positive = first | (strong[None, :, 1] == keys)
    also = positive | (weak[None, :] == keys)

    # A token may choose among its patches: MaxSim takes the best one.
    has = positive.any(1)
    of_tokens = (torch.logsumexp(logits, 1) - over_pairs(logits, also, 0))[has].mean()

    # A patch must know the piece that fills most of it.
    columns, first = logits[:, :inked], first[:, :inked]
    there = first.any(0)
    of_patches = (torch.logsumexp(columns, 0) - over_pairs(columns, first, 1))[there].mean()

    with torch.no_grad():
        best = logits.argmax(1)
        hit = also.gather(1, best[:, None])[:, 0][has].float().mean()
    return of_tokens, of_patches, hit


def over_pairs(logits, chosen, axis):
    """Log-sum-exp of the few `chosen` entries of each row (`axis` 0) or column (1)."""
    row, column = chosen.nonzero(as_tuple=True)
    values, group = logits[row, column], (row, column)[axis]
    size = logits.shape[axis]
    top = torch.full((size,), torch.finfo(logits.dtype).min, device=logits.device)
    top = top.scatter_reduce(0, group, values.detach(), "amax")
    total = torch.zeros(size, device=logits.device).index_add(0, group, (values - top[group]).exp())
    return total.clamp(min=1e-30).log() + top


def quiet(tokens, patches):
    """How far `tokens` `[m, dim]` are from matching nothing: their similarities to `patches` should all be
    0, so that each adds the same to every page."""
    with torch.autocast(tokens.device.type, enabled=False):
        similar = tokens @ patches.T
    return (similar.amax(1) ** 2).mean() + (similar**2).mean()


def letters(logits, slots, weight_none=0.15):
    """Cross-entropy of the letters in each slot of a patch, and how many letters are right."""
    logits, slots = logits.reshape(-1, logits.shape[-1]).float(), slots.reshape(-1)
    # Most slots are empty: a few of them are enough.
    print_ = slots > 0
    keep = print_ | ((slots == 0) & (torch.rand(len(slots), device=slots.device) < weight_none))
    loss = F.cross_entropy(logits[keep], slots[keep])
    right = (logits[print_].argmax(1) == slots[print_]).float().mean()
    return loss, right
