//! The server: its port, its connections, its beginning and its end.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Extensions, HeaderMap, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pagesight::parts::Ask;
use pagesight_core::chain;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};

use super::answerer::Answerer;
use super::options::Options;
use super::served::Served;
use super::state::{App, Phase, Shared};
use super::{layer, log, mcp, meters, part, routes, search};

/// Headers, and a body that does not come, end a connection after this.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// What a connection keeps of headers, bytes: more than [`super::gate`] lets in, so that it says
/// why.
const HEADER_BUFFER: usize = 128 << 10;

/// Smaller answers are not compressed, bytes.
const COMPRESSED: u64 = 1024;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to, and all went well.
    Asked,
    /// It was asked twice, and went at once.
    AtOnce,
}

/// Serves until it is told to stop.
///
/// # Errors
/// When the port is taken, or an index or its model cannot be opened.
pub fn run(options: Options) -> Result<Ended> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("serve")
        .build()
        .context("starting the server's threads")?;
    let ended = runtime.block_on(serve(options));
    // What still blocks a thread, a drawing or a batch, is not waited for.
    runtime.shutdown_background();
    ended
}

async fn serve(options: Options) -> Result<Ended> {
    let mut signals = Signals::listen()?;
    let bind = options.bind;
    let listener = TcpListener::bind(bind).await.with_context(|| format!("listening on {bind}"))?;
    let address = listener.local_addr().context("asking for the port")?;
    let recorder = meters::start().context("starting the metrics")?;
    let app: Shared = Arc::new(App::new(Options { bind: address, ..options }, recorder));
    if !address.ip().is_loopback() {
        let warning = "warning: tokens and answers go over this network in the clear: put a proxy \
                       with TLS in front";
        log::note(&app, warning);
    }
    let router = router(&app);
    let mut connections = JoinSet::new();
    let accepting = accept(&app, &listener, &router, &mut connections);
    let opening = async {
        let opened = {
            let app = Arc::clone(&app);
            tokio::task::spawn_blocking(move || open(&app)).await
        };
        let served = opened.map_err(|error| anyhow!("opening the indexes: {error}"))??;
        let _ = app.served.set(served);
        app.phase.send_replace(Phase::Ready);
        say_ready(&app, address)?;
        upkeep(&app).await;
        Ok::<(), anyhow::Error>(())
    };
    tokio::select! {
        () = accepting => {}
        failed = opening => failed?,
        () = signals.next() => {}
    }
    // The port closes to new connections; what is under way may end.
    drop(listener);
    app.phase.send_replace(Phase::Stopping);
    let grace = app.options.grace;
    let ending = async {
        let jobs = app.jobs.close(grace);
        let rest =
            tokio::time::timeout(grace, async { while connections.join_next().await.is_some() {} });
        let _ = tokio::join!(jobs, rest);
    };
    tokio::select! {
        () = ending => Ok(Ended::Asked),
        () = signals.next() => Ok(Ended::AtOnce),
    }
}

/// What asks the server to stop: SIGTERM and SIGINT, elsewhere Ctrl-C.
struct Signals {
    #[cfg(unix)]
    term: tokio::signal::unix::Signal,
    #[cfg(unix)]
    int: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let what = "listening for signals";
            let term = signal(SignalKind::terminate()).context(what)?;
            let int = signal(SignalKind::interrupt()).context(what)?;
            Ok(Self { term, int })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Opens the indexes and warms their models, each model once.
fn open(app: &App) -> Result<Vec<Served>> {
    let options = &app.options;
    let mut served: Vec<Served> = Vec::new();
    for (name, folder) in &options.indexes {
        let what = || format!("opening {}", folder.display());
        let index = options.open(folder).with_context(what)?;
        if options.model.is_none()
            && let Some(record) = index.snapshot().model()
        {
            // The model of another index that is the same one, to the recipe.
            let same = served.iter().find(|other| {
                let theirs = other.index.snapshot().model().cloned();
                theirs.is_some_and(|t| t.id == record.id && t.recipe == record.recipe)
            });
            if let Some(model) = same.and_then(|other| other.index.model().ok().flatten()) {
                index.clone().with_model(model).with_context(what)?;
            }
        }
        let one = Served { name: name.clone(), index, is_default: served.is_empty() };
        if options.is_part {
            // Maps the codes and opens the words.
            let number = one.index.snapshot().number();
            one.index.answer_part(number, &Ask::facts()).with_context(what)?;
        } else if let Err(error) = search::warm(&one) {
            // Words answer without the model; an index that cannot be searched at all is no index.
            let words = one.index.search("warm").channels([pagesight::search::Channel::Words]);
            words.run().with_context(what)?;
            let why = chain(&error);
            log::note(app, &format!("warning: {name}: {why}: its words alone answer"));
        }
        served.push(one);
    }
    Ok(served)
}

fn say_ready(app: &App, address: SocketAddr) -> Result<()> {
    let url = format!("http://{address}");
    if app.options.json {
        let names: Vec<&str> = app.indexes().iter().map(|served| served.name.as_str()).collect();
        let line = json!({
            "v": 1,
            "type": "listening",
            "url": url,
            "pid": std::process::id(),
            "indexes": names,
        });
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()?;
    } else if !app.options.quiet {
        eprintln!("listening on {url}");
    }
    Ok(())
}

/// Keeps metrics small when nobody asks for them, and snapshots fresh when nobody searches; lets a
/// model go that nobody asks.
async fn upkeep(app: &Shared) {
    let mut every = tokio::time::interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        app.metrics.run_upkeep();
        if let Answerer::Local(model) = &app.options.answerer {
            model.release();
        }
        let app = Arc::clone(app);
        let _ = tokio::task::spawn_blocking(move || {
            for served in app.indexes() {
                // One that is damaged now says so when it is asked.
                let _ = served.index.refresh();
            }
        })
        .await;
    }
}

/// All routes with what is around them.
fn router(app: &Shared) -> Router {
    let mut router = if app.options.is_part {
        routes::state().merge(part::routes())
    } else {
        routes::router(app.options.web)
    };
    if app.options.mcp {
        router = router.merge(mcp::routes(app));
    }
    let compression =
        CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED).and(is_text));
    router
        .fallback(layer::not_found)
        .method_not_allowed_fallback(layer::other_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(app), layer::around))
        .layer(compression)
        .with_state(Arc::clone(app))
}

/// Whether an answer is text that is there as a whole.
fn is_text(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let whole = ["text/", "application/json", "application/problem+json", "image/svg+xml"];
    whole.iter().any(|start| kind.starts_with(start)) && !kind.starts_with("text/event-stream")
}

async fn accept(
    app: &Shared,
    listener: &TcpListener,
    router: &Router,
    connections: &mut JoinSet<()>,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(Arc::clone(app), stream, peer, router.clone()));
                }
                Err(error) => {
                    // Too many open files: others close theirs.
                    log::note(app, &format!("warning: a connection was not taken: {error}"));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until it ends or the server does.
async fn connection(app: Shared, stream: TcpStream, peer: SocketAddr, router: Router) {
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router.layer(axum::Extension(ConnectInfo(peer))));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BUFFER)
        .max_headers(256)
        .half_close(false);
    let served = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    let mut phase = app.phase.subscribe();
    let stopping = async {
        let _ = phase.wait_for(|phase| *phase == Phase::Stopping).await;
    };
    tokio::select! {
        // A client that goes away, or is too slow, is no error of ours.
        _ = served.as_mut() => return,
        () = stopping => served.as_mut().graceful_shutdown(),
    }
    let _ = served.await;
}
