//! Bytes from a worker, as its parent reads them: nothing panics, and nothing passes that is over
//! its limits. `protocol.rs` runs the same on seeded mutations in every test run.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pagesight_pdf::protocol::exercise(bytes);
});
