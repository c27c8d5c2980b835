//! Documents of an index: what became of each, and their files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use pagesight::index::{Content, DocumentId, DocumentRecord, DocumentStatus, PathFilter};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::call::{Call, has};
use super::fields::Fields;
use super::json::Json;
use super::problem::{Code, Problem};
use super::search::as_parameter;
use super::served::Served;
use super::state::{App, Shared};
use super::wire::Document;
use crate::cli::report;

/// Documents, some of them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Documents {
    /// By path.
    pub documents: Vec<Document>,
    /// Where the next ones begin, to be given as `after`; null after the last.
    pub next: Option<String>,
}

/// Parameters of the list.
pub const LIST: [&str; 5] = ["status", "path", "limit", "after", "index"];

/// `GET /v1/documents`.
pub async fn list(State(app): State<Shared>, call: Call) -> Result<Json<Documents>, Problem> {
    let mut fields = call.query(&LIST, &["path"])?;
    fields.rename("path", "paths");
    let served = app.index(fields.text("index")?.as_deref())?;
    Ok(Json(listed(&app, served, &mut fields, 1_000, 100).map_err(as_parameter)?))
}

/// The documents that `fields` ask for, at most `most` of them.
///
/// # Errors
/// A [`Problem`] that names the field.
pub fn listed(
    app: &App,
    served: &Served,
    fields: &mut Fields,
    most: u64,
    default: u64,
) -> Result<Documents, Problem> {
    let status = match fields.text("status")? {
        None => None,
        Some(word) => Some(DocumentStatus::parse(&word).ok_or_else(|| {
            Problem::invalid("status", "one of ok, partial, failed, in_progress", &word)
        })?),
    };
    let paths = fields.texts("paths", 32, 512)?;
    let limit = fields.whole("limit", 1..=most, default)? as usize;
    let after = match fields.text("after")? {
        None => None,
        Some(cursor) => {
            let path = BASE64_URL_SAFE_NO_PAD.decode(&cursor).ok();
            let path = path.and_then(|path| String::from_utf8(path).ok());
            Some(path.ok_or_else(|| Problem::bad("after", "`after` is not a `next` of before"))?)
        }
    };
    served.index.refresh()?;
    let records = served.index.documents()?;
    let filter = if paths.is_empty() {
        None
    } else {
        let known = |path: &str| records.iter().any(|record| record.path == path);
        Some(PathFilter::of_ledger(&paths, known).map_err(pagesight::Error::from)?)
    };
    let wanted = |record: &&DocumentRecord| {
        status.is_none_or(|status| record.status == status)
            && filter.as_ref().is_none_or(|filter| filter.matches(&record.path))
            && after.as_ref().is_none_or(|after| record.path > *after)
    };
    let mut found: Vec<&DocumentRecord> = records.iter().filter(wanted).take(limit + 1).collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more);
    let next = next.map(|record| BASE64_URL_SAFE_NO_PAD.encode(&record.path));
    let documents =
        found.iter().map(|record| Document::of(served, record, app.is_upload(served, record)));
    Ok(Documents { documents: documents.collect(), next })
}

/// The records of the document that `digits` name.
///
/// # Errors
/// [`Code::DocumentNotFound`], [`Code::AmbiguousRef`].
pub fn records_of(
    served: &Served,
    digits: &str,
) -> Result<(DocumentId, Vec<DocumentRecord>), Problem> {
    let document = served.index.document(digits)?;
    let records = served.index.documents()?.into_iter();
    let records: Vec<_> = records.filter(|record| record.document == Some(document)).collect();
    if records.is_empty() {
        let detail = "the document was dropped from the index just now";
        return Err(Problem::new(Code::DocumentNotFound, detail));
    }
    Ok((document, records))
}

/// `GET /v1/documents/{doc}`.
pub async fn one(State(app): State<Shared>, call: Call) -> Result<Json<Value>, Problem> {
    let mut fields = call.query(&["index"], &[])?;
    let served = app.index(fields.text("index")?.as_deref())?;
    let (_, records) = records_of(served, call.path("doc"))?;
    let record = &records[0];
    let mut value =
        serde_json::to_value(Document::of(served, record, app.is_upload(served, record)))
            .map_err(|error| Problem::internal(error.to_string()))?;
    let failures = record.failed_pages.iter();
    let failures: Vec<Value> = failures
        .map(|failed| json!({"page": failed.page, "reason": failed.failure.reason}))
        .collect();
    value["failures"] = json!(failures);
    value["notes"] = json!(report::notes(record));
    value["paths"] = json!(records.iter().map(|record| &record.path).collect::<Vec<_>>());
    Ok(Json(value))
}

