//! Finds the basis that the token vectors of a model of meaning are brought to: the directions in
//! which those of ordinary text differ most (the first eigenvectors of their second moments).
//!
//! ```text
//! cargo run -p pagesight-model --example basis -- MODEL_FOLDER OUT.safetensors TEXT.txt...
//! ```
//!
//! `MODEL_FOLDER` is the published model in f32, without a basis; the texts are pages, separated by
//! form feeds. At most a thousand passages are encoded, evenly spread. Prints how much of the
//! vectors lies in the first directions.

use std::{env, fs};

use half::f16;
use pagesight_core::ModelSource;
use pagesight_core::seam::{BoxError, PassageEncoder};
use pagesight_model::{Embedder, EmbedderOptions};
use safetensors::tensor::{Dtype, TensorView};

/// Directions that are kept.
const KEPT: usize = 128;

/// Passages that are encoded.
const PASSAGES: usize = 1000;

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, out, texts @ ..] = arguments.as_slice() else {
        return Err("MODEL_FOLDER OUT.safetensors TEXT.txt...".into());
    };
    let source = ModelSource::Folder(folder.into());
    let embedder = Embedder::load(&source, &EmbedderOptions::default())?;
    let mut passages = Vec::new();
    for text in texts {
        let text = fs::read_to_string(text)?;
        for page in text.split('\u{c}') {
            let cut = embedder.passages(page)?;
            passages.extend(cut.into_iter().map(|range| page[range].to_string()));
        }
    }
    let step = passages.len().div_ceil(PASSAGES).max(1);
    let passages: Vec<&str> = passages.iter().step_by(step).map(String::as_str).collect();
    let dim = embedder.record().token_dim;
    let mut moments = vec![0.0f64; dim * dim];
    let mut count = 0usize;
    for some in passages.chunks(64) {
        for page in embedder.encode_texts(some)?.into_iter().flatten() {
            for row in page.tokens.values().chunks_exact(dim) {
                let row: Vec<f64> = row.iter().map(|value| value.to_f64()).collect();
                for (sums, x) in moments.chunks_exact_mut(dim).zip(&row) {
                    sums.iter_mut().zip(&row).for_each(|(sum, y)| *sum += x * y);
                }
                count += 1;
            }
        }
    }
    moments.iter_mut().for_each(|sum| *sum /= count as f64);
    println!("{} passages, {count} tokens of {dim} numbers", passages.len());
    let (values, vectors) = eigenvectors(moments, dim);
    let all: f64 = values.iter().sum();
    for kept in [32, 64, 96, KEPT, 192, 256] {
        let part: f64 = values.iter().take(kept).sum();
        println!("{kept:4} directions hold {:.3} of the vectors", part / all);
    }
    let rows = vectors.iter().take(KEPT).flatten();
    let bytes: Vec<u8> = rows.flat_map(|&value| f16::from_f64(value).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F16, vec![KEPT, dim], &bytes)?;
    safetensors::serialize_to_file([("basis", view)], None, out.as_ref())?;
    Ok(())
}

/// Eigenvalues of a symmetric matrix, the largest first, with their vectors of length 1: by Jacobi's
/// rotations, until nothing is left beside the diagonal.
fn eigenvectors(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut v = vec![0.0; n * n];
    (0..n).for_each(|i| v[i * n + i] = 1.0);
    for _ in 0..30 {
        let beside: f64 = (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| a[i * n + j].powi(2))
            .sum();
        if beside < 1e-18 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let (app, aqq, apq) = (a[p * n + p], a[q * n + q], a[p * n + q]);
                if apq.abs() < 1e-15 {
                    continue;
                }
                let theta = (aqq - app) / (2.0 * apq);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..n {
                    let (akp, akq) = (a[k * n + p], a[k * n + q]);
                    (a[k * n + p], a[k * n + q]) = (c * akp - s * akq, s * akp + c * akq);
                }
                for k in 0..n {
                    let (apk, aqk) = (a[p * n + k], a[q * n + k]);
                    (a[p * n + k], a[q * n + k]) = (c * apk - s * aqk, s * apk + c * aqk);
                    let (vpk, vqk) = (v[p * n + k], v[q * n + k]);
                    (v[p * n + k], v[q * n + k]) = (c * vpk - s * vqk, s * vpk + c * vqk);
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[j * n + j].total_cmp(&a[i * n + i]));
    let values = order.iter().map(|&i| a[i * n + i]).collect();
    (values, order.iter().map(|&i| v[i * n..(i + 1) * n].to_vec()).collect())
}
