//! What the tests of families share: checkpoints that are copied and spoiled, pages with print, and
//! checks that every family has to pass.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device as CandleDevice, Tensor, safetensors};
use pagesight_core::seam::{Model, PageEncoder};
use pagesight_core::{
    EncodedPage, ModelSource, PageImage, PageSize, PatchLayout, PictureSize, QueryVectors,
};

use crate::device::Device;
use crate::error::ModelError;
use crate::families::engine::{Engine, OnGpu};
use crate::families::retriever::{Network, Retriever};
use crate::families::{inspect_checkpoint, parity};
use crate::info::ModelInfo;
use crate::options::{LoadOptions, RecipeChoice};
use crate::parity::StageReport;
use crate::precision::Precision;
use crate::quantized_checkpoint::quantize_checkpoint;

pub type Tensors = HashMap<String, Tensor>;

pub const A4: PageSize = PageSize { width_pt: 595.0, height_pt: 842.0 };

/// The folder of a family's fixture.
pub fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../fixtures/parity-{family}"))
}

pub fn at(folder: &Path) -> ModelSource {
    ModelSource::Folder(folder.into())
}

/// In f32, though the weights are stored in bf16.
pub fn in_f32() -> LoadOptions {
    LoadOptions { precision: Some(Precision::F32), ..LoadOptions::default() }
}

/// Copies the files of a folder.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// All tensors of the checkpoint in a folder.
pub fn tensors(folder: &Path) -> Tensors {
    let mut all = Tensors::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            all.extend(safetensors::load(path, &CandleDevice::Cpu).unwrap());
        }
    }
    all
}

/// A copy of the checkpoint in one file, with changed weights.
pub fn changed(from: &Path, change: impl FnOnce(&mut Tensors)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(from, folder.path());
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        let name = name.to_string_lossy();
        if name.contains(".safetensors") {
            fs::remove_file(folder.path().join(&*name)).unwrap();
        }
    }
    let mut tensors = tensors(from);
    change(&mut tensors);
    safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    folder
}

pub fn change_json(file: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let mut value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, value.to_string()).unwrap();
}

/// A page with bars of print, of any size.
pub fn page(size: PictureSize, seed: u32) -> PageImage {
    let ink = |x: u32, y: u32| (x / 7 * (y / 12 + seed)) % 5 < 2 && y % 12 < 7;
    let rgb = (0..size.height_px).flat_map(|y| {
        (0..size.width_px).flat_map(move |x| [if ink(x, y) { 20u8 } else { 250 }; 3])
    });
    PageImage::new(size.width_px, size.height_px, rgb.collect()).unwrap()
}

/// The same page on paper that is nowhere of one colour. A norm that divides by the deviation makes
/// rounding hundreds of times larger where there is none.
fn on_rough_paper(page: PageImage) -> PageImage {
    let (width, height) = (page.width_px(), page.height_px());
    let rgb = page.rgb().iter().zip(0u32..);
    let rgb = rgb.map(|(byte, n)| byte.saturating_sub((n.wrapping_mul(2_654_435_761) >> 28) as u8));
    PageImage::new(width, height, rgb.collect()).unwrap()
}

pub fn encoded(model: &dyn Model, page: &PageImage) -> EncodedPage {
    model.encode_pages(std::slice::from_ref(page)).unwrap().remove(0)
}

/// All numbers of a page and of a question.
pub fn numbers(model: &dyn Model) -> Vec<f32> {
    let page = encoded(model, &page(model.picture(A4), 5));
    let query = &model.encode_queries(&["What is the total revenue in 2024?"]).unwrap()[0];
    let page = page.vectors().values().iter().map(|v| v.to_f32());
    page.chain(query.values().iter().copied()).collect()
}

pub fn least_cosine(a: &[f32], b: &[f32], dim: usize) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    assert_eq!(a.len(), b.len());
    let rows = a.chunks(dim).zip(b.chunks(dim));
    rows.map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).fold(f64::INFINITY, f64::min)
}

pub fn failed(stages: &[StageReport]) -> Vec<&StageReport> {
    stages.iter().filter(|stage| !stage.passed()).collect()
}

/// Every stage of a fixture is within its tolerance, and the named ones are among them.
pub fn stages_pass(family: &str, names: &[&str]) {
    let stages = parity(&fixture(family)).unwrap();
    for stage in &stages {
        println!(
            "{family:14} {:32} {:8.0e} {:.3e}",
            stage.stage, stage.tolerance, stage.max_difference
        );
    }
    assert!(failed(&stages).is_empty(), "{family}: {:#?}", failed(&stages));
    for name in names {
        assert!(stages.iter().any(|stage| stage.stage == *name), "{family}: {name} is compared");
    }
}

