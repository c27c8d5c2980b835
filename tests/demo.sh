#!/bin/sh
# What `make demo` shows: real PDFs in, ranked pages out. Needs PAGESIGHT, the program.
set -eu
cd "$(dirname "$0")/../fixtures"
rm -rf .pagesight
unset PAGESIGHT_INDEX PAGESIGHT_MODEL

show() {
    echo
    echo "\$ pagesight $*"
    "$PAGESIGHT" "$@"
}

# broken.pdf fails on purpose, so the exit code is 3: done, but some files failed. scan.pdf has no
# words: with --no-ocr only the looks of its pages can find them.
show index --no-ocr --password pagesight pdf || [ $? -eq 3 ]
show query -k 3 "recommended RAM and hard drive for an install with desktop"
show query -k 3 "first release with systemd as the default init system"
show query -k 3 "Кто возглавлял Debian с 1996 по 1997 год?"
show query -k 3 --explain "booting the installer from a USB memory stick" --path scan.pdf
show query -k 3 --channel visual "menu entry to boot the installer with GRUB2"
show model info
echo
echo "Your own PDFs: cd FOLDER; $PAGESIGHT index . ; $PAGESIGHT query \"...\""
