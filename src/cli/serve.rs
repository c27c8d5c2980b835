//! `pagesight serve` and `pagesight mcp`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum, ValueHint};
use pagesight::index::{BucketOptions, Share};
use pagesight::model::LoadOptions;
use pagesight::pdf::RenderOptions;

use super::args::{ModelChoice, Place, SandboxChoice};
use super::{Outcome, checkpoint, hinted, locate, meaning, renderer, sandbox, weight_search};
use crate::serve::answerer::{Answerer, Local};
use crate::serve::options::{LogFormat, Options};
use crate::serve::parts::OverHttp;

/// Tokens have so many characters.
const TOKEN: std::ops::RangeInclusive<usize> = 16..=512;

/// Idle draw workers of a server wait so long for the next page.
const IDLE: Duration = Duration::from_secs(300);

/// How the log is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogChoice {
    Text,
    Json,
}

/// Serve indexes over HTTP: an API, a web page, and MCP for agents.
///
/// Models are loaded before the first answer and pages are drawn by warm workers. Nothing is
/// downloaded, nothing is changed without --write, and only this machine is answered unless --bind
/// says otherwise.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight serve                           the index of this folder, http://127.0.0.1:8731\n  \
    pagesight serve reports=~/reports/.pagesight papers=~/papers/.pagesight\n  \
    pagesight serve --write --root inbox=~/inbox --token-file token.txt")]
pub struct ServeVerb {
    /// Index folders, or addresses of indexes in buckets, the first one the default [default: the one
    /// that every verb finds].
    #[arg(value_name = "[NAME=]DIR|URL", value_hint = ValueHint::DirPath)]
    pub indexes: Vec<String>,
    /// Where to listen; port 0 takes a free one.
    #[arg(
        long,
        env = "PAGESIGHT_BIND",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:8731"
    )]
    pub bind: String,
    /// A file with the token that may do everything [environment: PAGESIGHT_TOKEN, the token itself].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// A file with a token for searches and pages [environment: PAGESIGHT_READ_TOKEN].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub read_token_file: Option<PathBuf>,
    /// Of an index in a bucket: look for a newer snapshot every so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = locate::REFRESH.as_secs())]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub refresh: u64,
    /// Of one index in a bucket: search part I, from 0, of N for a router, and answer nobody else.
    #[arg(long, value_name = "I/N", value_parser = super::args::shard, conflicts_with_all = ["parts", "write"])]
    pub part: Option<(usize, usize)>,
    /// Of one index in a bucket: be the router of the servers at these addresses, which have all parts.
    /// Where they want a token, it is in PAGESIGHT_PARTS_TOKEN.
    #[arg(long, value_name = "URL,URL", value_delimiter = ',', conflicts_with = "write")]
    pub parts: Vec<String>,
    /// Take index jobs, uploads and deletions.
    #[arg(long)]
    pub write: bool,
    /// A folder that jobs may read; may be given several times.
    #[arg(long, value_name = "NAME=DIR")]
    pub root: Vec<String>,
    /// Where uploaded PDFs are kept [default: `uploads` beside the default index].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub uploads: Option<PathBuf>,
    /// A host name that is served; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// An origin whose pages may ask, e.g. https://app.example; may be given several times.
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Searches at once [default: one a core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub searches: Option<u32>,
    /// Searches that may wait; more are sent away.
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub queue: u32,
    /// Seconds that an answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub deadline: u64,
    /// Megabytes of encoded pictures and maps to keep.
    #[arg(long, value_name = "MB", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=1_048_576))]
    pub cache: u64,
    /// Seconds that requests have to end when the server is asked to stop.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub grace: u64,
    /// Megabytes that an uploaded file may have.
    #[arg(long, value_name = "MB", default_value_t = 512)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub max_file_size: u64,
    /// A chat model that answers /v1/ask: the address of anything that speaks OpenAI's
    /// /chat/completions, up to /v1 [default: the best passage answers].
    #[arg(long, env = "PAGESIGHT_ENDPOINT", value_name = "URL", value_hint = ValueHint::Url)]
    pub endpoint: Option<String>,
    /// The model that the endpoint runs; without an endpoint a PaliGemma of this machine that answers
    /// /v1/ask, a folder or a name that is in the cache of a hub.
    #[arg(long, env = "PAGESIGHT_ANSWER_MODEL", value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub answer_model: Option<PathBuf>,
    /// Seconds after which a model of this machine that nobody has asked is let go; it is loaded again
    /// when somebody asks.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub idle: u64,
    /// Send pages to another machine without encryption.
    #[arg(long)]
    pub insecure_endpoint: bool,
    /// Leave the web page out.
    #[arg(long)]
    pub no_web: bool,
    /// Leave `/mcp` out.
    #[arg(long)]
    pub no_mcp: bool,
    /// Give agents a tool that answers, as /v1/ask does, beside those that search and read.
    #[arg(long, conflicts_with = "no_mcp")]
    pub mcp_ask: bool,
    /// How the log on stderr is written.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogChoice::Text)]
    pub log_format: LogChoice,
    /// Log what is asked too.
    #[arg(long)]
    pub log_queries: bool,
    /// Log errors of the server alone.
    #[arg(long, short)]
    pub quiet: bool,
    /// A line of JSON on stdout once the server is ready.
    #[arg(long)]
    pub json: bool,
    /// Shut the PDF reader in: no files, no network, no processes (landlock and seccomp).
    #[arg(long, value_enum, value_name = "HOW", default_value_t = SandboxChoice::BestEffort)]
    pub sandbox: SandboxChoice,
    #[command(flatten)]
    pub model: ModelChoice,
}

