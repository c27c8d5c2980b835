//! Routes that write: jobs, uploads, deletions.

use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures::StreamExt;
use pagesight::index::DocumentId;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::{BODY_TIME, Call, cut_off, pass_over, too_large, too_slow};
use super::documents::records_of;
use super::jobs::{Job, JobInfo, Work};
use super::json::Json;
use super::problem::{Code, Problem};
use super::served::Served;
use super::session::Scope;
use super::state::{App, Phase, Shared, UPLOADS};

/// A comment keeps a stream open.
const ALIVE: Duration = Duration::from_secs(15);

/// A deletion is waited for this long.
const DELETED: Duration = Duration::from_secs(5);

/// What an upload brings at least in a second, bytes.
const SLOWEST: u64 = 8 << 10;

/// Fields of a job.
pub const JOB: [&str; 5] = ["root", "path", "retry_failed", "ocr_languages", "index"];

/// Whether a request may write.
///
/// # Errors
/// [`Code::ReadOnly`], [`Code::Scope`].
fn check_write(app: &App, call: &Call) -> Result<(), Problem> {
    if !app.options.write {
        let detail = "the server was started without --write";
        return Err(Problem::new(Code::ReadOnly, detail));
    }
    check_scope(call)
}

fn check_scope(call: &Call) -> Result<(), Problem> {
    if call.scope != Scope::Full {
        let detail = "this token searches and reads pages: jobs need the full one";
        return Err(Problem::new(Code::Scope, detail));
    }
    Ok(())
}

/// `POST /v1/jobs`.
pub async fn start(State(app): State<Shared>, mut call: Call) -> Result<Response<Body>, Problem> {
    check_write(&app, &call)?;
    let mut fields = call.json(&JOB).await?;
    let served = app.index(fields.text("index")?.as_deref())?;
    let root = fields.text("root")?;
    let root = root.ok_or_else(|| Problem::bad("root", "`root` is missing: the name of a root"))?;
    let path = fields.text("path")?.unwrap_or_default();
    let retry_failed = fields.flag("retry_failed", false)?;
    let languages = fields.text("ocr_languages")?;
    let is_language = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '_';
    let wrong = |languages: &&String| languages.len() > 100 || !languages.chars().all(is_language);
    if let Some(languages) = languages.as_ref().filter(wrong) {
        return Err(Problem::invalid("ocr_languages", "languages with + between them", languages));
    }
    let roots = app.options.roots.iter().find(|(name, _)| *name == root);
    let folder = match roots {
        Some((_, folder)) => folder.clone(),
        None if root == UPLOADS => app.uploads().unwrap_or_default(),
        None => {
            let mut names: Vec<&str> = app.options.roots.iter().map(|(n, _)| n.as_str()).collect();
            names.push(UPLOADS);
            let detail = format!("there is no such root: there are {}", names.join(", "));
            let problem = Problem::new(Code::RootNotFound, detail);
            return Err(Problem { field: Some("root".into()), ..problem });
        }
    };
    let below = below(&folder, &path)?;
    let work =
        Work::Sync { folder: below, root: (folder, root), retry_failed, ocr_languages: languages };
    let job = Arc::clone(&app.jobs).add(served, work)?;
    Ok(accepted(&job, Json(job.info())))
}

fn accepted(job: &Job, body: impl IntoResponse) -> Response<Body> {
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/jobs/{}", job.id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// The folder `path` below `root`; whatever it is written as, it never leaves.
///
/// # Errors
/// [`Code::OutsideRoot`], [`Code::InvalidValue`] when there is no such folder.
fn below(root: &Path, path: &str) -> Result<PathBuf, Problem> {
    let outside = || {
        let detail = "`path` is relative to its root and stays below it";
        Problem { field: Some("path".into()), ..Problem::new(Code::OutsideRoot, detail) }
    };
    let missing = || Problem::invalid("path", "a folder below its root", path);
    let has_odd = path.chars().any(|c| c.is_control() || "\\:".contains(c));
    let relative = Path::new(path);
    let stays = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if has_odd || !stays || path.len() > 4_096 {
        return Err(outside());
    }
    let root = root.canonicalize().map_err(|_| missing())?;
    let folder = root.join(relative).canonicalize().map_err(|_| missing())?;
    if !folder.starts_with(&root) {
        return Err(outside());
    }
    if folder.is_dir() { Ok(folder) } else { Err(missing()) }
}

/// Jobs, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobList {
    /// The last 100.
    pub jobs: Vec<JobInfo>,
}

