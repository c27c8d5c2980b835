"""The reference of a checkpoint's family in PyTorch, asked line by line by benches/page_cost.rs.

    page_cost_peer.py FOLDER f32|bf16 cpu|cuda THREADS

Reads `page WIDTH HEIGHT`, `pages WIDTH HEIGHT COUNT` (at once) and `query TEXT` on stdin, answers with seconds; `save FILE` writes the
vectors of the last answer, f32 little-endian. Pixels come from a formula that both sides know, and
ids from the checkpoint's tokenizer, so the work and the result are the same. The classes are those
of transformers 5.24, with the head that colpali-engine puts on them; attention is PyTorch's own
(sdpa) where the class has it.
"""

import json
import pathlib
import resource
import sys
import time

import numpy
import tokenizers
import torch
from PIL import Image
from safetensors.torch import load_file

folder, precision, device, threads = pathlib.Path(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4])
torch.set_num_threads(threads)
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
config = json.loads((folder / "config.json").read_text())
tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def ids(text, special=False):
    return tokenizer.encode(text, add_special_tokens=special).ids


def picture(width, height, seed=0):
    """[height, width, 3] u8."""
    y, x = numpy.mgrid[0:height, 0:width].astype(numpy.uint32)
    waves = [(x * (3 + c + seed) + y * (7 + 2 * c)) ^ (x * y // (16 + seed)) for c in range(3)]
    return (numpy.stack(waves, axis=-1) & 255).astype(numpy.uint8)


def normal(rgb, mean, deviation):
    mean, deviation = (numpy.array(v, numpy.float32) for v in (mean, deviation))
    return (rgb.astype(numpy.float32) / 255 - mean) / deviation


def weights():
    files = sorted(folder.glob("*.safetensors"))
    return {key: tensor for file in files for key, tensor in load_file(file).items()}


def filled(model, tensors):
    """The model with these tensors, none missing and none left over."""
    missing, unexpected = model.load_state_dict(tensors, strict=False, assign=True)
    # What is tied or computed is in no file.
    missing = [key for key in missing if not key.endswith(("inv_freq", "position_ids"))]
    assert not missing and not unexpected, (missing[:5], unexpected[:5])
    return model.to(dtype).eval()


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


class NeoMME:
    def __init__(self):
        from transformers import NeoMMEForRetrieval

        self.model = NeoMMEForRetrieval.from_pretrained(folder, dtype=dtype).eval()
        self.patch = self.model.config.patch_size

    def page(self, rgb):
        height, width, _ = rgb.shape
        p = self.patch
        rows, columns = -(-height // p), -(-width // p)
        padded = numpy.zeros((rows * p, columns * p, 3), numpy.uint8)
        padded[:height, :width] = rgb
        pixels = normal(padded, [0.5] * 3, [0.5] * 3)
        pixels = pixels.reshape(rows, p, columns, p, 3).transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1)
        doc, image, row = (ids(f"<{name}>")[0] for name in ("doc", "img", "row"))
        tokens = [doc, image] + ([image] * columns + [row]) * rows
        first = [0, 1] + [2 + r for r in range(rows) for _ in range(columns + 1)]
        second = [0, 1] + [2 + c for _ in range(rows) for c in range(columns + 1)]
        return {
            "input_ids": torch.tensor([tokens]),
            "attention_mask": torch.ones(1, len(tokens), dtype=torch.long),
            "position_ids": torch.tensor([[first], [second]]),
            "pixel_values": torch.from_numpy(pixels).to(dtype),
        }

    def query(self, text):
        tokens = torch.tensor([ids(f"<query>{text}" + "<mask>" * 10)])
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}

    def run(self, inputs):
        return self.model(**inputs, output_dense=False).embeddings.flatten(0, 1)


class Qwen:
    """ColQwen2, ColQwen2.5 and ColQwen3.5: Qwen's model without its output layer, and a head."""

    CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    HALF = ([0.5] * 3, [0.5] * 3)

    def __init__(self):
        import transformers

        kind = config["model_type"]
        name = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_5": "Qwen3_5"}[kind]
        self.is_newer = kind == "qwen3_5"
        self.scale = self.HALF if self.is_newer else self.CLIP
        self.prefix = "" if self.is_newer else "Query: "
        said = dict(config)
        if not self.is_newer:
            # Published files are older than the division into two configurations.
            vision = said.pop("vision_config")
            outer = {key: said.pop(key) for key in list(said) if key.endswith("token_id")}
            text = {key: value for key, value in said.items() if key not in ("architectures", "model_type")}
            scaling = text.pop("rope_scaling")
            text["rope_parameters"] = {
                "rope_type": "default",
                "rope_theta": text.pop("rope_theta"),
                "mrope_section": scaling["mrope_section"],
            }
            said = {"vision_config": vision, "text_config": text, **outer}
        settings = getattr(transformers, f"{name}Config")(**said)
        settings._attn_implementation = "sdpa"
        settings.text_config.use_cache = False
        self.patch = settings.vision_config.patch_size
        with torch.device("meta"):
            model = getattr(transformers, f"{name}Model")(settings)
        tensors = weights()
        head = [tensors.pop(f"custom_text_proj.{part}") for part in ("weight", "bias")]
        renamed = {f"language_model.{key[6:]}" if key.startswith("model.") else key: t for key, t in tensors.items()}
        # What a class computes when it is made is in no file: it is made again, with numbers.
        computed = dict(getattr(transformers, f"{name}Model")._from_config(small(settings)).named_buffers())
        for key, buffer in list(model.named_buffers()):
            owner, _, leaf = key.rpartition(".")
            model.get_submodule(owner).register_buffer(leaf, computed[key].clone(), persistent=False)
        self.model = filled(model, renamed)
        for key, buffer in self.model.named_buffers():
            # Angles stay in f32, as from_pretrained leaves them.
            owner, _, leaf = key.rpartition(".")
            if leaf.endswith("inv_freq"):
                self.model.get_submodule(owner).register_buffer(leaf, computed[key].clone(), persistent=False)
        self.head = torch.nn.Linear(*reversed(head[0].shape)).to(dtype)
        self.head.load_state_dict({"weight": head[0].to(dtype), "bias": head[1].to(dtype)})

    def page(self, rgb):
        height, width, _ = rgb.shape
        p = self.patch
        rows, columns = height // p, width // p
        pixels = normal(rgb, *self.scale).transpose(2, 0, 1)
        pixels = numpy.stack([pixels, pixels])
        pixels = pixels.reshape(2, 3, rows // 2, 2, p, columns // 2, 2, p)
        pixels = pixels.transpose(2, 5, 3, 6, 1, 0, 4, 7).reshape(rows * columns, -1)
        image = config["image_token_id"]
        before = ids("<|im_start|>user\n<|vision_start|>")
        after = ids("<|vision_end|>Describe the image.<|im_end|><|endoftext|>")
        tokens = torch.tensor([before + [image] * (rows * columns // 4) + after])
        return {
            "input_ids": tokens,
            "attention_mask": torch.ones_like(tokens),
            "mm_token_type_ids": (tokens == image).long(),
            "pixel_values": torch.from_numpy(numpy.ascontiguousarray(pixels)).to(dtype),
            "image_grid_thw": torch.tensor([[1, rows, columns]]),
        }

    def query(self, text):
        tokens = torch.tensor([ids(f"{self.prefix}{text}" + "<|endoftext|>" * 10)])
        return {
            "input_ids": tokens,
            "attention_mask": torch.ones_like(tokens),
            "mm_token_type_ids": torch.zeros_like(tokens),
        }

    def run(self, inputs):
        hidden = self.model(**inputs, use_cache=False).last_hidden_state
        return unit(self.head(hidden)).flatten(0, 1)


def small(settings):
    """The same configuration with no layers and few words: its tables of angles are the same."""
    import copy

    settings = copy.deepcopy(settings)
    settings.text_config.vocab_size = 512
    settings.text_config.num_hidden_layers = 0
    settings.text_config.layer_types = []
    settings.vision_config.depth = 0
    return settings


class Tiles:
    """ColModernVBERT and ColSmol."""

    def __init__(self):
        self.is_modern = config["model_type"] == "colmodernvbert"
        if self.is_modern:
            from transformers import ColModernVBertForRetrieval

            self.model = ColModernVBertForRetrieval.from_pretrained(folder, dtype=dtype).eval()
            self.image = config["vlm_config"]["image_token_id"]
            vision, shuffle = config["vlm_config"]["vision_config"], config["vlm_config"]["pixel_shuffle_factor"]
        else:
            from transformers import Idefics3Config, Idefics3Model

            self.image = config["image_token_id"]
            vision, shuffle = config["vision_config"], config["scale_factor"]
            settings = Idefics3Config(**config)
            settings.text_config.use_cache = False
            settings._attn_implementation = "sdpa"
            tensors = weights()
            head = [tensors.pop(f"linear.{part}") for part in ("weight", "bias")]
            model = Idefics3Model(settings)
            self.model = filled(model, {key.removeprefix("model."): t for key, t in tensors.items()})
            self.head = torch.nn.Linear(*reversed(head[0].shape)).to(dtype)
            self.head.load_state_dict({"weight": head[0].to(dtype), "bias": head[1].to(dtype)})
        self.edge = vision["image_size"]
        self.features = (self.edge // vision["patch_size"] // shuffle) ** 2

    def page(self, rgb):
        height, width, _ = rgb.shape
        edge = self.edge
        up = lambda side: -(-side // edge) * edge
        if width >= height:
            to = (up(width), up(int(up(width) / (width / height))))
        else:
            to = (up(int(up(height) * (width / height))), up(height))
        whole = Image.fromarray(rgb)
        if whole.size != to:
            whole = whole.resize(to, Image.LANCZOS)
        columns, rows = to[0] // edge, to[1] // edge
        tiles = [
            whole.crop((c * edge, r * edge, (c + 1) * edge, (r + 1) * edge)) for r in range(rows) for c in range(columns)
        ]
        tiles.append(whole.resize((edge, edge), Image.LANCZOS))
        pixels = numpy.stack([normal(numpy.asarray(tile), [0.5] * 3, [0.5] * 3).transpose(2, 0, 1) for tile in tiles])
        around, image = "<fake_token_around_image>", "<image>"
        features = image * self.features
        text = "<|begin_of_text|>User:" if self.is_modern else "<|im_start|>User:"
        for r in range(rows):
            text += "".join(f"{around}<row_{r + 1}_col_{c + 1}>{features}" for c in range(columns)) + "\n"
        text += f"\n{around}<global-img>{features}{around}Describe the image.<end_of_utterance>\nAssistant:"
        tokens = torch.tensor([ids(text, special=self.is_modern)])
        assert int((tokens == self.image).sum()) == self.features * len(tiles)
        return {
            "input_ids": tokens,
            "attention_mask": torch.ones_like(tokens),
            "pixel_values": torch.from_numpy(pixels)[None].to(dtype),
        }

    def query(self, text):
        tokens = torch.tensor([ids(text + "<end_of_utterance>" * 10, special=self.is_modern)])
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}

    def run(self, inputs):
        if self.is_modern:
            return self.model(**inputs).embeddings.flatten(0, 1)
        hidden = self.model(**inputs, use_cache=False).last_hidden_state
        return unit(self.head(hidden)).flatten(0, 1)


FAMILIES = {
    "neomme": NeoMME,
    "qwen2_vl": Qwen,
    "qwen2_5_vl": Qwen,
    "qwen3_5": Qwen,
    "colmodernvbert": Tiles,
    "idefics3": Tiles,
}
peer = FAMILIES[config["model_type"]]()
for part in (peer.model, getattr(peer, "head", None)):
    if part is not None:
        part.to(device)
last, pages = None, {}


@torch.inference_mode()
def timed(inputs):
    global last
    inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    last = peer.run(inputs).cpu()
    return time.perf_counter() - start


def together(inputs):
    """Inputs of pages of one size as a batch. Patches of NeoMME and Qwen have no axis of pages."""
    batch = {}
    for name in inputs[0]:
        axis = 1 if name == "position_ids" else 0
        batch[name] = torch.cat([page[name] for page in inputs], dim=axis)
    return batch


print("ready", flush=True)
for line in sys.stdin:
    match line.rstrip("\n").split(" ", 1):
        case ["page", size]:
            if size not in pages:
                pages[size] = peer.page(picture(*map(int, size.split(" "))))
            print(timed(pages[size]), flush=True)
        case ["pages", size]:
            if size not in pages:
                width, height, count = map(int, size.split(" "))
                inputs = [peer.page(picture(width, height, seed)) for seed in range(count)]
                pages[size] = together(inputs)
            print(timed(pages[size]), flush=True)
        case ["query", text]:
            print(timed(peer.query(text)), flush=True)
        case ["save", path]:
            last.float().numpy().astype("<f4").tofile(path)
            print("saved", flush=True)
        case ["memory"]:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)
