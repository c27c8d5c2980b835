//! The precisions: how near each is to f32, how a quantized checkpoint is made and read, and that
//! a batch changes nothing.

use std::path::{Path, PathBuf};

use pagesight_core::seam::{Model, PageEncoder, QueryEncoder};
use pagesight_core::{ModelSource, PageImage};
use pagesight_model::{
    ColPali, Device, LoadOptions, ModelError, Precision, QuantizeSummary, Recipe, RecipeChoice,
    inspect_checkpoint, quantize_checkpoint,
};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity/hf")
}

fn at(folder: &Path) -> ModelSource {
    ModelSource::Folder(folder.into())
}

fn load(folder: &Path, precision: Option<Precision>) -> ColPali {
    ColPali::load(&at(folder), &LoadOptions { precision, ..LoadOptions::default() }).unwrap()
}

fn pages(model: &ColPali, count: u32) -> Vec<PageImage> {
    let edge = model.input_px();
    let page = |seed: u32| {
        let noise = (0..edge * edge * 3)
            .map(|i| (i.wrapping_add(seed * 977).wrapping_mul(2_654_435_761) >> 24) as u8);
        PageImage::new(edge, edge, noise.collect()).unwrap()
    };
    (0..count).map(page).collect()
}

const QUESTIONS: [&str; 3] = ["page 3", "net sales by region, 2024", "é"];

fn page_vectors(model: &ColPali) -> Vec<f32> {
    let encoded = model.encode_pages(&pages(model, 2)).unwrap();
    encoded.iter().flat_map(|page| page.vectors().values().iter().map(|v| v.to_f32())).collect()
}

fn query_vectors(model: &ColPali) -> Vec<f32> {
    let encoded = model.encode_queries(&QUESTIONS).unwrap();
    encoded.iter().flat_map(|query| query.values().to_vec()).collect()
}

/// All vectors of two pages and the questions.
fn vectors(model: &ColPali) -> Vec<f32> {
    [page_vectors(model), query_vectors(model)].concat()
}

fn least_cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let rows = a.chunks(128).zip(b.chunks(128));
    rows.map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).fold(f64::INFINITY, f64::min)
}

#[test]
fn each_precision_is_as_near_to_f32_as_its_bits_allow() {
    let exact = load(&fixture(), Some(Precision::F32));
    // Random weights of width 64 are the worst case for 4 bits: nothing averages out.
    for (precision, least_page, least_query) in [
        (Precision::F16, 0.999_99, 0.999_99),
        (Precision::Bf16, 0.999, 0.999),
        (Precision::Q8, 0.999, 0.999),
        (Precision::Q4, 0.97, 0.97),
    ] {
        let model = load(&fixture(), Some(precision));
        assert_eq!(model.precision(), precision);
        let page = least_cosine(&page_vectors(&model), &page_vectors(&exact));
        let query = least_cosine(&query_vectors(&model), &query_vectors(&exact));
        println!("{precision:4} least cosine to f32: pages {page:.6}, queries {query:.6}");
        assert!(page > least_page, "{precision}: {page}");
        assert!(query > least_query, "{precision}: {query}");
    }
}

#[test]
fn the_precision_is_part_of_the_model_and_the_weights_own_is_the_default() {
    let default = load(&fixture(), None);
    assert_eq!(default.precision(), Precision::F32);
    let half = load(&fixture(), Some(Precision::Bf16));
    assert_ne!(half.model_id(), default.model_id());
    // Said or not, f32 weights in f32 are the same model.
    let said = load(&fixture(), Some(Precision::F32));
    assert_eq!(said.model_id(), default.model_id());
    assert_eq!(said.recipe(), default.recipe());
}

#[test]
fn a_recipe_says_the_precision_and_an_option_takes_its_place() {
    let recipe = Recipe { precision: Some(Precision::Q8), ..Recipe::default() };
    let options = LoadOptions { recipe: Some(recipe.clone().into()), ..LoadOptions::default() };
    let model = ColPali::load(&at(&fixture()), &options).unwrap();
    assert_eq!((model.precision(), model.recipe()), (Precision::Q8, &recipe));
    assert_eq!(vectors(&model), vectors(&load(&fixture(), Some(Precision::Q8))));
    // What an index keeps is the recipe's JSON: it brings the same model back.
    let kept = RecipeChoice::Json(model.record().recipe.unwrap());
    let again = LoadOptions { recipe: Some(kept), ..LoadOptions::default() };
    let again = ColPali::load(&at(&fixture()), &again).unwrap();
    assert_eq!(again.model_id(), model.model_id());
    let info = inspect_checkpoint(&at(&fixture()), &options).unwrap();
    assert_eq!((&info.model_id, info.precision), (model.model_id(), Precision::Q8));
    let options = LoadOptions { precision: Some(Precision::Bf16), ..options };
    let other = ColPali::load(&at(&fixture()), &options).unwrap();
    assert_eq!(other.precision(), Precision::Bf16);
    assert_ne!(other.model_id(), model.model_id());
}

