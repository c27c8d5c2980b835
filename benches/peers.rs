//! pagesight as one more entry of the harness that runs late interaction peers on one corpus.
//!
//! ```text
//! cargo run --release -p pagesight-query --example peers -- build CORPUS INDEX [POOLING|compact]
//! cargo run --release -p pagesight-query --example peers -- search CORPUS INDEX [QUERIES]
//! ```
//!
//! Question: what do build, disk and a query cost, and how near is the ranking to exact MaxSim?
//! Data: a folder that the harness' corpus.py wrote (see `benches/peers.sh`, the one command).
//! `build` writes what an index of these pages holds for the patches channel: the full-precision
//! vectors, and the int8 codes with their sketches as one segment, both durable when it returns.
//! `search` is a fresh process that maps the two files and asks through
//! [`pagesight_query::search`], one query at a time: exactly, as is the default at this size, and
//! with sketches that choose the pages, which reads no full-precision vectors. POOLING leaves one
//! vector in so many of each page, as a recipe's does with k-means; the ranking is still compared
//! with that of all. `compact` keeps residual codes in place of full-precision vectors and int8
//! codes, as `pagesight compact` does. Each prints one JSON object with the fields of the peers'
//! entries. The database that holds the vectors in pagesight is not part of it, and neither is the
//! model.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use half::f16;
use memmap2::Mmap;
use pagesight_core::seam::{BoxError, DocumentFilter, TextIndex, VectorSource, Visit};
use pagesight_core::{Channel, DocumentId, Found, PageId, PageVectors, QueryVectors};
use pagesight_maxsim::{
    Bits, Int8Page, ResidualCoder, Segment, SegmentWriter, Segments, SketchCoder, pool_k_means,
};
use pagesight_query::{Effort, Question, Request, Sources, search};
use rayon::prelude::*;
use serde_json::{Value, json};

const K: usize = 10;
/// Pages read and coded at a time.
const STEP: usize = 64;
/// Pages that the mean of the sketches and centres are taken of.
const SAMPLE: usize = 256;
/// Queries before the clock starts, as of the peers.
const WARM: usize = 3;
/// Pages that are compared by int8 code when sketches choose them.
const COMPARED: [usize; 2] = [64, 256];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let start = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [verb, corpus, index, rest @ ..] = &arguments[..] else {
        return Err("build or search, CORPUS INDEX".into());
    };
    let (corpus, index) = (Corpus::open(Path::new(corpus))?, Path::new(index));
    let compact = rest.first().is_some_and(|word| word == "compact");
    let number = rest.first().filter(|_| !compact).map(|n| n.parse()).transpose()?;
    let line = match verb.as_str() {
        "build" if compact => build_compact(&corpus, index)?,
        "build" => build(&corpus, index, number.unwrap_or(1))?,
        "search" => ask(&corpus, index, number.unwrap_or(usize::MAX), start)?,
        other => return Err(format!("build or search, not {other}").into()),
    };
    println!("{line}");
    Ok(())
}

/// What corpus.py wrote.
struct Corpus {
    header: Value,
    /// `[pages, patches, dim]`, f32, after the first bytes of the file.
    docs: Mmap,
    pages: usize,
    patches: usize,
    dim: usize,
    queries: Vec<QueryVectors>,
    targets: Vec<usize>,
    /// The exact ranking, a list a query.
    exact: Vec<Vec<usize>>,
}

