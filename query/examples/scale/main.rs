//! Searches over 1,000 to a million synthetic pages: latency, memory, cold start, quality.
//!
//! ```text
//! cargo run -p pagesight-query --example scale -- build DIR PAGES [--pooled]
//! cargo run -p pagesight-query --example scale -- search DIR [--best N] [--exact]
//! ```
//!
//! `build` makes the pages one after another (see world.rs) and writes their codes as the index
//! does, in segments. 100,000 pages of 1,030 vectors have 13 GB of int8 codes, and this machine has
//! no room for those: `--pooled` pages have 64 vectors, and of more than 1.5 GB of int8 codes only
//! those that the timed questions read are kept; the files have holes for the others. It prints the
//! quality of 100 questions against exact MaxSim over all vectors: every answer is computed from
//! the real sketches and the real int8 codes.
//!
//! `search` is a fresh process: it maps the files and asks the timed questions through
//! [`pagesight_query::search`]. `--exact` times the scan of all int8 codes, where they are whole.

mod world;

use std::cell::RefCell;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use pagesight_core::seam::{BoxError, DocumentFilter, TextIndex, VectorSource, Visit};
use pagesight_core::{Channel, DocumentId, Found, PageId, PageVectors, QueryVectors};
use pagesight_maxsim::{
    ExactQuery, Instructions, Int8Page, Int8Query, Segment, SegmentWriter, Segments, SketchCoder,
};
use pagesight_query::measure::metrics::{Tally, gain, quantile};
use pagesight_query::{Effort, Question, Request, Sources, search};
use rayon::prelude::*;
use serde_json::{Value, json};
use world::{DIM, World};

const SEED: u64 = 7;
/// Questions whose quality is measured, and those of them that are timed.
const QUESTIONS: usize = 100;
const TIMED: usize = 16;
/// Pages of a segment, and of a step.
const SEGMENT: u64 = 100_000;
const STEP: usize = 512;
const K: usize = 10;
/// int8 codes that are kept whole, bytes.
const KEPT: u64 = 1_500_000_000;
/// Pages that exact MaxSim ranks: the ten best are among the best by int8 code.
const JUDGED: usize = 50;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let start = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let best = arguments.iter().position(|argument| argument == "--best");
    let best = best.map(|at| arguments[at + 1].parse()).transpose()?;
    let folder = Path::new(arguments.get(1).ok_or("which folder?")?);
    match arguments[0].as_str() {
        "build" => build(folder, arguments[2].parse()?, has("--pooled"))?,
        "search" => ask(folder, best, has("--exact"), start)?,
        other => return Err(format!("build or search, not {other}").into()),
    }
    Ok(())
}

/// Page `n` as the index calls it: 12 pages a document.
fn id(n: u64) -> PageId {
    let mut document = [0; 32];
    document[..8].copy_from_slice(&(n / 12 + 1).to_be_bytes());
    PageId { document: DocumentId(document), number: (n % 12) as u32 + 1 }
}

fn number(id: PageId) -> u64 {
    let document = id.document.0.first_chunk().expect("32 bytes");
    (u64::from_be_bytes(*document) - 1) * 12 + u64::from(id.number) - 1
}

fn questions_of(world: &World, pages: u64, pooled: bool) -> (Vec<QueryVectors>, Vec<u64>) {
    let targets: Vec<u64> = (0..QUESTIONS as u64).map(|n| n * pages / QUESTIONS as u64).collect();
    let ask = |(n, &page): (usize, &u64)| world.query(n as u64, &world.page(page, pooled));
    (targets.iter().enumerate().map(ask).collect(), targets)
}

fn vectors(world: &World, page: u64, pooled: bool) -> PageVectors {
    let drawn = world.page(page, pooled);
    PageVectors::from_f32(DIM, drawn.vectors.as_flattened()).expect("unit vectors")
}

/// A file that leaves a hole for the int8 codes of each page, and knows where.
struct Holey {
    file: io::BufWriter<File>,
    holes: bool,
    at: u64,
    /// Pages that come.
    pages: usize,
    places: Rc<RefCell<Vec<u64>>>,
}