/// `GET /v1/jobs`.
pub async fn all(State(app): State<Shared>, call: Call) -> Result<Json<JobList>, Problem> {
    check_scope(&call)?;
    call.query(&[], &[])?;
    Ok(Json(JobList { jobs: app.jobs.all().iter().map(|job| job.info()).collect() }))
}

/// `GET /v1/jobs/{id}`.
pub async fn one(State(app): State<Shared>, call: Call) -> Result<Json<JobInfo>, Problem> {
    check_scope(&call)?;
    call.query(&[], &[])?;
    Ok(Json(app.jobs.get(call.path("id"))?.info()))
}

/// `DELETE /v1/jobs/{id}`.
pub async fn stop(State(app): State<Shared>, call: Call) -> Result<Response<Body>, Problem> {
    check_write(&app, &call)?;
    call.query(&[], &[])?;
    let job = app.jobs.get(call.path("id"))?;
    app.jobs.stop(&job)?;
    Ok((StatusCode::ACCEPTED, Json(job.info())).into_response())
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    Sse,
    Json,
}

/// `GET /v1/jobs/{id}/events`.
pub async fn events(State(app): State<Shared>, call: Call) -> Result<Response<Body>, Problem> {
    check_scope(&call)?;
    let mut fields = call.query(&["after"], &[])?;
    let after = fields.whole("after", 0..=u64::MAX >> 1, 0)?;
    let job = app.jobs.get(call.path("id"))?;
    let last = call.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = after.max(last.unwrap_or(0));
    let accept = call.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let accept: Vec<&str> = accept.flat_map(|line| line.split(',')).collect();
    let takes = |kinds: &[&str]| {
        accept.iter().any(|part| {
            let kind = part.split(';').next().unwrap_or_default().trim();
            kinds.contains(&kind)
        })
    };
    let lines = if takes(&["text/event-stream"]) {
        Lines::Sse
    } else if accept.is_empty() || takes(&["application/x-ndjson", "application/*", "*/*"]) {
        Lines::Json
    } else {
        let detail = "events are text/event-stream or application/x-ndjson";
        return Err(Problem::new(Code::NotAcceptable, detail));
    };
    let mut response = Response::new(stream(&app, job, after, lines));
    let headers = response.headers_mut();
    let kind = match lines {
        Lines::Sse => "text/event-stream",
        Lines::Json => "application/x-ndjson",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn stream(app: &Shared, job: Arc<Job>, after: u64, lines: Lines) -> Body {
    let (heard, phase) = (job.hear(), app.phase.subscribe());
    let state = (job, heard, phase, after, false);
    let next = move |(job, mut heard, mut phase, after, over): (Arc<Job>, _, _, u64, bool)| async move {
        if over {
            return None;
        }
        let heard: &mut tokio::sync::watch::Receiver<u64> = &mut heard;
        let phase: &mut tokio::sync::watch::Receiver<Phase> = &mut phase;
        loop {
            heard.borrow_and_update();
            let (events, ended) = job.events_after(after);
            if let Some((last, _)) = events.last() {
                let last = *last;
                let text: String =
                    events.iter().map(|(seq, event)| write(lines, *seq, event)).collect();
                let next = (job, heard.clone(), phase.clone(), last, ended);
                return Some((Ok::<_, std::io::Error>(Bytes::from(text)), next));
            }
            if ended {
                return None;
            }
            let stopping = async {
                let _ = phase.wait_for(|phase| *phase == Phase::Stopping).await;
            };
            tokio::select! {
                _ = heard.changed() => {}
                () = stopping => {
                    // The server ends: a job has a moment to say that it has too.
                    let _ = tokio::time::timeout(Duration::from_millis(500), heard.changed()).await;
                    let (events, ended) = job.events_after(after);
                    let mut text: String =
                        events.iter().map(|(seq, event)| write(lines, *seq, event)).collect();
                    if !ended {
                        let (seq, state) = (job.next_event(), job.state().as_str());
                        let end = json!({"v": 1, "type": "end", "state": state, "seq": seq});
                        text.push_str(&write(lines, seq, &end));
                    }
                    let next = (job, heard.clone(), phase.clone(), after, true);
                    return Some((Ok(Bytes::from(text)), next));
                }
                () = tokio::time::sleep(ALIVE) => {
                    let text = match lines { Lines::Sse => ":\n\n", Lines::Json => "\n" };
                    let next = (job, heard.clone(), phase.clone(), after, false);
                    return Some((Ok(Bytes::from_static(text.as_bytes())), next));
                }
            }
        }
    };
    Body::from_stream(futures::stream::unfold(state, next))
}

fn write(lines: Lines, seq: u64, event: &serde_json::Value) -> String {
    match lines {
        Lines::Sse => {
            let kind = event["type"].as_str().unwrap_or("message");
            format!("id: {seq}\nevent: {kind}\ndata: {event}\n\n")
        }
        Lines::Json => format!("{event}\n"),
    }
}

/// What became of an upload.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Uploaded {
    /// The document's id, 64 hexadecimal digits.
    pub document: String,
    /// Its ledger path.
    pub path: String,
    /// The job that indexes it; null when its bytes are in the index already.
    pub job: Option<String>,
}

/// `POST /v1/documents`.
pub async fn upload(State(app): State<Shared>, mut call: Call) -> Result<Response<Body>, Problem> {
    check_write(&app, &call)?;
    let mut fields = call.query(&["name", "index"], &[])?;
    let served = app.index(fields.text("index")?.as_deref())?.clone();
    let name = fields.text("name")?;
    let name = name.ok_or_else(|| Problem::bad("name", "`name` is missing: a name like q3.pdf"))?;
    check_name(&name)?;
    call.expect_type("application/pdf")?;
    app.jobs.check_room(&served.name)?;
    let folder = app.uploads().unwrap_or_default();
    let file = receive(&mut call, &folder, app.options.max_file_bytes).await?;
    let given = served.clone();
    let kept = app.draws.run(app.deadline(), move |_| keep(&given, &folder, &name, file)).await?;
    let (document, path, place) = match kept {
        Kept::Known { document, path } => {
            let known = Uploaded { document: document.to_string(), path, job: None };
            return Ok(Json(known).into_response());
        }
        Kept::New { document, path, place } => (document, path, place),
    };
    let job = Arc::clone(&app.jobs).upload(&served, place)?;
    let body = Uploaded { document: document.to_string(), path, job: Some(job.id.clone()) };
    Ok(accepted(&job, Json(body)))
}

/// Whether `name` is that of a PDF and of nothing else: no path, no device, no trick of letters.
///
/// # Errors
/// [`Code::InvalidValue`].
fn check_name(name: &str) -> Result<(), Problem> {
    let wrong = |limit: &str| Err(Problem::invalid("name", limit, name));
    if name.is_empty() || name.len() > 200 {
        return wrong("1 to 200 bytes");
    }
    let is_direction = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_odd = |c: char| {
        c.is_control()
            || is_direction(c)
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
            || "/\\:%*?\"<>|".contains(c)
    };
    if name.chars().any(is_odd) {
        return wrong("a bare file name, without / \\ : % * ? \" < > | and control characters");
    }
    if name.starts_with('.') || name.starts_with(' ') {
        return wrong("a name that does not begin with a dot or a space");
    }
    let Some((stem, ending)) = name.rsplit_once('.') else {
        return wrong("a name that ends in .pdf");
    };
    if !ending.eq_ignore_ascii_case("pdf") {
        return wrong("a name that ends in .pdf");
    }
    // Names of devices on Windows, where the index may be moved to.
    let first = stem.split('.').next().unwrap_or_default().trim().to_ascii_uppercase();
    // Raised digits are digits there.
    let numbers = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "¹", "²", "³"];
    let numbered = |name: &str| first.strip_prefix(name).is_some_and(|n| numbers.contains(&n));
    if ["CON", "PRN", "AUX", "NUL"].contains(&first.as_str()) || numbered("COM") || numbered("LPT")
    {
        return wrong("not the name of a device");
    }
    Ok(())
}

