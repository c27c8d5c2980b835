//! `pagesight index`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pagesight::Index;
use pagesight::index::{
    BatchSize, DocumentStatus, Event, FolderWatch, Outcome as Did, Summary, SyncOptions,
};
use pagesight::model::{LoadOptions, ModelSource};
use pagesight::pdf::{OcrChoice, RenderOptions, WorkerLimits};
use serde_json::{Value, json};

use super::args::{self, ModelChoice, Most, OcrReader, Place, SandboxChoice};
use super::interrupt::Interrupt;
use super::report::{document_json, failure_line, summary_json};
use super::terminal::Terminal;
use super::watch::{self, Watching};
use super::{Outcome, checkpoint, hinted, locate, meaning, renderer, sandbox, weight_search};

/// Index the PDFs below folders; a second run reads only what changed.
///
/// New files are added, changed ones read again, missing ones dropped, renamed ones kept without
/// reading. One bad file never ends the run: it is named at the end and in `pagesight status`.
///
/// Pages are found by their words and by their looks: nano, the model inside this program, sees
/// one to five pages a second on two cores. It reads print and knows no meaning; a ColPali
/// checkpoint does, and is one flag (--model) and a new index away. `--model none` is words alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight index reports papers\n  \
    pagesight index --model none --meaning off reports      words alone\n  \
    pagesight index --model ~/colpali-v1.3-hf --slices 2x2 reports\n  \
    pagesight index --password secret --ocr-lang eng+deu scans\n  \
    pagesight index --watch ~/inbox")]
pub struct IndexVerb {
    /// Folders to walk, or single PDF files.
    #[arg(required_unless_present = "plan", conflicts_with = "plan")]
    #[arg(value_name = "FOLDER", value_hint = ValueHint::AnyPath)]
    pub folders: Vec<PathBuf>,
    /// Of an index in a bucket: read a shard of this plan, which `pagesight plan` made.
    #[arg(long, value_name = "PLAN", requires = "shard")]
    pub plan: Option<String>,
    /// Which shard, from 0 on, and how many the plan has.
    #[arg(long, value_name = "I/N", requires = "plan", value_parser = args::shard)]
    pub shard: Option<(usize, usize)>,
    /// The folder that the plan's paths are relative to on this machine [default: where the planner had
    /// it].
    #[arg(long, value_name = "DIR", requires = "plan", value_hint = ValueHint::DirPath)]
    pub base: Option<PathBuf>,
    /// Understood, and says nothing new: what a shard lays down counts once it is committed.
    #[arg(long, requires = "plan", hide = true)]
    pub uncommitted: bool,
    #[command(flatten)]
    pub model: ModelChoice,
    /// What finds pages that say the same in other words: auto is the model of meaning that the
    /// index has, for a new one the one that comes with the program (English); off is none; else a
    /// model of BERT's shape, e.g. bge, e5, gte or arctic: a folder, or hub:ORG/NAME from the hub's
    /// cache. Another model encodes the stored text again, and reads no PDF.
    #[arg(long, env = "PAGESIGHT_MEANING", value_name = "auto|off|MODEL", default_value = "auto")]
    #[arg(value_hint = ValueHint::DirPath)]
    pub meaning: PathBuf,
    /// Cut each page into a grid of model inputs, COLSxROWS, or several joined by +, e.g. 1x1+2x3
    /// [default: the recipe's].
    #[arg(long, value_name = "COLSxROWS")]
    pub slices: Option<pagesight::model::Slices>,
    /// Password to try on encrypted documents; may be given several times.
    #[arg(long, value_name = "PASSWORD")]
    pub password: Vec<String>,
    /// Which reader reads pages that are pictures.
    #[arg(long, value_enum, value_name = "READER", default_value_t = OcrReader::Auto)]
    pub ocr: OcrReader,
    /// Languages of such pages as tesseract names them, e.g. eng+rus [default: eng for tesseract;
    /// auto tells scripts apart].
    #[arg(long, value_name = "LANGS")]
    pub ocr_lang: Option<String>,
    /// The same as --ocr off.
    #[arg(long, conflicts_with = "ocr")]
    pub no_ocr: bool,
    /// Seconds after which pages that OCR should read are indexed by their looks alone; they are read
    /// when all documents have been looked at.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=86400))]
    pub look_first: u64,
    /// Read documents again that failed before and have not changed.
    #[arg(long)]
    pub retry_failed: bool,
    /// Drop the documents of a folder that held some, at any depth, and is empty now; without this
    /// they stay, since the folder may be the place of a drive that is not mounted.
    #[arg(long)]
    pub drop_emptied: bool,
    /// Worker processes [default: one a core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// Shut the PDF reader in: no files, no network, no processes (landlock and seccomp).
    #[arg(long, value_enum, value_name = "HOW", default_value_t = SandboxChoice::BestEffort)]
    pub sandbox: SandboxChoice,
    /// Seconds that a page may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub page_timeout: u64,
    /// Megabytes that a worker may use for a page; a page that needs more is left out and named.
    #[arg(long, value_name = "MB", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u64).range(128..=1_048_576))]
    pub worker_memory: u64,
    #[command(flatten)]
    pub most: Most,
    /// Documents after which a worker is replaced by a new one.
    #[arg(long, value_name = "N", default_value_t = 500)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub worker_documents: u32,
    /// Megabytes that a worker may keep between documents before it is replaced by a new one.
    #[arg(long, value_name = "MB", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub worker_keep: u64,
    /// Go on when done: index again whenever something changes, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
    /// Seconds after which --watch looks even if nothing was told, for network drives.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "watch")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub rescan: u64,
    /// Commit after this many pages [default: 256; at the latest after 64 MB or 20 s].
    #[arg(long, value_name = "PAGES", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub commit_every: Option<u32>,
    /// A line of JSON a document and a summary line, on stdout.
    #[arg(long)]
    pub json: bool,
    /// No progress on stderr.
    #[arg(long, short)]
    pub quiet: bool,
    /// The flags that were typed, by the names of their fields.
    #[arg(skip)]
    pub said: Vec<String>,
}

