//! The pool: what stays warm, what is replaced, and what ends.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pagesight_core::seam::{PdfDocument, PdfError, PdfReader};
use pagesight_core::testing::{PdfSample, pdf_reader_contract};
use pagesight_core::{DocumentId, DrawSize, FailureKind, PictureSize};
use pagesight_pdf::{RenderOptions, RendererPool, Sandbox, StartError, WorkerLimits};

use crate::{fixtures, options};

fn pool() -> RendererPool {
    RendererPool::new(options(Sandbox::BestEffort))
}

fn fixture(name: &str) -> (DocumentId, Arc<Vec<u8>>) {
    let bytes = fs::read(fixtures().join("pdf").join(name)).unwrap();
    (DocumentId::of(&bytes), Arc::new(bytes))
}

fn open(pool: &RendererPool, name: &str) -> Box<dyn PdfDocument> {
    let (id, bytes) = fixture(name);
    pool.open(id, bytes, &Arc::default()).unwrap()
}

fn kind<T>(outcome: Result<T, PdfError>) -> Option<FailureKind> {
    match outcome {
        Err(PdfError::Failed(failure)) => Some(failure.kind),
        _ => None,
    }
}

pub fn keeps_the_contract() {
    let [form, slides] = ["form.pdf", "slides.pdf"].map(fixture);
    let samples = [
        PdfSample { bytes: &form.1, pages: 2, word: "Travel" },
        PdfSample { bytes: &slides.1, pages: 14, word: "e" },
    ];
    let pool = pool();
    assert_eq!(pool.started(), 0, "nothing is started before it is needed");
    pdf_reader_contract(&pool, samples);
    assert!(pool.started() <= 2, "two documents at once, {} workers", pool.started());
    let (id, bytes) = fixture("encrypted.pdf");
    let locked = pool.open(id, Arc::clone(&bytes), &Arc::default());
    assert_eq!(kind(locked), Some(FailureKind::Encrypted));
    assert!(!pool.has_passwords());
    let passwords = vec!["wrong".into(), "pagesight".into()];
    let pool = RendererPool::new(RenderOptions { passwords, ..options(Sandbox::BestEffort) });
    assert!(pool.has_passwords());
    assert!(pool.open(id, bytes, &Arc::default()).unwrap().page_count() > 0);
}

/// What a server does for each picture: ask for the open document, else read the file.
pub fn a_second_picture_starts_no_process() {
    let pool = pool();
    let (id, bytes) = fixture("slides.pdf");
    assert!(pool.opened(id).is_none());
    let first = pool.open(id, bytes, &Arc::default()).unwrap().draw(2, DrawSize::Width(200));
    let first = first.unwrap();
    for _ in 0..5 {
        // No bytes are given: the worker has the document open.
        let mut again = pool.opened(id).expect("it is still open");
        assert!(pool.opened(id).is_none(), "while it is in use nobody else has it");
        assert!(again.draw(2, DrawSize::Width(200)).unwrap() == first);
    }
    // Another document takes the same worker.
    drop(open(&pool, "form.pdf"));
    assert!(pool.opened(id).is_none());
    assert_eq!(pool.started(), 1);
    // Two at once need two, of which only as many stay as are to stay warm.
    let few = RenderOptions { warm_workers: 1, ..options(Sandbox::BestEffort) };
    let pool = RendererPool::new(few);
    let both = [open(&pool, "form.pdf"), open(&pool, "slides.pdf")];
    assert_eq!((pool.started(), pool.idle_processes().len()), (2, 0));
    drop(both);
    assert_eq!(pool.idle_processes().len(), 1);
}

/// On Linux a process that asks for it ends with the thread that started it.
pub fn workers_outlive_threads() {
    let pool = pool();
    let id = fixture("form.pdf").0;
    thread::scope(|scope| scope.spawn(|| drop(open(&pool, "form.pdf"))).join().unwrap());
    thread::sleep(Duration::from_millis(200));
    let mut form = pool.opened(id).expect("its worker is alive");
    form.draw(1, DrawSize::Width(100)).unwrap();
    assert_eq!(pool.started(), 1);
}

