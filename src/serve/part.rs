//! `/v1/part`: what a server with a part of an index answers its router. The request and the answer are
//! of one version of the program, and not for others: they are in no `/openapi.json`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use pagesight::Error;
use pagesight::parts::{Ask, OtherSnapshot, Reply};
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::json::Json;
use super::problem::{Code, Problem};
use super::state::Shared;

/// The route.
pub const PATH: &str = "/v1/part";

/// The largest request, bytes: it may name all documents of a filter.
const BODY: usize = 256 << 20;

/// A question of a router.
#[derive(Debug, Serialize, Deserialize)]
pub struct AskOf<A> {
    /// The snapshot that it is about.
    pub snapshot: u64,
    pub ask: A,
}

/// What a part says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// The answer.
    Reply(Reply),
    /// It has not that snapshot; the newest that it has.
    Newest(u64),
}

/// The routes that a part has instead of searches, which would be shorter answers.
pub fn routes() -> Router<Shared> {
    Router::new().route(PATH, post(answer))
}

async fn answer(State(app): State<Shared>, mut call: Call) -> Result<Json<Said>, Problem> {
    call.query(&[], &[])?;
    call.expect_type("application/json")?;
    let body = call.bytes(BODY).await?;
    let asked: AskOf<Ask> = serde_json::from_slice(&body).map_err(|_| {
        let detail = "this is no question of a router of this version of pagesight";
        Problem::new(Code::BadRequest, detail)
    })?;
    drop(body);
    let served = app.index(None)?.clone();
    let answering = move |_: &Arc<AtomicBool>| {
        let AskOf { snapshot, ask } = asked;
        match served.index.answer_part(snapshot, &ask) {
            Ok(reply) => Ok(Said::Reply(reply)),
            Err(Error::OtherSnapshot(OtherSnapshot { newest, .. })) => Ok(Said::Newest(newest)),
            Err(error) => Err(error.into()),
        }
    };
    Ok(Json(app.searches.run(app.deadline(), answering).await?))
}
