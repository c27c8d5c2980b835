#!/bin/sh
# Packs what a bare GPU machine with PyTorch needs into one folder of at most 38 MB:
#     sh gpu_pack.sh DATA OUT
# DATA is what fetch.sh filled, with words.txt.gz, tokenizer.json and the pages of the checks made
# (README.md). On the GPU machine, in OUT, run `sh gpu_piece.sh`, again and again.
set -eu
data=$1 out=$2 here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$out"
mkdir -p "$out/fonts" "$out/pdfs" "$out/wheels"
cp "$here"/*.py "$here/gpu_piece.sh" "$out/"
cp "$data/words.txt.gz" "$data/tokenizer.json" "$out/"
for check in check-pdf check-fonts; do
  mkdir "$out/$check"
  ls "$data/$check" | awk 'NR % 3 == 1' | while read -r page; do cp "$data/$check/$page" "$out/$check/"; done
done
python3 -m pip download --quiet --no-deps --only-binary=:all: --platform manylinux_2_27_x86_64 \
  --platform manylinux2014_x86_64 -d "$out/wheels" pypdfium2==5.15.2
PYTHONPATH="$here" python3 - "$data/root/usr/share" "$out" <<'END'
import io, logging, multiprocessing, shutil, sys, zlib
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont
from made_pages import HELD_OUT_FONTS, NO_LETTERS
from pdf_pages import HELD_BACK

logging.disable(logging.WARNING)
share, out = Path(sys.argv[1]), Path(sys.argv[2])


def fill(files, room, kind, held):
    """Small ones first, until the room is used: many documents."""
    count = 0
    for path in files:
        size = path.stat().st_size
        if size <= room and not any(part.lower() in str(path).lower() for part in held):
            target = out / kind / path.relative_to(share)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
            room, count = room - size, count + 1
    print(count, kind)


def letters_only(path):
    """The font with the letters of our scripts alone, a tenth of its bytes; none if it has no Latin."""
    try:
        with TTFont(path) as font:
            if not all(ord(c) in (font.getBestCmap() or ()) for c in "a7é"):
                return None
            options = subset.Options(hinting=False, layout_features=[], notdef_outline=True, name_IDs=[])
            options.drop_tables += ["GPOS", "GSUB", "GDEF", "DSIG", "MATH"]
            chosen = subset.Subsetter(options)
            chosen.populate(unicodes=[*range(0x20, 0x180), *range(0x370, 0x400), *range(0x400, 0x460),
                                      *range(0x1F00, 0x2000), 0x490, 0x491, *range(0x2010, 0x2027), 0xFB01, 0xFB02])
            chosen.subset(font)
            file = io.BytesIO()
            font.save(file)
            return path, file.getvalue()
    except Exception as error:
        print(path.name, error)
        return None


pdfs = [p for p in (share / "doc").rglob("*.pdf") if p.stat().st_size > 15_000]
# The documents of the checks stay behind, as pdf_pages.py has it.
pdfs = [p for p in pdfs if zlib.crc32(p.parent.name.encode()) % 25]
fill(sorted(pdfs, key=lambda p: (p.stat().st_size, p)), 17_000_000, "pdfs", HELD_BACK)
fonts = [p for p in sorted((share / "fonts").rglob("*.[to]tf")) if not any(h in p.name for h in HELD_OUT_FONTS + NO_LETTERS)]
with multiprocessing.Pool() as pool:
    fonts = [font for font in pool.imap(letters_only, fonts, 8) if font]
# Of each family the smallest first, then the second of each.
turn, seen = {}, {}
for path, data in sorted(fonts, key=lambda f: len(f[1])):
    family = path.name[:6].lower()
    seen[family] = turn[path] = seen.get(family, 0) + 1
room, count = 10_500_000, 0
for path, data in sorted(fonts, key=lambda f: (turn[f[0]], len(f[1]))):
    if len(data) <= room:
        (out / "fonts" / path.name).write_bytes(data)
        room, count = room - len(data), count + 1
print(count, "of", len(fonts), "fonts of", len(seen), "families")
END
du -sk "$out"
