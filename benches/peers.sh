#!/bin/sh
# The indexed peers' table: build, disk, latency and quality of late interaction on one corpus, by
# pagesight and by other programs, in one run. Run it on an idle machine.
#
#   sh benches/peers.sh BENCH PYTHON [PAGES [PEER,PEER...]]
#
# BENCH has peers.py and corpus.py; PYTHON has what BENCH/requirements.txt lists of the peers that are
# asked for. NEXTPLAID_BENCH is the program that BENCH/nextplaid_bench builds, for the peers called
# nextplaid_*. BENCH_ROOT takes the corpus, the indexes and the results (default: a folder perf in the
# system's temporary folder). A table on stdout, what it is made of in BENCH_ROOT. pagesight runs
# before and after the peers, so that a machine that slows down shows, once with pages pooled to a
# fifth, and once compact, with residual codes in place of masters. BENCH_QUERIES are asked (default: 100).
set -eu
bench=$1
python=$2
pages=${3:-1000}
peers=${4:-nextplaid_4bit,nextplaid_2bit,warp_4bit,fastplaid_4bit,lance_ivf_pq_f32,lance_ivf_rq_f16,lance_flat_f16,qdrant_edge_f16}
root=${BENCH_ROOT:-${TMPDIR:-/tmp}/perf}
export BENCH_ROOT="$root" RAYON_NUM_THREADS="${BENCH_THREADS:-2}"
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../target}
(cd "$here/.." && cargo build --quiet --release -p pagesight-query --example peers)
"$python" "$bench/corpus.py" --root "$root/corpora" --pages "$pages" >"$root.log"
corpus=$(ls -d "$root/corpora/corpus-$pages"-*)
queries=${BENCH_QUERIES:-100}
pagesight() {
    index="$root/pagesight"
    rm -rf "$index"
    "$target/release/examples/peers" build "$corpus" "$index" "$2" >"$root/pagesight-build-$1.json"
    "$target/release/examples/peers" search "$corpus" "$index" "$queries" >"$root/pagesight-search-$1.json"
}
rm -f "$root/peers.json"
pagesight before 1
"$python" "$bench/peers.py" --pages "$pages" --peers "$peers" --queries "$queries" --out "$root/peers.json" >&2
pagesight pooled 5
pagesight compact compact
pagesight after 1
"$python" "$here/peers_table.py" "$root" "$pages"
