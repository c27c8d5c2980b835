//! How fast are pages drawn, indexed and found, and how much memory does that take?
//!
//! * drawing: one worker against pypdfium2 in one Python process, the same pages at the same
//!   width, interleaved, medians of the rounds;
//! * indexing words, and memory: the program on a folder of 5,000 pages, its processes together;
//! * asking: 500 pages of 1,030 vectors, exact MaxSim and BM25 fused.
//!
//! `make bench` runs it; the results are kept in benches/results/.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pagesight::eval::quantile;
use pagesight::index::DocumentId;
use pagesight::model::{ModelId, ModelRecord, PictureSize, QueryEncoder, QueryVectors};
use pagesight::pdf::{DrawSize, RenderOptions, Renderer};
use pagesight::search::{Channel, Effort, PageId, Question};
use pagesight_core::seam::{Batch, BoxError, PageSink};
use pagesight_core::testing::{document_record, page_record};
use pagesight_query::{Request, Sources, search};
use pagesight_store::{Reader, Writer};

const ROUNDS: usize = 7;
const WIDTH_PX: u32 = 896;
const FOLDER_PAGES: usize = 5_000;
const ASKED_PAGES: usize = 500;
const VECTORS: usize = 1_030;
const DIM: usize = 128;

fn main() {
    pagesight::pdf::serve_worker_if_asked();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let needs = |name| {
        let value = std::env::var_os(name).map(PathBuf::from);
        std::path::absolute(value.unwrap_or_else(|| panic!("{name} is not set: use make bench")))
            .expect("a path")
    };
    let (program, python) = (needs("PAGESIGHT_PROGRAM"), needs("PAGESIGHT_BENCH_PYTHON"));
    let pdfium = needs("PAGESIGHT_PDFIUM");
    let files = [
        "debian/history.pdf",
        "debian/install-zh.pdf",
        "papers/two-columns.pdf",
        "slides.pdf",
        "scan.pdf",
        "form.pdf",
    ]
    .map(|name| root.join("fixtures/pdf").join(name));
    drawing(&files, &pdfium, &python);
    let folder = folder_of_pages(&files[0]);
    indexing(&program, &pdfium, folder.path(), &[], "words");
    let model = root.join("fixtures/parity/hf");
    let with_model = ["--model", model.to_str().expect("UTF-8"), "--slices", "4x4"];
    indexing(&program, &pdfium, folder.path(), &with_model, "words and 1,120 vectors a page");
    asking();
}

fn median(mut samples: Vec<f64>) -> f64 {
    quantile(&mut samples, 0.5)
}

