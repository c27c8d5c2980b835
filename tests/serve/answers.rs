//! Questions answered in words, with the pages that prove it.

use serde_json::{Value, json};

use super::{Server, shared};
use crate::ask::{Fake, reply, streamed};

/// The events of an answer in lines of JSON.
fn events(server: &Server, body: &Value) -> Vec<Value> {
    let headers = [("Content-Type", "application/json"), ("Accept", "application/x-ndjson")];
    let answer = server.ask("POST", "/v1/ask", &headers, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let text = String::from_utf8(answer.body).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_question_is_answered_in_words() {
    let shared = shared();
    let (place, server) = &*shared;
    let question = "travel expenses in total";
    let kinds = |events: &[Value]| -> Vec<String> {
        events.iter().map(|event| event["type"].as_str().unwrap().to_string()).collect()
    };
    let passage = events(server, &json!({"query": question}));
    assert_eq!(kinds(&passage), ["retrieved", "answer"]);
    assert_eq!(
        (&passage[1]["answerer"], &passage[1]["answered"]),
        (&json!("passage"), &json!(true))
    );
    // The same objects as the command line prints, but for the time.
    let mut line = place.json(0, &["ask", "--json", question]);
    let mut over_http = passage.clone();
    for event in line.iter_mut().chain(&mut over_http) {
        event.as_object_mut().unwrap().remove("ms");
    }
    assert_eq!(line, over_http);
    let plain = server.post("/v1/ask", &json!({"query": question}));
    assert_eq!(plain.header("content-type"), "text/event-stream");
    let text = String::from_utf8(plain.body).unwrap();
    assert!(text.starts_with("event: retrieved\ndata: {"), "{text}");
    assert!(text.contains("event: answer\ndata: {\"v\":1,\"type\":\"answer\",\"text\":"), "{text}");
    for (body, code) in [
        (json!({}), "bad_request"),
        (json!({"query": ""}), "invalid_value"),
        (json!({"query": "x", "endpoint": "http://127.0.0.1:1/v1"}), "bad_request"),
        (json!({"query": "x", "index": "nowhere"}), "index_not_found"),
    ] {
        assert_eq!(server.post("/v1/ask", &body).code(), code, "{body}");
    }
    // With a chat model that the server was started with.
    let said = streamed(&["It is in ", "the form [1]. It is 99,999 [9]."]);
    let fake = Fake::new(vec![said, reply("500 Oops", "", b"out of memory")]);
    let server = Server::start(place, &["--endpoint", &fake.url, "--answer-model", "m"]);
    let lines = events(&server, &json!({"query": question, "paths": ["**/form.pdf"]}));
    assert_eq!(kinds(&lines), ["retrieved", "delta", "delta", "answer"]);
    assert_eq!((&lines[3]["answerer"], &lines[3]["model"]), (&json!("endpoint"), &json!("m")));
    assert_eq!(lines[3]["sentences"][1]["support"], "none");
    let body = fake.body().to_string();
    assert!(body.contains("Travel expense") && !body.contains("rotated.pdf"), "{body}");
    let lines = events(&server, &json!({"query": question}));
    assert_eq!(kinds(&lines), ["retrieved", "error"]);
    assert!(lines[1]["detail"].as_str().unwrap().contains("500: out of memory"), "{}", lines[1]);
}

/// The small model was never taught to read these pages: that it answers at all is what is seen.
#[test]
fn a_paligemma_of_this_machine_answers_over_http() {
    let shared = shared();
    let (place, _) = &*shared;
    let model = crate::fixtures().join("parity-paligemma/pg2-56");
    let model = model.to_str().unwrap();
    let server = Server::start(place, &["--answer-model", model, "--idle", "1"]);
    let question = json!({"query": "travel expenses in total"});
    let lines = events(&server, &question);
    let (first, last) = (&lines[0], &lines[lines.len() - 1]);
    assert_eq!((&first["type"], &last["type"]), (&json!("retrieved"), &json!("answer")));
    assert_eq!((&last["answerer"], &last["sent"]), (&json!("paligemma"), &Value::Null));
    let deltas = lines.iter().filter(|line| line["type"] == "delta");
    let pieces: String = deltas.map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(pieces.trim(), last["text"].as_str().unwrap());
    // Let go and loaded again, it says the same.
    std::thread::sleep(std::time::Duration::from_secs(7));
    let mut again = events(&server, &question);
    let again = again.pop().unwrap();
    assert_eq!(again["text"], last["text"]);
    let ran = place.run(&["serve", "--answer-model", "/no/such"]);
    assert!(ran.code == 2 && ran.err.contains("/no/such"), "{}", ran.err);
}
