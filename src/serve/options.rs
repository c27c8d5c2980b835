//! How a server is to be run: what the command line says, without its flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pagesight::fleet::Address;
use pagesight::index::BucketOptions;
use pagesight::model::{EmbedderOptions, LoadOptions, ModelSource};
use pagesight::pdf::{RenderOptions, WeightSearch};
use pagesight::{Error, Index, machine};

use super::answerer::Answerer;

/// How the lines of the log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// What a server serves and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names and folders, at least one; the first is the default.
    pub indexes: Vec<(String, PathBuf)>,
    /// How indexes in buckets are read.
    pub bucket: BucketOptions,
    /// Whether the one index is served to a router alone, as a part.
    pub is_part: bool,
    pub bind: SocketAddr,
    /// Full scope.
    pub token: Option<String>,
    /// Searches and pages only.
    pub read_token: Option<String>,
    /// Whether jobs, uploads and deletions are taken.
    pub write: bool,
    /// Names and folders that jobs may read.
    pub roots: Vec<(String, PathBuf)>,
    /// Where uploads are kept; `None` is beside the default index.
    pub uploads: Option<PathBuf>,
    pub allow_hosts: Vec<String>,
    pub allow_origins: Vec<String>,
    /// Searches at once, and how many may wait.
    pub searches: usize,
    pub queue: usize,
    pub deadline: Duration,
    pub cache_bytes: usize,
    pub grace: Duration,
    pub max_file_bytes: u64,
    pub web: bool,
    pub mcp: bool,
    /// Whether agents may have questions answered too.
    pub mcp_ask: bool,
    pub log: LogFormat,
    pub quiet: bool,
    pub log_queries: bool,
    /// Whether readiness is said as JSON on stdout.
    pub json: bool,
    /// Who answers questions.
    pub answerer: Answerer,
    pub model: Option<ModelSource>,
    pub loading: LoadOptions,
    /// How models of meaning are loaded.
    pub embedding: EmbedderOptions,
    pub renderer: RenderOptions,
    /// Where the weights of the embedded reader of pages may be.
    pub ocr_weights: WeightSearch,
}

impl Options {
    /// Opens an index that draws, reads and loads models as these options say.
    ///
    /// # Errors
    /// What opening and loading say.
    pub fn open(&self, folder: &Path) -> Result<Index, Error> {
        let index = match Address::of(folder)? {
            Some(address) => {
                let address = address.with_clear_http(machine::is_store_here());
                Index::open_bucket(&address, &self.bucket)?
            }
            None => Index::open(folder)?,
        };
        index.set_renderer(self.renderer.clone());
        index.set_loading(self.loading.clone());
        index.set_embedding(self.embedding.clone());
        index.set_ocr_weights(self.ocr_weights.clone());
        if let Some(source) = &self.model {
            index.load_model(source, &self.loading)?;
        }
        Ok(index)
    }
}