#[test]
fn a_gpu_that_is_not_built_in_is_refused() {
    for device in [Device::Cuda, Device::Metal].into_iter().filter(|d| !d.is_built_in()) {
        let error =
            ColPali::load(&at(&fixture()), &LoadOptions { device, ..LoadOptions::default() });
        assert!(matches!(error, Err(ModelError::DeviceNotBuilt { .. })), "{error:?}");
    }
    assert_ne!(load(&fixture(), None).device(), Device::Auto);
}

/// The gates of a GPU: `cargo test -p pagesight-model --features cuda -- --ignored`.
#[test]
#[ignore = "needs a GPU"]
fn a_gpu_gives_the_vectors_of_the_cpu() {
    let exact = load_on(Device::Cpu, Precision::F32);
    let gpu = [Device::Cuda, Device::Metal].into_iter().find(|d| d.is_built_in());
    let gpu = gpu.expect("a build with feature cuda or metal");
    for (precision, least) in
        [(Precision::F32, 0.999_999), (Precision::Bf16, 0.999), (Precision::Q8, 0.999)]
    {
        let model = load_on(gpu, precision);
        assert_eq!(model.device(), gpu);
        let cosine = least_cosine(&vectors(&model), &vectors(&exact));
        println!("{gpu} {precision:4} least cosine to f32 on the CPU: {cosine:.7}");
        assert!(cosine > least, "{precision}: {cosine}");
    }
}

fn load_on(device: Device, precision: Precision) -> ColPali {
    let options = LoadOptions { device, precision: Some(precision), ..LoadOptions::default() };
    ColPali::load(&at(&fixture()), &options).unwrap()
}

fn quantize(from: &Path, to: &Path, precision: Precision) -> Result<QuantizeSummary, ModelError> {
    quantize_checkpoint(&at(from), to, precision, &LoadOptions::default(), |_, _| ())
}

#[test]
fn a_quantized_checkpoint_gives_what_quantizing_while_loading_gives() {
    let folder = tempfile::tempdir().unwrap();
    for precision in [Precision::Q8, Precision::Q4] {
        let out = folder.path().join(precision.to_string());
        let mut told = Vec::new();
        let summary = quantize_checkpoint(
            &at(&fixture()),
            &out,
            precision,
            &LoadOptions::default(),
            |i, of| {
                told.push((i, of));
            },
        )
        .unwrap();
        assert_eq!(told.last(), Some(&(summary.quantized + summary.kept, told.len() - 1)));
        assert!(summary.bytes_after < summary.bytes_before, "{summary:?}");
        let model = load(&out, None);
        assert_eq!(model.precision(), precision);
        assert_eq!(vectors(&model), vectors(&load(&fixture(), Some(precision))));
        // The same weights, products in f32.
        let wide = load(&out, Some(Precision::F32));
        assert!(least_cosine(&vectors(&wide), &vectors(&model)) > 0.999);
        let other = if precision == Precision::Q8 { Precision::Q4 } else { Precision::Q8 };
        let options = LoadOptions { precision: Some(other), ..LoadOptions::default() };
        assert!(matches!(ColPali::load(&at(&out), &options), Err(ModelError::Setting { .. })));
        let again = quantize(&out, &folder.path().join("x"), precision);
        assert!(matches!(again, Err(ModelError::Quantized { .. })), "{again:?}");
        let there = quantize(&fixture(), &out, precision);
        assert!(matches!(there, Err(ModelError::Exists { .. })), "{there:?}");
    }
    let wrong = quantize(&fixture(), &folder.path().join("y"), Precision::Bf16);
    assert!(matches!(wrong, Err(ModelError::Setting { .. })), "{wrong:?}");
}

#[test]
fn pages_and_queries_get_the_same_vectors_alone_and_together() {
    for precision in Precision::ALL {
        let model = load(&fixture(), Some(precision));
        let together = model.encode_queries(&QUESTIONS).unwrap();
        for (question, expected) in QUESTIONS.iter().zip(&together) {
            assert_eq!(&model.encode_queries(&[question]).unwrap()[0], expected, "{precision}");
        }
        let images = pages(&model, 3);
        let together = model.encode_pages(&images).unwrap();
        for (image, expected) in images.iter().zip(&together) {
            let alone = model.encode_pages(std::slice::from_ref(image)).unwrap();
            assert_eq!(&alone[0], expected, "{precision}");
        }
    }
}

#[test]
fn a_model_for_queries_gives_the_same_query_vectors() {
    let whole = load(&fixture(), None);
    let options = LoadOptions { query_only: true, ..LoadOptions::default() };
    let queries = ColPali::load(&at(&fixture()), &options).unwrap();
    let ask = |model: &ColPali| model.encode_queries(&QUESTIONS).unwrap();
    assert_eq!(ask(&queries), ask(&whole));
}
