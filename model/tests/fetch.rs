//! Fetching from a server that speaks the hub's protocol: listing, redirect to another place for
//! large files, ranges, connections that break.

#![cfg(feature = "hub")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use pagesight_core::ModelSource;
use pagesight_core::seam::QueryEncoder;
use pagesight_model::{
    ColPali, FetchError, FetchEvent, FetchOptions, Fetched, HubCache, LoadOptions, ModelError,
    Models, fetch,
};
use sha2::{Digest, Sha256};

fn load(folder: &Path) -> Result<ColPali, ModelError> {
    ColPali::load(&ModelSource::Folder(folder.into()), &LoadOptions::default())
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server has and does; tests change it.
#[derive(Default)]
struct Hub {
    /// Files by model.
    models: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Requests: path, and where a range begins.
    asked: Vec<(String, u64)>,
    /// Bytes of large files after which the connection breaks, once each.
    breaks: Vec<usize>,
    /// Answers 503 to everything.
    down: bool,
    /// A hash that the listing gives instead of the true one.
    wrong_hash: bool,
}

struct Server {
    address: String,
    hub: Arc<Mutex<Hub>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(Mutex::new(Hub::default()));
        let shared = Arc::clone(&hub);
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    // A client that goes away is its own affair.
                    let _ = answer(stream, &shared);
                });
            }
        });
        Self { address, hub }
    }

    fn add(&self, model: &str, fixture: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity").join(fixture);
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files = files.map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            (name, fs::read(path).unwrap())
        });
        let mut files: BTreeMap<String, Vec<u8>> = files.collect();
        files.insert("README.md".into(), b"a card".to_vec());
        files.insert("onnx/model.safetensors".into(), b"another thing".to_vec());
        files.insert("pytorch_model.bin".into(), b"\x80\x04".to_vec());
        self.hub.lock().unwrap().models.insert(model.into(), files);
    }

    fn asked(&self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.hub.lock().unwrap().asked)
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors")
}

fn answer(mut stream: TcpStream, hub: &Mutex<Hub>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_string();
    let mut from = 0u64;
    let mut to = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            let (begin, end) = range.split_once('-').unwrap();
            (from, to) = (begin.parse().unwrap(), end.parse::<u64>().ok());
        }
    }
    let mut hub = hub.lock().unwrap();
    hub.asked.push((path.clone(), from));
    let refuse = |stream: &mut TcpStream, status: &str| {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    };
    if hub.down {
        return refuse(&mut stream, "503 Service Unavailable");
    }
    if let Some(rest) = path.strip_prefix("/api/models/") {
        let (model, revision) = rest.split_once("/revision/").unwrap();
        let revision = revision.split('?').next().unwrap();
        let Some(files) =
            hub.models.get(model).filter(|_| ["main", COMMIT, "v1"].contains(&revision))
        else {
            return refuse(&mut stream, "404 Not Found");
        };
        let siblings: Vec<serde_json::Value> = files
            .iter()
            .map(|(name, bytes)| {
                let hash = if hub.wrong_hash { "0".repeat(64) } else { sha256(bytes) };
                let lfs = is_large(name).then(|| serde_json::json!({"sha256": hash}));
                serde_json::json!({"rfilename": name, "size": bytes.len(), "lfs": lfs})
            })
            .collect();
        let body = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    }
    // Large files lie elsewhere; the hub says their hash before it sends there.
    let (path, elsewhere) = match path.strip_prefix("/elsewhere") {
        Some(path) => (path, true),
        None => (path.as_str(), false),
    };
    let (model, file) = path[1..].split_once(&format!("/resolve/{COMMIT}/")).unwrap();
    let Some(bytes) = hub.models.get(model).and_then(|files| files.get(file)).cloned() else {
        return refuse(&mut stream, "404 Not Found");
    };
    let hash = sha256(&bytes);
    if is_large(file) && !elsewhere {
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: http://{}/elsewhere{path}\r\nETag: \"x\"\r\n\
             X-Linked-Etag: \"{hash}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n",
            stream.local_addr()?
        );
    }
    let end = to.map_or(bytes.len(), |to| (to as usize + 1).min(bytes.len()));
    let part = &bytes[(from as usize).min(end)..end];
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\nETag: \"{}\"\r\n\
         X-Repo-Commit: {COMMIT}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        end.saturating_sub(1),
        bytes.len(),
        &hash[..40],
        part.len()
    )?;
    let whole = to.is_none();
    let cut = if elsewhere && whole { hub.breaks.pop() } else { None };
    let part = &part[..cut.unwrap_or(part.len()).min(part.len())];
    drop(hub);
    stream.write_all(part)
}