fn drawing(files: &[PathBuf], pdfium: &Path, python: &Path) {
    let options = RenderOptions { pdfium: Some(pdfium.into()), ..RenderOptions::default() };
    let mut renderer = Renderer::start(&options).expect("the worker starts");
    let (mut ours, mut squeezed, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    let mut pages = 0;
    for _ in 0..ROUNDS {
        let mut each = |read: &dyn Fn(&mut Renderer, u32)| {
            let start = Instant::now();
            pages = 0;
            for file in files {
                let bytes = fs::read(file).expect("a fixture");
                let (count, _) = renderer.open(&bytes, &[]).expect("a sound PDF");
                for number in 1..=count {
                    read(&mut renderer, number);
                    pages += 1;
                }
            }
            f64::from(pages) / start.elapsed().as_secs_f64()
        };
        ours.push(each(&|renderer, number| {
            renderer.draw(number, DrawSize::Width(WIDTH_PX)).expect("a sound page");
        }));
        squeezed.push(each(&|renderer, number| {
            renderer.text(number, 1 << 20).expect("a sound page");
            let input = PictureSize { width_px: 448, height_px: 448 };
            renderer.draw(number, DrawSize::exact(input)).expect("a sound page");
        }));
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/pypdfium2_peer.py"));
        let output = command.arg(WIDTH_PX.to_string()).args(files).output().expect("Python runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut numbers = text.split_whitespace().map(|n| n.parse::<f64>().expect("a number"));
        let (count, seconds) = (numbers.next().expect("a count"), numbers.next().expect("a time"));
        assert_eq!(count, f64::from(pages), "the same pages");
        peer.push(count / seconds);
    }
    let (ours, squeezed, peer) = (median(ours), median(squeezed), median(peer));
    println!("drawing {pages} pages, {WIDTH_PX} px wide, one core, {ROUNDS} rounds:");
    println!("  pagesight worker        {ours:7.1} pages/s");
    println!("  pypdfium2               {peer:7.1} pages/s   ratio {:.2}", ours / peer);
    println!("  text and 448 px input   {squeezed:7.1} pages/s");
}

/// Copies of one document that differ in their last line, so that each is read.
fn folder_of_pages(file: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = fs::read(file).expect("a fixture");
    for n in 0..FOLDER_PAGES.div_ceil(21) {
        let mut copy = fs::File::create(folder.path().join(format!("{n}.pdf"))).expect("a file");
        copy.write_all(&bytes).and_then(|()| writeln!(copy, "\n% {n}")).expect("written");
    }
    folder
}

fn indexing(program: &Path, pdfium: &Path, folder: &Path, options: &[&str], what: &str) {
    let index = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(program);
    command.args(["index", "--quiet", "--no-ocr"]).args(options).arg(folder);
    command.env("PAGESIGHT_INDEX", index.path().join("index")).env("PAGESIGHT_PDFIUM", pdfium);
    let start = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().expect("the program runs");
    let (mut alone, mut together) = (0, 0);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        let own = resident(child.id());
        alone = alone.max(own);
        together = together.max(own + children(child.id()).into_iter().map(resident).sum::<u64>());
        sleep(Duration::from_millis(20));
    };
    assert!(status.success());
    let seconds = start.elapsed().as_secs_f64();
    let pages = FOLDER_PAGES.div_ceil(21) * 21;
    println!("indexing {what}, a folder of {pages} pages:");
    println!("  {:.1} pages/s ({seconds:.1} s)", pages as f64 / seconds);
    println!(
        "  memory at most {} MB in the program, {} MB with its workers",
        alone >> 20,
        together >> 20
    );
}

/// Resident memory of a process, bytes.
fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .flat_map(|task| {
            let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            text.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

/// Uniform numbers in [-1, 1), the same every time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Rows of length 1, `[n, DIM]`.
    fn rows(&mut self, n: usize) -> Vec<f32> {
        let mut rows: Vec<f32> = (0..n * DIM).map(|_| self.next()).collect();
        for row in rows.chunks_exact_mut(DIM) {
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            row.iter_mut().for_each(|v| *v /= length);
        }
        rows
    }
}

/// 25 query tokens, as a question has.
struct RandomQueries;

impl QueryEncoder for RandomQueries {
    fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        let one = |query: &&str| {
            let rows = Noise(query.len() as u64 + 7).rows(25);
            Ok(QueryVectors::of_rows(DIM, rows)?)
        };
        queries.iter().map(one).collect()
    }
}

fn asking() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("index");
    let mut writer = Writer::create(&path).expect("created");
    writer.set_model(ModelRecord::new(ModelId("random".into()), DIM)).expect("set");
    let id = DocumentId::of(b"bench");
    let mut noise = Noise(1);
    for first in (1..=ASKED_PAGES as u32).step_by(100) {
        let pages = first..first + 100;
        let page = |number: u32| {
            let text = format!("net sales of segment {} in year {}", number % 17, number % 31);
            page_record(id, number, &text, Some((DIM, &noise.rows(VECTORS))))
        };
        let pages = pages.map(page).collect();
        let documents = vec![document_record("bench.pdf", id, ASKED_PAGES as u32)];
        writer.commit(Batch { documents, pages, ..Batch::default() }).expect("committed");
    }
    drop(writer);
    let reader = Reader::open(&path).expect("opened");
    let codes = reader.codes().expect("sound codes");
    for (codes, what) in [(None, "f16 from disk"), (codes.as_ref(), "int8 codes, certified exact")]
    {
        let encoder = Some(&RandomQueries as &dyn QueryEncoder);
        ask(&reader, &Sources { codes, encoder, ..Sources::new(&reader, &reader) }, what);
    }
}

fn ask(reader: &Reader, sources: &Sources<'_>, what: &str) {
    let (mut total, mut visual, mut text) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..40 {
        let question = Question::Words(format!("net sales of segment {n}"));
        let request = Request { effort: Effort::Certified, ..Request::new(&question) };
        let start = Instant::now();
        let ranking = search(sources, &request).expect("an answer");
        total.push(start.elapsed().as_secs_f64() * 1e3);
        for (channel, time) in &ranking.timings.channels {
            let times = if *channel == Channel::Patches { &mut visual } else { &mut text };
            times.push(time.as_secs_f64() * 1e3);
        }
        let ids: Vec<PageId> = ranking.hits.iter().map(|hit| hit.page).collect();
        assert_eq!(reader.pages(&ids).expect("read").len(), 10);
    }
    println!("asking {ASKED_PAGES} pages of {VECTORS} x {DIM}, 25 query tokens, {what}:");
    let [p50, p95] = [0.5, 0.95].map(|q| quantile(&mut total, q));
    println!("  p50 {p50:.1} ms, p95 {p95:.1} ms");
    println!("  of it MaxSim {:.1} ms, words {:.1} ms (medians)", median(visual), median(text));
}