/// Answer an agent on stdin and stdout, by the Model Context Protocol.
#[derive(Debug, Args)]
#[command(after_help = "Example, in the settings of an agent:\n  \
    {\"command\": \"pagesight\", \"args\": [\"mcp\", \"reports=/home/ann/reports/.pagesight\"]}")]
pub struct McpVerb {
    /// Index folders, the first one the default [default: the one that every verb finds].
    #[arg(value_name = "[NAME=]DIR", value_hint = ValueHint::DirPath)]
    pub indexes: Vec<String>,
    /// Shut the PDF reader in: no files, no network, no processes (landlock and seccomp).
    #[arg(long, value_enum, value_name = "HOW", default_value_t = SandboxChoice::BestEffort)]
    pub sandbox: SandboxChoice,
    #[command(flatten)]
    pub model: ModelChoice,
}

pub fn run(place: &Place, verb: &ServeVerb) -> Result<Outcome> {
    let bind = address(&verb.bind)?;
    let token = token(verb.token_file.as_deref(), "PAGESIGHT_TOKEN")?;
    let read_token = self::token(verb.read_token_file.as_deref(), "PAGESIGHT_READ_TOKEN")?;
    if !bind.ip().is_loopback() && token.is_none() && read_token.is_none() {
        return Err(hinted(
            format!("{bind} can be reached by others, and there is no token"),
            "give one with --token-file FILE, or listen on 127.0.0.1",
        ));
    }
    let mut roots = Vec::new();
    for root in &verb.root {
        let (name, folder) = root.split_once('=').ok_or_else(|| {
            hinted(format!("{root:?} is no root"), "write NAME=DIR, e.g. --root inbox=/srv/inbox")
        })?;
        check_name(name)?;
        let folder = Path::new(folder);
        let folder = folder
            .canonicalize()
            .with_context(|| format!("finding the root {}", folder.display()))?;
        if roots.iter().any(|(other, _)| other == name) || name == "uploads" {
            return Err(hinted(format!("the root {name} stands twice"), "give it another name"));
        }
        roots.push((name.to_string(), folder));
    }
    for origin in &verb.allow_origin {
        let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.contains(['/', '*', '?', '#', ' '])) {
            return Err(hinted(
                format!("{origin:?} is no origin"),
                "write scheme, name and port as a browser does, e.g. https://app.example:8443",
            ));
        }
    }
    for host in &verb.allow_host {
        if host.is_empty() || host.contains(['/', '*', ':', '@', ' ']) {
            return Err(hinted(format!("{host:?} is no host name"), "write the name alone"));
        }
    }
    let uploads = verb.uploads.as_deref().map(std::path::absolute).transpose()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let answerer = answerer(verb)?;
    let of_indexes = of_indexes(place, &verb.indexes, &verb.model, verb.sandbox)?;
    for (_, folder) in of_indexes.indexes.iter().filter(|_| verb.write) {
        if locate::address(folder)?.is_some() {
            return Err(hinted(
                format!(
                    "--write is for indexes in folders, and {} lies in a bucket",
                    folder.display()
                ),
                "write to it with `pagesight plan`, `index --plan` and `commit`",
            ));
        }
    }
    let bucket = bucket(place, verb, &of_indexes)?;
    let options = Options {
        bucket,
        is_part: verb.part.is_some(),
        answerer,
        bind,
        token,
        read_token,
        write: verb.write,
        roots,
        uploads,
        allow_hosts: verb.allow_host.clone(),
        allow_origins: verb.allow_origin.clone(),
        searches: verb.searches.map_or(cores, |searches| searches as usize),
        queue: verb.queue as usize,
        deadline: Duration::from_secs(verb.deadline),
        cache_bytes: (verb.cache as usize) << 20,
        grace: Duration::from_secs(verb.grace),
        max_file_bytes: verb.max_file_size << 20,
        web: !verb.no_web && verb.part.is_none(),
        mcp: !verb.no_mcp && verb.part.is_none(),
        mcp_ask: verb.mcp_ask,
        log: match verb.log_format {
            LogChoice::Text => LogFormat::Text,
            LogChoice::Json => LogFormat::Json,
        },
        quiet: verb.quiet,
        log_queries: verb.log_queries,
        json: verb.json,
        ..of_indexes
    };
    Ok(match crate::serve::run(options)? {
        crate::serve::Ended::Asked => Outcome::Done,
        crate::serve::Ended::AtOnce => Outcome::Interrupted,
    })
}