/// A cache folder and what fetches into it.
fn client(server: &Server) -> (tempfile::TempDir, FetchOptions) {
    let root = tempfile::tempdir().unwrap();
    let mut options = FetchOptions::new(HubCache::new(root.path().join("hub")));
    options.endpoint = server.address.clone();
    options.retries = 0;
    (root, options)
}

fn get(name: &str, options: &FetchOptions) -> Result<Fetched, FetchError> {
    fetch(name, options, &mut |_| {})
}

#[test]
fn a_checkpoint_is_fetched_once_and_loads_by_its_name() {
    let server = Server::start();
    server.add("tiny/colpali", "hf");
    let (_root, options) = client(&server);
    let mut seen: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut current = String::new();
    let fetched = fetch("tiny/colpali", &options, &mut |event| match event {
        FetchEvent::File { name, bytes } => {
            current = name.to_string();
            seen.insert(current.clone(), (bytes, 0));
        }
        FetchEvent::Bytes(bytes) => seen.get_mut(&current).unwrap().1 += bytes,
    })
    .unwrap();
    assert_eq!((fetched.revision.as_str(), fetched.files), (COMMIT, 6));
    assert!(seen.values().all(|(expected, got)| expected == got), "{seen:?}");
    let names: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert!(names.contains(&"model.safetensors") && names.contains(&"tokenizer.json"));
    assert!(!names.iter().any(|name| name.contains(".bin") || name.contains("README")));

    let models = Models { own: None, hub: Some(options.cache.clone()) };
    let source = models.find("tiny/colpali").unwrap();
    let folder = models.folder(&source).unwrap().unwrap();
    assert_eq!(folder, fetched.folder);
    assert_eq!(models.find(format!("tiny/colpali@{COMMIT}")).unwrap(), source);
    let hub = LoadOptions { hub: models.hub.clone(), ..LoadOptions::default() };
    let model = ColPali::load(&source, &hub).unwrap();
    assert!(model.encode_queries(&["x"]).is_ok());
    // A large file is named by its hash, as other programs expect and `verify` checks.
    let blob = folder.join("model.safetensors").canonicalize().unwrap();
    assert_eq!(blob.file_name().unwrap().len(), 64);

    server.asked();
    let again = get("tiny/colpali", &options).unwrap();
    assert_eq!((again.files, again.folder), (0, folder));
    assert_eq!(server.asked().len(), 1, "only the listing");
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let server = Server::start();
    server.add("tiny/colpali", "hf");
    let (_root, options) = client(&server);
    server.hub.lock().unwrap().breaks = vec![100_000];
    let error = get("tiny/colpali", &options).unwrap_err();
    assert!(matches!(&error, FetchError::Hub { what, .. } if what == "model.safetensors"));
    // What came is not a model yet: no name leads to it.
    assert!(!options.cache.model_folder("tiny/colpali").join("refs/main").exists());
    server.asked();
    let fetched = get("tiny/colpali", &options).unwrap();
    assert!(load(&fetched.folder).is_ok());
    let resumed = server.asked();
    let large = |path: &str| path.starts_with("/elsewhere") && path.ends_with("model.safetensors");
    assert!(resumed.iter().any(|(path, from)| large(path) && *from == 100_000), "{resumed:?}");

    // Within one run it is tried again, as often as allowed.
    let (_root, mut options) = client(&server);
    options.retries = 2;
    server.hub.lock().unwrap().breaks = vec![200_000, 50_000];
    let fetched = get("tiny/colpali", &options).unwrap();
    assert!(load(&fetched.folder).is_ok());
    let starts: Vec<u64> =
        server.asked().iter().filter(|(path, _)| large(path)).map(|(_, from)| *from).collect();
    assert_eq!(starts, [0, 0, 50_000, 250_000]); // the first asks for the length
}