impl Write for Holey {
    /// The codes of a page come in one piece; so do sketches, of thousands of pages, and the lists.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut places = self.places.borrow_mut();
        let is_page = places.len() < self.pages && bytes.len() < 1 << 18;
        if is_page {
            places.push(self.at);
        }
        let written = if is_page && self.holes {
            self.file.seek_relative(bytes.len() as i64).map(|()| bytes.len())
        } else {
            self.file.write(bytes)
        }?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn build(folder: &Path, pages: u64, pooled: bool) -> Outcome<()> {
    fs::create_dir_all(folder)?;
    let start = Instant::now();
    let world = World::new(SEED);
    let (queries, targets) = questions_of(&world, pages, pooled);
    let batch = Int8Query::batch(Instructions::best(), &queries.iter().collect::<Vec<_>>())?;
    let sample: Vec<PageVectors> =
        (0..256.min(pages)).map(|n| vectors(&world, n * 7 % pages, pooled)).collect();
    let coder = SketchCoder::fit(&sample)?;
    // Every page as the index codes it, and its scores by int8 code.
    let (mut scores, mut offsets) = (vec![Vec::new(); QUESTIONS], Vec::new());
    let mut names = Vec::new();
    let holes = Int8Page::encode(&sample[0]).bytes() as u64 * pages > KEPT;
    let (mut sketches_s, mut sketch_bytes) = (0.0, 0);
    for first in (0..pages).step_by(SEGMENT as usize) {
        let places = Rc::new(RefCell::new(Vec::new()));
        let name = format!("{}.codes", names.len());
        let file = io::BufWriter::new(File::create(folder.join(&name))?);
        let all: Vec<u64> = (first..pages.min(first + SEGMENT)).collect();
        let (at, pages, kept) = (0, all.len(), Rc::clone(&places));
        let mut writer = SegmentWriter::new(Holey { file, holes, at, pages, places: kept }, &coder);
        for step in all.chunks(STEP) {
            let code = |&n: &u64| {
                let page = vectors(&world, n, pooled);
                let int8 = Int8Page::encode(&page);
                let scores = batch.scores(&int8).expect("one dim");
                let start = Instant::now();
                let sketch = coder.encode(&page).expect("one dim");
                (n, int8, sketch, scores, start.elapsed())
            };
            for (n, int8, sketch, of_page, time) in step.par_iter().map(code).collect::<Vec<_>>() {
                writer.push(id(n), &int8, &sketch)?;
                sketches_s += time.as_secs_f64();
                sketch_bytes += sketch.bytes();
                scores.iter_mut().zip(of_page).for_each(|(all, score)| all.push(score));
            }
        }
        writer.finish()?;
        offsets.extend(places.take().into_iter().map(|at| (names.len(), at)));
        names.push(name);
    }
    let mut meta = json!({
        "pages": pages, "pooled": pooled, "segments": names, "build_s": start.elapsed().as_secs_f64(),
        "vectors_per_page": vectors(&world, 1, pooled).len(),
        "sketch_bytes_per_page": sketch_bytes as f64 / pages as f64,
        "sketch_ms_per_page": sketches_s * 1e3 / pages as f64,
    });
    fs::write(folder.join("meta.json"), meta.to_string())?;

    let exact = exact_best(&world, &queries, &scores, pooled);
    let codes = open(folder, &meta)?;
    let mut read = Vec::new();
    let mut answers = Vec::new();
    let most = counts(pages).last().copied().unwrap_or(0);
    let all: Outcome<Vec<_>> = queries.iter().map(|query| chosen(&codes, query, most)).collect();
    let all = all?;
    read.extend(all[..TIMED].iter().flatten().copied());
    let mut quality = Vec::new();
    for count in counts(pages) {
        let (mut tally, mut ideal) = (Tally::default(), 0.0);
        for (n, chosen) in all.iter().enumerate() {
            let score = |page: u64| scores[n][page as usize];
            let mut best = chosen[..count].to_vec();
            best.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
            best.truncate(K);
            tally.add(&best, &exact[n], &[targets[n]]);
            ideal += gain(&exact[n], &[targets[n]], K);
            if n < TIMED {
                answers.push(json!({"count": count, "question": n, "pages": best}));
            }
        }
        let measured = tally.quality();
        quality.push(json!({
            "compared": count, "overlap_at_10": measured.overlap10,
            "ndcg_ratio_to_exact": measured.ndcg_ratio, "ndcg10_exact": ideal / QUESTIONS as f64,
        }));
    }
    // What the timed questions read, put into the holes.
    read.sort_unstable();
    read.dedup();
    for pages in read.chunks(STEP).filter(|_| holes) {
        let data = |&n: &u64| {
            let int8 = Int8Page::encode(&vectors(&world, n, pooled));
            let mut bytes = Vec::new();
            let mut one = SegmentWriter::new(&mut bytes, &coder);
            let sketch = coder.encode(&PageVectors::from_f32(DIM, &[1.0; DIM]).expect("finite"));
            one.push(id(n), &int8, &sketch.expect("one dim")).expect("memory");
            bytes.truncate(int8.bytes().next_multiple_of(64));
            (n, bytes)
        };
        for (n, bytes) in pages.par_iter().map(data).collect::<Vec<_>>() {
            let (segment, at) = offsets[n as usize];
            let mut file = File::options().write(true).open(folder.join(&names[segment]))?;
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&bytes)?;
        }
    }
    meta["quality"] = quality.into();
    meta["int8_pages_kept"] = if holes { read.len() as u64 } else { pages }.into();
    println!("{meta}");
    meta["answers"] = answers.into();
    fs::write(folder.join("meta.json"), meta.to_string())?;
    Ok(())
}

