//! What all requests share.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use pagesight::index::DocumentRecord;
use tokio::sync::watch;

use super::admission::Admission;
use super::cache::Cache;
use super::gate::Gate;
use super::jobs::Jobs;
use super::options::Options;
use super::problem::{Code, Problem};
use super::served::Served;
use super::session::Access;

/// How far the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Ready,
    Stopping,
}

/// What all requests share.
pub struct App {
    pub options: Options,
    pub started: SystemTime,
    pub phase: watch::Sender<Phase>,
    /// Set once they are open and warm.
    pub served: OnceLock<Vec<Served>>,
    pub searches: Admission,
    /// Pictures, maps, and whatever else reads pages.
    pub draws: Admission,
    /// Answers in words.
    pub asks: Admission,
    pub cache: Cache,
    pub access: Access,
    pub gate: Gate,
    pub jobs: Arc<Jobs>,
    pub metrics: metrics_exporter_prometheus::PrometheusHandle,
}

/// The root that is always there when writing is allowed.
pub const UPLOADS: &str = "uploads";

/// Requests for pictures that may wait.
const WAITING_DRAWS: usize = 256;

/// Answers in words at once, and how many may wait.
const ASKS: usize = 4;
const WAITING_ASKS: usize = 16;

impl App {
    /// A server that is starting.
    pub fn new(options: Options, metrics: metrics_exporter_prometheus::PrometheusHandle) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            started: SystemTime::now(),
            phase: watch::Sender::new(Phase::Starting),
            served: OnceLock::new(),
            searches: Admission::new("too many searches", options.searches, options.queue),
            draws: Admission::new("too many pictures", cores, WAITING_DRAWS),
            asks: Admission::new("too many questions", ASKS, WAITING_ASKS),
            cache: Cache::new(options.cache_bytes),
            access: Access::new(options.token.as_deref(), options.read_token.as_deref()),
            gate: Gate::new(options.bind, &options.allow_hosts, &options.allow_origins),
            jobs: Arc::default(),
            metrics,
            options,
        }
    }

    /// The indexes, empty while the server starts.
    pub fn indexes(&self) -> &[Served] {
        self.served.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// The index of that name, or the default one.
    ///
    /// # Errors
    /// [`Code::IndexNotFound`].
    pub fn index(&self, name: Option<&str>) -> Result<&Served, Problem> {
        let found = match name {
            None => self.indexes().first(),
            Some(name) => self.indexes().iter().find(|served| served.name == name),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.indexes().iter().map(|s| s.name.as_str()).collect();
            let detail = format!("there is no such index: there are {}", names.join(", "));
            Problem { field: Some("index".into()), ..Problem::new(Code::IndexNotFound, detail) }
        })
    }

    /// How long an answer may take.
    pub fn deadline(&self) -> Duration {
        self.options.deadline
    }

    /// Where uploads are kept: as was said, else beside the default index.
    pub fn uploads(&self) -> Option<PathBuf> {
        let beside = || {
            let folder = self.indexes().first()?.index.folder();
            Some(folder.parent()?.join(UPLOADS))
        };
        let folder = self.options.uploads.clone().or_else(beside)?;
        Some(folder.canonicalize().unwrap_or(folder))
    }

    /// Whether a record's file was uploaded to this server.
    pub fn is_upload(&self, served: &Served, record: &DocumentRecord) -> bool {
        self.options.write
            && self.uploads().is_some_and(|folder| {
                served.index.file(&record.path).parent() == Some(folder.as_path())
            })
    }

    /// How far the server is.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }
}

/// What handlers take.
pub type Shared = Arc<App>;
