//! Times what a worker does with the pages of PDFs: reading their words, and drawing them for a
//! model. Each page is asked for several times and its fastest time counts, and on Linux it is the
//! time that the worker had the CPU, so that two builds can be compared on a machine that does other
//! things too.
//!
//! `cargo run --release -p pagesight-pdf --example reading -- FOLDER [ROUNDS]`

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pagesight_core::{DrawSize, PictureSize};
use pagesight_pdf::{RenderOptions, Renderer, serve_worker_if_asked};

const INPUT: PictureSize = PictureSize { width_px: 448, height_px: 448 };

fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve_worker_if_asked();
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("a folder of PDFs is missing")?);
    let rounds: u32 = arguments.next().map_or(Ok(3), |n| n.parse())?;
    let pdfium = std::env::var_os("PAGESIGHT_PDFIUM").map(PathBuf::from);
    let mut renderer = Renderer::start(&RenderOptions { pdfium, ..RenderOptions::default() })?;
    let mut files = Vec::new();
    collect(&folder, &mut files)?;
    files.sort();
    let (mut pages, mut opening, mut reading, mut drawing) =
        (0, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for file in &files {
        let bytes = std::fs::read(file)?;
        let mut best_open = Duration::MAX;
        let mut best: Vec<[Duration; 2]> = Vec::new();
        for _ in 0..rounds {
            let start = clock(&renderer);
            let Ok((count, _)) = renderer.open(&bytes, &[]) else { break };
            best_open = best_open.min(clock(&renderer) - start);
            best.resize(count as usize, [Duration::MAX; 2]);
            for (number, best) in (1..=count).zip(&mut best) {
                let start = clock(&renderer);
                renderer.text(number, 1 << 20).map(drop).unwrap_or_default();
                best[0] = best[0].min(clock(&renderer) - start);
                let start = clock(&renderer);
                renderer.draw(number, DrawSize::exact(INPUT)).map(drop).unwrap_or_default();
                best[1] = best[1].min(clock(&renderer) - start);
            }
        }
        if best.is_empty() {
            continue;
        }
        pages += best.len();
        opening += best_open;
        reading += best.iter().map(|best| best[0]).sum::<Duration>();
        drawing += best.iter().map(|best| best[1]).sum::<Duration>();
    }
    let per_page = |time: Duration| time.as_secs_f64() * 1e3 / pages.max(1) as f64;
    println!(
        "{} documents, {pages} pages; a page in ms: {:.3} opening, {:.3} reading, {:.3} drawing",
        files.len(),
        per_page(opening),
        per_page(reading),
        per_page(drawing)
    );
    Ok(())
}

/// Time that the worker had the CPU; the time of day where the system does not say.
fn clock(renderer: &Renderer) -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let path = format!("/proc/{}/schedstat", renderer.process_id());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| START.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|e| e == "pdf") {
            into.push(path);
        }
    }
    Ok(())
}