/// Vectors in each precision are as near to those in f32 as said, and a checkpoint that is written
/// in 8 or 4 bits gives what loading it so does.
pub fn precisions_are_near<M: Model>(
    folder: &Path,
    load: impl Fn(&Path, &LoadOptions) -> Result<M, ModelError>,
    least: [(Precision, f64); 4],
) {
    let exact = numbers(&load(folder, &in_f32()).unwrap());
    for (precision, least) in least {
        let options = LoadOptions { precision: Some(precision), ..LoadOptions::default() };
        let model = load(folder, &options).unwrap();
        let cosine = least_cosine(&numbers(&model), &exact, model.dim());
        println!("{} {precision:4} least cosine to f32 {cosine:.6}", folder.display());
        assert!(cosine > least, "{precision}: {cosine}");
        if precision.is_quantized() {
            let small = tempfile::tempdir().unwrap();
            let small = small.path().join("small");
            quantize_checkpoint(&at(folder), &small, precision, &options, |_, _| {}).unwrap();
            let stored = load(&small, &LoadOptions::default()).unwrap();
            assert_eq!(numbers(&stored), numbers(&model), "{precision}");
            let info = inspect_checkpoint(&at(&small), &LoadOptions::default()).unwrap();
            assert_eq!(info.precision, precision);
        }
    }
}

/// A model that was loaded for queries alone gives the same ones and refuses pages.
pub fn queries_stand_alone<M: Model>(
    folder: &Path,
    load: impl Fn(&Path, &LoadOptions) -> Result<M, ModelError>,
) {
    let whole = load(folder, &in_f32()).unwrap();
    let queries = load(folder, &LoadOptions { query_only: true, ..in_f32() }).unwrap();
    let asked = ["page 3", "est la clé"];
    assert_eq!(queries.encode_queries(&asked).unwrap(), whole.encode_queries(&asked).unwrap());
    assert_eq!(queries.model_id(), whole.model_id());
    assert!(!queries.encodes_pages() && whole.encodes_pages());
    let error = queries.encode_pages(&[page(whole.picture(A4), 1)]).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(ModelError::QueryOnly)), "{error}");
}

/// Each of the changed settings (file, field, value) is refused, by loading as by looking.
pub fn settings_are_refused<M: Model + std::fmt::Debug>(
    whole: &Path,
    load: impl Fn(&Path, &LoadOptions) -> Result<M, ModelError>,
    cases: impl IntoIterator<Item = (&'static str, &'static str, serde_json::Value)>,
) {
    for (file, field, value) in cases {
        let folder = changed(whole, |_| ());
        change_json(&folder.path().join(file), |settings| {
            let (parent, key) = field.rsplit_once('/').expect(field);
            match settings.pointer_mut(parent).expect(field) {
                serde_json::Value::Object(fields) => drop(fields.insert(key.into(), value.clone())),
                other => other[key.parse::<usize>().expect(field)] = value.clone(),
            }
        });
        let Err(error) = load(folder.path(), &in_f32()) else { panic!("{field} = {value}") };
        let seen = inspect_checkpoint(&at(folder.path()), &in_f32());
        assert_eq!(seen.unwrap_err().to_string(), error.to_string(), "{field} {value}");
    }
}

/// Whatever bytes of the files of the checkpoint are changed, loading ends with an error or a model
/// that works.
pub fn damage_never_panics<M: Model>(
    whole: &Path,
    load: impl Fn(&Path, &LoadOptions) -> Result<M, ModelError>,
    most_px: u32,
) {
    let mut random = fastrand::Rng::with_seed(21);
    let whole = changed(whole, |_| ());
    let processors = ["preprocessor_config.json", "processor_config.json"];
    let others = ["config.json", "tokenizer.json", "model.safetensors"];
    let names = processors.into_iter().chain(others);
    for name in names.filter(|name| whole.path().join(name).exists()) {
        for _ in 0..30 {
            let folder = tempfile::tempdir().unwrap();
            copy(whole.path(), folder.path());
            let file = folder.path().join(name);
            let mut bytes = fs::read(&file).unwrap();
            for _ in 0..random.usize(1..4) {
                // Of the weights the header alone.
                let most = bytes.len().min(6_000);
                match random.u8(..3) {
                    0 => bytes[random.usize(..most)] = random.u8(..),
                    1 => bytes[random.usize(..most)] = random.u8(b'0'..=b'9'),
                    _ => drop(bytes.remove(random.usize(..most))),
                }
            }
            fs::write(&file, bytes).unwrap();
            let _ = inspect_checkpoint(&at(folder.path()), &LoadOptions::default());
            if let Ok(model) = load(folder.path(), &in_f32()) {
                let size = model.picture(PageSize { width_pt: 40.0, height_pt: 30.0 });
                if size.width_px <= most_px && size.height_px <= most_px {
                    let _ = model.encode_pages(&[page(size, 1)]);
                }
                let _ = model.encode_queries(&["page 3"]);
            }
        }
    }
}