pub fn run(place: &Place, verb: &IndexVerb, terminal: &Terminal) -> Result<Outcome> {
    let interrupt = Interrupt::listen()?;
    locate::check_folders(&verb.folders, false)?;
    if verb.plan.is_some() {
        locate::only_bucket(place, "index --plan")?;
    }
    let folder = locate::for_writing(place)?;
    let index =
        Index::open_or_create(&folder).with_context(|| opening(&folder.display().to_string()))?;
    // Before a model is loaded for nothing.
    index.check_writable()?;
    index.set_renderer(drawing(place, verb));
    index.set_ocr_weights(weight_search(place));
    load_model(&index, verb)?;
    let index = with_meaning(index, place, verb)?;
    let options = reading(verb, &interrupt);
    // Before the first walk, so that no change falls between the two.
    let watch = verb.watch.then(|| FolderWatch::new(&verb.folders, index.folder()));
    let mut progress = Progress::new(verb, terminal);
    let summary = index.sync_all(&verb.folders, &options, &mut |event| progress.tell(event));
    progress.bar.finish_and_clear();
    let summary = summary.with_context(|| opening(&index.folder().display().to_string()))?;
    progress.failed?;
    let outcome = report(&index, verb, &summary, progress.start.elapsed())?;
    match watch {
        Some(watch) if !summary.interrupted => {
            let watching = Watching {
                folders: &verb.folders,
                rescan: Duration::from_secs(verb.rescan),
                json: verb.json,
                quiet: verb.quiet,
            };
            watch::run(&index, &watching, &options, watch)
        }
        _ => Ok(outcome),
    }
}

