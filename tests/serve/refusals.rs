//! What the server refuses, and what it says of itself.

use serde_json::json;

use super::{first_ref, shared};

#[test]
fn what_is_wrong_is_said_as_a_problem() {
    let shared = shared();
    let (_, server) = &*shared;
    let reference = first_ref(server, "travel");
    let long = "a".repeat(4_097);
    let page = format!("/v1/pages/{reference}");
    for (target, status, code) in [
        ("/v1/nothing".to_string(), 404, "not_found"),
        ("/v1/search".into(), 400, "bad_request"),
        ("/v1/search?q=".into(), 422, "invalid_value"),
        (format!("/v1/search?q={long}"), 422, "invalid_value"),
        ("/v1/search?q=a%00b".into(), 422, "invalid_value"),
        ("/v1/search?q=a&k=0".into(), 422, "invalid_value"),
        ("/v1/search?q=a&k=201".into(), 422, "invalid_value"),
        ("/v1/search?q=a&k=x".into(), 400, "bad_request"),
        ("/v1/search?q=a&kk=1".into(), 400, "bad_request"),
        ("/v1/search?q=a&q=b".into(), 400, "bad_request"),
        ("/v1/search?q=a&index=other".into(), 404, "index_not_found"),
        ("/v1/search?q=a&channel=all".into(), 422, "invalid_value"),
        ("/v1/search?q=a&path=%5Ba".into(), 422, "invalid_value"),
        ("/v1/pages/ffffffff-1".into(), 404, "page_not_found"),
        (format!("/v1/pages/{}-99", &reference[..16]), 404, "page_not_found"),
        ("/v1/pages/..%2f..%2fetc%2fpasswd".into(), 404, "page_not_found"),
        ("/v1/pages/x/image".into(), 404, "page_not_found"),
        (format!("{page}/image?width=15"), 422, "invalid_value"),
        (format!("{page}/image?width=4097"), 422, "invalid_value"),
        (format!("{page}/image?format=gif"), 422, "invalid_value"),
        (format!("{page}/image?region=1,2,3"), 400, "bad_request"),
        (format!("{page}/image?region=9000,9000,9001,9001"), 422, "invalid_value"),
        (format!("{page}/heatmap"), 400, "bad_request"),
        (format!("{page}/heatmap?query=a&word=0&token=0"), 400, "bad_request"),
        (format!("{page}/heatmap?query=a&word=5"), 422, "invalid_value"),
        (format!("{page}/regions?query=a&n=6"), 422, "invalid_value"),
        ("/v1/documents/ffffffff".into(), 404, "document_not_found"),
        ("/v1/documents?after=%25".into(), 400, "bad_request"),
        ("/v1/documents?limit=1001".into(), 422, "invalid_value"),
        ("/v1/jobs/1".into(), 404, "job_not_found"),
        (format!("/{}", "a".repeat(9 << 10)), 414, "uri_too_long"),
    ] {
        let answer = server.get(&target);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{target:.80}");
        let problem = answer.json();
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(problem["type"], format!("urn:pagesight:problem:{code}"));
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], answer.header("x-request-id"));
        assert!(!problem["detail"].as_str().unwrap().contains('\n'));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    for (body, status, code) in [
        ("{", 400, "bad_request"),
        ("[]", 400, "bad_request"),
        (r#"{"query":"a","k":1.5}"#, 400, "bad_request"),
        (r#"{"query":"a","k":"5"}"#, 400, "bad_request"),
        (r#"{"query":"a","k":9223372036854775808}"#, 422, "invalid_value"),
        (r#"{"query":"a","query":"b"}"#, 400, "bad_request"),
        (r#"{"query":"a","kk":1}"#, 400, "bad_request"),
        (r#"{"query":"a","query_vectors":[[1,2]]}"#, 422, "invalid_value"),
        (r#"{"query":"a","documents":["xyz"]}"#, 422, "invalid_value"),
        (&format!("{}1", "[".repeat(10_000)), 400, "bad_request"),
    ] {
        let headers = [("Content-Type", "application/json")];
        let answer = server.ask("POST", "/v1/search", &headers, body.as_bytes());
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{body:.60}");
    }
    let text = server.ask("POST", "/v1/search", &[("Content-Type", "text/plain")], b"{}");
    assert_eq!((text.status, text.code().as_str()), (415, "unsupported_media_type"));
    let large = vec![b' '; (1 << 20) + 1];
    let large = server.ask("POST", "/v1/search", &[("Content-Type", "application/json")], &large);
    assert_eq!((large.status, large.code().as_str()), (413, "body_too_large"));
    let other = server.ask("PUT", "/v1/search", &[], b"");
    assert_eq!((other.status, other.code().as_str()), (405, "method_not_allowed"));
    assert!(other.header("allow").contains("POST") && other.header("allow").contains("GET"));
    let named = server.ask("GET", "/healthz", &[("X-Request-Id", "my.id-1")], b"");
    assert_eq!((named.status, named.header("x-request-id")), (200, "my.id-1"));
    for query in ["\"", "*", ":", "a AND", "🙂", "' OR 1=1 --", "\u{202e}abc", "\u{7}"] {
        let answer = server.post("/v1/search", &json!({"query": query}));
        assert!([200, 422].contains(&answer.status), "{query:?}: {}", answer.status);
    }
    for method in ["POST", "DELETE"] {
        let target = if method == "POST" { "/v1/jobs" } else { "/v1/jobs/1" };
        let answer = server.ask(method, target, &[("Content-Type", "application/json")], b"{}");
        assert_eq!((answer.status, answer.code().as_str()), (403, "read_only"), "{method}");
    }
}

#[test]
fn hosts_and_origins_are_our_own() {
    let shared = shared();
    let (_, server) = &*shared;
    let status = |headers: &[(&str, &str)]| server.ask("GET", "/v1/status", headers, b"").status;
    assert_eq!(status(&[("Host", "localhost")]), 200);
    assert_eq!(status(&[("Host", "evil.example")]), 403);
    assert_eq!(status(&[("Host", "")]), 400);
    assert_eq!(status(&[("Origin", "null")]), 403);
    assert_eq!(status(&[("Origin", "http://evil.example")]), 403);
    assert_eq!(status(&[("Origin", &format!("http://{}", server.address))]), 200);
    assert_eq!(status(&[("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(server.ask("GET", "/", &[("Sec-Fetch-Site", "cross-site")], b"").status, 200);
    let none = server.raw(b"GET /v1/status HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(none.status, 400);
    let twice = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(server.raw(twice).status, 400);
}

#[test]
fn the_page_is_served_with_its_policy() {
    let shared = shared();
    let (_, server) = &*shared;
    for (target, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/?q=a&channel=text#x", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/app.css", "text/css; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
    ] {
        let answer = server.get(target.split('#').next().unwrap());
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{target}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
    }
    let squeezed = server.ask("GET", "/app.js", &[("Accept-Encoding", "gzip")], b"");
    assert_eq!(squeezed.header("content-encoding"), "gzip");
    let metrics = server.get("/metrics");
    let text = String::from_utf8(metrics.body).unwrap();
    for name in [
        "pagesight_build_info",
        "pagesight_index_pages",
        "pagesight_index_documents",
        "pagesight_index_snapshot",
        "pagesight_http_requests_total",
        "pagesight_http_request_seconds_bucket",
        "pagesight_cache_bytes",
        "pagesight_jobs",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(text.contains(name), "{name}");
    }
    assert_eq!(server.ok("/readyz"), json!({"status": "ready"}));
    assert_eq!(server.get("/livez").status, 200);
}
