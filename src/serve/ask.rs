//! `/v1/ask`: a question answered in words, piece by piece, with its citations checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Response};
use bytes::Bytes;
use pagesight::Error;
use pagesight::ask::{Budget, Evidence, Said};
use pagesight_core::chain;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Sender, channel};

use super::admission::StopOnDrop;
use super::answerer::Answerer;
use super::call::Call;
use super::fields::Fields;
use super::problem::Problem;
use super::search::{Asked, Most};
use super::state::Shared;

/// Fields of a request.
pub const FIELDS: [&str; 7] = ["query", "k", "channel", "paths", "documents", "all", "index"];

/// Events that wait for a reader who is slower than the model.
const WAITING: usize = 64;

/// The question in `fields`, and the pages that may answer it.
///
/// # Errors
/// A [`Problem`] that names a field, and what the search says.
async fn retrieved(app: &Shared, fields: &mut Fields) -> Result<Evidence, Problem> {
    let served = app.index(fields.text("index")?.as_deref())?.clone();
    let is_sent = matches!(app.options.answerer, Answerer::Endpoint(_));
    let default_k = if is_sent { 4 } else { 1 };
    let most = Most { k: 20, default_k, regions: 0, default_regions: 0 };
    let asked = Asked::read(fields, &served, most)?;
    let budget = is_sent.then(Budget::default);
    let evidence = app.searches.run(app.deadline(), move |stop| {
        let answer = asked.search(&served)?.run()?;
        Ok(Evidence::of(&asked.query, &answer, budget, stop)?)
    });
    evidence.await
}

/// What the answerer of the server says of `evidence`, with its citations checked. Each piece of it is
/// given to `reader`, which may end it, and so may `stop`.
fn said(
    answerer: &Answerer,
    evidence: &Evidence,
    stop: &Arc<AtomicBool>,
    reader: &mut dyn FnMut(&str),
) -> Result<Said, Error> {
    match answerer {
        _ if evidence.context.sources.is_empty() => Ok(evidence.passage()),
        Answerer::Passage => Ok(evidence.passage()),
        Answerer::Endpoint(endpoint) => evidence.ask(endpoint, stop, reader).map_err(Error::from),
        Answerer::Local(local) => {
            local.model().and_then(|model| evidence.ask_model(&model, stop, reader))
        }
    }
}

/// The whole answer to the question in `fields`: its words, and the object that ends `/v1/ask`.
///
/// # Errors
/// A [`Problem`] that names a field, and what the search and the answerer say.
pub async fn whole(app: &Shared, fields: &mut Fields) -> Result<(String, Value), Problem> {
    let _place = app.asks.enter().await?;
    let evidence = retrieved(app, fields).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let _guard = StopOnDrop(Arc::clone(&stop));
    let asking = Arc::clone(app);
    let answered = tokio::task::spawn_blocking(move || {
        let said = said(&asking.options.answerer, &evidence, &stop, &mut |_| ())?;
        let object = evidence.said_json(&said);
        Ok::<_, Problem>((said.text, object))
    });
    answered.await.map_err(|error| Problem::internal(format!("a panic: {error}")))?
}

/// `POST /v1/ask`.
pub async fn post(State(app): State<Shared>, mut call: Call) -> Result<Response<Body>, Problem> {
    let mut fields = call.json(&FIELDS).await?;
    let is_json = takes_lines(&call.headers);
    // Whoever answers may take a minute, so answers wait for each other and not for searches.
    let place = app.asks.enter().await?;
    let evidence = retrieved(&app, &mut fields).await?;
    let (to, from) = channel(WAITING);
    let stop = Arc::new(AtomicBool::new(false));
    let guard = StopOnDrop(Arc::clone(&stop));
    let asking = Arc::clone(&app);
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let retrieved = json!({ "v": 1, "type": "retrieved", "sources": evidence.sources_json() });
        send(&to, &stop, retrieved);
        let mut reader =
            |piece: &str| send(&to, &stop, json!({ "v": 1, "type": "delta", "text": piece }));
        let last = match said(&asking.options.answerer, &evidence, &stop, &mut reader) {
            Ok(said) => {
                // In the order of the command line: what every object has comes first.
                let mut answer = json!({ "v": 1, "type": "answer" });
                if let (Some(fields), Value::Object(more)) =
                    (answer.as_object_mut(), evidence.said_json(&said))
                {
                    fields.extend(more);
                }
                answer
            }
            Err(error) => json!({ "v": 1, "type": "error", "detail": chain(&error) }),
        };
        send(&to, &stop, last);
    });
    let state = (from, guard);
    let stream = futures::stream::unfold(state, move |(mut from, guard)| async move {
        let event: Value = from.recv().await?;
        Some((Ok::<_, std::io::Error>(Bytes::from(written(&event, is_json))), (from, guard)))
    });
    let mut response = Response::new(Body::from_stream(stream));
    let kind = if is_json { "application/x-ndjson" } else { "text/event-stream" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Whether a client asks for lines of JSON rather than server-sent events.
fn takes_lines(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds: Vec<&str> = accept.flat_map(|line| line.split(',')).collect();
    let takes = |name: &str| {
        kinds.iter().any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == name))
    };
    takes("application/x-ndjson") && !takes("text/event-stream")
}

fn send(to: &Sender<Value>, stop: &AtomicBool, event: Value) {
    // Nobody reads any more.
    if to.blocking_send(event).is_err() {
        stop.store(true, Ordering::Relaxed);
    }
}

fn written(event: &Value, is_json: bool) -> String {
    if is_json {
        return format!("{event}\n");
    }
    let kind = event["type"].as_str().unwrap_or("message");
    format!("event: {kind}\ndata: {event}\n\n")
}
