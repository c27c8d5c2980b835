//! Problems: the one shape of errors over HTTP (RFC 9457), made from the errors of the library.

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use pagesight::index::StoreError;
use pagesight::pdf::PdfError;
use pagesight::search::QueryError;
use pagesight::{Error, region::HeatError};
use pagesight_core::chain;
use schemars::JsonSchema;
use serde::Serialize;

/// What kind of problem it was, for programs to act on. Codes are added, never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    BadRequest,
    Unauthorized,
    HostNotAllowed,
    OriginNotAllowed,
    ReadOnly,
    Scope,
    NotFound,
    PageNotFound,
    DocumentNotFound,
    IndexNotFound,
    JobNotFound,
    RootNotFound,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    AmbiguousRef,
    FileChanged,
    NotAnUpload,
    JobEnded,
    FileGone,
    BodyTooLarge,
    UriTooLong,
    UnsupportedMediaType,
    RangeNotSatisfiable,
    InvalidValue,
    NoModel,
    NoVectors,
    NotAPdf,
    OutsideRoot,
    TooBusy,
    HeadersTooLarge,
    Internal,
    Starting,
    Stopping,
    IndexUnavailable,
    PartUnavailable,
    DrawFailed,
    Deadline,
}

impl Code {
    /// The status that it has over HTTP.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::HostNotAllowed | Self::OriginNotAllowed | Self::ReadOnly | Self::Scope => 403,
            Self::NotFound
            | Self::PageNotFound
            | Self::DocumentNotFound
            | Self::IndexNotFound
            | Self::JobNotFound
            | Self::RootNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::RequestTimeout => 408,
            Self::AmbiguousRef | Self::FileChanged | Self::NotAnUpload | Self::JobEnded => 409,
            Self::FileGone => 410,
            Self::BodyTooLarge => 413,
            Self::UriTooLong => 414,
            Self::UnsupportedMediaType => 415,
            Self::RangeNotSatisfiable => 416,
            Self::InvalidValue
            | Self::NoModel
            | Self::NoVectors
            | Self::NotAPdf
            | Self::OutsideRoot => 422,
            Self::TooBusy => 429,
            Self::HeadersTooLarge => 431,
            Self::Internal => 500,
            Self::Starting
            | Self::Stopping
            | Self::IndexUnavailable
            | Self::PartUnavailable
            | Self::DrawFailed => 503,
            Self::Deadline => 504,
        }
    }

    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::HostNotAllowed => "host_not_allowed",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::ReadOnly => "read_only",
            Self::Scope => "scope",
            Self::NotFound => "not_found",
            Self::PageNotFound => "page_not_found",
            Self::DocumentNotFound => "document_not_found",
            Self::IndexNotFound => "index_not_found",
            Self::JobNotFound => "job_not_found",
            Self::RootNotFound => "root_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotAcceptable => "not_acceptable",
            Self::RequestTimeout => "request_timeout",
            Self::AmbiguousRef => "ambiguous_ref",
            Self::FileChanged => "file_changed",
            Self::NotAnUpload => "not_an_upload",
            Self::JobEnded => "job_ended",
            Self::FileGone => "file_gone",
            Self::BodyTooLarge => "body_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::RangeNotSatisfiable => "range_not_satisfiable",
            Self::InvalidValue => "invalid_value",
            Self::NoModel => "no_model",
            Self::NoVectors => "no_vectors",
            Self::NotAPdf => "not_a_pdf",
            Self::OutsideRoot => "outside_root",
            Self::TooBusy => "too_busy",
            Self::HeadersTooLarge => "headers_too_large",
            Self::Internal => "internal",
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::IndexUnavailable => "index_unavailable",
            Self::PartUnavailable => "part_unavailable",
            Self::DrawFailed => "draw_failed",
            Self::Deadline => "deadline",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request cannot be understood",
            Self::Unauthorized => "A token is needed",
            Self::HostNotAllowed => "This host name is not served",
            Self::OriginNotAllowed => "This origin may not ask",
            Self::ReadOnly => "The server changes nothing",
            Self::Scope => "The token may not do this",
            Self::NotFound => "There is no such route",
            Self::PageNotFound => "There is no such page",
            Self::DocumentNotFound => "There is no such document",
            Self::IndexNotFound => "There is no such index",
            Self::JobNotFound => "There is no such job",
            Self::RootNotFound => "There is no such root",
            Self::MethodNotAllowed => "The route has other methods",
            Self::NotAcceptable => "The answer has other media types",
            Self::RequestTimeout => "The request did not arrive in time",
            Self::AmbiguousRef => "The reference names several documents",
            Self::FileChanged => "The file is another one now",
            Self::NotAnUpload => "The document was not uploaded",
            Self::JobEnded => "The job has ended",
            Self::FileGone => "The file is gone",
            Self::BodyTooLarge => "The body is too large",
            Self::UriTooLong => "The target is too long",
            Self::UnsupportedMediaType => "The body has another media type",
            Self::RangeNotSatisfiable => "The file has no such range",
            Self::InvalidValue => "A value is out of range",
            Self::NoModel => "The index has no model",
            Self::NoVectors => "The page has no vectors",
            Self::NotAPdf => "The body is not a PDF",
            Self::OutsideRoot => "The path leaves its root",
            Self::TooBusy => "Too many requests at once",
            Self::HeadersTooLarge => "The headers are too large",
            Self::Internal => "The server has a bug",
            Self::Starting => "The server is starting",
            Self::Stopping => "The server is stopping",
            Self::IndexUnavailable => "The index cannot be read",
            Self::PartUnavailable => "A part of the index does not answer",
            Self::DrawFailed => "The page cannot be drawn",
            Self::Deadline => "The answer took too long",
        }
    }
}