/// A file that was received whole, under a name of its own in the folder of uploads.
struct Received {
    file: PathBuf,
    document: DocumentId,
}

impl Drop for Received {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Writes the body of an upload into a temporary file.
async fn receive(call: &mut Call, folder: &Path, most: u64) -> Result<Received, Problem> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::StorageFull => {
            Problem::new(Code::IndexUnavailable, "the disk of the server is full")
        }
        _ => Problem::internal(format!("writing an upload: {error}")),
    };
    let mut stream = call.stream(most).await?;
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut name = [0u8; 8];
    getrandom::fill(&mut name).map_err(|error| Problem::internal(error.to_string()))?;
    let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(format!(".upload-{name}.part"));
    let mut received = Received { file: path.clone(), document: DocumentId([0; 32]) };
    let mut file = std::fs::File::create_new(&path).map_err(failed)?;
    let (mut hash, mut head, mut length) = (blake3::Hasher::new(), Vec::new(), 0u64);
    let start = Instant::now();
    loop {
        // A body that trickles would hold its connection for ever.
        let allowed = BODY_TIME + Duration::from_secs(length / SLOWEST);
        let left = allowed.saturating_sub(start.elapsed()).min(BODY_TIME);
        let part = tokio::time::timeout(left, stream.next()).await.map_err(|_| too_slow())?;
        let Some(part) = part else { break };
        let part = part.map_err(|_| cut_off())?;
        length += part.len() as u64;
        if length > most {
            pass_over(&mut stream).await;
            return Err(too_large(most));
        }
        if head.len() < 1024 {
            head.extend_from_slice(&part[..part.len().min(1024 - head.len())]);
            if head.len() == 1024
                && let Err(problem) = check_head(&head)
            {
                pass_over(&mut stream).await;
                return Err(problem);
            }
        }
        hash.update(&part);
        let written = tokio::task::spawn_blocking(move || {
            file.write_all(&part)?;
            Ok::<_, std::io::Error>(file)
        });
        file =
            written.await.map_err(|error| Problem::internal(error.to_string()))?.map_err(failed)?;
    }
    check_head(&head)?;
    let synced = tokio::task::spawn_blocking(move || file.sync_all()).await;
    synced.map_err(|error| Problem::internal(error.to_string()))?.map_err(failed)?;
    received.document = DocumentId(*hash.finalize().as_bytes());
    Ok(received)
}

