//! Who may do what.

use serde_json::json;

use super::Server;
use crate::Place;

#[test]
fn tokens_have_scopes_and_sessions_end() {
    let place = Place::with(&["form.pdf"]);
    assert_eq!(place.run(&["index", "."]).code, 0);
    std::fs::write(place.path().join("full"), "  the-full-token-0123456789\n").unwrap();
    std::fs::write(place.path().join("read"), "the-read-token-0123456789").unwrap();
    let server =
        Server::start(&place, &["--token-file", "full", "--read-token-file", "read", "--write"]);
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/").status, 200);
    let none = server.get("/v1/status");
    assert_eq!((none.status, none.header("www-authenticate")), (401, "Bearer"));
    let with = |token: &str| ("Authorization", format!("Bearer {token}"));
    let scope = |token: &str| {
        let (name, value) = with(token);
        server.ask("GET", "/v1/status", &[(name, &value)], b"")
    };
    assert_eq!(scope("the-full-token-0123456789").json()["scope"], "full");
    assert_eq!(scope("the-read-token-0123456789").json()["scope"], "read");
    assert_eq!(scope("the-full-token-012345678").status, 401);
    let (name, value) = with("the-read-token-0123456789");
    let headers = [(name, value.as_str()), ("Content-Type", "application/json")];
    let write = server.ask("POST", "/v1/jobs", &headers, br#"{"root":"uploads"}"#);
    assert_eq!((write.status, write.code().as_str()), (403, "scope"));
    let begun = server.post("/v1/session", &json!({"token": "the-read-token-0123456789"}));
    assert_eq!(begun.status, 204);
    let cookie = begun.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("the-read-token"));
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(server.ask("GET", "/v1/status", &[("Cookie", pair)], b"").status, 200);
    assert_eq!(server.ask("DELETE", "/v1/session", &[("Cookie", pair)], b"").status, 204);
    assert_eq!(server.ask("GET", "/v1/status", &[("Cookie", pair)], b"").status, 401);
    let wrong = |_| server.post("/v1/session", &json!({"token": "wrong"})).status;
    let statuses: Vec<u16> = (0..6).map(wrong).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
    for (arguments, said) in [
        (&["serve", "--bind", "0.0.0.0:0"][..], "no token"),
        (&["serve", "nowhere"], "no index"),
        (&["serve", "a=.pagesight", "a=.pagesight"], "two indexes"),
    ] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
    }
}
