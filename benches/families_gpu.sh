#!/bin/sh
# Every family on an NVIDIA GPU beside PyTorch on the same one, in turns, in under 8 minutes.
#
#   sh benches/families_gpu.sh EXAMPLES [PYTHON]
#
# EXAMPLES is the folder of the compiled examples (`cargo test -p pagesight-model --features cuda
# --no-run` puts them in target/debug/examples); PYTHON has torch, transformers 5.24 and Pillow;
# without it only pagesight is measured. Checkpoints are random, of the published sizes, one at a
# time in TMPDIR (8 GB). Pages are measured alone and at batches of 4 and 16.
set -u
examples=$1
python=${2:-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || exit 2
began=$(date +%s)

peer() { [ -n "$python" ] && echo "--peer $python bf16"; }

for family in colpali neomme colsmol-256m colmodernvbert colqwen3.5 colqwen2.5; do
    # What is left must do for the family: 8 minutes in all.
    [ $(($(date +%s) - began)) -lt 390 ] || { echo "$family: no time is left"; continue; }
    echo "== $family"
    "$examples/random_checkpoint" "$folder/model" --family "$family" || exit 2
    if [ "$family" = colpali ]; then
        # shellcheck disable=SC2046
        timeout 150 "$examples/encoding" "$folder/model" bf16 both 10 --device cuda --batch 1,4,16 $(peer)
    else
        # shellcheck disable=SC2046
        timeout 90 "$examples/page_cost" "$folder/model" bf16 10 --device cuda --batch 4,16 $(peer)
    fi
    rm -rf "$folder/model"
done
echo "$(($(date +%s) - began)) s in all"