/// `GET /v1/documents/{doc}/file`.
pub async fn file(State(app): State<Shared>, call: Call) -> Result<Response<Body>, Problem> {
    let mut fields = call.query(&["index"], &[])?;
    let served = app.index(fields.text("index")?.as_deref())?.clone();
    let digits = call.path("doc").to_string();
    let opened = app.draws.run(app.deadline(), move |_| {
        let (document, _) = records_of(&served, &digits)?;
        let (path, content) = served.index.open_document(document)?;
        Ok((document, path, content))
    });
    let (document, path, content) = opened.await?;
    let length = match &content {
        Content::File { length, .. } => *length,
        Content::Bytes(bytes) => bytes.len() as u64,
    };
    let etag = format!("\"{document}\"");
    if has(&call.headers, &etag) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        head(response.headers_mut(), &etag, &path);
        return Ok(response);
    }
    let (status, from, to) = match range_of(&call.headers, &etag, length) {
        Asked::Whole => (StatusCode::OK, 0, length),
        Asked::Part(from, to) => (StatusCode::PARTIAL_CONTENT, from, to),
        Asked::Nothing => {
            let detail = format!("the file has {length} bytes, and none in this range");
            let mut response = Problem::new(Code::RangeNotSatisfiable, detail).into_response();
            let range = format!("bytes */{length}");
            response.headers_mut().insert(CONTENT_RANGE, value(&range));
            return Ok(response);
        }
    };
    let body = match content {
        Content::File { file, .. } => read_from(file, from, to - from),
        Content::Bytes(bytes) => {
            Body::from(Bytes::copy_from_slice(&bytes[from as usize..to as usize]))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    head(headers, &etag, &path);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(to - from));
    if status == StatusCode::PARTIAL_CONTENT {
        headers.insert(CONTENT_RANGE, value(&format!("bytes {from}-{}/{length}", to - 1)));
    }
    Ok(response)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("invalid"))
}

fn head(headers: &mut HeaderMap, etag: &str, path: &str) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/pdf"));
    headers.insert(ETAG, value(etag));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(CONTENT_DISPOSITION, value(&disposition(path)));
}

/// RFC 6266: the name in ASCII, and the name as it is.
fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !"\"\\%;".contains(c) || c == ' ' { c } else { '_' })
        .collect();
    format!("inline; filename=\"{plain}\"; filename*=UTF-8''{}", super::served::encoded(name))
}

/// What of a file a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    /// From this byte to before that one.
    Part(u64, u64),
    /// A part that the file does not have.
    Nothing,
}

/// The part that `Range` asks for. One that is written wrong, or of several parts, asks for the
/// whole, and so does one that is of another version.
fn range_of(headers: &HeaderMap, etag: &str, length: u64) -> Asked {
    let Some(range) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else {
        return Asked::Whole;
    };
    if headers.get(IF_RANGE).is_some_and(|of| of.as_bytes() != etag.as_bytes()) {
        return Asked::Whole;
    }
    let part = || {
        let (first, last) = range.trim().strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
        };
        let (first, last) = (first.trim(), last.trim());
        if first.is_empty() {
            let count = number(last)?;
            return Some((length.saturating_sub(count), length, count == 0));
        }
        let from = number(first)?;
        let to = if last.is_empty() { u64::MAX } else { number(last)?.saturating_add(1) };
        // A beginning beyond all numbers is beyond the end of the file.
        (from < to || from == u64::MAX).then_some((from, to.min(length), from >= length))
    };
    match part() {
        None => Asked::Whole,
        Some((_, _, true)) => Asked::Nothing,
        Some((from, to, false)) if length > 0 => Asked::Part(from, to),
        Some(_) => Asked::Nothing,
    }
}

/// Bytes of a file, read as they are taken.
fn read_from(file: File, from: u64, count: u64) -> Body {
    const PART: u64 = 128 << 10;
    let stream =
        futures::stream::try_unfold((file, from, count), |(mut file, at, left)| async move {
            if left == 0 {
                return Ok::<_, std::io::Error>(None);
            }
            let read = tokio::task::spawn_blocking(move || {
                let mut part = vec![0; left.min(PART) as usize];
                file.seek(SeekFrom::Start(at))?;
                file.read_exact(&mut part)?;
                Ok::<_, std::io::Error>((file, part))
            });
            let (file, part) = read.await.map_err(std::io::Error::other)??;
            let read = part.len() as u64;
            Ok(Some((Bytes::from(part), (file, at + read, left - read))))
        });
    Body::from_stream(stream)
}

/// How many documents are in each state, for the metrics.
///
/// # Errors
/// When the ledger cannot be read.
pub fn by_status(served: &Served) -> Result<HashMap<&'static str, usize>, pagesight::Error> {
    let mut counts: HashMap<&'static str, usize> =
        ["ok", "partial", "failed", "in_progress"].into_iter().map(|status| (status, 0)).collect();
    for record in served.index.documents()? {
        *counts.entry(record.status.as_str()).or_default() += 1;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parts_of_the_file() {
        let ask = |range: &str| {
            let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_str(range).unwrap())]);
            range_of(&headers, "\"a\"", 100)
        };
        for (range, expected) in [
            ("bytes=0-9", Asked::Part(0, 10)),
            ("bytes=90-", Asked::Part(90, 100)),
            ("bytes=-10", Asked::Part(90, 100)),
            ("bytes=-1000", Asked::Part(0, 100)),
            ("bytes=50-1000", Asked::Part(50, 100)),
            ("bytes=100-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=9-0", Asked::Whole),
            ("bytes=0-1,5-6", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("pages=1-2", Asked::Whole),
            ("bytes=18446744073709551616-", Asked::Nothing),
        ] {
            assert_eq!(ask(range), expected, "{range}");
        }
        let mut headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-9"))]);
        headers.insert(IF_RANGE, HeaderValue::from_static("\"b\""));
        assert_eq!(range_of(&headers, "\"a\"", 100), Asked::Whole);
        assert_eq!(range_of(&HeaderMap::new(), "\"a\"", 100), Asked::Whole);
    }

    #[test]
    fn names_are_written_as_rfc_6266_says() {
        let said = disposition("reports/Über \"Q3\".pdf");
        assert!(said.starts_with("inline; filename=\"_ber _Q3_.pdf\"; filename*=UTF-8''%C3%9Cber"));
    }
}