fn check_head(head: &[u8]) -> Result<(), Problem> {
    if head.windows(5).any(|window| window == b"%PDF-") {
        return Ok(());
    }
    Err(Problem::new(Code::NotAPdf, "the first 1,024 bytes have no %PDF-: this is no PDF"))
}

enum Kept {
    /// Its bytes are in the index.
    Known {
        document: DocumentId,
        path: String,
    },
    New {
        document: DocumentId,
        path: String,
        place: PathBuf,
    },
}

/// Gives a file its name, or the next one that is free.
fn keep(served: &Served, folder: &Path, name: &str, received: Received) -> Result<Kept, Problem> {
    let failed = |error: std::io::Error| Problem::internal(format!("keeping an upload: {error}"));
    let document = received.document;
    served.index.refresh()?;
    let known = served.index.documents()?;
    let known = known.iter().find(|record| record.document == Some(document));
    if let Some(record) = known.filter(|record| served.index.file(&record.path).exists()) {
        return Ok(Kept::Known { document, path: record.path.clone() });
    }
    let stem = &name[..name.len() - 4];
    let ending = &name[name.len() - 4..];
    let mut place = folder.join(name);
    for number in 2.. {
        // Fails where there is a file, so that two uploads never meet.
        match std::fs::hard_link(&received.file, &place) {
            Ok(()) => break,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let same = std::fs::File::open(&place).and_then(|mut file| {
                    let mut hash = blake3::Hasher::new();
                    hash.update_reader(&mut file)?;
                    Ok(*hash.finalize().as_bytes() == document.0)
                });
                if same.unwrap_or(false) {
                    break;
                }
                place = folder.join(format!("{stem}-{number}{ending}"));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    let folder = std::fs::File::open(folder).map_err(failed)?;
    folder.sync_all().map_err(failed)?;
    let path = served.index.ledger_path(&place);
    Ok(Kept::New { document, path, place })
}

/// `DELETE /v1/documents/{doc}`.
pub async fn delete(State(app): State<Shared>, call: Call) -> Result<Json<JobInfo>, Problem> {
    check_write(&app, &call)?;
    let mut fields = call.query(&["index"], &[])?;
    let served = app.index(fields.text("index")?.as_deref())?;
    let (_, records) = records_of(served, call.path("doc"))?;
    if !records.iter().all(|record| app.is_upload(served, record)) {
        let detail = "the document was not uploaded: remove its file and start a job for its root";
        return Err(Problem::new(Code::NotAnUpload, detail));
    }
    let paths: Vec<String> = records.iter().map(|record| record.path.clone()).collect();
    let files = paths.iter().map(|path| served.index.file(path)).collect();
    let job = Arc::clone(&app.jobs).add(served, Work::Delete { paths, files })?;
    let mut heard = job.hear();
    let ended = async { while !job.state().is_over() && heard.changed().await.is_ok() {} };
    let _ = tokio::time::timeout(DELETED, ended).await;
    Ok(Json(job.info()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_uploads_are_bare() {
        for name in ["q3.pdf", "Über uns.PDF", "a b (1).pdf", "契約.pdf", "console.pdf"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            ".pdf",
            "..pdf",
            "../q3.pdf",
            "a/b.pdf",
            "a\\b.pdf",
            "C:q3.pdf",
            "q3.pdf\0",
            "q3%2e.pdf",
            "q3.exe",
            "q3",
            "q\u{202e}3.pdf",
            "CON.pdf",
            "com1.pdf",
            "COM¹.pdf",
            "lpt³.x.pdf",
            "q\u{2028}3.pdf",
            "nul.x.pdf",
            "q3.pdf.",
            "q3.pdf ",
            "a?.pdf",
            "a*.pdf",
            "a|b.pdf",
            "a\nb.pdf",
            " q3.pdf",
        ] {
            assert_eq!(check_name(name).unwrap_err().status, 422, "{name:?}");
        }
        assert!(check_name(&format!("{}.pdf", "a".repeat(197))).is_err());
    }

    #[test]
    fn paths_of_jobs_stay_below_their_root() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        std::fs::create_dir_all(root.join("2024/q3")).unwrap();
        std::fs::create_dir(place.path().join("outside")).unwrap();
        std::fs::write(root.join("file"), "x").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(place.path().join("outside"), root.join("link")).unwrap();
        let canonical = root.canonicalize().unwrap();
        assert_eq!(below(&root, "").unwrap(), canonical);
        assert_eq!(below(&root, "2024/q3").unwrap(), canonical.join("2024/q3"));
        for (path, code) in [
            ("../outside", Code::OutsideRoot),
            ("2024/../../outside", Code::OutsideRoot),
            ("/etc", Code::OutsideRoot),
            ("..\\outside", Code::OutsideRoot),
            ("C:/", Code::OutsideRoot),
            ("a\0b", Code::OutsideRoot),
            ("./2024", Code::OutsideRoot),
            ("link", Code::OutsideRoot),
            ("nowhere", Code::InvalidValue),
            ("file", Code::InvalidValue),
        ] {
            assert_eq!(below(&root, path).unwrap_err().code, code, "{path:?}");
        }
    }
}
