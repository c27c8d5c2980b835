//! The web page: one HTML, one script, one style sheet, inside the program.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;

use super::call::{Call, has};

/// What a page may load: our own script, style and answers, and pictures made of them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A file of the page.
struct File {
    kind: &'static str,
    text: &'static str,
}

const PAGE: File = File { kind: "text/html; charset=utf-8", text: include_str!("web/index.html") };
const SCRIPT: File =
    File { kind: "text/javascript; charset=utf-8", text: include_str!("web/app.js") };
const STYLE: File = File { kind: "text/css; charset=utf-8", text: include_str!("web/app.css") };
const ICON: File = File { kind: "image/svg+xml", text: include_str!("web/favicon.svg") };

/// `GET /`: what it shows stands in its query string, which is for its script to read.
pub async fn page(call: Call) -> Response<Body> {
    answer(&PAGE, &call)
}

/// `GET /app.js`.
pub async fn script(call: Call) -> Response<Body> {
    answer(&SCRIPT, &call)
}

/// `GET /app.css`.
pub async fn style(call: Call) -> Response<Body> {
    answer(&STYLE, &call)
}

/// `GET /favicon.svg`.
pub async fn icon(call: Call) -> Response<Body> {
    answer(&ICON, &call)
}

fn answer(file: &File, call: &Call) -> Response<Body> {
    let etag = super::pages::etag_of(file.text);
    let mut response = if has(&call.headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(file.text))
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.kind));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        let files = [&PAGE, &SCRIPT, &STYLE, &ICON];
        let bytes: usize = files.iter().map(|file| file.text.len()).sum();
        assert!(bytes < 60_000, "{bytes} bytes");
        for file in files {
            let namespace = "http://www.w3.org/2000/svg";
            let text = file.text.replace(namespace, "");
            assert!(!text.contains("http://") && !text.contains("https://"), "{}", file.kind);
            assert!(!text.contains("innerHTML"), "{}", file.kind);
        }
        assert!(!PAGE.text.contains("style=") && !PAGE.text.contains("onclick"));
    }
}
