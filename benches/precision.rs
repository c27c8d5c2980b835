//! How near is each precision to f32, does it rank the same pages, and how much memory does it
//! take?
//!
//! Each precision runs in processes of its own: one encodes pages and queries, one loads the model
//! for queries alone. Reported: the least cosine of all page vectors and of all query vectors to
//! those of f32; of the ten best pages of each question by MaxSim in f32, how many are among the
//! ten best; the most memory that was ever there (VmHWM; the weights' map, which the system may
//! take back, included) and what of it no file backs.
//!
//! ```text
//! cargo run -p pagesight-model --example precision -- MODEL PICTURES QUERIES.jsonl \
//!     [PAGES [PRECISION ...]]
//! ```
//!
//! MODEL is a folder with a checkpoint of any family, or `nano`. With PAGESIGHT_INSTRUCTIONS=avx2 and so on, the kernels of an older
//! CPU are compared: the quality gate of whole numbers, which take the place of bf16 there.
//!
//! PICTURES is a folder of PNGs, e.g. of `pagesight get PATH#PAGE --image`; the first PAGES of them
//! by name [default: all]. QUERIES has a JSON object with `query` a line.

use std::path::{Path, PathBuf};
use std::process::Command;

use pagesight_core::seam::Model;
use pagesight_core::{ModelSource, PageImage, PageSize, PictureSize};
use pagesight_maxsim::maxsim_reference;
use pagesight_model::{Device, LoadOptions, Precision};
use pagesight_simd::{Limit, resize};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    // As of the program: kernels keep to the instructions of such a CPU.
    if let Ok(name) = std::env::var("PAGESIGHT_INSTRUCTIONS") {
        name.parse::<Limit>()?.set()?;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["one", model, precision, pictures, queries, pages, out] => {
            one(model, precision.parse()?, pictures, queries, pages.parse()?, out.as_ref())
        }
        [model, pictures, queries] => {
            all(model, pictures, queries, usize::MAX, Precision::ALL.into())
        }
        [model, pictures, queries, pages] => {
            all(model, pictures, queries, pages.parse()?, Precision::ALL.into())
        }
        [model, pictures, queries, pages, precisions @ ..] => {
            let precisions = precisions.iter().map(|name| name.parse());
            all(model, pictures, queries, pages.parse()?, precisions.collect::<Result<_, _>>()?)
        }
        _ => Err("usage: precision MODEL PICTURES QUERIES.jsonl [PAGES [PRECISION ...]]".into()),
    }
}

/// Vectors of one process: pages and queries, each a list of numbers.
struct Vectors {
    dim: usize,
    pages: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
}

fn all(
    model: &str,
    pictures: &str,
    queries: &str,
    pages: usize,
    precisions: Vec<Precision>,
) -> Result<(), Failure> {
    println!("least cosine to f32              memory in MB: most (of which no file's)");
    println!("        pages    queries   top 10    pages and queries     queries alone");
    let run = |precision, pages| child(model, precision, pictures, queries, pages);
    let (exact, mut whole) = run(Precision::F32, pages)?;
    for precision in precisions {
        let mut vectors = None;
        if precision != Precision::F32 {
            let (others, memory) = run(precision, pages)?;
            (vectors, whole) = (Some(others), memory);
        }
        let vectors = vectors.as_ref().unwrap_or(&exact);
        let (alone, small) = run(precision, 0)?;
        if alone.queries != vectors.queries {
            return Err(format!("{precision}: loaded for queries alone, it gives others").into());
        }
        println!(
            "{precision:5} {:.6}  {:.6}  {:5.1} %  {whole:>18}  {small:>18}",
            least_cosine(exact.dim, &exact.pages, &vectors.pages),
            least_cosine(exact.dim, &exact.queries, &vectors.queries),
            100.0 * overlap(&exact, vectors),
        );
    }
    println!("{} pages, {} queries", exact.pages.len(), exact.queries.len());
    Ok(())
}

/// Runs [`one`] in a process of its own: its vectors, and its memory in words.
fn child(
    model: &str,
    precision: Precision,
    pictures: &str,
    queries: &str,
    pages: usize,
) -> Result<(Vectors, String), Failure> {
    let out = std::env::temp_dir().join(format!("precision-{}.bin", std::process::id()));
    let (precision, pages) = (precision.to_string(), pages.to_string());
    let done = Command::new(std::env::current_exe()?)
        .args(["one", model, &precision, pictures, queries, &pages])
        .arg(&out)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !done.status.success() {
        return Err(format!("{precision} ended with {}", done.status).into());
    }
    let bytes = std::fs::read(&out)?;
    std::fs::remove_file(&out)?;
    Ok((Vectors::from_bytes(&bytes), String::from_utf8_lossy(&done.stdout).trim().into()))
}

