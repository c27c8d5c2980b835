//! What writes: jobs and uploads; and how the server ends.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Server;
use crate::Place;

#[test]
fn uploads_are_indexed_told_of_and_deleted() {
    let place = Place::new();
    place.add("form.pdf", "inbox/form.pdf");
    assert_eq!(place.run(&["index", "inbox"]).code, 0);
    place.add("rotated.pdf", "inbox/more/rotated.pdf");
    let server = Server::start(&place, &["--write", "--root", "inbox=inbox"]);
    let end = |id: &str| {
        let start = Instant::now();
        loop {
            let job = server.ok(&format!("/v1/jobs/{id}"));
            let state = job["state"].as_str().unwrap().to_string();
            if ["done", "failed", "cancelled"].contains(&state.as_str()) {
                return job;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "{job}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    // A sync of a root.
    let started = server.post("/v1/jobs", &json!({"root": "inbox"}));
    assert_eq!(started.status, 202);
    let id = started.json()["id"].as_str().unwrap().to_string();
    assert_eq!(started.header("location"), format!("/v1/jobs/{id}"));
    let job = end(&id);
    assert_eq!(
        (job["state"].as_str(), job["kind"].as_str()),
        (Some("done"), Some("sync")),
        "{job}"
    );
    assert_eq!(job["summary"]["documents"]["indexed"], 1);
    let events = server.get(&format!("/v1/jobs/{id}/events"));
    let text = String::from_utf8(events.body).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"document") && kinds.contains(&"commit") && kinds.contains(&"summary"));
    assert_eq!(*kinds.last().unwrap(), "end");
    let seqs: Vec<u64> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let target = format!("/v1/jobs/{id}/events?after=2");
    let stream = server.ask("GET", &target, &[("Accept", "text/event-stream")], b"");
    assert_eq!(stream.header("content-type"), "text/event-stream");
    assert!(stream.body.starts_with(b"id: 3\n"));
    for (body, code) in [
        (json!({"root": "inbox", "path": ".."}), "outside_root"),
        (json!({"root": "inbox", "path": "/etc"}), "outside_root"),
        (json!({"root": "inbox", "path": "nowhere"}), "invalid_value"),
        (json!({"root": "other"}), "root_not_found"),
    ] {
        assert_eq!(server.post("/v1/jobs", &body).code(), code, "{body}");
    }
    assert_eq!(server.ask("DELETE", &format!("/v1/jobs/{id}"), &[], b"").code(), "job_ended");
    // An upload.
    let bytes = std::fs::read(crate::fixtures().join("pdf/slides.pdf")).unwrap();
    let pdf = [("Content-Type", "application/pdf")];
    let sent = server.ask("POST", "/v1/documents?name=q3.pdf", &pdf, &bytes);
    assert_eq!(sent.status, 202, "{}", String::from_utf8_lossy(&sent.body));
    let sent = sent.json();
    assert_eq!(sent["path"], "uploads/q3.pdf");
    assert_eq!(end(sent["job"].as_str().unwrap())["state"], "done");
    let document = sent["document"].as_str().unwrap();
    let detail = server.ok(&format!("/v1/documents/{document}"));
    assert_eq!((&detail["upload"], &detail["status"]), (&json!(true), &json!("ok")));
    let again = server.ask("POST", "/v1/documents?name=other.pdf", &pdf, &bytes);
    assert_eq!((again.status, &again.json()["job"]), (200, &Value::Null));
    for (name, body, code) in [
        ("..%2fx.pdf", &bytes[..], "invalid_value"),
        ("%252e%252e.exe", &bytes[..], "invalid_value"),
        ("x.pdf", b"no pdf at all", "not_a_pdf"),
    ] {
        let answer = server.ask("POST", &format!("/v1/documents?name={name}"), &pdf, body);
        assert_eq!(answer.code(), code, "{name}");
    }
    let form = server.ok("/v1/documents?path=form.pdf")["documents"][0]["document"].clone();
    let url = format!("/v1/documents/{}", form.as_str().unwrap());
    assert_eq!(server.ask("DELETE", &url, &[], b"").code(), "not_an_upload");
    let gone = server.ask("DELETE", &format!("/v1/documents/{document}"), &[], b"");
    assert_eq!((gone.status, &gone.json()["state"]), (200, &json!("done")));
    assert_eq!(server.get(&format!("/v1/documents/{document}")).code(), "document_not_found");
    assert!(!place.path().join("uploads/q3.pdf").exists());
    let left: Vec<_> = std::fs::read_dir(place.path().join("uploads")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[cfg(unix)]
#[test]
fn a_server_that_is_asked_to_stop_ends_well_and_sees_what_others_commit() {
    let place = Place::with(&["form.pdf"]);
    assert_eq!(place.run(&["index", "."]).code, 0);
    let mut server = Server::start(&place, &["first=.pagesight"]);
    let before = server.ok("/v1/search?q=expenses");
    assert_eq!((&before["index"], &before["model_id"]), (&json!("first"), &Value::Null));
    assert!(before["notice"].as_str().unwrap().contains("words alone"));
    let visual = server.get("/v1/search?q=expenses&channel=visual");
    assert_eq!((visual.status, visual.code().as_str()), (422, "no_model"));
    let reference = before["hits"][0]["ref"].as_str().unwrap();
    assert_eq!(before["hits"][0]["heatmap_url"], Value::Null);
    let map = server.get(&format!("/v1/pages/{reference}/heatmap?query=a"));
    assert_eq!((map.status, map.code().as_str()), (422, "no_vectors"));
    place.add("rotated.pdf", "rotated.pdf");
    assert_eq!(place.run(&["index", "."]).code, 0);
    std::thread::sleep(Duration::from_millis(1_100));
    let after = server.ok("/v1/search?q=expenses");
    assert!(after["snapshot"].as_u64() > before["snapshot"].as_u64());
    std::fs::remove_file(place.path().join("form.pdf")).unwrap();
    let document = &reference[..16];
    let file = server.get(&format!("/v1/documents/{document}/file"));
    assert_eq!((file.status, file.code().as_str()), (410, "file_gone"));
    std::fs::write(place.path().join("form.pdf"), b"%PDF-1.7 other").unwrap();
    let file = server.get(&format!("/v1/documents/{document}/file"));
    assert_eq!((file.status, file.code().as_str()), (409, "file_changed"));
    let stopped = Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status();
    assert!(stopped.unwrap().success());
    let start = Instant::now();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10));
}
