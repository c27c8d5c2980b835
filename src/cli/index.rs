//! `pagesight index`.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pagesight::{
    BatchSize, ColPali, DocumentRecord, DocumentStatus, Event, FolderWatch, Index, Limits,
    LoadOptions, Outcome as Did, RenderOptions, Summary, SyncOptions,
};
use serde_json::{Value, json};

use super::args::{IndexVerb, Place};
use super::interrupt::Interrupt;
use super::terminal::{Terminal, printable};
use super::{Outcome, hinted, locate, model, renderer, sandbox, watch};

pub fn run(place: &Place, verb: &IndexVerb, terminal: &Terminal) -> Result<Outcome> {
    let interrupt = Interrupt::listen()?;
    for folder in &verb.folders {
        // Before an index is made for nothing.
        std::fs::metadata(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    }
    let folder = locate::for_writing(place)?;
    let mut index =
        Index::open_or_create(&folder).with_context(|| opening(&folder.display().to_string()))?;
    // Before a model is loaded for nothing.
    index.check_writable()?;
    let renderer = renderer(place, &verb.password);
    index.set_renderer(RenderOptions { sandbox: sandbox(verb.sandbox), ..renderer });
    load_model(&mut index, verb)?;
    let stop = interrupt.flag();
    let options = SyncOptions {
        workers: verb.workers.map(usize::from),
        ocr_languages: (!verb.no_ocr).then(|| verb.ocr_lang.clone()),
        retry_failed: verb.retry_failed,
        limits: Limits {
            page_time: Duration::from_secs(verb.page_timeout),
            worker_bytes: verb.worker_memory << 20,
            pages: verb.max_pages,
            file_bytes: verb.max_file_size << 20,
            text_bytes: verb.max_text as usize * 1000,
            pixels: verb.max_pixels * 1_000_000,
            worker_documents: verb.worker_documents,
            worker_kept_bytes: verb.worker_keep << 20,
        },
        batch: BatchSize {
            pages: verb.commit_every.map_or(BatchSize::default().pages, |pages| pages as usize),
            ..BatchSize::default()
        },
        stop,
    };
    // Before the first walk, so that no change falls between the two.
    let watch = verb.watch.then(|| FolderWatch::new(&verb.folders, index.folder()));
    let mut progress = Progress::new(verb, terminal);
    let summary = index.sync_all(&verb.folders, &options, &mut |event| progress.tell(event));
    progress.bar.finish_and_clear();
    let summary = summary.with_context(|| opening(&index.folder().display().to_string()))?;
    progress.failed?;
    let outcome = report(&index, verb, &summary, progress.start.elapsed())?;
    match watch {
        Some(watch) if !summary.interrupted => watch::run(&mut index, verb, &options, watch),
        _ => Ok(outcome),
    }
}

fn opening(folder: &str) -> String {
    format!("indexing into {folder}")
}

fn load_model(index: &mut Index, verb: &IndexVerb) -> Result<()> {
    index.set_loading(model::options(&verb.model.loading)?);
    let stored = index.snapshot().model.as_ref().map(|stored| stored.folder.clone());
    let is_new = index.documents().next().is_none();
    let folder = match (&verb.model.model, stored) {
        (Some(name), Some(stored)) if model::is_none(name) => {
            if !verb.quiet {
                let name = model::name(&stored);
                eprintln!("the index has vectors of {name}: new pages get them too");
            }
            Some(stored)
        }
        (Some(name), None) if model::is_none(name) => None,
        (Some(name), _) => Some(model::find(name)?),
        (None, Some(stored)) => Some(stored),
        (None, None) => is_new.then(|| ColPali::NANO.into()),
    };
    match folder {
        Some(folder) => {
            let options =
                LoadOptions { slices: verb.slices.clone(), ..model::options(&verb.model.loading)? };
            let loaded = index.load_model(&folder, &options);
            loaded.map_err(model::new_index).with_context(|| model::loading(&folder))
        }
        None if verb.slices.is_some()
            || verb.model.loading.recipe.is_some()
            || verb.model.loading.precision.is_some() =>
        {
            Err(hinted(
                "--slices, --recipe and --precision need a model",
                "name one, e.g. --model nano",
            ))
        }
        None => {
            if !verb.quiet {
                // An index keeps what it is; with a model all would be read again.
                let add = if is_new { "" } else { "; --model nano adds their pictures" };
                eprintln!("no vision model: pages will be found by their words alone{add}");
            }
            Ok(())
        }
    }
}

/// Shows how far a run is: a bar on a terminal, a line now and then elsewhere, and a line of JSON
/// a document where asked.
struct Progress {
    bar: ProgressBar,
    plain: bool,
    json: bool,
    pages: u64,
    bytes: u64,
    planned: u64,
    start: Instant,
    last_line: Instant,
    /// The first failure to write to stdout.
    failed: io::Result<()>,
}

/// Between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    fn new(verb: &IndexVerb, terminal: &Terminal) -> Self {
        let shown = terminal.progress && !verb.quiet;
        let target = match shown {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = "{bar:30} {percent:>3}%  {msg}  {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is ours"));
        let now = Instant::now();
        Self {
            bar,
            plain: !shown && !verb.quiet,
            json: verb.json,
            pages: 0,
            bytes: 0,
            planned: 0,
            start: now,
            last_line: now,
            failed: Ok(()),
        }
    }

    fn tell(&mut self, event: Event<'_>) {
        match event {
            Event::Planned { documents, bytes } => {
                self.planned = bytes;
                self.bar.set_length(bytes.max(1));
                if self.plain && documents > 0 {
                    let mb = bytes.div_ceil(1 << 20);
                    eprintln!("reading {documents} documents, {mb} MB");
                }
            }
            Event::Page { bytes, .. } => {
                self.pages += 1;
                self.advance(bytes);
            }
            Event::Document { record, outcome, bytes } => {
                self.advance(bytes);
                if outcome == Did::Indexed && record.status != DocumentStatus::Ok {
                    let line = failure_line(record);
                    self.bar.suspend(|| eprintln!("{line}"));
                }
                if self.json {
                    self.print(&document_json(record, outcome));
                }
            }
            Event::Committed { pages } if self.json => {
                self.print(&json!({"v": 1, "type": "commit", "pages": pages}));
            }
            Event::Warning { text } => self.bar.suspend(|| eprintln!("warning: {text}")),
            _ => {}
        }
    }

    fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
        let seconds = self.start.elapsed().as_secs_f64().max(1e-3);
        let rate = self.pages as f64 / seconds;
        self.bar.set_position(self.bytes);
        self.bar.set_message(format!("{} pages, {rate:.1}/s", self.pages));
        if self.plain && self.last_line.elapsed() >= PLAIN_EVERY {
            self.last_line = Instant::now();
            let done = self.bytes as f64 / self.planned.max(1) as f64;
            let left = (seconds / done.max(1e-9) - seconds).max(0.0);
            eprintln!("{:3.0}%  {} pages, {rate:.1}/s, {left:.0} s left", done * 100.0, self.pages);
        }
    }

    fn print(&mut self, line: &Value) {
        if self.failed.is_ok() {
            self.failed = writeln!(io::stdout(), "{line}");
        }
    }
}