/// An adapter of one linear layer, the same in each run, whose change is large enough to be seen in
/// the vectors.
pub struct Adapter {
    layer: String,
    factors: [Tensor; 2],
}

impl Adapter {
    /// That of `layer`, a tensor's name without `.weight`, with so many inputs and outputs.
    pub fn of(layer: &str, [input, output]: [usize; 2]) -> Self {
        const RANK: usize = 2;
        let factor = |rows: usize, columns: usize| {
            let number = |n: usize| (n * 37 % 101) as f32 / 101.0 - 0.5;
            let numbers: Vec<f32> = (0..rows * columns).map(number).collect();
            Tensor::from_vec(numbers, (rows, columns), &CandleDevice::Cpu).unwrap()
        };
        Self { layer: layer.into(), factors: [factor(RANK, input), factor(output, RANK)] }
    }

    /// A folder with the adapter, its base, and whole tensors that it has beside its factors.
    pub fn over(&self, base: &Path, whole: Tensors) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        copy(base, &folder.path().join("base"));
        let prefixed = |key: &str| format!("base_model.model.{key}");
        let mut all: Tensors =
            whole.into_iter().map(|(key, tensor)| (prefixed(&key), tensor)).collect();
        for (name, factor) in ["lora_A", "lora_B"].into_iter().zip(&self.factors) {
            all.insert(prefixed(&format!("{}.{name}.weight", self.layer)), factor.clone());
        }
        safetensors::save(&all, folder.path().join("adapter_model.safetensors")).unwrap();
        let settings = serde_json::json!({
            "base_model_name_or_path": "somebody/base", "peft_type": "LORA", "r": 2, "lora_alpha": 4
        });
        fs::write(folder.path().join("adapter_config.json"), settings.to_string()).unwrap();
        folder
    }

    /// A copy of `whole` whose weights have the change.
    pub fn merged_into(&self, whole: &Path) -> tempfile::TempDir {
        changed(whole, |tensors| {
            let key = format!("{}.weight", self.layer);
            let base = tensors[&key].to_dtype(candle_core::DType::F32).unwrap();
            let [a, b] = &self.factors;
            let change = (b.matmul(a).unwrap() * 2.0).unwrap();
            tensors.insert(key, (base + change).unwrap());
        })
    }
}