/// Encodes the first `pages` pictures and all queries; for no page the vision tower stays unread.
fn one(
    model: &str,
    precision: Precision,
    pictures: &str,
    queries: &str,
    pages: usize,
    out: &Path,
) -> Result<(), Failure> {
    let options = LoadOptions {
        precision: Some(precision),
        device: Device::Cpu,
        query_only: pages == 0,
        ..LoadOptions::default()
    };
    let source = match model {
        "nano" => ModelSource::Nano,
        folder => ModelSource::Folder(folder.into()),
    };
    let model = pagesight_model::load(&source, &options)?;
    let dim = model.record().dim;
    let mut vectors = Vectors { dim, pages: Vec::new(), queries: Vec::new() };
    for path in files(pictures)?.iter().take(pages) {
        let page = model.encode_pages(&[picture(path, &*model)?])?.remove(0);
        vectors.pages.push(page.vectors().values().iter().map(|v| v.to_f32()).collect());
    }
    for line in std::fs::read_to_string(queries)?.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let query = line["query"].as_str().ok_or("a line without query")?;
        vectors.queries.push(model.encode_queries(&[query])?.remove(0).values().to_vec());
    }
    std::fs::write(out, vectors.to_bytes())?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let megabytes = |key: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("");
        let number = line.trim_start_matches(':').trim().trim_end_matches(" kB");
        number.parse::<u64>().unwrap_or(0) / 1024
    };
    println!("{} ({})", megabytes("VmHWM"), megabytes("RssAnon"));
    Ok(())
}

fn files(folder: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|end| end == "png"));
    files.sort();
    Ok(files)
}

/// The picture at `path` in the size that `model` takes.
fn picture(path: &Path, model: &dyn Model) -> Result<PageImage, Failure> {
    let image = image::open(path)?.to_rgb8();
    let (width, height) = image.dimensions();
    let page = PageImage::new(width, height, image.into_raw())?;
    let PictureSize { width_px, height_px } =
        model.picture(PageSize { width_pt: width as f32, height_pt: height as f32 });
    Ok(resize(&page, width_px, height_px, model.filter()))
}

impl Vectors {
    fn to_bytes(&self) -> Vec<u8> {
        let mut numbers = vec![self.dim as u32, self.pages.len() as u32];
        for list in self.pages.iter().chain(&self.queries) {
            numbers.push(list.len() as u32);
            numbers.extend(list.iter().map(|value| value.to_bits()));
        }
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let mut numbers = bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let dim = numbers.next().unwrap_or(1) as usize;
        let pages = numbers.next().unwrap_or(0) as usize;
        let mut lists = Vec::new();
        while let Some(length) = numbers.next() {
            lists.push(numbers.by_ref().take(length as usize).map(f32::from_bits).collect());
        }
        let queries = lists.split_off(pages.min(lists.len()));
        Self { dim, pages: lists, queries }
    }

    /// The ten best pages of a query, the first of equals first.
    fn best(&self, query: &[f32]) -> Vec<usize> {
        let scores = self.pages.iter().map(|page| maxsim_reference(self.dim, query, page));
        let mut ranked: Vec<(usize, f64)> = scores.enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.into_iter().take(10).map(|(page, _)| page).collect()
    }
}

fn overlap(exact: &Vectors, other: &Vectors) -> f64 {
    let of_query = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        let (a, b) = (exact.best(a), other.best(b));
        a.iter().filter(|page| b.contains(page)).count() as f64 / a.len().max(1) as f64
    };
    let queries = exact.queries.iter().zip(&other.queries);
    queries.map(of_query).sum::<f64>() / exact.queries.len().max(1) as f64
}

fn least_cosine(dim: usize, exact: &[Vec<f32>], other: &[Vec<f32>]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let lists = exact.iter().zip(other);
    let rows = lists.flat_map(|(a, b)| a.chunks(dim).zip(b.chunks(dim)));
    rows.map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).fold(f64::INFINITY, f64::min)
}