impl Corpus {
    fn open(folder: &Path) -> Outcome<Self> {
        let header: Value = serde_json::from_reader(File::open(folder.join("header.json"))?)?;
        let [pages, patches, dim] =
            ["pages", "patches", "dim"].map(|name| header[name].as_u64().unwrap_or(0) as usize);
        let list = |name: &str| -> Outcome<Vec<usize>> {
            let values = header[name].as_array().ok_or_else(|| name.to_string())?;
            Ok(values.iter().filter_map(|v| Some(v.as_u64()? as usize)).collect())
        };
        let bytes = fs::read(folder.join("queries.npy"))?;
        let all = floats(&bytes[offset(&header, "queries_data_offset")?..]);
        let query = |pair: &[usize]| {
            let values = all[pair[0] * dim..pair[1] * dim].to_vec();
            Ok(QueryVectors::of_rows(dim, values)?)
        };
        let queries = list("query_offsets")?.windows(2).map(query).collect::<Outcome<Vec<_>>>()?;
        // The header of an .npy file of version 1: 10 bytes and a text of the length in bytes 8
        // and 9.
        let bytes = fs::read(folder.join("gt_ids.npy"))?;
        let ids = &bytes[10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))..];
        let ids: Vec<usize> =
            ids.as_chunks().0.iter().map(|four| i32::from_le_bytes(*four) as usize).collect();
        let exact = ids.chunks_exact(ids.len() / queries.len()).map(<[usize]>::to_vec).collect();
        let (targets, docs) = (list("query_target")?, map(&folder.join("docs.npy"))?);
        Ok(Self { header, docs, pages, patches, dim, queries, targets, exact })
    }

    /// Pages that coders are fitted to.
    fn sample(&self) -> Outcome<Vec<PageVectors>> {
        (0..self.pages).step_by(self.pages.div_ceil(SAMPLE)).map(|n| self.page(n, 1)).collect()
    }

    fn page(&self, n: usize, pooling: usize) -> Outcome<PageVectors> {
        let bytes = self.patches * self.dim * size_of::<f32>();
        let start = offset(&self.header, "docs_data_offset")? + n * bytes;
        let rows = floats(&self.docs[start..start + bytes]);
        let pooled = pool_k_means(self.dim, &rows, pooling);
        Ok(PageVectors::from_f32(self.dim, &pooled.vectors)?)
    }
}

fn offset(header: &Value, name: &str) -> Outcome<usize> {
    Ok(header[name].as_u64().ok_or_else(|| name.to_string())? as usize)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

fn map(path: &Path) -> Outcome<Mmap> {
    // SAFETY: nobody writes to the file while this program runs.
    Ok(unsafe { Mmap::map(&File::open(path)?)? })
}

/// Page `n` as the index calls it.
fn id(n: usize) -> PageId {
    PageId { document: DocumentId([7; 32]), number: n as u32 + 1 }
}

fn build(corpus: &Corpus, index: &Path, pooling: usize) -> Outcome<Value> {
    fs::create_dir_all(index)?;
    let (start, cpu, others) = (Instant::now(), cpu_seconds(), Others::new());
    let sample = corpus.sample()?;
    let coder = SketchCoder::fit(&sample)?;
    drop(sample);
    let mut masters = BufWriter::new(File::create(index.join("masters"))?);
    let codes = BufWriter::new(File::create(index.join("codes"))?);
    let mut codes = SegmentWriter::new(codes, &coder);
    let pages: Vec<usize> = (0..corpus.pages).collect();
    // Where the master of each page ends, bytes.
    let mut ends: Vec<usize> = Vec::with_capacity(pages.len());
    for step in pages.chunks(STEP) {
        let code = |&n: &usize| {
            let page = corpus.page(n, pooling).expect("a page of the corpus");
            let (code, sketch) = (Int8Page::encode(&page), coder.encode(&page).expect("one dim"));
            (n, page, code, sketch)
        };
        for (n, page, code, sketch) in step.par_iter().map(code).collect::<Vec<_>>() {
            let bytes: Vec<u8> = page.values().iter().flat_map(|x| x.to_le_bytes()).collect();
            masters.write_all(&bytes)?;
            ends.push(ends.last().unwrap_or(&0) + bytes.len());
            codes.push(id(n), &code, &sketch)?;
        }
    }
    let files = [codes.finish()?, masters];
    for file in files {
        file.into_inner()?.sync_all()?;
    }
    fs::write(index.join("ends.json"), serde_json::to_vec(&ends)?)?;
    built(corpus, index, start, cpu, &others)
}

/// As [`build`], without full-precision vectors.
fn build_compact(corpus: &Corpus, index: &Path) -> Outcome<Value> {
    fs::create_dir_all(index)?;
    let (start, cpu, others) = (Instant::now(), cpu_seconds(), Others::new());
    let sample = corpus.sample()?;
    let sketches = SketchCoder::fit(&sample)?;
    let coder = ResidualCoder::fit(Bits::Four, &sample)?;
    drop(sample);
    let codes = BufWriter::new(File::create(index.join("codes"))?);
    let mut codes = SegmentWriter::residual(codes, &sketches, coder.clone());
    let pages: Vec<usize> = (0..corpus.pages).collect();
    for step in pages.chunks(STEP) {
        let code = |&n: &usize| {
            let page = corpus.page(n, 1).expect("a page of the corpus");
            let code = coder.encode(&page).expect("one dim");
            (n, code, sketches.encode(&page).expect("one dim"))
        };
        for (n, code, sketch) in step.par_iter().map(code).collect::<Vec<_>>() {
            codes.push_residual(id(n), &code, None, &sketch)?;
        }
    }
    codes.finish()?.into_inner()?.sync_all()?;
    File::create(index.join("masters"))?;
    fs::write(index.join("ends.json"), "[]")?;
    built(corpus, index, start, cpu, &others)
}

fn built(
    corpus: &Corpus,
    index: &Path,
    start: Instant,
    cpu: f64,
    others: &Others,
) -> Outcome<Value> {
    let others = others.cores(cpu_seconds() - cpu);
    let bytes = |name: &str| Ok::<_, std::io::Error>(fs::metadata(index.join(name))?.len());
    Ok(json!({
        "build_s": start.elapsed().as_secs_f64(),
        "build_cpu_s": cpu_seconds() - cpu,
        "foreign_cores": others,
        "peak_rss_mb": memory("VmHWM"),
        "code_bytes_per_page": bytes("codes")? / corpus.pages as u64,
        "master_bytes_per_page": bytes("masters")? / corpus.pages as u64,
        "threads": rayon::current_num_threads(),
    }))
}

/// The mapped full-precision vectors, and no words.
struct Surroundings<'a> {
    corpus: &'a Corpus,
    masters: Mmap,
    ends: Vec<usize>,
}