/// The line of `--json` for a document.
pub fn document_json(record: &DocumentRecord, outcome: Did) -> Value {
    let status = match (outcome, record.status) {
        (Did::Skipped | Did::Renamed, DocumentStatus::Ok) => "skipped",
        (_, status) => status.as_str(),
    };
    let failures: Vec<Value> = record
        .failed_pages
        .iter()
        .map(|failure| json!({"page": failure.page, "reason": failure.reason}))
        .collect();
    json!({
        "v": 1,
        "type": "document",
        "path": record.path,
        "status": status,
        "pages": record.pages_indexed,
        "failed_pages": record.failed_pages.len(),
        "reason": reason(record),
        "failures": failures,
        "notes": record.notes,
        "document": record.document.map(|id| id.to_string()),
        "renamed": outcome == Did::Renamed,
    })
}

/// Why a document is not whole: its own reason, or that of its first page that failed.
pub fn reason(record: &DocumentRecord) -> Option<String> {
    let page = record.failed_pages.first();
    record.reason.clone().or(page.map(|page| format!("page {}: {}", page.page, page.reason)))
}

/// One line for a person.
pub fn failure_line(record: &DocumentRecord) -> String {
    let path = printable(&record.path);
    let reason = printable(&reason(record).unwrap_or_default());
    match (record.status, record.failed_pages.len()) {
        (DocumentStatus::Failed, _) => format!("failed: {path}: {reason}"),
        (_, 1) => format!("1 page failed: {path}: {reason}"),
        (_, n) => format!("{n} pages failed: {path}: {reason}"),
    }
}

