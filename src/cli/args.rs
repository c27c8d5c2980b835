//! What can be typed.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

/// Search PDFs by how their pages look.
#[derive(Debug, Parser)]
#[command(name = "pagesight", version, about, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    pagesight index ~/reports                 index a folder of PDFs\n  \
    pagesight query \"net sales by region\"     ranked pages\n  \
    pagesight get reports/q3.pdf#12           the words of a page\n\n\
    Exit codes: 0 found or done, 1 nothing found, 2 error, 3 done but some files failed, \
    130 interrupted.")]
pub struct Arguments {
    #[command(flatten)]
    pub place: Place,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Where the index is and what pages are drawn with.
#[derive(Debug, Args)]
pub struct Place {
    /// Index folder [default: `.pagesight` of this folder or the nearest one above].
    #[arg(long, global = true, env = "PAGESIGHT_INDEX", value_name = "DIR")]
    #[arg(value_hint = ValueHint::DirPath)]
    pub index: Option<PathBuf>,
    /// libpdfium to draw pages with [default: looked up; `pagesight doctor` says where].
    #[arg(long, global = true, env = "PAGESIGHT_PDFIUM", value_name = "FILE")]
    #[arg(value_hint = ValueHint::FilePath, hide_env_values = true)]
    pub pdfium: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    Index(IndexVerb),
    #[command(visible_alias = "search")]
    Query(QueryVerb),
    Get(GetVerb),
    Eval(EvalVerb),
    Tune(TuneVerb),
    Compact(CompactVerb),
    Status(StatusVerb),
    Verify(VerifyVerb),
    Repair(RepairVerb),
    Gc(GcVerb),
    Export(ExportVerb),
    Import(ImportVerb),
    Doctor(DoctorVerb),
    Model(ModelVerb),
    Paths(PathsVerb),
    Completions(CompletionsVerb),
}

/// A ColPali checkpoint.
#[derive(Debug, Args)]
pub struct ModelChoice {
    /// A ColPali checkpoint: a folder, or a name that `pagesight model list` shows; `none` is words
    /// alone [default: the one that the index was made with, for a new one nano].
    #[arg(long, env = "PAGESIGHT_MODEL", value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub loading: Loading,
}

/// What may be said about a checkpoint.
#[derive(Debug, Args)]
pub struct Loading {
    /// Prompts and the rest around the weights: a recipe of pagesight, e.g. colpali-v1.3, or a
    /// JSON file [default: the checkpoint's own].
    #[arg(long, value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
    pub recipe: Option<PathBuf>,
    /// Whole weights that an adapter is merged into [default: the ones that it names].
    #[arg(long, value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub base: Option<PathBuf>,
    /// Bits of the weights: f32, f16, bf16, q8 or q4 [default: the recipe's, else as the weights
    /// are]. An index keeps the one that it was made in.
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<pagesight::Precision>,
    /// Where the model runs: auto, cpu, cuda or metal; auto takes a graphics card that this
    /// program was built for, where there is one.
    #[arg(long, env = "PAGESIGHT_DEVICE", value_name = "DEVICE", default_value_t)]
    pub device: pagesight::Device,
}

/// Fetch, list and check ColPali checkpoints.
///
/// A model is a folder, nano (which is inside this program), a model of ours (imported), or
/// ORG/NAME[@REVISION] in the cache that Hugging Face's programs share.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight model fetch vidore/colpali-v1.3-hf\n  \
    pagesight model list\n  \
    pagesight model info\n  \
    pagesight model info vidore/colpali-v1.3-hf\n  \
    pagesight model import ~/my-checkpoint --name invoices\n  \
    pagesight model verify invoices")]
pub struct ModelVerb {
    #[command(subcommand)]
    pub action: ModelAction,
}

#[derive(Debug, Subcommand)]
pub enum ModelAction {
    /// The checkpoints of this machine.
    #[command(after_help = "Example:\n  pagesight model list --json")]
    List {
        /// A line of JSON a model.
        #[arg(long)]
        json: bool,
    },
    /// What a checkpoint is: layout, sizes, recipe, identity.
    #[command(after_help = "Examples:\n  \
        pagesight model info                          the model of this index\n  \
        pagesight model info vidore/colpali-v1.3-hf\n  \
        pagesight model info ~/adapter --base ~/colpaligemma-3b-pt-448-base --json")]
    Info(InfoTarget),
    /// Read all of a checkpoint: every tensor there, every hash that is known right, every number
    /// finite.
    #[command(after_help = "Example:\n  pagesight model verify invoices")]
    Verify(ModelTarget),
    /// Copy a checkpoint, with the base of an adapter, into pagesight's own folder.
    #[command(after_help = "Example:\n  \
        pagesight model import ~/my-checkpoint --name invoices --recipe colpali-v1.3")]
    Import(ImportModel),
    /// Write a checkpoint again with 8-bit or 4-bit weights: a half or a quarter of the memory.
    #[command(after_help = "Example:\n  \
        pagesight model quantize vidore/colpali-v1.3-hf ~/colpali-q8 --to q8")]
    Quantize(QuantizeModel),
    /// Download a checkpoint, with the base of an adapter, into the Hugging Face cache.
    ///
    /// Goes on where an earlier download stopped. HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and
    /// HF_HUB_OFFLINE are respected.
    #[command(after_help = "Examples:\n  \
        pagesight model fetch vidore/colpali-v1.3-hf\n  \
        pagesight model fetch vidore/colpali-v1.2 --revision main")]
    Fetch(FetchModel),
}

/// One checkpoint, or that of the index.
#[derive(Debug, Args)]
pub struct InfoTarget {
    /// A folder or a name that `pagesight model list` shows [default: the one that the index here
    /// uses].
    #[arg(value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub loading: Loading,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// One checkpoint.
#[derive(Debug, Args)]
pub struct ModelTarget {
    /// A folder or a name that `pagesight model list` shows.
    #[arg(value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub model: PathBuf,
    #[command(flatten)]
    pub loading: Loading,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// A checkpoint to keep.
#[derive(Debug, Args)]
pub struct ImportModel {
    /// A folder or a name that `pagesight model list` shows.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub model: PathBuf,
    /// What it is called from then on [default: its folder's name].
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub loading: Loading,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
    /// No progress on stderr.
    #[arg(long, short)]
    pub quiet: bool,
}

/// A checkpoint to make smaller.
#[derive(Debug, Args)]
pub struct QuantizeModel {
    /// A folder or a name that `pagesight model list` shows.
    #[arg(value_name = "IN", value_hint = ValueHint::DirPath)]
    pub model: PathBuf,
    /// The new folder.
    #[arg(value_name = "OUT", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// Bits of the weights: q8 or q4.
    #[arg(long, value_name = "q8|q4")]
    pub to: pagesight::Precision,
    #[command(flatten)]
    pub loading: Loading,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
    /// No progress on stderr.
    #[arg(long, short)]
    pub quiet: bool,
}

/// A checkpoint of a hub.
#[derive(Debug, Args)]
pub struct FetchModel {
    /// ORG/NAME, or ORG/NAME@REVISION.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A commit, branch or tag [default: main].
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// Ask nobody: what is in the cache, or an error.
    #[arg(long)]
    pub offline: bool,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
    /// No progress on stderr.
    #[arg(long, short)]
    pub quiet: bool,
}

/// How workers are shut in.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SandboxChoice {
    /// Read nothing where a part of it is missing.
    Require,
    /// As much of it as the system has, with a warning where a part is missing.
    BestEffort,
    /// Limits on time and memory only.
    Off,
}

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
    pagesight index --model none reports      words alone\n  \
    pagesight index --model ~/colpali-v1.3-hf --slices 2x2 reports\n  \
    pagesight index --password secret --ocr-lang eng+deu scans\n  \
    pagesight index --watch ~/inbox")]
pub struct IndexVerb {
    /// Folders to walk, or single PDF files.
    #[arg(required = true, value_name = "FOLDER", value_hint = ValueHint::AnyPath)]
    pub folders: Vec<PathBuf>,
    #[command(flatten)]
    pub model: ModelChoice,
    /// Cut each page into a grid of model inputs, COLSxROWS, or several joined by +, e.g. 1x1+2x3
    /// [default: the recipe's].
    #[arg(long, value_name = "COLSxROWS")]
    pub slices: Option<pagesight::Slices>,
    /// Password to try on encrypted documents; may be given several times.
    #[arg(long, value_name = "PASSWORD")]
    pub password: Vec<String>,
    /// Languages for tesseract, on pages without words.
    #[arg(long, value_name = "LANGS", default_value = "eng")]
    pub ocr_lang: String,
    /// Do not read pages without words.
    #[arg(long)]
    pub no_ocr: bool,
    /// Read documents again that failed before and have not changed.
    #[arg(long)]
    pub retry_failed: bool,
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
    /// Pages read of a document; the rest is left out and noted.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub max_pages: u32,
    /// Megabytes that a file may have.
    #[arg(long, value_name = "MB", default_value_t = 512)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub max_file_size: u64,
    /// Megapixels that a page is drawn with; a larger one is drawn smaller.
    #[arg(long, value_name = "MP", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=64))]
    pub max_pixels: u64,
    /// Kilobytes of text read of a page; the rest is left out and noted.
    #[arg(long, value_name = "KB", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub max_text: u64,
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
}

/// Which channels answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChannelChoice {
    /// The picture: late interaction (MaxSim).
    Visual,
    /// The words: BM25.
    Text,
    /// Both, fused.
    Both,
}

/// Rank pages for a question.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight query \"operating margin by segment\"\n  \
    pagesight query -k 3 --path 'reports/2024/**' --json \"goodwill impairment\"\n  \
    pagesight query -k 1 --explain \"operating margin by segment\"")]
