"""Low-rank factors beside nano's weights (Hu et al. 2021, *LoRA*): what is trained, and how it is saved.

A linear layer `W x` becomes `W x + scale * B (A x)`, with `A` `[rank, in]` and `B` `[out, rank]`. `B`
begins as zeros, so an untrained adapter changes nothing. The files are those of the PEFT library, which
`pagesight model import` reads.
"""

import copy
import hashlib
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

PARTS = {"vision": "vision_layers.", "projector": "projector", "language": "text_layers.", "head": "embedding_proj_layer"}
"""Parts of nano, by how the names of their linear layers begin."""


class LowRank(nn.Module):
    """A frozen linear layer and its two factors."""

    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear, self.scale = linear.requires_grad_(False), alpha / rank
        self.a = nn.Parameter(torch.empty(rank, linear.in_features))
        self.b = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)

    @property
    def weight(self):
        """The frozen weight: transformers asks layers for its type."""
        return self.linear.weight

    def forward(self, x):
        low = F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype))
        return self.linear(x) + low * self.scale

    def merged(self):
        """`[out, in]`: the weight with the product of the factors added."""
        return self.linear.weight + self.scale * self.b @ self.a


class Adapter:
    """The factors of one nano: `layers`, by the published name of the layer that each belongs to."""

    def __init__(self, nano, parts, rank, alpha, seed=0):
        """Puts factors beside every linear layer of `parts` of `nano`, and freezes all else."""
        torch.manual_seed(seed)
        self.nano, self.rank, self.alpha, self.layers = nano, rank, alpha, {}
        published = dict(zip(nano.state_dict(), nano.hf_state()))
        begins = tuple(PARTS[part] for part in parts)
        wanted = [
            (name, module) for name, module in nano.named_modules()
            if isinstance(module, nn.Linear) and name.startswith(begins)
        ]
        nano.requires_grad_(False)
        for name, linear in wanted:
            low = LowRank(linear, rank, alpha)
            above, _, last = name.rpartition(".")
            owner = nano.get_submodule(above)
            if isinstance(owner, nn.ModuleDict):
                owner[last] = low
            else:
                setattr(owner, last, low)
            self.layers[published[f"{name}.weight"].removesuffix(".weight")] = low

    def parameters(self):
        return [p for low in self.layers.values() for p in (low.a, low.b)]

    def count(self):
        return sum(p.numel() for p in self.parameters())

    def state(self):
        """The factors, copied."""
        return [p.detach().clone() for p in self.parameters()]

    def weaken(self, share):
        """Multiplies what the factors change with `share`."""
        for low in self.layers.values():
            low.b.data.mul_(share)

    def restore(self, state):
        for parameter, value in zip(self.parameters(), state):
            parameter.data.copy_(value)

    @torch.no_grad()
    def merged(self, base):
        """A plain nano with the factors in its weights; `base` is the one that they were put beside."""
        nano = copy.deepcopy(base)
        names = {theirs: ours for ours, theirs in zip(nano.state_dict(), nano.hf_state())}
        weights = dict(nano.named_parameters())
        for name, low in self.layers.items():
            weights[names[f"{name}.weight"]].copy_(low.merged())
        return nano.eval()

    def round(self):
        """Rounds the factors to the 16 bits that are saved, so that what is measured is what is saved."""
        for parameter in self.parameters():
            parameter.data.copy_(parameter.data.bfloat16().float())

    def save(self, folder, base):
        """Writes PEFT's two files. `base` is the folder of the nano that was adapted."""
        save(self.layers, folder, "nano", digest_of(Path(base) / "model.safetensors"), self.rank, self.alpha)

    @staticmethod
    def open(folder, nano):
        """Puts the factors that `save` wrote beside the layers of `nano`."""
        config = json.loads((Path(folder) / CONFIG).read_text())
        adapter = Adapter(nano, PARTS, config["r"], config["lora_alpha"])
        stored = load_file(Path(folder) / WEIGHTS)
        for name, low in adapter.layers.items():
            for half, parameter in (("lora_A", low.a), ("lora_B", low.b)):
                value = stored.get(f"base_model.model.{name}.{half}.weight")
                # A layer that was not trained stays as it is.
                parameter.data.copy_(torch.zeros_like(parameter) if value is None else value.float())
        return adapter


def save(layers, folder, base, revision, rank, alpha):
    """Writes `layers`, factors by the published name of the layer, for the base of that name and revision."""
    tensors = {}
    for name, low in layers.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = low.a.detach().bfloat16().cpu().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = low.b.detach().bfloat16().cpu().contiguous()
    save_file(tensors, Path(folder) / WEIGHTS, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA", "task_type": "FEATURE_EXTRACTION", "inference_mode": True,
        "base_model_name_or_path": base, "revision": revision,
        "r": rank, "lora_alpha": alpha, "lora_dropout": 0.0, "bias": "none",
        "target_modules": sorted(layers), "modules_to_save": None, "fan_in_fan_out": False,
        "use_rslora": False, "use_dora": False, "rank_pattern": {}, "alpha_pattern": {},
    }
    (Path(folder) / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def digest_of(path):
    """The SHA-256 of a file: an adapter fits these weights and no others."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
