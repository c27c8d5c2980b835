//! Search from a web server: one index as shared state, one handler.
//!
//! ```text
//! cargo run --example axum -- fixtures/pdf/.pagesight
//! curl 'localhost:8080/search?q=travel+expenses'
//! ```
//!
//! A handle is cheap to clone and goes where handlers run. Searching blocks, so it is done where
//! blocking is allowed.

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use pagesight::Index;
use serde::Deserialize;

#[derive(Deserialize)]
struct Asked {
    q: String,
}

#[allow(dead_code, reason = "the tests call `router`")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("say an index folder")?;
    let index = Index::open(folder)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("http://{}/search?q=...", listener.local_addr()?);
    axum::serve(listener, router(index)).await?;
    Ok(())
}

/// The routes over `index`.
pub fn router(index: Index) -> Router {
    Router::new().route("/search", get(search)).with_state(index)
}

async fn search(State(index): State<Index>, Query(asked): Query<Asked>) -> impl IntoResponse {
    let searched = tokio::task::spawn_blocking(move || index.search(asked.q).k(5).run()).await;
    let failed = |error: String| (StatusCode::INTERNAL_SERVER_ERROR, error);
    let answer = searched.map_err(|error| failed(error.to_string()))?;
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    // An answer is plain data: it leaves the handler as JSON.
    let json = serde_json::to_string(&answer).map_err(|error| failed(error.to_string()))?;
    Ok::<_, (StatusCode, String)>(([(CONTENT_TYPE, "application/json")], json))
}