pub struct QueryVerb {
    /// The question. What stands in "quotation marks" must be on the page, word after word; where one
    /// begins with a dash and has no space, put -- before it.
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// How many pages.
    #[arg(short, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub k: u32,
    /// Which channels answer.
    #[arg(long, value_enum, default_value_t = ChannelChoice::Both)]
    pub channel: ChannelChoice,
    /// Only documents whose path matches; may be given several times.
    #[arg(long, value_name = "GLOB")]
    pub path: Vec<String>,
    /// Say how the answer was found: pages seen and scored again, time by stage, and for each
    /// word of the question the patch of the page that answers it best.
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub model: ModelChoice,
    /// A line of JSON a hit and a summary line.
    #[arg(long)]
    pub json: bool,
}

/// The words of a page, or its picture.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight get reports/q3.pdf#12\n  \
    pagesight get reports/q3.pdf#12 --image page.png --width 1200")]
pub struct GetVerb {
    /// A document of the index and a page number.
    #[arg(value_name = "PATH#PAGE")]
    pub page: String,
    /// Draw the page into a PNG or WebP file (by its ending); `-` writes PNG to stdout.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub image: Option<PathBuf>,
    /// Width of the picture, px.
    #[arg(long, value_name = "PX", default_value_t = 1200, requires = "image")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub width: u32,
    /// Password to try on an encrypted document; may be given several times.
    #[arg(long, value_name = "PASSWORD")]
    pub password: Vec<String>,
    /// Shut the PDF reader in: no files, no network, no processes (landlock and seccomp).
    #[arg(long, value_enum, value_name = "HOW", default_value_t = SandboxChoice::BestEffort)]
    pub sandbox: SandboxChoice,
}

