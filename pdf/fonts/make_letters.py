"""Makes `PagesightLetters.ttf` of Liberation Sans and Noto Sans; see `README.md`.

`python3 make_letters.py FOLDER` with fonttools 4.60 or later, where FOLDER holds the unpacked Debian
packages fonts-liberation2 and fonts-noto-core. Liberation Sans keeps the numbers of its glyphs,
which are those of Arial: documents that do not embed Arial may name its glyphs by number.
"""

import sys
from pathlib import Path

from fontTools import subset
from fontTools.merge import Merger
from fontTools.ttLib import TTFont
from fontTools.ttLib.scaleUpem import scale_upem

HERE = Path(__file__).parent
NAME = "Pagesight Letters"
ARABIC = [*range(0x600, 0x700), *range(0xFB50, 0xFDFE), *range(0xFE70, 0xFF00)]
PARTS = {
    "NotoSansArabic": ARABIC,
    "NotoSansThai": range(0xE00, 0xE80),
    "NotoSansLao": range(0xE80, 0xF00),
    "NotoSansArmenian": range(0x530, 0x590),
    "NotoSansGeorgian": range(0x10A0, 0x1100),
    # Signs that the fonts before have not: ※ ℃, numbers in circles and brackets, arrows, ∈ ⊂, ★ ◆ ☑ ✓.
    "NotoSans": [*range(0x2010, 0x2028), *range(0x2030, 0x205F), *range(0x2070, 0x20D0),
                 *range(0x2100, 0x2190)],
    "NotoSansSymbols": [*range(0x2150, 0x2200), *range(0x2300, 0x2320), *range(0x2460, 0x2500),
                        *range(0x2669, 0x2670), *range(0x2776, 0x27BF)],
    "NotoSansMath": [*range(0x2190, 0x22C0), *range(0x2300, 0x2320), *range(0x25A0, 0x2600)],
    "NotoSansSymbols2": [*range(0x25A0, 0x2612 + 1), 0x261C, 0x261D, 0x261E, 0x261F,
                         *range(0x2639, 0x263C), 0x2640, 0x2642, *range(0x2660, 0x2669), 0x26A0,
                         *range(0x2702, 0x2719)],
}


def reduced(font, unicodes, retain):
    """Outlines and the letters that they are for: no hinting, no tables for typesetting."""
    options = subset.Options(
        hinting=False, layout_features=[], glyph_names=False, retain_gids=retain,
        notdef_outline=True, name_IDs=[], recalc_bounds=True)
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "kern", "DSIG", "hdmx", "VDMX", "LTSH", "gasp",
                            "FFTM", "PCLT", "meta", "STAT", "vhea", "vmtx", "MATH"]
    part = subset.Subsetter(options)
    part.populate(unicodes=unicodes, glyphs=font.getGlyphOrder() if retain else [])
    part.subset(font)
    return font


def main(folder):
    fonts = Path(folder) / "usr/share/fonts/truetype"
    base = TTFont(fonts / "liberation2/LiberationSans-Regular.ttf")
    reduced(base, list(base.getBestCmap()), retain=True).save("/tmp/part0.ttf")
    files = ["/tmp/part0.ttf"]
    taken = set(base.getBestCmap())
    for number, (name, letters) in enumerate(PARTS.items(), 1):
        part = TTFont(fonts / f"noto/{name}-Regular.ttf")
        letters = [c for c in letters if c in part.getBestCmap() and c not in taken]
        taken.update(letters)
        reduced(part, letters, retain=False)
        scale_upem(part, base["head"].unitsPerEm)
        files.append(f"/tmp/part{number}.ttf")
        part.save(files[-1])
    font = Merger().merge(files)
    # The licence of Liberation reserves its name.
    names = font["name"]
    names.names = []
    for number, text in ((0, "Copyright 2012 Red Hat, Inc.; 2010 Google Corporation; 2012-2020 "
                             "Google Inc. See README.md"),
                         (1, NAME), (2, "Regular"), (4, NAME), (5, "Version 1"),
                         (6, NAME.replace(" ", "")),
                         (13, "SIL Open Font License, Version 1.1"),
                         (14, "https://openfontlicense.org")):
        names.setName(text, number, 3, 1, 0x409)
    font["post"].formatType = 3.0
    font["head"].created = font["head"].modified = 0
    font.recalcTimestamp = False
    font.save(HERE / "PagesightLetters.ttf")


main(sys.argv[1])