/// A problem as it is answered: `application/problem+json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Problem {
    /// `urn:pagesight:problem:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for each problem of this code.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// One line: what is wrong here, and the way out.
    pub detail: String,
    /// What kind of problem it is, for programs.
    pub code: Code,
    /// The id of the request, also in the header `X-Request-Id` and in the server's log.
    pub request_id: Option<String>,
    /// The field or parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What the field may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub got: Option<String>,
    /// Seconds after which it is worth to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// Ids of the documents that a reference could mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Vec<String>>,
    /// Methods of the route, for `Allow`.
    #[serde(skip)]
    pub allow: Option<&'static str>,
    /// What the log says and the answer does not.
    #[serde(skip)]
    pub cause: Option<String>,
}

impl Problem {
    /// A problem of kind `code`.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:pagesight:problem:{}", code.as_str()),
            title: code.title(),
            status: code.status(),
            detail: one_line(&detail.into()),
            code,
            request_id: None,
            field: None,
            limit: None,
            got: None,
            retry_after_s: None,
            candidates: None,
            allow: None,
            cause: None,
        }
    }

    /// A field that is not what it must be: its syntax, its type, its name.
    pub fn bad(field: &str, detail: impl Into<String>) -> Self {
        Self { field: Some(short(field)), ..Self::new(Code::BadRequest, detail) }
    }

    /// A field that is out of range.
    pub fn invalid(field: &str, limit: impl Into<String>, got: impl std::fmt::Display) -> Self {
        let (limit, got) = (limit.into(), short(&got.to_string()));
        let detail = format!("`{field}` must be {limit}, got {got}");
        Self {
            field: Some(field.into()),
            limit: Some(limit),
            got: Some(got),
            ..Self::new(Code::InvalidValue, detail)
        }
    }

    /// More at once than is served.
    pub fn too_busy(what: &str) -> Self {
        let detail = format!("{what}: try again in a second");
        Self { retry_after_s: Some(1), ..Self::new(Code::TooBusy, detail) }
    }

    /// A bug: `cause` is for the log.
    pub fn internal(cause: impl Into<String>) -> Self {
        let detail = "a bug of pagesight: the server's log has more under this request id";
        Self { cause: Some(cause.into()), ..Self::new(Code::Internal, detail) }
    }
}

