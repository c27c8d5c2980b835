#!/bin/sh
# Late interaction on the shared corpus: kernels against the machine's limit, every code, and the
# exact peers. Run it on an idle machine.
#
#   sh benches/late_interaction.sh BENCH CORPUS [PYTHON]
#
# BENCH has peers.py, corpus.py and limits.c; CORPUS is a folder that corpus.py wrote. PYTHON has
# numpy, psutil, torch and maxsim-cpu; without it the peers are left out. JSON Lines on stdout.
set -eu
bench=$1
corpus=$2
target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --release -p pagesight-maxsim --examples
"$target/release/examples/kernels"
for code in f32 f16 int8 4bit 2bit 1bit residual4 residual2 residual1 sign; do
    "$target/release/examples/corpus" "$corpus" --code $code
done
for batch in 4 16; do "$target/release/examples/corpus" "$corpus" --code int8 --batch $batch; done
"$target/release/examples/corpus" "$corpus" --code int8 --rerank bound
for code in 4bit 2bit 1bit residual4 residual2 residual1 sign; do
    "$target/release/examples/corpus" "$corpus" --code $code --rerank 200
done
if [ $# -ge 3 ]; then
    for peer in exact_numpy exact_torch_f32 exact_torch_bf16 exact_maxsim_cpu; do
        echo "{\"peer\": \"$peer\"}"
        BENCH_WAIT=${BENCH_WAIT:-5} "$3" "$bench/peers.py" --worker $peer --corpus "$corpus" | sed -n 's/^@@//p'
    done
fi
