//! The example that the README names runs. It compares its answer with an exact scan itself.

#[path = "../examples/rank_pages.rs"]
mod rank_pages;

#[test]
fn rank_pages_finds_what_an_exact_scan_finds() {
    rank_pages::main().unwrap();
}
