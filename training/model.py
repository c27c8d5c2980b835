"""ColPali in small: SigLIP, projector, Gemma, head, as transformers 4.57.6 computes them.

Written out rather than imported so that training needs PyTorch alone, can run windows of the patch
grid (each patch keeps its own position), and stays quick. Names of tensors are those of
`ColPaliForRetrieval.state_dict()` as published; export.py checks the equality of vectors.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Size:
    """How large the model is."""

    vocab: int = 4096
    edge: int = 448
    patch: int = 14
    vision: int = 192
    vision_layers: int = 4
    vision_heads: int = 6
    vision_inner: int = 768
    text: int = 192
    text_layers: int = 2
    text_heads: int = 3
    text_head: int = 64
    text_inner: int = 512
    dim: int = 128

    @property
    def side(self):
        return self.edge // self.patch

    def hf_config(self):
        """`config.json` as transformers reads it."""
        text = {
            "model_type": "gemma", "hidden_size": self.text, "intermediate_size": self.text_inner,
            "num_hidden_layers": self.text_layers, "num_attention_heads": self.text_heads,
            "num_key_value_heads": 1, "head_dim": self.text_head, "vocab_size": self.vocab,
            "num_image_tokens": self.side**2, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "hidden_act": "gelu_pytorch_tanh",
        }
        vision = {
            "model_type": "siglip_vision_model", "hidden_size": self.vision,
            "intermediate_size": self.vision_inner, "num_hidden_layers": self.vision_layers,
            "num_attention_heads": self.vision_heads, "image_size": self.edge,
            "patch_size": self.patch, "projection_dim": self.text, "layer_norm_eps": 1e-6,
            "num_image_tokens": self.side**2, "hidden_act": "gelu_pytorch_tanh",
            "vision_use_head": False,
        }
        vlm = {
            "model_type": "paligemma", "hidden_size": self.text, "projection_dim": self.text,
            "image_token_index": self.vocab - 1, "pad_token_id": 0, "bos_token_id": 2,
            "eos_token_id": 1, "text_config": text, "vision_config": vision,
        }
        return {
            "architectures": ["ColPaliForRetrieval"], "model_type": "colpali",
            "embedding_dim": self.dim, "torch_dtype": "float16", "vlm_config": vlm,
            "text_config": text,
        }

    def asdict(self):
        return asdict(self)


def attend(q, k, v, mask=None):
    """Softmax attention `[b, heads, n, head]`; `mask` is true where a key counts."""
    if q.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # On a CPU the fused kernel's backward pass takes three times as long as this one's.
    with torch.autocast("cpu", enabled=False):
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return scores.softmax(-1).to(v.dtype) @ v


class VisionLayer(nn.Module):
    def __init__(self, size):
        super().__init__()
        d = size.vision
        self.heads = size.vision_heads
        self.layer_norm1 = nn.LayerNorm(d, eps=1e-6)
        self.self_attn = nn.ModuleDict({n: nn.Linear(d, d) for n in ("q_proj", "k_proj", "v_proj", "out_proj")})
        self.layer_norm2 = nn.LayerNorm(d, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(d, size.vision_inner), "fc2": nn.Linear(size.vision_inner, d)})

    def forward(self, x):
        b, n, d = x.shape
        a, y = self.self_attn, self.layer_norm1(x)
        q, k, v = (a[p](y).view(b, n, self.heads, -1).transpose(1, 2) for p in ("q_proj", "k_proj", "v_proj"))
        y = attend(q, k, v).transpose(1, 2).reshape(b, n, d)
        x = x + a["out_proj"](y)
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.layer_norm2(x)), approximate="tanh"))


class RmsNorm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(d))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * (1 + self.weight)


class TextLayer(nn.Module):
    def __init__(self, size):
        super().__init__()
        d, self.heads, self.head = size.text, size.text_heads, size.text_head
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.input_layernorm = RmsNorm(d)
        self.self_attn = nn.ModuleDict({
            "q_proj": linear(d, self.heads * self.head), "k_proj": linear(d, self.head),
            "v_proj": linear(d, self.head), "o_proj": linear(self.heads * self.head, d),
        })
        self.post_attention_layernorm = RmsNorm(d)
        self.mlp = nn.ModuleDict({
            "gate_proj": linear(d, size.text_inner), "up_proj": linear(d, size.text_inner),
            "down_proj": linear(size.text_inner, d),
        })

    def forward(self, x, cos, sin, mask):
        b, n, _ = x.shape
        a, y = self.self_attn, self.input_layernorm(x)
        q = a["q_proj"](y).view(b, n, self.heads, self.head).transpose(1, 2)
        k = a["k_proj"](y).view(b, n, 1, self.head).transpose(1, 2)
        v = a["v_proj"](y).view(b, n, 1, self.head).transpose(1, 2).expand(-1, self.heads, -1, -1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin).expand(-1, self.heads, -1, -1)
        y = attend(q, k, v, mask).transpose(1, 2).reshape(b, n, -1)
        x = x + a["o_proj"](y)
        y, m = self.post_attention_layernorm(x), self.mlp
        return x + m["down_proj"](F.gelu(m["gate_proj"](y), approximate="tanh") * m["up_proj"](y))


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return (x * cos + torch.cat([-b, a], -1) * sin).to(x.dtype)


class Nano(nn.Module):
    """The model; `vision_tower` to `embedding_proj_layer` as in the reference."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.patch_embedding = nn.Linear(3 * size.patch**2, size.vision)
        self.position_embedding = nn.Parameter(torch.zeros(size.side**2, size.vision))
        self.vision_layers = nn.ModuleList(VisionLayer(size) for _ in range(size.vision_layers))
        self.post_layernorm = nn.LayerNorm(size.vision, eps=1e-6)
        self.projector = nn.Linear(size.vision, size.text)
        self.embed_tokens = nn.Embedding(size.vocab, size.text)
        self.text_layers = nn.ModuleList(TextLayer(size) for _ in range(size.text_layers))
        self.norm = RmsNorm(size.text)
        self.embedding_proj_layer = nn.Linear(size.text, size.dim)
        half = torch.arange(0, size.text_head, 2).float() / size.text_head
        self.register_buffer("frequencies", 10000.0**-half, persistent=False)
        self.reset()

    def reset(self):
        """Small random weights, and heads that look at a patch's neighbours from the first step.

        Position embeddings are sines of row and column in 32 dimensions of their own. Query and
        key projections of most heads read only those, the query turned by an offset, so attention
        peaks at a neighbour: a convolution, written in the weights of an ordinary SigLIP.
        """
        d = self.size.vision
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
        nn.init.normal_(self.embed_tokens.weight, std=self.size.text**-0.5)
        for layer in self.vision_layers:
            layer.self_attn["out_proj"].weight.data.mul_(0.5)
            layer.mlp["fc2"].weight.data.mul_(0.5)
        for layer in self.text_layers:
            layer.self_attn["o_proj"].weight.data.mul_(0.5)
            layer.mlp["down_proj"].weight.data.mul_(0.5)

        waves = 2.4 * (0.1 / 2.4) ** (torch.arange(8) / 7)
        at = torch.arange(self.size.side).float()[:, None] * waves
        line = torch.stack([at.cos(), at.sin()], -1).flatten(1)  # [side, 16]
        side, own = self.size.side, 32
        table = torch.zeros(side, side, d)
        table[:, :, :16] = line[None, :, :]  # column
        table[:, :, 16:own] = line[:, None, :]  # row
        self.position_embedding.data = table.reshape(side * side, d)
        self.patch_embedding.weight.data.mul_(1.5)
        self.patch_embedding.weight.data[:own] = 0

        steps = [(0, -1), (0, 1), (-1, 0), (1, 0), (0, -2), (0, 2), (0, -3), (0, 3)]
        head = d // self.size.vision_heads
        for number, layer in enumerate(self.vision_layers):
            a = layer.self_attn
            # Nothing writes over the positions at first.
            a["out_proj"].weight.data[:own] = 0
            layer.mlp["fc2"].weight.data[:own] = 0
            nearby = self.size.vision_heads - (2 if number else 1)
            for h in range(nearby):
                down, right = steps[(h + (number % 2) * 2) % len(steps)] if number else steps[h]
                rows = slice(h * head, (h + 1) * head)
                q, k = torch.zeros(head, d), torch.zeros(head, d)
                for axis, step in ((0, right), (1, down)):
                    for f, wave in enumerate(waves):
                        i = axis * 16 + 2 * f
                        c, s = math.cos(step * wave), math.sin(step * wave)
                        # cos(wave * (x + step - x')) summed over the waves.
                        q[i, i], q[i, i + 1] = c, -s
                        q[i + 1, i], q[i + 1, i + 1] = s, c
                        k[i, i] = k[i + 1, i + 1] = 1
                gain = (2.5 * head**0.5) ** 0.5
                a["q_proj"].weight.data[rows] = q * gain
                a["k_proj"].weight.data[rows] = k * gain

    def see(self, patches, at):
        """`[b, n, 3*14*14]` pixels of patches (-1 to 1, or u8) and `at` `[b, n]` their places:
        `[b, n, vision]`."""
        if patches.dtype == torch.uint8:
            patches = patches.float() * (2 / 255) - 1
        x = self.patch_embedding(patches) + self.position_embedding[at]
        for layer in self.vision_layers:
            x = layer(x)
        return self.post_layernorm(x)

    def read(self, x, positions, mask=None):
        """`[b, n, text]` through Gemma and the head: unit rows `[b, n, dim]`, f32."""
        angles = positions[..., None].float() * self.frequencies
        angles = torch.cat([angles, angles], -1)[:, None]
        cos, sin = angles.cos(), angles.sin()
        for layer in self.text_layers:
            x = layer(x, cos, sin, mask)
        x = self.embedding_proj_layer(self.norm(x)).float()
        return x / x.norm(dim=-1, keepdim=True)

    def embed(self, ids):
        return self.embed_tokens(ids) * self.size.text**0.5

    def pages(self, patches, at, prompt):
        """Patch vectors `[b, n, dim]` and what the tower saw `[b, n, vision]`."""
        seen = self.see(patches, at)
        b, n = at.shape
        x = torch.cat([self.projector(seen), self.embed(prompt).expand(b, -1, -1)], 1)
        end = self.size.side**2 + torch.arange(len(prompt), device=at.device)
        positions = torch.cat([at, end.expand(b, -1)], 1)
        return self.read(x, positions)[:, :n], seen

    def queries(self, ids, real):
        """Token vectors `[b, n, dim]`; `real` `[b, n]` is false on padding."""
        positions = torch.arange(ids.shape[1], device=ids.device).expand(len(ids), -1)
        return self.read(self.embed(ids), positions, real[:, None, None, :])

    @staticmethod
    def load(path, number=0, average=False):
        """Student `number` of a checkpoint (or the running average of its weights), and the step it
        was saved at."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        saved = state["students"][number]
        nano = Nano(Size(**saved["size"])).eval()
        weights = saved["average" if average else "student"]
        nano.load_state_dict({k.removeprefix("nano."): v for k, v in weights.items() if k.startswith("nano.")})
        return nano, state["step"]

    @staticmethod
    def open(folder):
        """The model in a folder that export.py wrote."""
        from safetensors.torch import load_file

        config = json.loads((Path(folder) / "config.json").read_text())["vlm_config"]
        text, vision = config["text_config"], config["vision_config"]
        size = Size(
            vocab=text["vocab_size"], edge=vision["image_size"], patch=vision["patch_size"],
            vision=vision["hidden_size"], vision_layers=vision["num_hidden_layers"],
            vision_heads=vision["num_attention_heads"], vision_inner=vision["intermediate_size"],
            text=text["hidden_size"], text_layers=text["num_hidden_layers"],
            text_heads=text["num_attention_heads"], text_head=text["head_dim"],
            text_inner=text["intermediate_size"],
        )
        nano, stored = Nano(size).eval(), load_file(Path(folder) / "model.safetensors")
        names = {theirs: ours for theirs, ours in zip(nano.hf_state(), nano.state_dict())}
        own = nano.state_dict()
        nano.load_state_dict({names[k]: v.float().view_as(own[names[k]]) for k, v in stored.items()})
        return nano

    def hf_state(self):
        """Tensors under the reference's names."""
        state, out = self.state_dict(), {}
        tower = "vlm.vision_tower.vision_model."
        lm = "vlm.language_model.model."
        for name, value in state.items():
            if name == "patch_embedding.weight":
                p = self.size.patch
                out[tower + "embeddings.patch_embedding.weight"] = value.view(-1, 3, p, p)
            elif name == "patch_embedding.bias":
                out[tower + "embeddings.patch_embedding.bias"] = value
            elif name == "position_embedding":
                out[tower + "embeddings.position_embedding.weight"] = value
            elif name.startswith("vision_layers."):
                out[tower + "encoder.layers." + name.removeprefix("vision_layers.")] = value
            elif name.startswith("post_layernorm."):
                out[tower + name] = value
            elif name.startswith("projector."):
                out["vlm.multi_modal_projector.linear." + name.removeprefix("projector.")] = value
            elif name.startswith("text_layers."):
                out[lm + "layers." + name.removeprefix("text_layers.")] = value
            elif name.startswith(("embed_tokens.", "norm.")):
                out[lm + name] = value
            else:
                out[name] = value
        return out
