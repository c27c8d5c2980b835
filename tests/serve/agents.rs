//! What agents are told, over stdin and over HTTP.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{Server, shared};
use crate::Place;

/// Lines to a program that speaks MCP on stdin and stdout, and what it answers.
fn stdio(place: &Place, lines: &[Value]) -> Vec<Value> {
    let mut command = place.command(&["mcp"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for line in lines {
        match line {
            Value::String(broken) => writeln!(input, "{broken}").unwrap(),
            line => writeln!(input, "{line}").unwrap(),
        }
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn agents_find_read_and_are_told_what_is_wrong() {
    let shared = shared();
    let (place, server) = &*shared;
    let call = |id: u64, name: &str, arguments: Value| {
        json!({
            "jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {"name": name, "arguments": arguments},
        })
    };
    let answers = stdio(
        place,
        &[
            json!({
                "jsonrpc": "2.0", "id": 1, "method": "initialize",
                "params": {
                    "protocolVersion": "2025-06-18", "capabilities": {},
                    "clientInfo": {"name": "test", "version": "1"},
                },
            }),
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json!("this is no message"),
            json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}),
            call(3, "search", json!({"query": "travel expenses"})),
            call(4, "search", json!({"query": "travel", "limit": 3})),
            call(5, "get_page", json!({"ref": "reports/form.pdf#1", "max_px": 400})),
            call(6, "list_documents", json!({})),
            call(7, "status", json!({})),
            call(8, "nothing", json!({})),
            call(9, "get_page", json!({"ref": "../../etc/passwd#1"})),
            json!({"jsonrpc": "2.0", "id": 10, "method": "resources/templates/list"}),
        ],
    );
    let of = |id: u64| {
        let found = answers.iter().find(|answer| answer["id"] == id);
        found.unwrap_or_else(|| panic!("no answer {id}: {answers:?}"))
    };
    assert_eq!(of(1)["result"]["protocolVersion"], "2025-06-18");
    assert!(of(1)["result"]["instructions"].as_str().unwrap().contains("path#page"));
    let tools = of(2)["result"]["tools"].as_array().unwrap();
    assert_eq!(tools.len(), 4);
    assert!(tools.iter().all(|tool| tool["annotations"]["readOnlyHint"] == true));
    let found = &of(3)["result"];
    let structured = &found["structuredContent"];
    assert_eq!(structured["hits"][0]["path"], "reports/form.pdf");
    assert!(structured["hits"][0]["regions"][0]["text"].is_string());
    assert!(found["content"][0]["text"].as_str().unwrap().contains("reports/form.pdf#"));
    assert_eq!(found["content"][1]["type"], "resource_link");
    assert!(found.to_string().len() < 32_000);
    let unknown = &of(4)["result"];
    assert_eq!(unknown["isError"], true);
    assert!(unknown["content"][0]["text"].as_str().unwrap().contains("`limit`"), "{unknown}");
    let page = &of(5)["result"]["content"];
    assert_eq!((&page[0]["type"], &page[0]["mimeType"]), (&json!("image"), &json!("image/jpeg")));
    assert!(page[1]["text"].as_str().unwrap().len() > 100);
    assert_eq!(of(6)["result"]["structuredContent"]["documents"].as_array().unwrap().len(), 3);
    assert!(of(7)["result"]["structuredContent"]["indexes"][0]["pages"].as_u64().unwrap() > 2);
    assert_eq!(of(8)["error"]["code"], -32602);
    assert_eq!(of(9)["result"]["isError"], true);
    assert!(of(10)["result"]["resourceTemplates"][0]["uriTemplate"].is_string());
    // The same over HTTP, without a session.
    let headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2025-06-18"),
    ];
    let body = call(1, "search", json!({"query": "travel expenses"}));
    let answer = server.ask("POST", "/mcp", &headers, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.json()["result"]["structuredContent"]["hits"], structured["hits"]);
    assert_eq!(server.get("/mcp").status, 405);
    // What the transport refuses is a problem like any other.
    for (headers, status) in [
        (&[headers[0], ("Accept", "text/html")][..], 406),
        (&[("Content-Type", "text/plain"), headers[1]][..], 415),
    ] {
        let refused = server.ask("POST", "/mcp", headers, body.to_string().as_bytes());
        assert_eq!(
            (refused.status, refused.header("content-type")),
            (status, "application/problem+json")
        );
        assert!(!refused.json()["detail"].as_str().unwrap().is_empty());
    }
    let origin = [&headers[..], &[("Origin", "http://evil.example")]].concat();
    assert_eq!(server.ask("POST", "/mcp", &origin, body.to_string().as_bytes()).status, 403);
}

#[test]
fn an_agent_may_have_a_question_answered_where_the_server_says_so() {
    let place = Place::with(&["form.pdf"]);
    assert_eq!(
        place.run(&["index", "--model", "none", "--meaning", "off", "--no-ocr", "."]).code,
        0
    );
    let headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2025-06-18"),
    ];
    let call = |server: &Server, method: &str, params: Value| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        server.ask("POST", "/mcp", &headers, body.to_string().as_bytes()).json()
    };
    let ask = |arguments: Value| json!({"name": "ask", "arguments": arguments});
    let server = Server::start(&place, &[]);
    let refused = call(&server, "tools/call", ask(json!({"query": "travel expenses"})));
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let server = Server::start(&place, &["--mcp-ask"]);
    let tools = call(&server, "tools/list", json!({}));
    let tools = tools["result"]["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["name"] == "ask"), "{tools:?}");
    let told = call(&server, "tools/call", ask(json!({"query": "report of travel expenses"})));
    let told = &told["result"];
    let answer = &told["structuredContent"];
    assert_eq!((&answer["answered"], &answer["answerer"]), (&json!(true), &json!("passage")));
    let cited = &answer["sentences"][0]["cites"][0];
    assert_eq!(cited["path"], "form.pdf", "{told}");
    let text = told["content"][0]["text"].as_str().unwrap();
    assert!(text.contains(answer["text"].as_str().unwrap()), "{text}");
    assert!(text.contains(cited["ref"].as_str().unwrap()), "{text}");
    let nothing = call(&server, "tools/call", ask(json!({"query": "zyxwv"})));
    assert_eq!(nothing["result"]["structuredContent"]["answered"], false);
    let wrong = call(&server, "tools/call", ask(json!({"query": ""})));
    assert_eq!(wrong["result"]["isError"], true);
}