/// A page that draws itself for minutes.
fn endless(pages: usize) -> Vec<u8> {
    let stream = |dictionary: &str, content: &str| {
        format!("<<{dictionary}/Length {}>>\nstream\n{content}\nendstream", content.len())
    };
    let kids = "3 0 R ".repeat(pages);
    let mut objects = vec![
        "<</Type/Catalog/Pages 2 0 R>>".to_string(),
        format!("<</Type/Pages/Kids[{kids}]/Count {pages}>>"),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]/Contents 4 0 R\
         /Resources<</XObject<</X 5 0 R>>>>>>"
            .to_string(),
        stream("", "/X Do"),
    ];
    for depth in 0..12 {
        let next = 6 + depth;
        let dictionary = format!(
            "/Type/XObject/Subtype/Form/BBox[0 0 100 100]/Resources<</XObject<</X {next} 0 R>>>>"
        );
        objects.push(stream(&dictionary, &"/X Do 1 0 0 1 0.1 0 cm ".repeat(10)));
    }
    objects.push(stream("/Type/XObject/Subtype/Form/BBox[0 0 100 100]", "0 0 50 50 re f"));
    let mut out = b"%PDF-1.7\n".to_vec();
    let mut offsets = Vec::new();
    for (i, object) in objects.iter().enumerate() {
        offsets.push(out.len());
        out.extend(format!("{} 0 obj\n{object}\nendobj\n", i + 1).bytes());
    }
    let (start, size) = (out.len(), objects.len() + 1);
    out.extend(format!("xref\n0 {size}\n0000000000 65535 f \n").bytes());
    out.extend(offsets.iter().flat_map(|o| format!("{o:010} 00000 n \n").into_bytes()));
    out.extend(format!("trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF").bytes());
    out
}

pub fn a_stop_flag_ends_a_drawing() {
    let (pool, stop) = (pool(), Arc::new(AtomicBool::new(false)));
    let bytes = endless(1);
    let mut document = pool.open(DocumentId::of(&bytes), Arc::new(bytes), &stop).unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(kind(document.draw(1, DrawSize::Width(500))), Some(FailureKind::Other));
    });
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // What is not wanted any more starts no worker either.
    let started = pool.started();
    assert_eq!(kind(document.text(1, 100)), Some(FailureKind::Other));
    assert_eq!(pool.started(), started);
}

pub fn a_picture_too_large_costs_no_worker() {
    let pool = pool();
    let mut form = open(&pool, "form.pdf");
    for (width_px, height_px) in [(0, 10), (10, 0), (10_001, 1), (10_000, 10_000), (u32::MAX, 2)] {
        let size = DrawSize::exact(PictureSize { width_px, height_px });
        assert_eq!(kind(form.draw(1, size)), Some(FailureKind::TooLarge), "{width_px}x{height_px}");
    }
    let most = DrawSize::exact(PictureSize { width_px: 10_000, height_px: 6_400 });
    assert_eq!(form.draw(1, most).unwrap().height_px(), 6_400);
    for size in [DrawSize::Width(0), DrawSize::Width(u32::MAX), DrawSize::Dpi(u32::MAX)] {
        form.draw(1, size).unwrap();
    }
    assert_eq!(pool.started(), 1);
}

pub fn a_document_wears_out_few_workers() {
    let limits = WorkerLimits { page_time: Duration::from_millis(300), ..WorkerLimits::default() };
    let pool = RendererPool::new(RenderOptions { limits, ..options(Sandbox::BestEffort) });
    let bytes = endless(50);
    let id = DocumentId::of(&bytes);
    let mut document = pool.open(id, Arc::new(bytes), &Arc::default()).unwrap();
    let kinds: Vec<_> =
        (1..=50).map(|number| kind(document.draw(number, DrawSize::Width(500)))).collect();
    assert_eq!(kinds[..4], [Some(FailureKind::Timeout); 4]);
    assert_eq!(kinds[4..], [Some(FailureKind::Crashed); 46], "not tried");
    assert_eq!(pool.started(), 4);
    drop(document);
    assert!(pool.opened(id).is_none());
    open(&pool, "form.pdf").draw(1, DrawSize::Width(100)).unwrap();
}

pub fn start_errors_say_what_is_missing() {
    let (id, bytes) = fixture("form.pdf");
    let start = |options: RenderOptions| -> StartError {
        let opened = RendererPool::new(options).open(id, Arc::clone(&bytes), &Arc::default());
        match opened.map(drop) {
            Err(PdfError::Reader(why)) => *why.downcast().expect("the pool's own error"),
            other => panic!("{other:?}"),
        }
    };
    let sandbox = Sandbox::BestEffort;
    let nowhere = Some(PathBuf::from("/nowhere"));
    let error = start(RenderOptions { pdfium: nowhere.clone(), ..options(sandbox) });
    assert!(matches!(&error, StartError::NoPdfium { looked } if looked.len() == 1), "{error}");
    let error = start(RenderOptions { worker_program: nowhere, ..options(sandbox) });
    assert!(matches!(&error, StartError::Program { .. }), "{error}");
    let text = fixtures().join("README.md");
    let error = start(RenderOptions { pdfium: Some(text), ..options(sandbox) });
    assert!(matches!(&error, StartError::Library { .. }), "{error}");
    if cfg!(unix) {
        let silent = Some(PathBuf::from("/bin/true"));
        let error = start(RenderOptions { worker_program: silent, ..options(sandbox) });
        assert!(matches!(&error, StartError::Worker { .. }), "{error}");
    }
}

