//! Fetches a checkpoint from a Hugging Face hub into the hub's own cache folder, where other
//! programs find it too. One commit at a time; interrupted files go on where they stopped; each
//! file is checked against the hash that the hub gives.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::checkpoint::adapter::AdapterConfig;
use crate::checkpoint::files::Files;
use crate::checkpoint::hub_cache::{HubCache, snapshot_of};
use crate::error::ModelError;

/// Where from, where to, and which version.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// The hub, without a slash at its end.
    pub endpoint: String,
    /// Where the files go.
    pub cache: HubCache,
    /// For models that are not open to everybody; the one in the cache's `token` file when `None`.
    pub token: Option<String>,
    /// A commit, branch or tag; `main` when `None`.
    pub revision: Option<String>,
    /// Asks nobody: what is in the cache, or an error.
    pub offline: bool,
    /// How often a file is tried again, each time from where it stopped.
    pub retries: usize,
}

impl FetchOptions {
    /// The public hub.
    pub const HUB: &str = "https://huggingface.co";

    /// `main` of the public hub into `cache`.
    pub fn new(cache: HubCache) -> Self {
        Self {
            endpoint: Self::HUB.into(),
            cache,
            token: None,
            revision: None,
            offline: false,
            retries: 5,
        }
    }
}

/// What happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchEvent<'a> {
    /// A file begins, or goes on after an interruption: then its count starts again, and what is
    /// there already comes first.
    File {
        /// Its name.
        name: &'a str,
        /// Its length, bytes.
        bytes: u64,
    },
    /// So many more bytes of it are there.
    Bytes(u64),
}

/// A checkpoint in the cache.
#[derive(Debug)]
pub struct Fetched {
    /// `org/name`.
    pub name: String,
    /// The commit; the folder's name where the hub was not asked.
    pub revision: String,
    /// With the files.
    pub folder: PathBuf,
    /// Files that came over the network.
    pub files: usize,
    /// The base, for an adapter.
    pub base: Option<Box<Fetched>>,
    /// Why the hub was not asked; the cached copy may be old then.
    pub unreachable: Option<FetchError>,
}