/// An adapter over `base` gives the vectors that merging it into `whole`, the base and what the
/// adapter has `beside` it, gives; and others than `whole`.
pub fn adapter_is_merged<M: Model>(
    adapter: &Adapter,
    [base, whole]: [&Path; 2],
    beside: Tensors,
    load: impl Fn(&Path, &LoadOptions) -> Result<M, ModelError>,
) {
    let load = |folder: &Path| numbers(&load(folder, &in_f32()).unwrap());
    let folder = adapter.over(base, beside);
    let (got, expected) = (load(folder.path()), load(adapter.merged_into(whole).path()));
    let apart = |other: &[f32]| {
        assert_eq!(got.len(), other.len());
        got.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(apart(&expected) < 1e-3, "{}: {}", adapter.layer, apart(&expected));
    assert!(apart(&load(whole)) > 0.01, "{}", adapter.layer);
}

/// What no family that sees a page in one piece can do is refused by name.
pub fn what_cannot_be_is_refused<M: Model + std::fmt::Debug>(
    folder: &Path,
    load: impl Fn(&Path, &LoadOptions) -> Result<M, ModelError>,
    recipes: &[&str],
) {
    let refusal = |options: LoadOptions| load(folder, &options).unwrap_err();
    let slices = Some("2x3".parse().unwrap());
    let error = refusal(LoadOptions { slices, ..in_f32() });
    assert!(error.to_string().contains("slices is 2x3, expected 1x1"), "{error}");
    for device in [Device::Cuda, Device::Metal].into_iter().filter(|d| !d.is_built_in()) {
        let error = refusal(LoadOptions { device, ..in_f32() });
        assert!(matches!(error, ModelError::DeviceNotBuilt { .. }), "{error}");
    }
    let other = Some(RecipeChoice::Named("colpali-v1.3".into()));
    let error = refusal(LoadOptions { recipe: other, ..in_f32() });
    assert!(matches!(error, ModelError::UnknownRecipe { .. }), "{error}");
    let wrong = Some(RecipeChoice::Json(r#"{"pool": 2}"#.into()));
    let error = refusal(LoadOptions { recipe: wrong, ..in_f32() });
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("unknown field `pool`"), "{source}");
    for name in recipes {
        let recipe = Some(RecipeChoice::Named((*name).into()));
        load(folder, &LoadOptions { recipe, ..in_f32() }).unwrap();
    }
}

/// Questions without a token and with more than ten thousand are encoded, and every vector has
/// length 1.
pub fn questions_of_any_length_are_encoded<M: Model>(model: &M) -> [QueryVectors; 2] {
    let long = "page 3 in total ".repeat(1_700);
    let both: [_; 2] = model.encode_queries(&["", &long]).unwrap().try_into().unwrap();
    assert!(both[0].len() >= 10 && both[1].len() > 10_000, "{}", both[1].len());
    let spans = both[1].tokens().iter().filter(|token| token.span.is_some());
    assert!(spans.count() > 10_000);
    for row in both.iter().flat_map(|query| query.values().chunks(query.dim())) {
        let length: f32 = row.iter().map(|v| v * v).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
    }
    both
}

/// What is said of a checkpoint without reading its weights is so.
pub fn looks_are_true<M: Model>(
    folder: &Path,
    load: impl Fn(&Path, &LoadOptions) -> Result<M, ModelError>,
    (family, parameters): (&str, u64),
) -> ModelInfo {
    let info = inspect_checkpoint(&at(folder), &in_f32()).unwrap();
    assert_eq!((info.family, info.parameters), (family, parameters));
    let model = load(folder, &in_f32()).unwrap();
    let page = encoded(&model, &page(info.page.picture, 1));
    assert_eq!(page.vectors().len(), info.page.vectors);
    assert_eq!((info.dim, &info.model_id), (model.dim(), model.model_id()));
    info
}

/// A recipe of this JSON, with the fields that it leaves out as the family has them.
pub fn with_json<M: Model>(
    folder: &Path,
    load: impl Fn(&Path, &LoadOptions) -> Result<M, ModelError>,
    recipe: String,
) -> M {
    load(folder, &LoadOptions { recipe: Some(RecipeChoice::Json(recipe)), ..in_f32() }).unwrap()
}

/// Vectors may be merged, and those of blank patches left out: of a page with print in its first
/// pixel alone, those that have it are left, and stand there.
pub fn vectors_are_left_out_and_merged<M: Model>(
    folder: &Path,
    load: impl Fn(&Path, &LoadOptions) -> Result<M, ModelError>,
    printed: usize,
) {
    let recipe = |recipe: &str| with_json(folder, &load, recipe.into());
    let whole = recipe("{}");
    let size = whole.picture(A4);
    let all = encoded(&whole, &page(size, 2)).vectors().len();
    for pooler in ["hierarchical", "k-means"] {
        let pooled = recipe(&format!(r#"{{"pooling": 3, "pooler": "{pooler}"}}"#));
        let few = encoded(&pooled, &page(size, 2));
        assert!(few.vectors().places().is_some());
        let few = few.vectors().len();
        assert!(few <= all / 3 + 1 && few > all / 6, "{few} of {all}");
    }
    let mut rgb = vec![255; (size.width_px * size.height_px * 3) as usize];
    rgb[..3].fill(0);
    let dot = PageImage::new(size.width_px, size.height_px, rgb).unwrap();
    let kept = encoded(&recipe(r#"{"prune_blank": 16}"#), &dot);
    assert_eq!(kept.vectors().len(), printed);
    for row in 0..printed {
        let area = kept.layout().area(kept.vectors().place(row)).unwrap();
        assert_eq!((area.x0, area.y0), (0.0, 0.0));
    }
}

/// The model of a GPU, on `device`, gives the vectors of the CPU in f32: exactly in f32, and as near
/// as `least` says where products have 16 bits. A page or a question gives the same alone and beside
/// others, pages of another shape among them; and without what sees pages it gives the same
/// questions and refuses pages.
///
/// On candle's CPU device the operations are those of a GPU, so the families run it everywhere.
pub fn a_gpu_gives_the_same<N: Network, C, G: OnGpu<C>>(
    device: &CandleDevice,
    folder: &Path,
    load: impl Fn(&Path, &LoadOptions) -> Result<Retriever<N>, ModelError>,
    engine: impl Fn(&mut N) -> &mut Engine<C, G>,
    least: &[(Precision, f64)],
) {
    let options = |precision| LoadOptions {
        precision: Some(precision),
        device: Device::Cpu,
        gpu_slices: Some(2),
        ..LoadOptions::default()
    };
    let placed = |options: &LoadOptions| {
        let mut model = load(folder, options).unwrap();
        let engine = engine(&mut model.network);
        let cpu = engine.cpu().expect("loaded for the CPU");
        *engine = Engine::Gpu(Box::new(G::place(device, options.precision.unwrap(), cpu).unwrap()));
        model
    };
    let exact = load(folder, &options(Precision::F32)).unwrap();
    let dim = exact.dim();
    let shapes = [A4, PageSize { width_pt: 400.0, height_pt: 90.0 }, A4];
    let pages: Vec<PageImage> = shapes
        .iter()
        .zip(5..)
        .map(|(shape, seed)| on_rough_paper(page(exact.picture(*shape), seed)))
        .collect();
    let questions = ["What is the total revenue in 2024?", "est la clé", ""];
    let ids: Vec<Vec<u32>> =
        questions.iter().map(|asked| exact.network.query(asked).unwrap().ids).collect();
    let texts: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let all = |model: &Retriever<N>, at_once: usize| -> (Vec<f32>, Vec<PatchLayout>) {
        let encoded = pages.chunks(at_once).flat_map(|p| model.network.encode_pages(p).unwrap());
        let (rows, layouts): (Vec<_>, Vec<_>) = encoded.map(|p| (p.rows, p.layout)).unzip();
        let texts = texts.chunks(at_once).map(|ids| model.network.encode_texts(ids).unwrap());
        (rows.into_iter().chain(texts).flatten().collect(), layouts)
    };
    let apart = |a: &[f32], b: &[f32]| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    // A GPU adds up in an order of its own.
    let most = if device.is_cpu() { 1e-5 } else { 5e-5 };
    let (expected, layouts) = all(&exact, 1);
    for (precision, least) in [(Precision::F32, 0.999_999)].iter().chain(least) {
        let gpu = placed(&options(*precision));
        assert!(gpu.network.is_faster_with_several());
        let (together, of_together) = all(&gpu, pages.len());
        let (alone, _) = all(&gpu, 1);
        assert_eq!(of_together, layouts);
        let (near, same) =
            (least_cosine(&together, &expected, dim), least_cosine(&together, &alone, dim));
        println!(
            "{} {precision:4} on a GPU: cosine {near:.7} to the CPU in f32, {same:.7} to each \
             alone, {:.1e} apart",
            folder.display(),
            apart(&together, &expected)
        );
        assert!(near > *least && same > 0.9999, "{precision}: {near}, {same}");
        if *precision == Precision::F32 {
            assert!(apart(&together, &expected) < most, "{}", apart(&together, &expected));
        }
        // In batches of two: one of pages of two shapes, and one of a single page.
        let mut rows = together.as_slice();
        for (encoded, layout) in gpu.encode_pages(&pages).unwrap().iter().zip(&layouts) {
            let (of_page, others) = rows.split_at(layout.vectors() * dim);
            rows = others;
            let encoded = encoded.vectors().values().iter().map(|v| v.to_f32());
            let encoded: Vec<f32> = encoded.collect();
            assert!(least_cosine(&encoded, of_page, dim) > 0.9999);
        }
    }
    assert!(placed(&options(Precision::F32)).encode_pages(&[]).unwrap().is_empty());
    let queries = placed(&LoadOptions { query_only: true, ..options(Precision::F32) });
    let ours = queries.network.encode_texts(&texts).unwrap();
    assert!(apart(&ours, &exact.network.encode_texts(&texts).unwrap()) < most);
    assert!(!queries.encodes_pages());
    let error = queries.encode_pages(&pages).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(ModelError::QueryOnly)), "{error}");
}
