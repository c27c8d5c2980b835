//! The log: on stderr, a line a request, which names the route and never what was asked.

use std::time::Duration;

use chrono::Utc;
use serde_json::json;

use super::options::LogFormat;
use super::state::App;

/// One request that was answered.
pub struct Request<'a> {
    pub id: &'a str,
    pub method: &'a str,
    /// The template, such as `/v1/pages/{ref}`.
    pub route: &'a str,
    pub status: u16,
    pub time: Duration,
    /// Of a problem: its code, and what lies behind it.
    pub code: Option<&'a str>,
    pub cause: Option<&'a str>,
}

/// Writes the line of a request.
pub fn request(app: &App, request: &Request<'_>) {
    if app.options.quiet && request.status < 500 {
        return;
    }
    let ms = (request.time.as_secs_f64() * 1e5).round() / 1e2;
    let line = match app.options.log {
        LogFormat::Json => {
            let mut line = json!({
                "time": now(),
                "request_id": request.id,
                "method": request.method,
                "route": request.route,
                "status": request.status,
                "ms": ms,
            });
            if let Some(code) = request.code {
                line["code"] = json!(code);
            }
            if let Some(cause) = request.cause {
                line["cause"] = json!(cause);
            }
            line.to_string()
        }
        LogFormat::Text => {
            let Request { id, method, route, status, code, cause, .. } = request;
            let code = code.map(|code| format!(" {code}")).unwrap_or_default();
            let cause = cause.map(|cause| format!(": {}", printable(cause))).unwrap_or_default();
            format!("{} {id} {method} {route} {status} {ms} ms{code}{cause}", now())
        }
    };
    eprintln!("{line}");
}

/// Writes what was asked, for servers that were told to.
pub fn query(app: &App, query: &str) {
    match app.options.log {
        LogFormat::Json => eprintln!("{}", json!({"time": now(), "query": query})),
        LogFormat::Text => eprintln!("{} query: {}", now(), printable(query)),
    }
}

/// Writes a line about the server itself.
pub fn note(app: &App, text: &str) {
    match app.options.log {
        LogFormat::Json => eprintln!("{}", json!({"time": now(), "note": text})),
        LogFormat::Text => eprintln!("{text}"),
    }
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