/// Workers of this process, in use or not.
#[cfg(target_os = "linux")]
fn children() -> Vec<u32> {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    let of = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).ok();
    let lines: Vec<String> = threads.filter_map(of).collect();
    lines.iter().flat_map(|line| line.split_whitespace()).map(|pid| pid.parse().unwrap()).collect()
}

/// Two threads draw, and one worker after the other is killed from outside.
#[cfg(target_os = "linux")]
pub fn a_killed_worker_is_replaced() {
    const KILLED: usize = 6;
    let (pool, over) = (pool(), AtomicBool::new(false));
    let expected = open(&pool, "slides.pdf").draw(1, DrawSize::Width(600)).unwrap();
    let failures = thread::scope(|scope| {
        let draw = || {
            let (mut failures, mut drawn) = (0, 0);
            while !over.load(Ordering::Relaxed) || drawn == 0 {
                let (id, bytes) = fixture("slides.pdf");
                // As often found open as opened.
                let document =
                    pool.opened(id).map_or_else(|| pool.open(id, bytes, &Arc::default()), Ok);
                match document.and_then(|mut d| d.draw(1, DrawSize::Width(600))) {
                    Ok(picture) => {
                        assert!(picture == expected, "never a picture of something else");
                        drawn += 1;
                    }
                    Err(PdfError::Failed(failure)) => {
                        assert_eq!(failure.kind, FailureKind::Crashed, "{failure}");
                        failures += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            failures
        };
        let threads = [scope.spawn(draw), scope.spawn(draw)];
        for _ in 0..KILLED {
            thread::sleep(Duration::from_millis(150));
            if let Some(pid) = children().first() {
                // SAFETY: takes integers; the process is a worker of ours.
                unsafe { libc::kill(*pid as libc::pid_t, libc::SIGKILL) };
            }
        }
        over.store(true, Ordering::Relaxed);
        threads.map(|thread| thread.join().unwrap()).iter().sum::<usize>()
    });
    assert!(failures <= KILLED, "each costs one picture at most: {failures}");
    // Killed while it is idle, it costs nothing: the next picture has another worker.
    let started = pool.started();
    for pid in pool.idle_processes() {
        // SAFETY: as above.
        unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
    }
    thread::sleep(Duration::from_millis(50));
    assert!(open(&pool, "slides.pdf").draw(1, DrawSize::Width(600)).unwrap() == expected);
    assert_eq!(pool.started(), started + 1);
}

#[cfg(target_os = "linux")]
fn wait_until_gone(pid: u32) -> Duration {
    let start = Instant::now();
    while fs::exists(format!("/proc/{pid}")).unwrap() {
        assert!(start.elapsed() < Duration::from_secs(5), "worker {pid} is still there");
        thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

#[cfg(target_os = "linux")]
pub fn idle_workers_end() {
    let idle_time = Duration::from_millis(400);
    let pool = RendererPool::new(RenderOptions { idle_time, ..options(Sandbox::BestEffort) });
    for _ in 0..2 {
        drop(open(&pool, "form.pdf"));
        let [pid] = pool.idle_processes()[..] else { panic!("one is idle") };
        // What is in use does not end.
        let mut form = open(&pool, "form.pdf");
        thread::sleep(2 * idle_time);
        form.draw(1, DrawSize::Width(100)).unwrap();
        drop(form);
        let waited = wait_until_gone(pid);
        assert!(waited > idle_time / 2, "not before its time: {waited:?}");
        assert!(pool.idle_processes().is_empty());
    }
    assert_eq!(pool.started(), 2);
    drop(open(&pool, "form.pdf"));
    let used = open(&pool, "slides.pdf");
    let [first, ..] = children()[..] else { panic!("there are workers") };
    let start = Instant::now();
    drop(pool);
    drop(used);
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    wait_until_gone(first);
    for pid in children() {
        wait_until_gone(pid);
    }
}

/// The program for hosts that cannot be their own worker.
#[cfg(target_os = "linux")]
pub fn the_worker_program_serves() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_pagesight-worker"));
    let said = std::process::Command::new(&program).output().unwrap();
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stderr).contains("for the program that starts it"));
    let own =
        RenderOptions { worker_program: Some(program.clone()), ..options(Sandbox::BestEffort) };
    // A host that is told what to run: here `env` runs the worker.
    let told = RenderOptions {
        worker_program: Some("/usr/bin/env".into()),
        worker_arguments: vec!["PAGESIGHT_TEST=1".into(), program.into()],
        ..own.clone()
    };
    for options in [own, told] {
        let mut form = open(&RendererPool::new(options), "form.pdf");
        form.draw(1, DrawSize::Width(100)).unwrap();
    }
}
