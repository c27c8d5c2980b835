//! What happens to every request before and after its handler: it gets an id, is let in or not, and
//! its answer gets the headers that all answers have, a line in the log, and a number in the
//! metrics.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONNECTION, CONTENT_TYPE,
    ORIGIN, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use axum::middleware::Next;
use axum::response::IntoResponse;

use super::call::Caller;
use super::gate::Comes;
use super::log;
use super::problem::{Code, Problem};
use super::session::Scope;
use super::state::{App, Phase, Shared};
use super::status::starting;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Routes that are open without a token.
const OPEN: [&str; 8] =
    ["/healthz", "/livez", "/readyz", "/", "/app.js", "/app.css", "/favicon.svg", "/v1/session"];

/// Around every handler.
pub async fn around(State(app): State<Shared>, request: Request, next: Next) -> Response<Body> {
    let start = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_string());
    let route = route.unwrap_or_else(|| "other".into());
    let given = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok());
    let request_id = given.filter(|id| is_id(id)).map_or_else(new_id, String::from);
    let (mut response, origin) = answer(&app, request, next).await;

    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        // Written once its request has an id.
        let named = Problem { request_id: Some(request_id.clone()), ..problem.clone() };
        let body = serde_json::to_vec(&named).unwrap_or_default();
        *response.body_mut() = Body::from(body);
        response.headers_mut().remove(axum::http::header::CONTENT_LENGTH);
        if method == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        if problem.code == Code::RequestTimeout {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    dress(&mut response, &request_id, origin);

    let (status, time) = (response.status(), start.elapsed());
    log::request(
        &app,
        &log::Request {
            id: &request_id,
            method: method.as_str(),
            route: &route,
            status: status.as_u16(),
            time,
            code: problem.as_ref().map(|problem| problem.code.as_str()),
            cause: problem.as_ref().and_then(cause_of),
        },
    );
    // No label takes what a client sent: of methods only those that there are.
    let known = ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"];
    let method = known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other");
    let status = status.as_str().to_string();
    metrics::counter!(
        "pagesight_http_requests_total",
        "route" => route.clone(), "method" => method, "status" => status
    )
    .increment(1);
    metrics::histogram!("pagesight_http_request_seconds", "route" => route)
        .record(time.as_secs_f64());
    response
}

/// The answer, and the listed origin that may read it.
async fn answer(app: &App, request: Request, next: Next) -> (Response<Body>, Option<HeaderValue>) {
    let (mut parts, body) = request.into_parts();
    let comes = match app.gate.check(&parts) {
        Ok(comes) => comes,
        Err(problem) => {
            let reason = problem.code.as_str();
            metrics::counter!("pagesight_rejected_total", "reason" => reason).increment(1);
            return (problem.into_response(), None);
        }
    };
    let listed = comes == Comes::Listed;
    let origin = parts.headers.get(ORIGIN).filter(|_| listed).cloned();
    if listed && parts.method == Method::OPTIONS {
        return (preflight(), origin);
    }
    let path = parts.uri.path();
    let lives = path == "/healthz" || path == "/livez";
    if app.phase() == Phase::Starting && !lives {
        return (starting().into_response(), origin);
    }
    let scope = match app.access.scope(&parts.headers, !listed) {
        Ok(scope) => scope,
        Err(_) if OPEN.contains(&path) => Scope::Read,
        Err(problem) => {
            metrics::counter!("pagesight_rejected_total", "reason" => "unauthorized").increment(1);
            return (problem.into_response(), origin);
        }
    };
    parts.extensions.insert(Caller { scope });
    (next.run(Request::from_parts(parts, body)).await, origin)
}

/// What the log says of a problem besides its code: not where that repeats what a client sent.
fn cause_of(problem: &Problem) -> Option<&str> {
    let is_of_client = matches!(problem.status, 400 | 404 | 422);
    problem.cause.as_deref().filter(|_| !is_of_client)
}

/// What a listed origin may ask.
fn preflight() -> Response<Body> {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, HEAD, POST, DELETE");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    let allowed = "authorization, content-type, x-request-id, last-event-id, mcp-protocol-version, \
                   mcp-method, mcp-name";
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// The headers that all answers have.
fn dress(response: &mut Response<Body>, request_id: &str, origin: Option<HeaderValue>) {
    let json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"application/json") || kind.starts_with(b"application/problem+json")
    });
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    if json || !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = "x-request-id, etag, location, retry-after, content-range";
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
}

/// What a client may call its request.
fn is_id(id: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=64).contains(&id.len()) && id.bytes().all(fits)
}

fn new_id() -> String {
    let mut bytes = [0u8; 8];
    // Without random numbers an id that may stand twice is better than no answer.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// No route has this path.
pub async fn not_found() -> Problem {
    Problem::new(Code::NotFound, "there is no such route: /openapi.json describes those that are")
}

/// The route has other methods.
pub async fn other_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the header `Allow` names the methods of this route")
}