/// The depths to which quality is measured, the last what searches take of their own.
fn counts(pages: u64) -> Vec<usize> {
    let auto = (pages as usize / 128).clamp(1024, 8192);
    let mut counts: Vec<usize> = [64, 32, 16, 8, 4, 2, 1].map(|part| auto / part).into();
    counts.retain(|&count| (count as u64) < pages);
    counts
}

/// The `K` best pages of each question by exact MaxSim.
fn exact_best(
    world: &World,
    queries: &[QueryVectors],
    scores: &[Vec<f32>],
    pooled: bool,
) -> Vec<Vec<u64>> {
    let judge = |(query, scores): (&QueryVectors, &Vec<f32>)| {
        let mut pages: Vec<u64> = (0..scores.len() as u64).collect();
        pages.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
        pages.truncate(JUDGED);
        let query = ExactQuery::new(query);
        let exact = |&n: &u64| (n, query.score(&vectors(world, n, pooled)).expect("one dim"));
        let mut exact: Vec<(u64, f32)> = pages.iter().map(exact).collect();
        exact.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        exact.into_iter().take(K).map(|(page, _)| page).collect()
    };
    queries.par_iter().zip(scores).map(judge).collect()
}

/// The `count` best pages by sketch.
fn chosen(codes: &Segments, query: &QueryVectors, count: usize) -> Outcome<Vec<u64>> {
    let queries = codes.sketch_queries(query)?;
    let scores: Result<Vec<_>, _> =
        codes.living().par_chunks(256).map(|slots| codes.score_sketches(&queries, slots)).collect();
    let pages = codes.ids();
    let mut scored: Vec<(PageId, f32)> = pages.zip(scores?.concat()).collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    Ok(scored.into_iter().take(count).map(|(page, _)| number(page)).collect())
}

fn open(folder: &Path, meta: &Value) -> Outcome<Segments> {
    let names = meta["segments"].as_array().ok_or("segments")?;
    let open = |name: &Value| -> Outcome<Segment> {
        let file = File::open(folder.join(name.as_str().unwrap_or_default()))?;
        // SAFETY: nobody writes to the file while this program runs.
        Ok(Segment::open(unsafe { memmap2::Mmap::map(&file)? })?)
    };
    Ok(Segments::new(names.iter().map(open).collect::<Outcome<Vec<_>>>()?)?)
}

