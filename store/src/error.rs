//! What can go wrong with an index on disk.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use pagesight_core::{ModelId, PageId, VectorError};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("{action} {path}")]
    Io {
        /// What was being done, e.g. `writing`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No space is left; nothing acknowledged is lost.
    #[error("the disk is full at {path}{}; what was committed is safe", space(needed, free))]
    DiskFull {
        /// The index, or the file that was being written.
        path: PathBuf,
        /// What was to be written in all, bytes, about; `None` where that is not known.
        needed: Option<u64>,
        /// What the disk had left before, bytes.
        free: Option<u64>,
        /// What the layers below said; not in the chain, it only repeats the same at length.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no index here.
    #[error("there is no index at {path}")]
    Missing {
        /// The index folder.
        path: PathBuf,
    },
    /// The folder has an index already.
    #[error("there is an index at {path} already")]
    Exists {
        /// The index folder.
        path: PathBuf,
    },
    /// The pointer file is not what was written. [`repair`](crate::repair) restores it.
    #[error("{path} is damaged ({what}); it can be restored from its copy")]
    Pointer {
        /// The pointer file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// A file of the snapshot is not what was written. [`verify`](crate::verify) names all damage,
    /// [`repair`](crate::repair) mends it.
    #[error("{path} is damaged ({what})")]
    DamagedFile {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The parts of the index do not fit each other.
    #[error("{path} is damaged ({what})")]
    Torn {
        /// The index.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// An export is not what was written, or not one at all.
    #[error("{path} is no sound export ({what})")]
    Export {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A writer was asked to stop; the last snapshot is in force.
    #[error("{action} was interrupted, what was committed is safe")]
    Interrupted {
        /// What was being done.
        action: &'static str,
    },
    /// The index was written by a newer version.
    #[error("{path} has format {got}, this version reads formats up to {expected}")]
    NewerFormat {
        /// The pointer file.
        path: PathBuf,
        /// The newest format that we read.
        expected: u32,
        /// The format found.
        got: u32,
    },
    /// Another process writes to the index.
    #[error("{path} is being written by process {pid}")]
    Locked {
        /// The index folder.
        path: PathBuf,
        /// The writer, `unknown` when it left no number.
        pid: String,
    },
    /// The index holds vectors of another model.
    #[error("{path} was made with model {expected}, not {got}")]
    OtherModel {
        /// The index folder.
        path: PathBuf,
        /// The model of the index.
        expected: ModelId,
        /// The model offered.
        got: ModelId,
    },
    /// The index has vectors of another length.
    #[error("{path} stores vectors of dim {expected}, got vectors of dim {got}")]
    OtherDim {
        /// The index folder.
        path: PathBuf,
        /// The dim of the index.
        expected: usize,
        /// The dim offered.
        got: usize,
    },
    /// The vectors of a page that is to be stored do not fit its layout.
    #[error("the vectors of page {page} cannot be stored in {path}")]
    Vectors {
        /// The index folder.
        path: PathBuf,
        /// The page.
        page: PageId,
        /// What does not fit.
        #[source]
        source: VectorError,
    },
    /// A row does not match its checksum or its shape. [`repair`](crate::repair) takes the page out
    /// and has the next run read it again.
    #[error("page {page} in {path} is damaged ({what})")]
    DamagedPage {
        /// The table.
        path: PathBuf,
        /// The page.
        page: PageId,
        /// What does not fit.
        what: String,
    },
    /// A table lacks a column or has another type in it.
    #[error("column {column} of {path} is missing or has another type")]
    Column {
        /// The table.
        path: PathBuf,
        /// The column.
        column: &'static str,
    },
    /// LanceDB failed.
    #[error("{action} table {path}")]
    Table {
        /// What was being done.
        action: &'static str,
        /// The table.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<lancedb::Error>,
    },
    /// Full-precision vectors are asked for, and the index has its vectors in codes alone.
    #[error("index {path} is compact and has no full-precision vectors to export")]
    Compact {
        /// The index folder.
        path: PathBuf,
    },
    /// The codes that searches scan are damaged. They are derived: indexing makes them again.
    #[error("the codes {path} cannot be read")]
    Codes {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// tantivy failed.
    #[error("{action} the text index {path}")]
    Text {
        /// What was being done.
        action: &'static str,
        /// The text index.
        path: PathBuf,
        /// The cause.
        #[source]
        source: tantivy::TantivyError,
    },
    /// What is to be an address of an index is none. It may hold a password, and is not repeated.
    #[error("the {scheme}:// address cannot be that of an index: {what}")]
    Address {
        /// What stands before the colon.
        scheme: String,
        /// What does not fit.
        what: &'static str,
    },
    /// The program was built without what opens this kind of bucket.
    #[error("this program was built without {scheme}://: it needs the cargo feature {feature}")]
    NotBuilt {
        /// What stands before the colon.
        scheme: String,
        /// The feature to build with.
        feature: &'static str,
    },
    /// A bucket does not do what it was asked to, after it was asked for a minute where that may help.
    #[error("{action} {place}")]
    Bucket {
        /// What was being done.
        action: &'static str,
        /// The object.
        place: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is asked for lies in a bucket that was out of reach a moment ago: nobody waits for it.
    #[error("{place} is out of reach")]
    OutOfReach {
        /// The index.
        place: String,
        /// What failed; nothing where it was not tried again.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A bucket does not refuse to put what is there already: two that commit at the same time would
    /// lose pages.
    #[error(
        "{place} cannot hold an index: {what}, and a commit needs a store that keeps to a conditional \
         put (If-None-Match: *)"
    )]
    Conditions {
        /// The index.
        place: String,
        /// What the store did.
        what: String,
        /// What it said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A plan, or its work, does not fit what was asked for. The index is as it was.
    #[error("plan {plan} {what}")]
    Plan {
        /// The plan's id.
        plan: String,
        /// What is wrong with it.
        what: String,
    },
    /// Another worker at the same shard was first with its part; this one goes on after it.
    #[error("another worker was first with part {part} of shard {shard}")]
    PartTaken {
        /// The shard.
        shard: usize,
        /// The part.
        part: u64,
    },
    /// A batch gives pages that were laid down before other words. What a part holds is never
    /// rewritten, so a worker reads all of a page before it lays the page down.
    #[error(
        "shard {shard} cannot take new words for {pages} pages of before: a part is never rewritten"
    )]
    WordsOfPart {
        /// The shard.
        shard: usize,
        /// How many pages.
        pages: usize,
    },
    /// What an index in a folder can do, and one in a bucket cannot.
    #[error("{place} lies in a bucket, where {what}")]
    NotInBucket {
        /// The index.
        place: String,
        /// What cannot be done, and what to do in its place.
        what: &'static str,
    },
    /// A file of an index in a bucket is gone or damaged, and what it said stands nowhere else.
    #[error("{path} cannot be made again: {what}")]
    Irreplaceable {
        /// The object.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The local copy of an index in a bucket may not take what every search needs: its words and
    /// sketches.
    #[error(
        "the copy in {path} may take {}, and searches need {} here",
        gigabytes(limit),
        gigabytes(wanted)
    )]
    NoRoom {
        /// The folder of the copy.
        path: PathBuf,
        /// What is needed, bytes.
        wanted: u64,
        /// What it may take, bytes.
        limit: u64,
    },
    /// The system gives no threads to work on.
    #[error("starting threads")]
    Threads {
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    /// Of bytes on which the code that reads them panicked.
    pub(crate) fn senseless(path: &Path) -> Self {
        Self::DamagedFile { path: path.to_path_buf(), what: "its content makes no sense".into() }
    }

    fn disk_full(path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let (needed, free) = (None, fs4::available_space(path.parent().unwrap_or(path)).ok());
        Self::DiskFull { path: path.to_path_buf(), needed, free, cause: cause.into() }
    }

    /// Says what a commit to the index at `index` needed, where it met a full disk.
    pub(crate) fn needing(self, index: &Path, bytes: u64, free_before: Option<u64>) -> Self {
        match self {
            Self::DiskFull { cause, free, .. } => Self::DiskFull {
                path: index.to_path_buf(),
                needed: Some(bytes),
                free: free_before.or(free),
                cause,
            },
            other => other,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => Self::disk_full(path, source),
            _ => Self::Io { action, path: path.to_path_buf(), source },
        }
    }

    pub(crate) fn table(action: &'static str, path: &Path) -> impl FnOnce(lancedb::Error) -> Self {
        move |source| {
            if is_disk_full(&source) {
                return Self::disk_full(path, source);
            }
            Self::Table { action, path: path.to_path_buf(), source: Box::new(source) }
        }
    }

    pub(crate) fn arrow(path: &Path) -> impl FnOnce(arrow::error::ArrowError) -> Self {
        move |source| match source {
            arrow::error::ArrowError::IoError(_, source) => Self::io("writing", path)(source),
            other => Self::Export { path: path.to_path_buf(), what: other.to_string() },
        }
    }

    pub(crate) fn text(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(tantivy::TantivyError) -> Self {
        move |source| {
            if is_disk_full(&source) {
                return Self::disk_full(path, source);
            }
            if let Some(damage) = damaged_block(&source) {
                return Self::DamagedFile { path: damage.path.clone(), what: damage.to_string() };
            }
            Self::Text { action, path: path.to_path_buf(), source }
        }
    }
}

/// A block of a file of words that is not what was written, as the text index passes it on.
#[derive(Debug, thiserror::Error)]
#[error("bytes {} to {} are not those that were written", range.start, range.end)]
pub(crate) struct DamagedBlock {
    /// The file.
    pub path: PathBuf,
    pub range: Range<usize>,
}

fn gigabytes(bytes: &u64) -> String {
    match *bytes as f64 {
        bytes if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.2} GB", bytes / 1e9),
    }
}

fn space(needed: &Option<u64>, free: &Option<u64>) -> String {
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    match (needed, free) {
        (Some(needed), Some(free)) => {
            format!(", this step needs about {}, {} were free", mb(*needed), mb(*free))
        }
        (Some(needed), None) => format!(", this step needs about {}", mb(*needed)),
        (None, Some(free)) => format!(", {} are free", mb(*free)),
        (None, None) => String::new(),
    }
}

/// The block of a file that `error` came of: tantivy keeps what reading said in one of these ways.
fn damaged_block(error: &tantivy::TantivyError) -> Option<&DamagedBlock> {
    use tantivy::TantivyError::{IoError, OpenReadError};
    use tantivy::directory::error::OpenReadError as Opening;

    let said = match error {
        IoError(said) | OpenReadError(Opening::IoError { io_error: said, .. }) => said,
        _ => return None,
    };
    // An error of the system may have another inside.
    let mut inside = said.get_ref()? as &(dyn std::error::Error + 'static);
    loop {
        match inside.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(deeper) => inside = deeper,
            None => return inside.downcast_ref(),
        }
    }
}

/// Libraries box the operating system's error at different depths, some only as text.
fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let by_kind = error
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::StorageFull);
        if by_kind || error.to_string().contains("No space left on device") {
            return true;
        }
        cause = error.source();
    }
    false
}