fn report(index: &Index, verb: &IndexVerb, summary: &Summary, time: Duration) -> Result<Outcome> {
    let found_any = summary.documents_indexed
        + summary.documents_skipped
        + summary.documents_renamed
        + summary.documents_failed
        + summary.documents_dropped
        > 0;
    let mut out = io::stdout().lock();
    if verb.json {
        writeln!(out, "{}", summary_json(index, summary, time))?;
    } else if found_any {
        human(&mut out, summary, time)?;
    }
    if !found_any && summary.interrupted {
        // Before the folders were walked to their end: what is there is not known.
        eprintln!("interrupted before the folders were walked: run the same command again");
    } else if !found_any {
        let folders: Vec<String> =
            verb.folders.iter().map(|folder| folder.display().to_string()).collect();
        eprintln!("no PDFs below {}", folders.join(", "));
    }
    Ok(match summary {
        Summary { interrupted: true, .. } => Outcome::Interrupted,
        summary if !summary.failures.is_empty() => Outcome::SomeFailed,
        _ if !found_any => Outcome::NothingFound,
        _ => Outcome::Done,
    })
}

/// The last line of `--json`.
pub fn summary_json(index: &Index, summary: &Summary, time: Duration) -> Value {
    let snapshot = index.snapshot();
    json!({
        "v": 1,
        "type": "summary",
        "documents": {
            "indexed": summary.documents_indexed,
            "skipped": summary.documents_skipped,
            "renamed": summary.documents_renamed,
            "dropped": summary.documents_dropped,
            "partial": summary.documents_partial,
            "failed": summary.documents_failed,
        },
        "pages": {"indexed": summary.pages_indexed, "failed": summary.pages_failed},
        "interrupted": summary.interrupted,
        "seconds": (time.as_secs_f64() * 1e3).round() / 1e3,
        "snapshot": snapshot.number,
        "model_id": snapshot.model.as_ref().map(|model| &model.id),
        "index": index.folder().display().to_string(),
    })
}

fn human(out: &mut impl Write, summary: &Summary, time: Duration) -> io::Result<()> {
    let seconds = time.as_secs_f64();
    let rate = summary.pages_indexed as f64 / seconds.max(1e-3);
    writeln!(
        out,
        "indexed {} documents, {} pages in {seconds:.1} s ({rate:.1} pages/s)",
        summary.documents_indexed, summary.pages_indexed,
    )?;
    let rest: Vec<String> = [
        (summary.documents_skipped, "unchanged"),
        (summary.documents_renamed, "renamed or copied"),
        (summary.documents_dropped, "dropped"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    if !rest.is_empty() {
        writeln!(out, "{}", rest.join(", "))?;
    }
    if !summary.failures.is_empty() {
        writeln!(
            out,
            "{} documents failed, {} have pages that failed:",
            summary.documents_failed, summary.documents_partial
        )?;
        for record in &summary.failures {
            writeln!(out, "  {}", failure_line(record))?;
        }
    }
    if summary.interrupted {
        writeln!(out, "interrupted: run the same command again to go on")?;
    }
    Ok(())
}
