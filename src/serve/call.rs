//! One request as handlers see it: who asks, which parameters, which body.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, RawPathParams};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH};
use axum::http::{HeaderMap, Request, Uri};
use bytes::Bytes;
use futures::StreamExt;

use super::fields::Fields;
use super::problem::{Code, Problem};
use super::session::Scope;
use super::state::Shared;

/// Bodies but uploads, bytes.
pub const BODY: usize = 1 << 20;

/// A body, or the next part of an upload, must be there in this time.
pub const BODY_TIME: Duration = Duration::from_secs(30);

/// What the outer layer found out about a request.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    pub scope: Scope,
}

/// One request.
pub struct Call {
    pub scope: Scope,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub from: IpAddr,
    path: Vec<(String, String)>,
    body: Body,
}

impl FromRequest<Shared> for Call {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, state: &Shared) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        // What is not UTF-8 after it was decoded names nothing of ours.
        let path = match RawPathParams::from_request_parts(&mut parts, state).await {
            Ok(params) => {
                params.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
            }
            Err(_) => return Err(Problem::new(Code::NotFound, "the path is not UTF-8")),
        };
        let caller = parts.extensions.get::<Caller>();
        let scope = caller.map_or(Scope::Read, |caller| caller.scope);
        let from = parts.extensions.get::<ConnectInfo<std::net::SocketAddr>>();
        let from = from.map_or(IpAddr::from([127, 0, 0, 1]), |address| address.0.ip());
        Ok(Self { scope, uri: parts.uri, headers: parts.headers, from, path, body })
    }
}

impl Call {
    /// A part of the path.
    pub fn path(&self, name: &str) -> &str {
        let found = self.path.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The parameters of the query string: those in `known`, once each but those in `several`.
    ///
    /// # Errors
    /// As [`Fields::of_query`].
    pub fn query(&self, known: &[&str], several: &[&str]) -> Result<Fields, Problem> {
        Fields::of_query(&self.uri, known, several)
    }

    /// The fields of the JSON body.
    ///
    /// # Errors
    /// [`Code::UnsupportedMediaType`], [`Code::BodyTooLarge`], [`Code::RequestTimeout`],
    /// [`Code::BadRequest`].
    pub async fn json(&mut self, known: &[&str]) -> Result<Fields, Problem> {
        // A body has its fields in itself.
        Fields::of_query(&self.uri, &[], &[])?;
        self.expect_type("application/json")?;
        let body = self.bytes(BODY).await?;
        Fields::of_json(&body, known)
    }

    /// Checks the media type of the body: `kind` with no parameter but `charset=utf-8`, and as it
    /// is, since nothing is unpacked here.
    ///
    /// # Errors
    /// [`Code::UnsupportedMediaType`].
    pub fn expect_type(&self, kind: &str) -> Result<(), Problem> {
        let wrong = || {
            let detail = format!("send the header `Content-Type: {kind}`");
            Problem::new(Code::UnsupportedMediaType, detail)
        };
        let mut codings = self.headers.get_all(CONTENT_ENCODING).iter();
        if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            let detail = "send the body as it is, without the header `Content-Encoding`";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        let mut given = self.headers.get_all(CONTENT_TYPE).iter();
        let value = given.next().and_then(|value| value.to_str().ok()).ok_or_else(wrong)?;
        let mut parts = value.split(';').map(|part| part.trim().to_ascii_lowercase());
        let fits = parts.next().as_deref() == Some(kind)
            && parts.all(|part| part == "charset=utf-8" || part == "charset=\"utf-8\"");
        if fits && given.next().is_none() { Ok(()) } else { Err(wrong()) }
    }

    /// The body, at most `most` bytes.
    ///
    /// # Errors
    /// [`Code::BodyTooLarge`], [`Code::RequestTimeout`].
    pub async fn bytes(&mut self, most: usize) -> Result<Bytes, Problem> {
        let mut stream = std::mem::take(&mut self.body).into_data_stream();
        let known = self.check_length(most as u64);
        if known.is_err() {
            pass_over(&mut stream).await;
        }
        known?;
        let read = async {
            let mut all = Vec::new();
            while let Some(part) = stream.next().await {
                let part = part.map_err(|_| cut_off())?;
                if all.len() + part.len() > most {
                    pass_over(&mut stream).await;
                    return Err(too_large(most as u64));
                }
                all.extend_from_slice(&part);
            }
            Ok(Bytes::from(all))
        };
        match tokio::time::timeout(BODY_TIME, read).await {
            Ok(read) => read,
            Err(_) => Err(too_slow()),
        }
    }

    /// The body, to be read part by part with [`BODY_TIME`] for each.
    ///
    /// # Errors
    /// [`Code::BodyTooLarge`] when it says that it is.
    pub async fn stream(&mut self, most: u64) -> Result<axum::body::BodyDataStream, Problem> {
        let mut stream = std::mem::take(&mut self.body).into_data_stream();
        let known = self.check_length(most);
        if known.is_err() {
            pass_over(&mut stream).await;
        }
        known.map(|()| stream)
    }

    fn check_length(&self, most: u64) -> Result<(), Problem> {
        let length = self.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        match length.and_then(|length| length.parse::<u64>().ok()) {
            Some(length) if length > most => Err(too_large(most)),
            _ => Ok(()),
        }
    }
}

/// Whether the client has what `etag` names already.
pub fn has(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter();
    let mut tags = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    tags.any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
    })
}

/// Reads on for a moment, so that a client that is still sending sees why nobody listens.
pub async fn pass_over(stream: &mut axum::body::BodyDataStream) {
    const MOST: usize = 8 << 20;
    const TIME: Duration = Duration::from_secs(2);
    let reading = async {
        let mut read = 0;
        while let Some(Ok(part)) = stream.next().await {
            read += part.len();
            if read > MOST {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(TIME, reading).await;
}

/// A body that is larger than it may be.
pub fn too_large(most: u64) -> Problem {
    let detail = format!("a body has at most {most} bytes here");
    Problem { limit: Some(most.to_string()), ..Problem::new(Code::BodyTooLarge, detail) }
}

/// A body that did not arrive in time.
pub fn too_slow() -> Problem {
    Problem::new(
        Code::RequestTimeout,
        "the body took too long to come: a pause of 30 s, or less than 8 kB a second",
    )
}

/// A body whose sender went away.
pub fn cut_off() -> Problem {
    Problem::new(Code::BadRequest, "the body ended before its end")
}
