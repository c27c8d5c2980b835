//! Fetches a checkpoint from a Hugging Face hub into the hub's own cache folder, where other
//! programs find it too. All files come from one commit, an interrupted download continues where it
//! stopped, and each file is checked against the hash that the hub gives.

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

/// Where a checkpoint is fetched from, where it goes, and which version is wanted.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// The address of the hub, without a slash at its end.
    pub endpoint: String,
    /// The cache folder that the files go to.
    pub cache: HubCache,
    /// The access token for models that are not open to everybody. By default the one in the
    /// cache's `token` file.
    pub token: Option<String>,
    /// The commit, branch or tag that is wanted; by default `main`.
    pub revision: Option<String>,
    /// Uses no network: gives what is in the cache, or an error.
    pub offline: bool,
    /// How often a broken download of a file is resumed.
    pub retries: usize,
}

impl FetchOptions {
    /// The public hub.
    pub const HUB: &str = "https://huggingface.co";

    /// Fetches `main` of the public hub into `cache`.
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

/// Progress of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchEvent<'a> {
    /// A file begins, or is resumed. When it is resumed its count starts again, and the bytes that
    /// are there already are counted first.
    File {
        /// Its name.
        name: &'a str,
        /// Its length, bytes.
        bytes: u64,
    },
    /// This many more bytes of the file have arrived.
    Bytes(u64),
}

/// A checkpoint in the cache.
#[derive(Debug)]
#[non_exhaustive]
pub struct Fetched {
    /// `org/name`.
    pub name: String,
    /// The commit. Where the hub was not asked it is the name of the folder in the cache.
    pub revision: String,
    /// The folder with its files.
    pub folder: PathBuf,
    /// Number of files that came over the network.
    pub files: usize,
    /// The base that the checkpoint adapts, when it is an adapter.
    pub base: Option<Box<Fetched>>,
    /// Why the hub gave no answer. The cached copy was used instead, and may be old.
    pub unreachable: Option<FetchError>,
}

/// Why a checkpoint could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The name has not the form of a model on a hub.
    #[error("{name:?} is not a model's name, which is written ORG/NAME")]
    Name {
        /// As asked.
        name: String,
    },
    /// The network may not be used, and the cache does not have the model.
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
        /// The address that was asked.
        url: String,
        /// What it was asked for.
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
        /// Whether there are pickles.
        pickle: bool,
    },
    /// A file has another hash than the hub says. It was deleted.
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
    /// A file is shorter or longer than the hub says. It was deleted.
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
/// not fetched again. When the hub cannot be reached, the cached version is used.
///
/// # Errors
/// [`FetchError`]. What has arrived stays in the cache, and the next call continues from there.
pub fn fetch(
    name: &str,
    options: &FetchOptions,
    progress: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<Fetched, FetchError> {
    if !HubCache::is_name(name) {
        return Err(FetchError::Name { name: name.into() });
    }
    let mut fetched = if options.offline {
        cached(name, options, None)?
    } else {
        match download(name, options, progress) {
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
            fetched.base = Some(Box::new(fetch(&base, &options, progress)?));
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
    progress: &mut dyn FnMut(FetchEvent<'_>),
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
    // All files are taken from the commit that was listed, whatever is pushed meanwhile.
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
            .download_with_progress(file, Events { progress: &mut *progress })
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
    // hf-hub writes a ref for the commit itself. The ref that was asked for is written last, so it
    // never names half a checkpoint.
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
    /// Whether the hub did not answer, as opposed to an answer that refuses.
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
struct Events<'a> {
    progress: &'a mut dyn FnMut(FetchEvent<'_>),
}

impl Progress for Events<'_> {
    fn init(&mut self, size: usize, filename: &str) {
        (self.progress)(FetchEvent::File { name: filename, bytes: size as u64 });
    }

    fn update(&mut self, size: usize) {
        (self.progress)(FetchEvent::Bytes(size as u64));
    }

    fn finish(&mut self) {}
}
