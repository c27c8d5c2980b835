//! Prints the words of PDFs, page by page.

use pagesight_core::DrawSize;
use pagesight_pdf::{RenderOptions, Renderer, serve_worker_if_asked};
use std::path::PathBuf;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve_worker_if_asked();
    let pdfium = std::env::var_os("PAGESIGHT_PDFIUM").map(PathBuf::from);
    let mut renderer = Renderer::start(&RenderOptions { pdfium, ..RenderOptions::default() })?;
    let width: Option<u32> = std::env::var("WIDTH").ok().map(|w| w.parse().unwrap());
    for file in std::env::args().skip(1) {
        let bytes = std::fs::read(&file)?;
        let (count, _) = match renderer.open(&bytes, &["pagesight".into()]) {
            Ok(c) => c,
            Err(e) => {
                println!("{file}: {e}");
                continue;
            }
        };
        for number in 1..=count {
            match renderer.text(number, 1 << 20) {
                Ok(text) => println!("{file} {number} {:?}", text),
                Err(e) => println!("{file} {number}: {e}"),
            }
            if let Some(width) = width {
                let image = renderer.draw(number, DrawSize::Width(width))?;
                let out = format!(
                    "{}/{}-{number}.ppm",
                    std::env::var("OUT").unwrap(),
                    PathBuf::from(&file).file_stem().unwrap().display()
                );
                let mut b =
                    format!("P6 {} {} 255\n", image.width_px(), image.height_px()).into_bytes();
                b.extend(image.rgb());
                std::fs::write(out, b)?;
            }
        }
    }
    Ok(())
}