/// How pages are drawn.
pub fn drawing(place: &Place, verb: &IndexVerb) -> RenderOptions {
    RenderOptions {
        sandbox: sandbox(verb.sandbox),
        limits: WorkerLimits {
            page_time: Duration::from_secs(verb.page_timeout),
            worker_bytes: verb.worker_memory << 20,
            pixels: verb.most.pixels(),
            worker_documents: verb.worker_documents,
            worker_kept_bytes: verb.worker_keep << 20,
        },
        ..renderer(place, &verb.password)
    }
}

/// How a run goes about it.
pub fn reading(verb: &IndexVerb, interrupt: &Interrupt) -> SyncOptions {
    SyncOptions {
        workers: verb.workers.map(usize::from),
        retry_failed: verb.retry_failed,
        drop_emptied: verb.drop_emptied,
        ocr: if verb.no_ocr { OcrChoice::Off } else { verb.ocr.into() },
        ocr_languages: verb.ocr_lang.clone(),
        links_out: true,
        look_first: Some(Duration::from_secs(verb.look_first)),
        limits: verb.most.limits(),
        batch: BatchSize {
            pages: verb.commit_every.map_or(BatchSize::default().pages, |pages| pages as usize),
            ..BatchSize::default()
        },
        stop: interrupt.flag(),
    }
}

fn opening(folder: &str) -> String {
    format!("indexing into {folder}")
}