pub fn run_mcp(place: &Place, verb: &McpVerb) -> Result<Outcome> {
    crate::serve::run_stdio(of_indexes(place, &verb.indexes, &verb.model, verb.sandbox)?)?;
    Ok(Outcome::Done)
}

/// What both verbs say of indexes, models and drawing; the rest is that of a server that nobody
/// can reach.
fn of_indexes(
    place: &Place,
    indexes: &[String],
    model: &ModelChoice,
    choice: SandboxChoice,
) -> Result<Options> {
    let mut named: Vec<(String, PathBuf)> = Vec::new();
    if indexes.is_empty() {
        let folder = locate::existing(place)?;
        named.push((name_of(&folder)?, folder));
    }
    for given in indexes {
        // A folder whose name has an equals sign is one; NAME= before it is understood too.
        let (name, folder) = match given.split_once('=') {
            Some((name, folder)) if !locate::is_there(Path::new(given))? => {
                check_name(name)?;
                (Some(name.to_string()), PathBuf::from(folder))
            }
            _ => (None, PathBuf::from(given)),
        };
        if !locate::is_there(&folder)? {
            return Err(hinted(
                format!("there is no index at {}", folder.display()),
                "make one with `pagesight index FOLDER`",
            ));
        }
        let name = match name {
            Some(name) => name,
            None => name_of(&folder)?,
        };
        if named.iter().any(|(other, _)| *other == name) {
            return Err(hinted(
                format!("two indexes are called {name}"),
                "give each a name: NAME=DIR",
            ));
        }
        named.push((name, folder));
    }
    let loading = LoadOptions { query_only: false, ..checkpoint::options(&model.loading)? };
    let chosen = model.model.as_ref().filter(|name| !checkpoint::is_none(name));
    let renderer =
        RenderOptions { sandbox: sandbox(choice), idle_time: IDLE, ..renderer(place, &[]) };
    Ok(Options {
        indexes: named,
        bucket: locate::options(place, locate::REFRESH, true),
        is_part: false,
        answerer: Answerer::Passage,
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        token: None,
        read_token: None,
        write: false,
        roots: Vec::new(),
        uploads: None,
        allow_hosts: Vec::new(),
        allow_origins: Vec::new(),
        searches: std::thread::available_parallelism().map_or(1, usize::from),
        queue: 64,
        deadline: Duration::from_secs(30),
        cache_bytes: 64 << 20,
        grace: Duration::from_secs(2),
        max_file_bytes: 512 << 20,
        web: false,
        mcp: true,
        mcp_ask: false,
        log: LogFormat::Text,
        quiet: true,
        log_queries: false,
        json: false,
        model: chosen.map(|name| checkpoint::find(name)).transpose()?,
        loading,
        embedding: meaning::options(place),
        renderer,
        ocr_weights: weight_search(place),
    })
}

