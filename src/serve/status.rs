//! Whether the server lives, is ready, and what it has.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::call::Call;
use super::json::Json;
use super::problem::{Code, Problem};
use super::session::{COOKIE_NAME, LASTS};
use super::state::{Phase, Shared};
use super::wire::{IndexInfo, Status};

/// `GET /healthz` and `GET /livez`: the process serves.
pub async fn live(call: Call) -> Result<Json<Value>, Problem> {
    call.query(&[], &[])?;
    Ok(Json(json!({"status": "ok"})))
}

/// `GET /readyz`.
pub async fn ready(State(app): State<Shared>, call: Call) -> Result<Json<Value>, Problem> {
    call.query(&[], &[])?;
    match app.phase() {
        Phase::Ready => Ok(Json(json!({"status": "ready"}))),
        Phase::Starting => Err(starting()),
        Phase::Stopping => Err(Problem::new(Code::Stopping, "the server is stopping")),
    }
}

/// What is answered before the indexes are open.
pub fn starting() -> Problem {
    let detail = "indexes are opened and models loaded: try again in a second";
    Problem { retry_after_s: Some(1), ..Problem::new(Code::Starting, detail) }
}

/// `GET /v1/status`.
pub async fn status(State(app): State<Shared>, call: Call) -> Result<Json<Status>, Problem> {
    call.query(&[], &[])?;
    let scope = call.scope;
    let status = tokio::task::spawn_blocking(move || Status::of(&app, scope)).await;
    status.map_err(|error| Problem::internal(error.to_string()))?.map(Json)
}

/// The indexes of a server.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Indexes {
    /// The default one first.
    pub indexes: Vec<IndexInfo>,
}

/// `GET /v1/indexes`.
pub async fn indexes(State(app): State<Shared>, call: Call) -> Result<Json<Indexes>, Problem> {
    call.query(&[], &[])?;
    let of_all = move || app.indexes().iter().map(IndexInfo::of).collect::<Result<Vec<_>, _>>();
    let indexes = tokio::task::spawn_blocking(of_all).await;
    let indexes = indexes.map_err(|error| Problem::internal(error.to_string()))??;
    Ok(Json(Indexes { indexes }))
}

/// `POST /v1/session`.
pub async fn begin(State(app): State<Shared>, mut call: Call) -> Result<Response<Body>, Problem> {
    let mut fields = call.json(&["token"]).await?;
    let token = fields.text("token")?;
    let token = token.ok_or_else(|| Problem::bad("token", "`token` is missing"))?;
    let value = app.access.begin(token.trim(), call.from)?;
    // Behind a proxy with TLS the page's origin says so.
    let origin = call.headers.get("origin").and_then(|origin| origin.to_str().ok());
    let secure = if origin.is_some_and(|o| o.starts_with("https://")) { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE_NAME}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{secure}",
        LASTS.as_secs()
    );
    Ok(with_cookie(&cookie))
}

/// `DELETE /v1/session`.
pub async fn end(State(app): State<Shared>, call: Call) -> Result<Response<Body>, Problem> {
    call.query(&[], &[])?;
    app.access.end(&call.headers);
    Ok(with_cookie(&format!("{COOKIE_NAME}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0")))
}

fn with_cookie(cookie: &str) -> Response<Body> {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}