fn load_model(index: &Index, verb: &IndexVerb) -> Result<()> {
    index.set_loading(checkpoint::options(&verb.model.loading)?);
    let stored = index.snapshot().model().cloned();
    let is_new = index.snapshot().documents() == 0;
    let source = match (&verb.model.model, stored) {
        (Some(name), Some(stored)) if checkpoint::is_none(name) => {
            if !verb.quiet {
                let name = checkpoint::name(stored.source.as_ref());
                eprintln!("the index has vectors of {name}: new pages get them too");
            }
            stored.source
        }
        (Some(name), None) if checkpoint::is_none(name) => None,
        (Some(name), _) => Some(checkpoint::find(name)?),
        (None, Some(stored)) => stored.source,
        (None, None) => is_new.then_some(ModelSource::Nano),
    };
    match source {
        Some(source) => {
            let options = LoadOptions {
                slices: verb.slices.clone(),
                ..checkpoint::options(&verb.model.loading)?
            };
            let loaded = index.load_model(&source, &options);
            loaded.with_context(|| checkpoint::loading(&source))
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

/// Says what the run does about the meaning of the text.
fn with_meaning(index: Index, place: &Place, verb: &IndexVerb) -> Result<Index> {
    let options = meaning::options(place);
    index.set_embedding(options.clone());
    let name = verb.meaning.to_string_lossy();
    let source = match &*name {
        "off" => return Ok(index.without_meaning()),
        "auto" => {
            let snapshot = index.snapshot();
            match snapshot.embedder().map(|record| record.source.clone()) {
                // Where a new version of the program brings another, the text is encoded again.
                Some(Some(ModelSource::MiniLm)) if options.shipped.is_some() => ModelSource::MiniLm,
                Some(_) => return Ok(index),
                None if snapshot.wants_no_passages() => return Ok(index),
                None if options.shipped.is_some() => ModelSource::MiniLm,
                None => {
                    if !verb.quiet {
                        eprintln!(
                            "no model of meaning: pages are found by their words, not by what they \
                             mean; `pagesight doctor` says where it is looked for"
                        );
                    }
                    return Ok(index);
                }
            }
        }
        name => meaning::find(name, &options)?,
    };
    let loaded = index.load_embedder(&source, &options);
    loaded.with_context(|| checkpoint::loading(&source))?;
    Ok(index)
}

/// Shows how far a run is: a bar on a terminal, a line now and then elsewhere, and a line of JSON
/// a document where asked.
pub struct Progress {
    pub bar: ProgressBar,
    plain: bool,
    json: bool,
    pub start: Instant,
    last_line: Instant,
    /// The first failure to write to stdout.
    pub failed: io::Result<()>,
}

/// Steps of the bar.
const BAR: u64 = 1000;

/// Between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    pub fn new(verb: &IndexVerb, terminal: &Terminal) -> Self {
        let shown = terminal.progress && !verb.quiet;
        let target =
            if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = "{bar:30} {percent:>3}%  {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is ours"));
        let now = Instant::now();
        Self {
            bar,
            plain: !shown && !verb.quiet,
            json: verb.json,
            start: now,
            last_line: now,
            failed: Ok(()),
        }
    }

    pub fn tell(&mut self, event: Event<'_>) {
        match event {
            Event::Planned { documents, bytes } => {
                self.bar.set_length(BAR);
                if self.plain && documents > 0 {
                    let mb = bytes.div_ceil(1 << 20);
                    eprintln!("reading {documents} documents, {mb} MB");
                }
            }
            Event::Progress(progress) => self.advance(progress),
            Event::Document { record, outcome, .. } => {
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
            Event::Looked { waiting } if self.plain => {
                let pages = if waiting == 1 { "1 page" } else { &format!("{waiting} pages") };
                eprintln!("all is found by its looks; {pages} without words are read now");
            }
            Event::Embedded { pages, of } => {
                self.bar.set_length(of as u64);
                self.bar.set_position(pages as u64);
                self.bar.set_message("pages' meaning");
                if self.plain && self.last_line.elapsed() >= PLAIN_EVERY {
                    self.last_line = Instant::now();
                    eprintln!(
                        "{:3.0}%  of the meaning of {of} pages",
                        pages as f64 / of as f64 * 100.0
                    );
                }
            }
            Event::Warning { text } => self.bar.suspend(|| eprintln!("warning: {text}")),
            _ => {}
        }
    }

    fn advance(&mut self, progress: pagesight::index::Progress) {
        let seconds = self.start.elapsed().as_secs_f64().max(1e-3);
        let rate = progress.pages_done as f64 / seconds;
        let about = if progress.is_counted { "" } else { "about " };
        let left = progress.left.map(|left| format!(", {} left to read", duration(left)));
        let waiting = match progress.pages_waiting {
            0 => String::new(),
            pages => format!(", {pages} by their looks"),
        };
        let text = format!(
            "{} of {about}{} pages{waiting}, {rate:.1}/s{}",
            progress.pages_done,
            progress.pages,
            left.unwrap_or_default()
        );
        // The meaning of pages may have been counted since.
        self.bar.set_length(BAR);
        self.bar.set_position((progress.part * BAR as f64) as u64);
        if self.plain && self.last_line.elapsed() >= PLAIN_EVERY {
            self.last_line = Instant::now();
            eprintln!("{:3.0}%  {text}", progress.part * 100.0);
        }
        self.bar.set_message(text);
    }

    fn print(&mut self, line: &Value) {
        if self.failed.is_ok() {
            self.failed = writeln!(io::stdout(), "{line}");
        }
    }
}

/// As exact as an estimate is: seconds, minutes, or hours and minutes.
fn duration(left: Duration) -> String {
    match left.as_secs_f64().round() as u64 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
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
        summary if !verb.drop_emptied && !summary.emptied.is_empty() => {
            eprintln!("hint: --drop-emptied drops documents whose folder holds none any more");
            Outcome::SomeFailed
        }
        Summary { pages_waiting: 1.., .. } => Outcome::SomeFailed,
        _ if !found_any => Outcome::NothingFound,
        _ => Outcome::Done,
    })
}

pub fn human(out: &mut impl Write, summary: &Summary, time: Duration) -> io::Result<()> {
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
    if summary.pages_waiting > 0 {
        let pages = summary.pages_waiting;
        let pages = if pages == 1 { "1 page is" } else { &format!("{pages} pages are") };
        writeln!(out, "{pages} found by looks alone; the next run reads the words by OCR")?;
    }
    if summary.interrupted {
        writeln!(out, "interrupted: run the same command again to go on")?;
    }
    Ok(())
}