/// Words of a stranger, short enough for a line.
fn short(text: &str) -> String {
    const MOST: usize = 100;
    let cut: String = text.chars().take(MOST).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.code == Code::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        // The log and the request id are the work of the outermost layer.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let cause = Some(chain(&error));
        let problem = match &error {
            Error::NoSuchDocument { path } => Self::new(
                Code::DocumentNotFound,
                format!("{path} is not in the index: /v1/documents lists what is"),
            ),
            Error::NoSuchPage { page, page_count, failure, .. } => {
                let why = match failure {
                    Some(failure) => failure.reason.clone(),
                    None => format!("the document has {page_count} pages"),
                };
                Self::new(Code::PageNotFound, format!("page {page} is not in the index: {why}"))
            }
            Error::AmbiguousDocument { digits, candidates } => Self {
                candidates: Some(candidates.clone()),
                ..Self::new(
                    Code::AmbiguousRef,
                    format!("{digits} begins the ids of several documents: give more digits"),
                )
            },
            Error::AmbiguousPath { path, candidates } => Self {
                candidates: Some(candidates.clone()),
                ..Self::new(
                    Code::AmbiguousRef,
                    format!("{path} is the end of several paths: write more of it"),
                )
            },
            Error::NoVectors { page, path } => Self::new(
                Code::NoVectors,
                format!(
                    "page {page} of {path} has no vectors: the index was made without a model, and \
                     there is nothing to make a map of"
                ),
            ),
            Error::NoPassages { .. } => Self::new(Code::NoVectors, error.to_string()),
            Error::Heat(HeatError::NoSuch { what, asked, count }) => {
                Self::invalid(what, format!("0 to {}", count.saturating_sub(1)), asked)
            }
            Error::Heat(HeatError::NoPlaces) => {
                Self::new(Code::NoVectors, "no vector of the page has a place on it")
            }
            Error::Heat(HeatError::Dim(dim)) => {
                Self::invalid("query_vectors", format!("rows of {} numbers", dim.page), dim.query)
            }
            Error::Query(QueryError::Dim(dim)) => {
                Self::invalid("query_vectors", format!("rows of {} numbers", dim.page), dim.query)
            }
            Error::NoMeaning => Self::new(
                Code::NoModel,
                "the index does not know what its text means: index again with a model of meaning",
            ),
            Error::NoModel | Error::Query(QueryError::NoModel) => Self::new(
                Code::NoModel,
                "the index has no model that sees pages: ask the channel `text`",
            ),
            Error::ModelGone { .. }
            | Error::ModelChanged { .. }
            | Error::ModelNotBrought { .. } => Self::new(
                Code::NoModel,
                "the model that the index was made with is not on the server: ask the channel \
                     `text`",
            ),
            Error::Query(error) if error.of_part().is_some() => Self {
                retry_after_s: Some(1),
                ..Self::new(
                    Code::PartUnavailable,
                    "a server with a part of the index does not answer, and an answer without its \
                     pages would look like a whole one: try again",
                )
            },
            Error::Query(QueryError::NoWords) => {
                Self::bad("query", "the channel `text` needs `query`")
            }
            Error::Filter(filter) => {
                let detail = format!("{:?} is not a path pattern", filter.glob);
                Self { detail, ..Self::invalid("paths", "a path pattern", &filter.glob) }
            }
            Error::FileChanged { path } => Self::new(
                Code::FileChanged,
                format!("{path} is not what was indexed any more: index its folder again"),
            ),
            Error::Io { source, .. } if is_gone(source) => Self::new(
                Code::FileGone,
                "the document's file is not where it was: put it back, or index its folder again",
            ),
            Error::Io { .. } => Self::new(Code::FileGone, "the document's file cannot be read"),
            Error::Draw { page, source, .. } => {
                let reason = match source {
                    PdfError::Failed(failure) => failure.reason.clone(),
                    _ => "what draws pages does not work here: `pagesight doctor` says why".into(),
                };
                Self::new(Code::DrawFailed, format!("page {page} cannot be drawn: {reason}"))
            }
            Error::Pdf(_) | Error::NoReader => Self::new(
                Code::DrawFailed,
                "libpdfium is not on the server: `pagesight doctor` says where it is looked for",
            ),
            Error::Store(StoreError::Locked { .. }) => {
                Self::new(Code::IndexUnavailable, "another process writes to the index: try again")
            }
            Error::Store(_) | Error::PageMissing { .. } => Self::new(
                Code::IndexUnavailable,
                "the index cannot be read: `pagesight verify` names the damage",
            ),
            _ => return Self::internal(chain(&error)),
        };
        Self { cause, ..problem }
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}
