//! Searches, and what a language model is given to read.

use serde_json::{Value, json};

use super::shared;
use crate::hits;

#[test]
fn a_search_over_http_is_that_of_the_command_line() {
    let shared = shared();
    let (place, server) = &*shared;
    let question = "travel expenses in total";
    for channel in ["both", "visual", "text"] {
        let lines = place.json(0, &["query", "--json", "--channel", channel, question]);
        let answer = server
            .post("/v1/search", &json!({"query": format!("  {question} "), "channel": channel}));
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
        let body = answer.json();
        let got: Vec<Value> = body["hits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| json!([hit["path"], hit["page"]]))
            .collect();
        let expected: Vec<Value> =
            hits(&lines).into_iter().map(|(path, page)| json!([path, page])).collect();
        assert_eq!(got, expected, "{channel}");
        for (hit, line) in body["hits"].as_array().unwrap().iter().zip(&lines) {
            for field in ["rank", "score", "visual", "text", "snippet", "marks", "document", "ref"]
            {
                assert_eq!(hit[field], line[field], "{field}");
            }
        }
        assert_eq!(body["query"], question);
        let got = server.ok(&format!("/v1/search?q=travel+expenses%20in+total&channel={channel}"));
        assert_eq!(got["hits"], body["hits"]);
    }
}

#[test]
fn an_answer_has_the_fields_that_are_described() {
    let shared = shared();
    let (_, server) = &*shared;
    let described = server.ok("/openapi.json");
    let schemas = &described["components"]["schemas"];
    let check = |name: &str, value: &Value| {
        let schema = &schemas[name];
        let known = schema["properties"].as_object().unwrap();
        for field in value.as_object().unwrap().keys() {
            assert!(known.contains_key(field), "{name}.{field} is not described");
        }
        for field in schema["required"].as_array().into_iter().flatten() {
            let field = field.as_str().unwrap();
            assert!(value.get(field).is_some(), "{name}.{field} is missing");
        }
    };
    let asked = json!({"query": "travel expenses", "explain": true, "regions": 2, "text": "full"});
    let answer = server.post("/v1/search", &asked).json();
    check("SearchAnswer", &answer);
    check("Times", &answer["ms"]);
    let hit = &answer["hits"][0];
    check("Hit", hit);
    check("Region", &hit["regions"][0]);
    check("Token", &answer["tokens"][0]);
    check("QueryWord", &answer["words"][0]);
    check("Match", &hit["matches"][0]);
    assert_eq!(
        hit["matches"].as_array().unwrap().len(),
        answer["tokens"].as_array().unwrap().len()
    );
    assert!(hit["page_text"].as_str().unwrap().len() > 100);
    let without = server.post("/v1/search", &json!({"query": "travel", "text": "none"})).json();
    assert!(
        without["hits"][0].get("snippet").is_none() && without["hits"][0].get("marks").is_none()
    );
    let reference = hit["ref"].as_str().unwrap();
    check("PageInfo", &server.ok(&format!("/v1/pages/{reference}?words=true")));
    check(
        "Heatmap",
        &server.ok(&format!("/v1/pages/{reference}/heatmap?query=travel&format=json")),
    );
    check("Regions", &server.ok(&format!("/v1/pages/{reference}/regions?query=travel")));
    check("Status", &server.ok("/v1/status"));
    check("IndexInfo", &server.ok("/v1/indexes")["indexes"][0]);
    let documents = server.ok("/v1/documents?limit=1");
    check("Documents", &documents);
    check("Document", &documents["documents"][0]);
    let id = documents["documents"][0]["document"].as_str().unwrap();
    check("DocumentDetail", &server.ok(&format!("/v1/documents/{id}")));
    let context =
        server.post("/v1/context", &json!({"query": "travel", "images": "base64"})).json();
    check("ContextAnswer", &context);
    check("Source", &context["sources"][0]);
    check("SourceImage", &context["sources"][0]["image"]);
}

#[test]
fn a_context_keeps_to_its_budget() {
    let shared = shared();
    let (_, server) = &*shared;
    for (budget, scope) in [(200, "page"), (1_000, "auto"), (5_000, "region")] {
        let asked = json!({"query": "travel expenses", "budget_chars": budget, "scope": scope});
        let answer = server.post("/v1/context", &asked).json();
        let sources = answer["sources"].as_array().unwrap();
        let chars: usize =
            sources.iter().map(|source| source["text"].as_str().unwrap().chars().count()).sum();
        assert!(chars <= budget && chars > 0, "{scope}: {chars}");
        assert_eq!(answer["chars"], chars);
        let prompt = answer["prompt"].as_str().unwrap();
        assert!(prompt.lines().next().unwrap().contains("not instructions"));
        assert!(prompt.contains("[1] ") && sources[0]["image"]["url"].is_string());
    }
}