/// Why a checkpoint did not come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Not a name that a hub has.
    #[error("{name:?} is not a model's name, which is written ORG/NAME")]
    Name {
        /// As asked.
        name: String,
    },
    /// Nothing may be asked and nothing is there.
    #[error("{name} is not in {} and the hub may not be asked (offline)", cache.display())]
    Offline {
        /// The model.
        name: String,
        /// The cache.
        cache: PathBuf,
    },
    /// The hub does not answer, or refuses.
    #[error("{url} gives no {what}")]
    Hub {
        /// What was asked.
        url: String,
        /// For what.
        what: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model has no weights that can be read.
    #[error("{name} has no safetensors files{}", if *pickle { ", only pickles, which may run code when read" } else { "" })]
    NoWeights {
        /// The model.
        name: String,
        /// There are pickles.
        pickle: bool,
    },
    /// A file is not what the hub says it is; it was deleted.
    #[error("{file} of {name} has SHA-256 {got}, the hub says {expected}")]
    Hash {
        /// The model.
        name: String,
        /// The file.
        file: String,
        /// By the hub.
        expected: String,
        /// Of what came.
        got: String,
    },
    /// A file is shorter or longer than the hub says; it was deleted.
    #[error("{file} of {name} has {got} bytes, the hub says {expected}")]
    Length {
        /// The model.
        name: String,
        /// The file.
        file: String,
        /// By the hub.
        expected: u64,
        /// Of what came.
        got: u64,
    },
    /// The cache cannot be written or read.
    #[error(transparent)]
    Model(#[from] ModelError),
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
}

/// Fetches `name` (`org/name`) and, for an adapter, its base. What is in the cache already is
/// not fetched again; when the hub cannot be reached, the cached version will do.
///
/// # Errors
/// [`FetchError`]. What came stays in the cache: the next call goes on from there.
pub fn fetch(
    name: &str,
    options: &FetchOptions,
    tell: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<Fetched, FetchError> {
    if !HubCache::is_name(name) {
        return Err(FetchError::Name { name: name.into() });
    }
    let mut fetched = if options.offline {
        cached(name, options, None)?
    } else {
        match download(name, options, tell) {
            Err(error @ FetchError::Hub { .. }) if error.is_unreachable() => {
                cached(name, options, Some(error))?
            }
            other => other?,
        }
    };
    if fetched.folder.join(AdapterConfig::FILE).exists() {
        let config = AdapterConfig::read(&Files::Folder(fetched.folder.clone()))?;
        let base = config.base_model_name_or_path;
        if HubCache::is_name(&base) {
            let options = FetchOptions { revision: config.revision, ..options.clone() };
            fetched.base = Some(Box::new(fetch(&base, &options, tell)?));
        }
    }
    Ok(fetched)
}

/// The version in the cache, where there is one.
fn cached(
    name: &str,
    options: &FetchOptions,
    unreachable: Option<FetchError>,
) -> Result<Fetched, FetchError> {
    let model = options.cache.model_folder(name);
    match (snapshot_of(&model, options.revision.as_deref()), unreachable) {
        (Some(folder), unreachable) => Ok(Fetched {
            name: name.into(),
            revision: folder.file_name().unwrap_or_default().to_string_lossy().into(),
            folder,
            files: 0,
            base: None,
            unreachable,
        }),
        (None, Some(error)) => Err(error),
        (None, None) => {
            let cache = options.cache.root().to_path_buf();
            Err(FetchError::Offline { name: name.into(), cache })
        }
    }
}

fn download(
    name: &str,
    options: &FetchOptions,
    tell: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<Fetched, FetchError> {
    let revision = options.revision.as_deref().unwrap_or("main");
    let repo = |revision: &str| Repo::with_revision(name.into(), RepoType::Model, revision.into());
    let url = format!("{}/{name}", options.endpoint);
    let hub = |what: &str, source: Box<dyn std::error::Error + Send + Sync>| FetchError::Hub {
        url: url.clone(),
        what: what.into(),
        source,
    };
    let api = api(options).map_err(|error| hub("connection", error.into()))?;
    let ask = || -> Result<String, ureq::Error> {
        let request = api.repo(repo(revision)).info_request().query("blobs", "true");
        request.call()?.body_mut().read_to_string()
    };
    let what = format!("version {revision}");
    let listing = ask().map_err(|error| hub(&what, error.into()))?;
    let info: Info = serde_json::from_str(&listing).map_err(|error| hub(&what, error.into()))?;
    if !is_commit(&info.sha) {
        return Err(hub("commit", format!("{:?} is not one", info.sha).into()));
    }
    let wanted: Vec<&Sibling> = info.siblings.iter().filter(|s| is_wanted(&s.rfilename)).collect();
    if !wanted.iter().any(|sibling| sibling.rfilename.ends_with(".safetensors")) {
        let mut names = info.siblings.iter().map(|sibling| &sibling.rfilename);
        let pickle = names.any(|file| file.ends_with(".bin") || file.ends_with(".pt"));
        return Err(FetchError::NoWeights { name: name.into(), pickle });
    }
    // All files from the one commit that was listed, whatever is pushed meanwhile.
    let pinned = api.repo(repo(&info.sha));
    let cache = Cache::new(options.cache.root().to_path_buf()).repo(repo(&info.sha));
    let folder = cache.pointer_path(&info.sha);
    let mut files = 0;
    for sibling in wanted {
        let file = &sibling.rfilename;
        let path = folder.join(file);
        if path.exists() {
            continue;
        }
        pinned
            .download_with_progress(file, Teller { tell: &mut *tell })
            .map_err(|error| hub(file, error.into()))?;
        files += 1;
        if let Err(error) = check(name, sibling, &path) {
            // So that the next run fetches it again.
            if let Ok(blob) = path.canonicalize() {
                let _ = fs::remove_file(blob);
            }
            let _ = fs::remove_file(path);
            return Err(error);
        }
    }
    let io = |source| ModelError::Io { path: options.cache.model_folder(name), source };
    // hf-hub writes a ref for the commit itself; the one that was asked for comes when all is
    // there, so it never names half a checkpoint.
    if revision != info.sha {
        let _ = fs::remove_file(options.cache.model_folder(name).join("refs").join(&info.sha));
        let cache = Cache::new(options.cache.root().to_path_buf()).repo(repo(revision));
        cache.create_ref(&info.sha).map_err(io)?;
    }
    Ok(Fetched {
        name: name.into(),
        revision: info.sha,
        folder,
        files,
        base: None,
        unreachable: None,
    })
}

fn api(options: &FetchOptions) -> Result<Api, ApiError> {
    let cache = Cache::new(options.cache.root().to_path_buf());
    let token = options.token.clone().or(cache.token());
    ApiBuilder::from_cache(cache)
        .with_endpoint(options.endpoint.clone())
        .with_token(token)
        .with_retries(options.retries)
        .with_user_agent("pagesight", env!("CARGO_PKG_VERSION"))
        .build()
}

/// What a checkpoint is made of: configurations and weights, of the top folder only.
fn is_wanted(file: &str) -> bool {
    let plain = !file.contains(['/', '\\']) && !file.starts_with('.');
    plain && (file.ends_with(".json") || file.ends_with(".safetensors"))
}

fn is_commit(sha: &str) -> bool {
    sha.len() == 40 && sha.bytes().all(|c| c.is_ascii_hexdigit())
}

/// Whether the file at `path` is what the hub says.
fn check(name: &str, sibling: &Sibling, path: &Path) -> Result<(), FetchError> {
    let (name, file) = (name.to_string(), sibling.rfilename.clone());
    let io = |source| ModelError::Io { path: path.to_path_buf(), source };
    let got = fs::metadata(path).map_err(io)?.len();
    if let Some(expected) = sibling.size.filter(|&size| size != got) {
        return Err(FetchError::Length { name, file, expected, got });
    }
    let Some(Lfs { sha256: expected }) = &sibling.lfs else { return Ok(()) };
    let got = sha256(path)?;
    if got != *expected {
        let expected = expected.clone();
        return Err(FetchError::Hash { name, file, expected, got });
    }
    Ok(())
}

impl FetchError {
    /// Nobody answered, as opposed to an answer that refuses.
    fn is_unreachable(&self) -> bool {
        let Self::Hub { source, .. } = self else { return false };
        match source.downcast_ref::<ureq::Error>() {
            Some(ureq::Error::StatusCode(status)) => *status >= 500,
            Some(error) => matches!(
                error,
                ureq::Error::Io(_)
                    | ureq::Error::HostNotFound
                    | ureq::Error::ConnectionFailed
                    | ureq::Error::ConnectProxyFailed(_)
                    | ureq::Error::Timeout(_)
            ),
            None => false,
        }
    }
}

/// The SHA-256 of a file, hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String, ModelError> {
    let io = |source| ModelError::Io { path: path.to_path_buf(), source };
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path).map_err(io)?, &mut hasher).map_err(io)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// hf-hub's progress as events.
struct Teller<'a> {
    tell: &'a mut dyn FnMut(FetchEvent<'_>),
}

impl Progress for Teller<'_> {
    fn init(&mut self, size: usize, filename: &str) {
        (self.tell)(FetchEvent::File { name: filename, bytes: size as u64 });
    }

    fn update(&mut self, size: usize) {
        (self.tell)(FetchEvent::Bytes(size as u64));
    }

    fn finish(&mut self) {}
}