/// No words, and no full-precision vectors.
struct Surroundings;

impl VectorSource for Surroundings {
    fn scan(&self, _: DocumentFilter<'_>, _: Visit<'_>) -> Result<(), BoxError> {
        Err("there are no full-precision vectors".into())
    }
}

impl TextIndex for Surroundings {
    fn search_text(&self, _: &str, _: usize, _: DocumentFilter<'_>) -> Result<Found, BoxError> {
        Ok(Found::default())
    }
}

fn ask(folder: &Path, best: Option<usize>, exact: bool, start: Instant) -> Outcome<()> {
    let meta: Value = serde_json::from_slice(&fs::read(folder.join("meta.json"))?)?;
    let (pages, pooled) = (meta["pages"].as_u64().ok_or("pages")?, meta["pooled"] == true);
    let codes = open(folder, &meta)?;
    let opened = start.elapsed();
    // Making the questions is no part of a search.
    let making = Instant::now();
    let (queries, _) = questions_of(&World::new(SEED), pages, pooled);
    let making = making.elapsed();
    let questions: Vec<Question> = queries.iter().cloned().map(Question::from).collect();
    let sources = Sources { codes: Some(&codes), ..Sources::new(&Surroundings, &Surroundings) };
    let count = best.or(counts(pages).last().copied()).unwrap_or(64);
    let (mut first, mut ms, mut scans, mut reranks) = (None, Vec::new(), Vec::new(), Vec::new());
    let (mut agree, mut asked) = (0, 0);
    for round in 0..5 {
        for n in 0..TIMED {
            let (channels, effort) = (vec![Channel::Patches], Effort::Best(count));
            let request =
                Request { k: K, depth: K, channels, effort, ..Request::new(&questions[n]) };
            let asking = Instant::now();
            let seconds = if exact {
                let query = Int8Query::new(&queries[n]);
                let score = |slot| query.score(codes.page(slot).expect("checked")).expect("dim");
                let scores: Vec<f32> = codes.living().par_iter().map(score).collect();
                assert_eq!(scores.len(), codes.living().len());
                asking.elapsed()
            } else {
                let ranking = search(&sources, &request)?;
                let seconds = asking.elapsed();
                let found: Vec<u64> = ranking.hits.iter().map(|hit| number(hit.page)).collect();
                let answers = meta["answers"].as_array().ok_or("answers")?;
                let expected = answers.iter().find(|a| a["count"] == count && a["question"] == n);
                if let Some(expected) = expected {
                    asked += 1;
                    agree += usize::from(expected["pages"] == json!(found));
                }
                scans.push(ranking.work.scan.as_secs_f64() * 1e3);
                reranks.push(ranking.work.rerank.as_secs_f64() * 1e3);
                seconds
            };
            first.get_or_insert_with(|| (start.elapsed() - making).as_secs_f64() * 1e3);
            if round > 0 {
                ms.push(seconds.as_secs_f64() * 1e3);
            }
        }
    }
    let line = json!({
        "pages": pages, "pooled": pooled, "compared": if exact { Value::Null } else { count.into() },
        "threads": rayon::current_num_threads(),
        "p50_ms": quantile(&mut ms, 0.5), "p95_ms": quantile(&mut ms, 0.95),
        "scan_p50_ms": quantile(&mut scans, 0.5), "rerank_p50_ms": quantile(&mut reranks, 0.5),
        "open_ms": opened.as_secs_f64() * 1e3, "first_answer_ms": first,
        "as_computed": format!("{agree} of {asked}"), "memory_mb": memory(),
    });
    println!("{line}");
    Ok(())
}

/// Resident memory, MB: the most, and what of it is not mapped files. Linux only.
fn memory() -> Value {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kb| kb / 1e3)
    };
    json!({"most": of("VmHWM:"), "anonymous": of("RssAnon:"), "mapped_files": of("RssFile:")})
}
