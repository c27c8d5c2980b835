//! A client of a running server, for the command line: one request over plain HTTP.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// A server that says nothing for so long is not there.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest answer, bytes.
const ANSWER: usize = 64 << 20;

/// Posts `body` to `path` of the server at `url`, and reads its answer.
///
/// # Errors
/// When the server is not there; a problem that it answers, with its detail.
pub fn post(url: &str, path: &str, body: &Value, token: Option<&str>) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asked = tokio::time::timeout(PATIENCE, ask(url, path, body, token));
        asked.await.map_err(|_| anyhow!("{url} did not answer in {} s", PATIENCE.as_secs()))?
    })
}

async fn ask(url: &str, path: &str, body: &Value, token: Option<&str>) -> Result<Value> {
    let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
    if uri.scheme_str() != Some("http") {
        bail!("{url}: the command line speaks http:// alone, to this machine or through a tunnel");
    }
    let authority = uri.authority().with_context(|| format!("{url} names no host"))?;
    let (host, port) = (authority.host(), authority.port_u16().unwrap_or(80));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let connected = TcpStream::connect((host, port)).await;
    let stream = connected.with_context(|| format!("connecting to {url}"))?;
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .with_context(|| format!("speaking to {url}"))?;
    tokio::spawn(connection);
    let mut request = Request::post(path)
        .header(HOST, authority.as_str())
        .header(CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Full::new(Bytes::from(body.to_string())))?;
    let response = send.send_request(request).await.with_context(|| format!("asking {url}"))?;
    let status = response.status();
    let read = Limited::new(response.into_body(), ANSWER).collect().await;
    let read = read.map_err(|error| anyhow!("reading the answer of {url}: {error}"))?.to_bytes();
    let value: Value = serde_json::from_slice(&read).unwrap_or_default();
    if !status.is_success() {
        let detail = value["detail"].as_str().unwrap_or("no reason was given");
        bail!("{url} answered {status}: {detail}");
    }
    Ok(value)
}