/// Measure rankings against labelled questions.
///
/// The queries file has a line of JSON a query: id, query, doc (a path or the end of one), pages
/// (1-based) and, where each page alone answers, any_page.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight eval --queries fixtures/queries.jsonl\n  \
    pagesight eval --queries q.jsonl --per-document --json --run run.jsonl")]
pub struct EvalVerb {
    /// Labelled questions, JSON Lines.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub queries: PathBuf,
    /// Also rank the pages of the labelled document alone.
    #[arg(long)]
    pub per_document: bool,
    /// Measure one channel only [default: each one that can answer, and both fused].
    #[arg(long, value_enum)]
    pub channel: Option<ChannelChoice>,
    /// Write each query's ranking, JSON Lines: {"id", "results": [[doc, page], ...]}; with
    /// several channels or settings their names are put before the ending.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub run: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelChoice,
    /// A line of JSON a channel and setting.
    #[arg(long)]
    pub json: bool,
}

/// Make searches as fast as your pages allow within a loss, and measure it.
///
/// Searches are exact until there are very many pages; then sketches choose those whose codes are
/// compared. Questions made from the words of your pages (or `--queries`) are asked exactly and
/// with shortcuts of all depths, and the cheapest within the loss holds for all searches from now
/// on, with what it was measured to lose. An exact search that takes 50 ms or less stays exact.
///
/// Beside that, every code of the vectors, from f16 down to 1 bit, is compared on a sample of pages.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight tune --max-loss 1%\n  \
    pagesight tune --queries q.jsonl --json\n  \
    pagesight tune --reset")]
pub struct TuneVerb {
    /// What may be lost of nDCG@10 and of the ten best, e.g. 1% or 0.01.
    #[arg(long, value_name = "LOSS", default_value = "1%", value_parser = share)]
    pub max_loss: f64,
    /// Compare this many pages in each search, whatever it loses, instead of choosing.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(10..))]
    pub compare: Option<u32>,
    /// Leave it to searches again: exact, unless there are very many pages.
    #[arg(long, conflicts_with_all = ["compare", "dry_run"])]
    pub reset: bool,
    /// Measure, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub questions: QuestionChoice,
    /// Pages to measure codes on; a megabyte of memory for every two.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pages: u32,
    #[command(flatten)]
    pub model: ModelChoice,
    /// A line of JSON a code and depth, and one a setting of searches.
    #[arg(long)]
    pub json: bool,
}

