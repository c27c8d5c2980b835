//! nano on CPUs without instructions for bf16: its vectors stay as near to those of f32 as bf16's
//! are, and its model id stays, so that an index made on one machine is searched on another.
//!
//! The instructions of a process are chosen once, so each kind of CPU has a process of its own: this
//! program, which runs one ignored test of it.

use std::path::Path;
use std::process::Command;

use pagesight_core::seam::{Model, PageEncoder, QueryEncoder};
use pagesight_core::{ModelSource, PageImage, PageSize};
use pagesight_model::{ColPali, Device, Limit, LoadOptions, Precision, kernels};

/// The variable that names the kind of CPU to the process.
const KIND: &str = "PAGESIGHT_INSTRUCTIONS";

/// The least cosine of a vector to the one of f32: the quality gate of whole numbers.
const GATE: f64 = 0.999;

fn load(precision: Precision, whole_numbers: Option<bool>) -> ColPali {
    let options = LoadOptions {
        precision: Some(precision),
        device: Device::Cpu,
        whole_numbers,
        ..LoadOptions::default()
    };
    ColPali::load(&ModelSource::Nano, &options).unwrap()
}

/// A page with print on one of its slices: the others are blank, and left out.
fn page(model: &ColPali) -> PageImage {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/nano/page.png");
    let print = image::open(path).unwrap().to_rgb8();
    let size = model.picture(PageSize { width_pt: 595.0, height_pt: 842.0 });
    let (width, height) = (size.width_px, size.height_px);
    let rgb = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| {
        let inside = x < print.width() && y < print.height();
        if inside { print.get_pixel(x, y).0 } else { [255; 3] }
    });
    PageImage::new(width, height, rgb.collect()).unwrap()
}

const QUESTIONS: [&str; 3] = ["Total revenue in 2024?", "Où est la clé (n° 1,234.50)?", "x86"];

/// All vectors of a page and of questions.
fn vectors(model: &ColPali) -> Vec<f32> {
    let pages = model.encode_pages(&[page(model)]).unwrap();
    let queries = model.encode_queries(&QUESTIONS).unwrap();
    let pages = pages.iter().flat_map(|page| page.vectors().values().iter().map(|v| v.to_f32()));
    pages.chain(queries.iter().flat_map(|query| query.values().to_vec())).collect()
}

fn least_cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    assert_eq!(a.len(), b.len());
    let rows = a.chunks(128).zip(b.chunks(128));
    rows.map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).fold(f64::INFINITY, f64::min)
}

#[test]
fn nano_passes_the_gate_on_every_kind_of_cpu() {
    let mut kinds = 0;
    for kind in Limit::ALL.into_iter().filter(|kind| kind.is_available()) {
        let run = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "on_a_kind_of_cpu", "--ignored", "--nocapture"])
            .env(KIND, kind.to_string())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&run.stdout);
        println!("{told}");
        assert!(run.status.success(), "{kind}: {told}{}", String::from_utf8_lossy(&run.stderr));
        assert!(told.contains("1 passed") && told.contains(&format!("{kind}: ")), "{told}");
        kinds += 1;
    }
    assert!(kinds > 1, "this CPU is of some kind, and every CPU runs plain loops");
}

#[test]
#[ignore = "a process of the test above"]
fn on_a_kind_of_cpu() {
    let Ok(kind) = std::env::var(KIND) else { panic!("{KIND} names the kind of CPU") };
    kind.parse::<Limit>().unwrap().set().unwrap();
    let nano = load(Precision::Bf16, None);
    let exact = load(Precision::F32, None);
    let expected = vectors(&exact);
    let cosine = least_cosine(&vectors(&nano), &expected);
    let by = &kernels()[0].by;
    println!("{kind}: nano in {by}, least cosine to f32 {cosine:.6}");
    assert!(cosine > GATE, "{by}: {cosine}");
    let has_bf16 = by.starts_with("bf16");
    if by.starts_with("whole numbers") {
        // Much nearer than bf16, whose least cosine is about 0.9999.
        assert!(cosine > 0.9999, "{by}: {cosine}");
        assert_ne!(vectors(&load(Precision::Bf16, Some(false))), vectors(&nano));
    }
    if !has_bf16 {
        // Without whole numbers f32 takes the place of bf16.
        let without = load(Precision::Bf16, Some(false));
        assert_eq!(vectors(&without), expected, "{by}");
        assert_eq!(without.model_id(), nano.model_id());
    }
    assert_ne!(nano.model_id(), exact.model_id());
    assert_eq!(nano.record().id, ColPali::nano().unwrap().record().id);
}
