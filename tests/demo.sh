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

# broken.pdf fails on purpose, so the exit code is 3: done, but some files failed.
show index --password pagesight pdf || [ $? -eq 3 ]
show query -k 3 "recommended RAM and hard drive for an install with desktop"
show query -k 3 "first release with systemd as the default init system"
show query -k 3 "Кто возглавлял Debian с 1996 по 1997 год?"
echo
echo "Your own PDFs: cd FOLDER; $PAGESIGHT index . ; $PAGESIGHT query \"...\""