/// Keep the vectors in 4 bits a number, a fifth of the disk, and measure what that loses before.
///
/// Of each vector the nearest of 256 centres is kept, and 4 bits for each number of what is left. The
/// whole vectors are removed, and what is indexed later is kept the same way. Before, questions made
/// from the words of your pages (or `--queries`) are asked both ways: when more is lost than allowed,
/// nothing changes and the exit code is 2. Every answer says from then on what was measured.
///
/// There is no way back but to index the PDFs again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight compact --dry-run\n  \
    pagesight compact --max-loss 5% --queries q.jsonl")]
pub struct CompactVerb {
    /// What may be lost of nDCG@10 and of the ten best, e.g. 5% or 0.05.
    #[arg(long, value_name = "LOSS", default_value = "10%", value_parser = share)]
    pub max_loss: f64,
    /// Measure, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub questions: QuestionChoice,
    /// Pages to measure on; a megabyte of memory for every two.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pages: u32,
    #[command(flatten)]
    pub model: ModelChoice,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Questions to measure searches with.
#[derive(Debug, Args)]
pub struct QuestionChoice {
    /// Labelled questions, JSON Lines as for `eval` [default: made from the pages].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub queries: Option<PathBuf>,
    /// Questions to make from pages.
    #[arg(long, value_name = "N", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub questions: u32,
}

/// `1%` or `0.01`.
fn share(text: &str) -> Result<f64, String> {
    let (number, of) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    let value = number.trim().parse::<f64>().map(|value| value / of).ok();
    let value = value.filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| format!("a share such as 1% or 0.01, not {text:?}"))
}

/// What the index holds, and what failed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pagesight status --json")]
pub struct StatusVerb {
    /// List every document, not only those with failures.
    #[arg(long)]
    pub all: bool,
    /// A line of JSON a document and a summary line.
    #[arg(long)]
    pub json: bool,
}

/// Check every file, page and word of the index, and name what is damaged.
///
/// Every file is compared with its BLAKE3 hash, every page with its CRC32C, and the ledger, the
/// pages and the text index with each other. Exit code 2 when something is damaged. Runs of
/// `index` may go on meanwhile.
///
/// With `--recall`, what searches find is compared with exact MaxSim over all vectors instead.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pagesight verify --json\n  pagesight verify --recall")]
pub struct VerifyVerb {
    /// Compare the searches of this index with exact MaxSim: overlap@10 and nDCG ratio.
    #[arg(long)]
    pub recall: bool,
    #[command(flatten)]
    pub questions: QuestionChoice,
    #[command(flatten)]
    pub model: ModelChoice,
    /// A line of JSON a damage and a summary line, or one for the recall.
    #[arg(long)]
    pub json: bool,
}

/// Mend the index: what can be made again is, what cannot is marked to be read again.
///
/// Damaged files are restored from their copies, the text index is built again from the pages,
/// and pages that are lost are listed; the next `pagesight index` reads those pages again, and
/// only those.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pagesight repair && pagesight index reports")]
pub struct RepairVerb {
    /// A line of JSON a page to read again and a summary line.
    #[arg(long)]
    pub json: bool,
}

/// Join small files of the index and remove what nothing needs any more.
///
/// `index` does the same at the end of a run. Files of a snapshot that another process reads are
/// kept until it ends or moves on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pagesight gc")]
pub struct GcVerb {
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Write the index as plain Arrow files, to move it to another machine.
///
/// The folder gets documents.arrow, pages.arrow (Arrow IPC: pyarrow, polars and DuckDB read them)
/// and export.json with their hashes. A compact index has no whole vectors: copy its folder instead.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight export reports.export\n  \
    tar c reports.export | ssh host 'tar x && pagesight import reports.export'")]
pub struct ExportVerb {
    /// A folder that is not there yet, or empty.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Make a new index from what `export` wrote.
///
/// Paths below the folder of the index stay relative, so an index beside the same PDFs goes on
/// where it was. Vectors need their model: name its folder with --model when you ask.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pagesight --index ~/reports/.pagesight import reports.export")]
pub struct ImportVerb {
    /// The folder that `export` wrote.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Check what pagesight needs on this machine, or a model against reference tensors.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight doctor\n  \
    pagesight doctor --parity fixtures/parity --json")]
pub struct DoctorVerb {
    /// Run the model against a folder of reference tensors; exit code 2 when a stage is off.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub parity: Option<PathBuf>,
    /// A line of JSON a check or stage.
    #[arg(long)]
    pub json: bool,
}

/// Where pagesight keeps and looks for things.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pagesight paths")]
pub struct PathsVerb {
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// A completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    pagesight completions bash > ~/.local/share/bash-completion/completions/pagesight")]
pub struct CompletionsVerb {
    /// The shell.
    #[arg(value_enum, action = ArgAction::Set)]
    pub shell: clap_complete::Shell,
}