impl Surroundings<'_> {
    fn master(&self, page: PageId) -> Result<PageVectors, BoxError> {
        let n = page.number as usize - 1;
        let start = if n == 0 { 0 } else { self.ends[n - 1] };
        let values = &self.masters[start..self.ends[n]];
        let values = values.as_chunks().0.iter().map(|&two| f16::from_le_bytes(two)).collect();
        Ok(PageVectors::new(self.corpus.dim, values)?)
    }
}

impl VectorSource for Surroundings<'_> {
    fn scan(&self, _: DocumentFilter<'_>, visit: Visit<'_>) -> Result<(), BoxError> {
        for n in 0..self.corpus.pages {
            visit(&[(id(n), self.master(id(n))?)]);
        }
        Ok(())
    }

    fn vectors_of(&self, pages: &[PageId]) -> Result<Vec<(PageId, PageVectors)>, BoxError> {
        pages.iter().map(|&page| Ok((page, self.master(page)?))).collect()
    }
}

impl TextIndex for Surroundings<'_> {
    fn search_text(&self, _: &str, _: usize, _: DocumentFilter<'_>) -> Result<Found, BoxError> {
        Ok(Found::default())
    }
}

fn ask(corpus: &Corpus, index: &Path, queries: usize, start: Instant) -> Outcome<Value> {
    // Reading the corpus is no part of a search.
    let reading = start.elapsed();
    let codes = Segments::new(vec![Segment::open(map(&index.join("codes"))?)?])?;
    let masters = map(&index.join("masters"))?;
    let ends = serde_json::from_slice(&fs::read(index.join("ends.json"))?)?;
    let around = Surroundings { corpus, masters, ends };
    let sources = Sources { codes: Some(&codes), ..Sources::new(&around, &around) };
    let queries = queries.min(corpus.queries.len());
    let questions: Vec<Question> = corpus.queries.iter().cloned().map(Question::from).collect();
    let search = |n: usize, effort| -> Outcome<(Vec<usize>, usize)> {
        let channels = vec![Channel::Patches];
        let request = Request { channels, k: K, depth: K, effort, ..Request::new(&questions[n]) };
        let ranking = search(&sources, &request)?;
        let found = ranking.hits.iter().map(|hit| hit.page.number as usize - 1).collect();
        Ok((found, ranking.work.reranked))
    };
    search(0, Effort::Certified)?;
    let cold = (start.elapsed() - reading).as_secs_f64();
    let mut runs = Vec::new();
    let efforts = COMPARED.into_iter().filter(|&count| count < corpus.pages);
    let named = efforts.map(|n| (format!("{n} by sketch, ranked in int8"), Effort::Best(n)));
    let scan = if codes.are_residual() { "all residual codes" } else { "exact" };
    let named = named.map(|(name, effort)| {
        let name = if codes.are_residual() { name.replace("int8", "residual codes") } else { name };
        (name, effort)
    });
    for (params, effort) in [(scan.into(), Effort::Certified)].into_iter().chain(named) {
        (0..WARM.min(queries)).try_for_each(|n| search(n, effort).map(drop))?;
        let (cpu, others) = (cpu_seconds(), Others::new());
        let (mut ms, mut found, mut again) = (Vec::new(), Vec::new(), 0);
        for n in 0..queries {
            let asking = Instant::now();
            let (ranking, compared) = search(n, effort)?;
            ms.push(asking.elapsed().as_secs_f64() * 1e3);
            found.push(ranking);
            again += compared;
        }
        let cpu = cpu_seconds() - cpu;
        runs.push(json!({
            "params": params,
            "p50_ms": quantile(&mut ms, 0.5),
            "p95_ms": quantile(&mut ms, 0.95),
            "n": queries,
            "cpu_ms_per_query": cpu * 1e3 / queries as f64,
            "foreign_cores": others.cores(cpu),
            "compared_again": again as f64 / queries as f64,
            "quality": quality(corpus, &found),
        }));
    }
    let (now, most) = (memory("VmRSS"), memory("VmHWM"));
    Ok(json!({"cold_s": cold, "runs": runs, "rss_mb": now, "peak_rss_mb": most}))
}

