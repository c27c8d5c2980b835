//! Draw the page that answers a question best, with the patches lit that the question met.
//!
//! ```text
//! cargo run --example lit_page -- fixtures/.pagesight "booting from the network" page.jpg
//! ```
//!
//! The index must be there (`pagesight index`). The picture in the README was drawn by this.

use std::path::Path;

use image::ExtendedColorType;
use pagesight::Index;
use pagesight::model::{LoadOptions, ModelSource};

const WIDTH_PX: u32 = 720;
/// A token that is met less than this says nothing of where.
const MET: f32 = 0.3;
/// Of the light, in red, green and blue: what of the page's own colour passes.
const LIGHT: [f32; 3] = [1.0, 0.80, 0.25];

#[allow(dead_code, reason = "the tests call `run`")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    pagesight::pdf::serve_worker_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, question, file] = &arguments[..] else {
        return Err("say an index, a question, and the file to draw into (.jpg or .png)".into());
    };
    let index = Index::open(folder)?;
    index.load_model(&ModelSource::Nano, &LoadOptions::default())?;
    println!("{} is in {file}", run(&index, question, Path::new(file))?);
    Ok(())
}

/// Draws into `file`, and returns which page was found.
pub fn run(
    index: &Index,
    question: &str,
    file: &Path,
) -> Result<String, Box<dyn std::error::Error>> {
    let answer = index.search(question).k(1).explain(true).run()?;
    let hit = answer.hits.first().ok_or("no page answers that")?;

    let picture = hit.page.image(WIDTH_PX)?;
    let (width, height) = (picture.width_px(), picture.height_px());
    let mut rgb = picture.rgb().to_vec();
    let scale = width as f32 / hit.page.size().width_pt;
    let light = hit.matches.iter().filter(|found| found.similarity > MET);
    // Neighbours overlap by a part of a patch; a pixel is lit once.
    let mut lit = vec![false; rgb.len() / 3];
    for rect in light.filter_map(|found| found.rect) {
        let (pad, px) = ((rect.y1 - rect.y0) / 4.0, |points: f32| (points * scale) as u32);
        for y in px(rect.y0 - pad)..px(rect.y1 + pad).min(height) {
            for x in px(rect.x0 - pad)..px(rect.x1 + pad).min(width) {
                lit[(y * width + x) as usize] = true;
            }
        }
    }
    for (pixel, _) in rgb.chunks_exact_mut(3).zip(&lit).filter(|(_, lit)| **lit) {
        for (value, passes) in pixel.iter_mut().zip(LIGHT) {
            *value = (f32::from(*value) * passes) as u8;
        }
    }
    image::save_buffer(file, &rgb, width, height, ExtendedColorType::Rgb8)?;
    Ok(format!("{}#{}", hit.page.path(), hit.page.number()))
}
