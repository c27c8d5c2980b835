//! Thousands of real pages: `make pages DIR=...`, a folder of PDFs.

use std::path::PathBuf;
use std::time::Duration;

use crate::observed::{Sample, observe};
use crate::{Place, fixtures};

#[test]
#[ignore = "needs thousands of pages: make pages DIR=..."]
fn thousands_of_pages_cost_no_more_at_the_end_than_at_the_start() {
    let folder = std::env::var_os("PAGESIGHT_PAGES").expect("make pages DIR=...");
    let folder = PathBuf::from(folder).canonicalize().unwrap();
    let place = Place::new();
    let temporary = place.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let model = fixtures().join("parity/hf");
    let arguments = ["index", "--json", "--no-ocr", "--model", model.to_str().unwrap()];
    let mut command = place.command(&arguments);
    command.arg(&folder).env("TMPDIR", &temporary);
    let observed = observe(command);
    assert!([Some(0), Some(3)].contains(&observed.status.code()), "{}", observed.status);
    let pages = |until: Duration| -> u64 {
        let done = observed.lines.iter().filter(|(at, line)| {
            *at <= until && line["type"] == "document" && line["status"] != "skipped"
        });
        done.map(|(_, line)| line["pages"].as_u64().unwrap()).sum()
    };
    let all = pages(Duration::MAX);
    println!("{all} pages in {} documents; {}", observed.documents().count(), observed.figures());
    // Fifths of the time.
    let fifth = observed.time / 5;
    let mut parts: Vec<Sample> = Vec::new();
    for part in 0..5 {
        let within = |sample: &&Sample| sample.at >= fifth * part && sample.at < fifth * (part + 1);
        let samples: Vec<&Sample> = observed.samples.iter().filter(within).collect();
        let most = |of: &dyn Fn(&Sample) -> u64| samples.iter().map(|s| of(s)).max().unwrap_or(0);
        let sample = Sample {
            at: fifth * (part + 1),
            resident_mb: most(&|s| s.resident_mb),
            descriptors: most(&|s| s.descriptors as u64) as usize,
            workers: most(&|s| s.workers as u64) as usize,
        };
        let rate = (pages(sample.at) - pages(fifth * part)) as f64 / fifth.as_secs_f64();
        println!(
            "until {:6.1} s: {rate:6.1} pages/s, {} MB, {} descriptors, {} workers",
            sample.at.as_secs_f64(),
            sample.resident_mb,
            sample.descriptors,
            sample.workers
        );
        parts.push(sample);
    }
    let (first, last) = (parts[0], parts[4]);
    let workers = std::thread::available_parallelism().unwrap().get();
    assert!(parts.iter().all(|part| part.workers <= workers + 1), "workers leak");
    assert!(last.descriptors <= first.descriptors + 32, "descriptors leak");
    assert!(last.resident_mb < first.resident_mb + 300, "memory grows");
    let left = std::fs::read_dir(&temporary).unwrap().count();
    assert_eq!(left, 0, "temporary files are left");
}
