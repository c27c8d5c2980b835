#!/bin/sh
# Packs what a bare GPU machine with PyTorch needs into one folder of at most 60 MB:
#     sh gpu_pack.sh DATA OUT
# DATA is what fetch.sh filled, with words.txt.gz and tokenizer.json made (README.md). On the GPU
# machine, in OUT, repeat `sh gpu_piece.sh` until it says that training is done.
set -eu
data=$1 out=$2 here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$out"
mkdir -p "$out/fonts" "$out/pdfs" "$out/wheels"
cp "$here"/*.py "$here/gpu_piece.sh" "$out/"
cp "$data/words.txt.gz" "$data/tokenizer.json" "$out/"
python3 -m pip download --quiet --no-deps --only-binary=:all: --platform manylinux_2_27_x86_64 \
  --platform manylinux2014_x86_64 -d "$out/wheels" pypdfium2==5.15.2
# Files by size, small ones first, until the room is used: many documents, many designs.
fill() { # kind, from, pattern, room in kB
  find "$2" -name "$3" -size -1500k | PYTHONPATH="$here" python3 -c '
import os, sys
from pdf_pages import HELD_BACK
left = int(sys.argv[1]) * 1024
files = [l.rstrip("\n") for l in sys.stdin]
files = [f for f in files if not any(part.lower() in f.lower() for part in HELD_BACK)]
for f in sorted(files, key=lambda f: (os.path.getsize(f), f)):
    if os.path.getsize(f) <= left and os.path.getsize(f) > 8000:
        left -= os.path.getsize(f)
        print(f)' "$4" | tar -C / -cf - -T - 2>/dev/null | tar -C "$out/$1" -xf -
}
fill pdfs "$data/root/usr/share/doc" "*.pdf" 28000
fill fonts "$data/root/usr/share/fonts" "*.ttf" 11000
fill fonts "$data/root/usr/share/fonts" "*.otf" 9000
du -sk "$out"