/// How an index in a bucket is read: whole, as one part, or by asking all parts.
fn bucket(place: &Place, verb: &ServeVerb, of_indexes: &Options) -> Result<BucketOptions> {
    let mut options = locate::options(place, Duration::from_secs(verb.refresh), true);
    if verb.part.is_none() && verb.parts.is_empty() {
        return Ok(options);
    }
    let only = &of_indexes.indexes[0].1;
    if of_indexes.indexes.len() > 1 || locate::address(only)?.is_none() {
        return Err(hinted(
            "--part and --parts are for one index in a bucket",
            "name it alone, e.g. `pagesight serve s3://BUCKET/PREFIX --part 0/4`",
        ));
    }
    if let Some((at, of)) = verb.part {
        options.local.share = Share::Part { at, of };
    } else {
        let token = token(None, "PAGESIGHT_PARTS_TOKEN")?;
        let deadline = Duration::from_secs(verb.deadline);
        let parts = OverHttp::new(&verb.parts, token, deadline);
        let wrong = |what| hinted(what, "write --parts http://HOST:PORT,http://HOST:PORT");
        options.parts = Some(Arc::new(parts.map_err(wrong)?));
        options.local.share = Share::Nothing;
    }
    Ok(options)
}

fn address(bind: &str) -> Result<SocketAddr> {
    let mut found = bind.to_socket_addrs().map_err(|error| {
        hinted(
            format!("{bind:?} is no address to listen on: {error}"),
            "write ADDR:PORT, e.g. 127.0.0.1:8731 or [::1]:0",
        )
    })?;
    found.next().ok_or_else(|| hinted(format!("{bind} has no address"), "write ADDR:PORT"))
}

/// A token from a file, else from the environment.
fn token(file: Option<&Path>, variable: &str) -> Result<Option<String>> {
    let (text, from) = match file {
        Some(file) => {
            let what = || format!("reading the token in {}", file.display());
            (std::fs::read_to_string(file).with_context(what)?, file.display().to_string())
        }
        None => match std::env::var(variable) {
            Ok(text) if !text.is_empty() => (text, variable.to_string()),
            _ => return Ok(None),
        },
    };
    let token = text.trim();
    let printable = token.bytes().all(|byte| byte.is_ascii_graphic());
    if !printable || !TOKEN.contains(&token.len()) {
        return Err(hinted(
            format!("{from} holds no token"),
            "a token is 16 to 512 characters of printable ASCII without spaces, e.g. what `openssl \
             rand -hex 32` prints",
        ));
    }
    Ok(Some(token.into()))
}

/// Whether `name` may be that of an index or a root.
fn check_name(name: &str) -> Result<()> {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = |c: char| first(c) || "._-".contains(c);
    if name.starts_with(first) && name.chars().all(fits) && name.len() <= 64 {
        return Ok(());
    }
    Err(hinted(
        format!("{name:?} is no name"),
        "names are 1 to 64 of a-z, 0-9, dot, underscore and dash, and begin with a letter or digit",
    ))
}

/// The name of the folder that holds an index, made to fit.
fn name_of(folder: &Path) -> Result<String> {
    if locate::address(folder)?.is_some() {
        return Ok(pagesight::index::name_of(folder));
    }
    let folder =
        folder.canonicalize().with_context(|| format!("finding the index {}", folder.display()))?;
    Ok(pagesight::index::name_of(&folder))
}

/// Who answers /v1/ask. A model of this machine is looked for now, and loaded when it is first asked.
fn answerer(verb: &ServeVerb) -> Result<Answerer> {
    let model = verb.answer_model.as_deref();
    if let Some(url) = &verb.endpoint {
        let endpoint = super::ask::endpoint(url, model, verb.insecure_endpoint)?;
        return Ok(Answerer::Endpoint(endpoint));
    }
    let Some(name) = model else { return Ok(Answerer::Passage) };
    let idle = Duration::from_secs(verb.idle);
    let local = Local::new(checkpoint::find(name)?, pagesight::machine::loading(), idle);
    Ok(Answerer::Local(Arc::new(local)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_to_fit() {
        let place = tempfile::tempdir().unwrap();
        for (folder, expected) in [
            ("Reports 2024", "reports-2024"),
            (".hidden", "hidden"),
            ("Ä", "index"),
            ("a_b", "a_b"),
        ] {
            let index = place.path().join(folder).join(".pagesight");
            std::fs::create_dir_all(&index).unwrap();
            let name = name_of(&index).unwrap();
            assert_eq!(name, expected);
            assert!(check_name(&name).is_ok());
        }
        for wrong in ["", "-a", "A", "a b", "a/b", &"a".repeat(65)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
