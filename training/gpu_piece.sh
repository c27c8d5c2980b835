#!/bin/sh
# One piece of under ten minutes on a GPU machine: sh gpu_piece.sh [SECONDS] [extra train.py flags]
# Draws the pages first (once), then trains from the last checkpoint in run/ for the time left.
# What to bring back: run/part.* (the checkpoint in files of at most 15 MB, training goes on from
# them) and nano/ (f16, small enough for git). On a fresh machine put run/part.* back before the next
# piece.
set -eu
seconds=${1:-540}
[ $# -gt 0 ] && shift
began=$(date +%s)
cd "$(dirname "$0")"
export PYTHONPATH="$PWD/lib" OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
pages=${PAGES:-6000}
[ -d lib ] || python3 -m pip install --quiet --no-index --no-deps --target lib wheels/*.whl
if [ ! -e pages/done ]; then
  cores=$(nproc)
  python3 pdf_pages.py --pdfs pdfs --pages "$pages" --most 12 --out pages/pdf --processes "$cores"
  python3 pdf_pages.py --pdfs pdfs --pages "$((pages / 30))" --check --out pages/check-pdf --processes "$cores"
  python3 made_pages.py --fonts fonts --words words.txt.gz --pages "$pages" --out pages/made --processes "$cores"
  python3 made_pages.py --fonts fonts --words words.txt.gz --pages "$((pages / 60))" --held-out --seed 9 \
    --out pages/check-fonts --processes "$cores"
  touch pages/done
fi
[ -e run/checkpoint.pt ] || ! ls run/part.* > /dev/null 2>&1 || cat run/part.* > run/checkpoint.pt
left=$((seconds - $(date +%s) + began))
python3 train.py --run run --tokenizer tokenizer.json --pages pages/pdf pages/made \
  --check pages/check-pdf pages/check-fonts --steps 40000 --decay 8000 --patches 32768 --rows 8 16 32 \
  --shelf 1500 --makers 12 --for "$left" "$@"
python3 export.py --run run --tokenizer tokenizer.json --out nano
rm -f run/part.*
split -b 15000000 run/checkpoint.pt run/part.