#[test]
fn without_the_hub_the_cache_answers() {
    let server = Server::start();
    server.add("tiny/colpali", "orig");
    let (_root, mut options) = client(&server);
    options.offline = true;
    match get("tiny/colpali", &options) {
        Err(FetchError::Offline { name, .. }) => assert_eq!(name, "tiny/colpali"),
        other => panic!("{other:?}"),
    }
    assert!(server.asked().is_empty(), "offline asks nobody");
    options.offline = false;
    let fetched = get("tiny/colpali", &options).unwrap();
    options.offline = true;
    server.asked();
    let offline = get("tiny/colpali", &options).unwrap();
    assert_eq!((offline.folder, offline.revision.as_str()), (fetched.folder.clone(), COMMIT));
    assert!(server.asked().is_empty());
    // A hub that is down, and one that is not there at all.
    options.offline = false;
    server.hub.lock().unwrap().down = true;
    let down = get("tiny/colpali", &options).unwrap();
    assert!(down.folder == fetched.folder && down.unreachable.is_some());
    options.endpoint = "http://127.0.0.1:1".into();
    let gone = get("tiny/colpali", &options).unwrap();
    assert!(gone.folder == fetched.folder && gone.unreachable.is_some());
    assert!(matches!(get("tiny/other", &options), Err(FetchError::Hub { .. })));
    // A hub that answers no is believed.
    server.hub.lock().unwrap().down = false;
    options.endpoint = server.address.clone();
    server.hub.lock().unwrap().models.clear();
    assert!(matches!(get("tiny/colpali", &options), Err(FetchError::Hub { .. })));
}

#[test]
fn an_adapter_brings_its_base_and_a_revision_is_pinned() {
    let server = Server::start();
    server.add("tiny/base", "orig");
    server.add("tiny/lora", "lora");
    {
        let mut hub = server.hub.lock().unwrap();
        let config =
            hub.models.get_mut("tiny/lora").unwrap().get_mut("adapter_config.json").unwrap();
        let text = String::from_utf8(config.clone()).unwrap();
        *config = text.replace("../orig", "tiny/base").into_bytes();
    }
    let (_root, mut options) = client(&server);
    let fetched = get("tiny/lora", &options).unwrap();
    let base = fetched.base.as_deref().unwrap();
    assert_eq!((base.name.as_str(), base.files), ("tiny/base", 8));
    assert!(load(&fetched.folder).is_ok());

    options.revision = Some("v1".into());
    get("tiny/lora", &options).unwrap();
    let refs = options.cache.model_folder("tiny/lora").join("refs");
    assert_eq!(fs::read_to_string(refs.join("v1")).unwrap(), COMMIT);
    assert_eq!(fs::read_to_string(refs.join("main")).unwrap(), COMMIT);
    assert!(!refs.join(COMMIT).exists());
    // A commit is its own name.
    options.revision = Some(COMMIT.into());
    get("tiny/lora", &options).unwrap();
    assert!(!refs.join(COMMIT).exists());
    options.revision = Some("v9".into());
    assert!(matches!(get("tiny/lora", &options), Err(FetchError::Hub { .. })));
}

#[test]
fn what_is_not_a_sound_checkpoint_is_refused() {
    let server = Server::start();
    server.add("tiny/colpali", "hf");
    let (_root, options) = client(&server);
    for name in ["colpali", "../x", "tiny/colpali/x", ""] {
        assert!(matches!(get(name, &options), Err(FetchError::Name { .. })), "{name}");
    }
    assert!(server.asked().is_empty());
    server.hub.lock().unwrap().wrong_hash = true;
    match get("tiny/colpali", &options) {
        Err(FetchError::Hash { file, expected, .. }) => {
            assert_eq!((file.as_str(), expected), ("model.safetensors", "0".repeat(64)));
        }
        other => panic!("{other:?}"),
    }
    // It is gone, so that the next run fetches it anew.
    server.hub.lock().unwrap().wrong_hash = false;
    assert!(get("tiny/colpali", &options).is_ok());

    server.hub.lock().unwrap().models.get_mut("tiny/colpali").unwrap().remove("model.safetensors");
    let (_root, options) = client(&server);
    match get("tiny/colpali", &options) {
        Err(FetchError::NoWeights { pickle: true, .. }) => {}
        other => panic!("{other:?}"),
    }
}
