//! Whether whole numbers of 16 bits may take the place of bf16 for a checkpoint, on a CPU without
//! instructions for bf16: measured once with a page and questions, and remembered.
//!
//! They are multiplied up to twice as fast as f32. Each 256 numbers share a scale, so that a number far
//! larger than those around it, which some large models have, leaves little of the others; whether a
//! checkpoint has such, only its own weights say. So all its vectors are compared with those in f32.

use std::iter;

use half::f16;
use pagesight_core::seam::{BoxError, Model};
use pagesight_core::{ImageError, PageImage};
use serde::{Deserialize, Serialize};

use crate::blocks::matmul::Arithmetic;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::remembered::Remembered;
use crate::error::ModelError;
use crate::gpu;
use crate::info::A4;
use crate::options::LoadOptions;
use crate::precision::Precision;

/// The least cosine to f32 that a vector must have: what bf16 itself keeps of models with 3B
/// parameters is 0.9996.
const LEAST_COSINE: f64 = 0.999;

/// Questions that are compared: words, letters that are not Latin, numbers, and a long one.
pub const QUESTIONS: [&str; 4] = [
    "net sales by region",
    "Wie hoch war der Umsatz im dritten Quartal 2023?",
    "売上高の推移",
    "Which of the diagrams shows that the temperature of the furnace rises above 1,450 °C before the \
     valve is opened, and by how many kelvin a minute does it fall afterwards?",
];

/// What was measured of a model.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Nearness {
    /// The least cosine of a vector by whole numbers to the same one by f32.
    least_cosine: f64,
}

/// Vectors that a model makes of the same input in any arithmetic, in the same order.
pub type Vectors = Vec<Vec<f32>>;

/// Lets `checkpoint` be multiplied as whole numbers where that is faster and was found to be near
/// enough. Where nothing was found yet, it is measured now. `about` says under which name that is
/// remembered and what the model runs in, `encode` loads the checkpoint as it is then and says what its
/// vectors are; `None` where it gives none.
///
/// # Errors
/// What `about` and `encode` give.
pub fn decide(
    checkpoint: &mut Checkpoint,
    options: &LoadOptions,
    about: impl FnOnce(&Checkpoint) -> Result<(String, Precision), ModelError>,
    encode: impl Fn(&Checkpoint) -> Result<Option<Vectors>, ModelError>,
) -> Result<(), ModelError> {
    let is_decided = options.whole_numbers.is_some() || checkpoint.whole_numbers;
    let is_faster = Arithmetic::of_sixteen_bits(true) == Arithmetic::Int16;
    if options.measured.is_none()
        || is_decided
        || !is_faster
        || gpu::open(options.device)?.is_some()
    {
        return Ok(());
    }
    let (name, precision) = about(checkpoint)?;
    if !precision.is_of_sixteen_bits() {
        return Ok(());
    }
    let remembered = Remembered::<Nearness>::new(options.measured.clone());
    let mut found = remembered.all().remove(&name);
    // Without its vision tower a model shows no pages.
    if found.is_none() && !options.query_only {
        options.on_measuring.inspect(|tell| tell());
        let mut in_arithmetic = |whole_numbers| {
            checkpoint.whole_numbers = whole_numbers;
            encode(checkpoint)
        };
        if let (Some(exact), Some(whole)) = (in_arithmetic(false)?, in_arithmetic(true)?) {
            let nearness = Nearness { least_cosine: least_cosine(&exact, &whole) };
            remembered.change(|all| {
                all.insert(name, nearness);
            });
            found = Some(nearness);
        }
    }
    checkpoint.whole_numbers = found.is_some_and(|found| found.least_cosine >= LEAST_COSINE);
    Ok(())
}

/// What a retriever makes of a page and some questions.
///
/// # Errors
/// When it cannot encode them.
pub fn vectors_of(model: &dyn Model) -> Result<Vectors, BoxError> {
    let size = model.picture(A4);
    let page = printed_page(size.width_px, size.height_px)?;
    let mut vectors = Vectors::new();
    for page in model.encode_pages(&[page])? {
        let rows = page.vectors().values().chunks(model.dim());
        vectors.extend(rows.map(|row| row.iter().copied().map(f16::to_f32).collect()));
    }
    for question in model.encode_queries(&QUESTIONS)? {
        vectors.extend(question.values().chunks(model.dim()).map(<[f32]>::to_vec));
    }
    Ok(vectors)
}

/// The least cosine between a vector and the one in its place.
fn least_cosine(ones: &Vectors, others: &Vectors) -> f64 {
    if ones.len() != others.len() {
        // Vectors that are merged by their likeness were merged otherwise.
        return 0.0;
    }
    iter::zip(ones, others).map(|(one, other)| cosine(one, other)).fold(1.0, f64::min)
}

fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let dot = |one: &[f32], other: &[f32]| -> f64 {
        iter::zip(one, other).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum()
    };
    let cosine = dot(one, other) / (dot(one, one) * dot(other, other)).sqrt();
    // Numbers that are none are as far as can be.
    if cosine.is_nan() { 0.0 } else { cosine }
}

/// A page with something like lines of print, a picture with a gradient and noise, and white between
/// them; the same on every machine. Sizes are in px.
///
/// # Errors
/// For a page without pixels.
pub fn printed_page(width: u32, height: u32) -> Result<PageImage, ImageError> {
    let noise = |i: u32| (i ^ i >> 15).wrapping_mul(2_654_435_761) >> 24;
    let line = (height / 60).max(4);
    let pixel = |x: u32, y: u32| -> [u8; 3] {
        let (row, column) = (y / line, x / (line / 2).max(1));
        let is_margin = x < width / 10 || x > width - width / 10;
        if is_margin || row % 9 == 8 {
            return [255; 3];
        }
        if y > height / 2 && y < height / 4 * 3 && x > width / 2 {
            let shade = (x * 255 / width.max(1)) as u8;
            return [shade, (noise(y * width + x)) as u8, 255 - shade];
        }
        // A letter is some strokes in the middle of its line.
        let is_letter = noise(row * 977 + column) > 50;
        let is_inside = y % line > line / 5 && y % line < line * 4 / 5;
        let is_stroke = noise((row * 977 + column) * 31 + x % line * 7 + y % line / 2) > 120;
        if is_letter && is_inside && is_stroke { [20; 3] } else { [255; 3] }
    };
    let rows = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y)));
    PageImage::new(width, height, rows.collect())
}
