#!/bin/sh
# Adapts a published ColPali on a machine with an NVIDIA GPU, in under eight minutes and without a network:
#   sh gpu_large.sh PDFS BASE NAME OUT
# PDFS is a folder of PDFs with words, BASE the folder of a checkpoint that transformers loads as
# ColPaliForRetrieval, e.g. vidore/colpali-v1.3-hf, NAME what it is called on the hub, OUT the new folder.
# Wants 24 GB of GPU memory (weights 6 GB, a batch of 32 pages with checkpointing about 8 GB, as computed).
set -eu
cd "$(dirname "$0")"
[ $# = 4 ] || { sed -n '2,7p' "$0"; exit 2; }
python3 - <<'CHECK'
import pypdfium2, safetensors, torch, transformers
assert torch.cuda.is_available(), "no GPU that PyTorch can use"
print(torch.cuda.get_device_name(), f"{torch.cuda.get_device_properties(0).total_memory / 1e9:.0f} GB,",
      "torch", torch.__version__, "transformers", transformers.__version__)
CHECK
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
# The last minute is for what is measured before and after.
timeout 480 python3 large.py "$1" --base "$2" --name "$3" --out "$4" --minutes 7
