#!/bin/sh
# Searches over 1,000 to a million synthetic pages: latency, memory, cold start and quality against
# the number of pages. Run it on an idle machine; at the end 9 GB are on disk.
#
#   sh benches/many_pages.sh DIR
#
# JSON Lines on stdout. The folders below DIR are left for another look.
set -eu
target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --release -p pagesight-query --example scale
scale="$target/release/examples/scale"
for pages in 1000 3000 10000 30000 100000; do
    "$scale" build "$1/$pages" $pages
    for _ in 1 2 3; do "$scale" search "$1/$pages"; done
    if [ $pages -le 10000 ]; then "$scale" search "$1/$pages" --exact; fi
done
for pages in 10000 100000 1000000; do
    "$scale" build "$1/pooled-$pages" $pages --pooled
    for _ in 1 2 3; do "$scale" search "$1/pooled-$pages"; done
    if [ $pages -le 100000 ]; then "$scale" search "$1/pooled-$pages" --exact; fi
done