/// As peers.py measures it.
fn quality(corpus: &Corpus, found: &[Vec<usize>]) -> Value {
    let mean =
        |of: &dyn Fn(usize) -> f64| (0..found.len()).map(of).sum::<f64>() / found.len() as f64;
    let gain = |ranking: &[usize], target| {
        let at = ranking.iter().take(K).position(|&page| page == target);
        at.map_or(0.0, |at| 1.0 / (at as f64 + 2.0).log2())
    };
    let shared =
        |n: usize| corpus.exact[n][..K].iter().filter(|page| found[n].contains(page)).count();
    let ndcg = mean(&|n| gain(&found[n], corpus.targets[n]));
    let ndcg_exact = mean(&|n| gain(&corpus.exact[n], corpus.targets[n]));
    json!({
        "overlap_at_10": mean(&|n| shared(n) as f64 / K as f64),
        "ndcg_ratio_to_exact": ndcg / ndcg_exact.max(1e-9),
        "ndcg10": ndcg,
        "ndcg10_exact": ndcg_exact,
        "same_top1": mean(&|n| f64::from(u8::from(found[n].first() == corpus.exact[n].first()))),
        "n_queries": found.len(),
    })
}

fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q).round() as usize]
}

/// User and system time of this process, s; Linux only, elsewhere not a number.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    if ticks.len() == 2 { (ticks[0] + ticks[1]) / 100.0 } else { f64::NAN }
}

/// Says how much of the machine other programs took.
struct Others {
    start: Instant,
    busy: f64,
}

impl Others {
    fn new() -> Self {
        Self { start: Instant::now(), busy: busy_seconds() }
    }

    /// In cores, when this process took `own` seconds meanwhile.
    fn cores(&self, own: f64) -> f64 {
        ((busy_seconds() - self.busy - own) / self.start.elapsed().as_secs_f64()).max(0.0)
    }
}

/// What all programs took of all cores since the machine started, s; Linux only.
fn busy_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<f64> = line.filter_map(|field| field.parse().ok()).collect();
    // The fourth and the fifth are idle, and idle for the disk.
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    (ticks.iter().sum::<f64>() - idle) / 100.0
}

/// A field of this process' status, MB; Linux only.
fn memory(name: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}
