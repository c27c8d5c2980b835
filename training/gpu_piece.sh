#!/bin/sh
# One piece of training on a GPU machine: sh gpu_piece.sh SECONDS [train.py's flags]
# Draws pages (a few before the first step, the rest while the model trains), trains from the last
# checkpoint in run/ until SECONDS have passed since the start, and writes each student to nano-N/
# (with --finish) or, of the running average of its weights, to average-N/.
set -eu
seconds=$1
shift
began=$(date +%s)
cd "$(dirname "$0")"
export PYTHONPATH="$PWD/lib" OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
cores=$(nproc) pages=${PAGES:-14000} first=${FIRST:-1500} room=${ROOM:-36} patches=${PATCHES:-32768}
drawers=$((cores > 6 ? cores - 6 : 1))
[ -d lib ] || python3 -m pip install --quiet --no-index --no-deps --target lib wheels/*.whl
mkdir -p pages/pdf pages/made
piece=$(ls pages/piece-* 2> /dev/null | wc -l)
touch "pages/piece-$piece"
# Each piece draws other pages, and the PDFs at other scales.
setsid sh -c '
  if [ "$1" = 0 ]; then
    python3 pdf_pages.py --pdfs pdfs --pages 100000 --most 6 --out pages/pdf --processes "$4" --seed "$1"
  fi
  python3 made_pages.py --fonts fonts --words words.txt.gz --pages "$2" --out pages/made --processes "$3" --seed "$1" &
  python3 pdf_pages.py --pdfs pdfs --pages 100000 --most 40 --out pages/pdf --seed "1$1"
  wait
' drawers "$piece" "$pages" "$drawers" "$((cores > 2 ? cores - 2 : 1))" > "pages/drawn-$piece.log" 2>&1 &
group=$!
trap 'kill -TERM "-$group" 2> /dev/null || true' EXIT
left=$((seconds - $(date +%s) + began))
python3 train.py --run run --tokenizer tokenizer.json --pages pages/pdf pages/made --weights 1 1 \
  --check check-pdf check-fonts --patches "$patches" --rows 8 16 32 --room "$room" --first "$first" \
  --loaders "$((cores > 4 ? 3 : 1))" --for "$left" "$@"
kill -TERM "-$group" 2> /dev/null || true
trap - EXIT
# All at once: the time is short.
for n in $(seq 0 $((${STUDENTS:-2} - 1))); do
  case " $* " in
  *" --finish "*) python3 export.py --run run --tokenizer tokenizer.json --student "$n" --out "nano-$n" & ;;
  esac
  python3 export.py --run run --tokenizer tokenizer.json --student "$n" --average --out "average-$n" &
done
wait
