//! Pages: pictures, maps, regions, words and files.

use serde_json::{Value, json};

use super::{Server, first_ref, shared};
use crate::{Place, fixtures};

#[test]
fn pictures_and_maps_lie_over_each_other() {
    let shared = shared();
    let (_, server) = &*shared;
    let reference = first_ref(server, "travel expenses");
    let page = server.ok(&format!("/v1/pages/{reference}"));
    let (w, h) = (page["size_pt"][0].as_f64().unwrap(), page["size_pt"][1].as_f64().unwrap());
    let size = |bytes: &[u8]| {
        let image = image::load_from_memory(bytes).unwrap();
        (image.width(), image.height())
    };
    let image = |query: &str| server.get(&format!("/v1/pages/{reference}/image{query}"));
    let whole = image("?width=300&format=png");
    assert_eq!((whole.status, whole.header("content-type")), (200, "image/png"));
    assert_eq!(whole.header("cache-control"), "private, max-age=86400");
    let expected = (300, (300.0 * h / w).round() as u32);
    assert_eq!(size(&whole.body), expected);
    for (format, kind) in [("webp", "image/webp"), ("jpeg", "image/jpeg")] {
        let other = image(&format!("?width=300&format={format}"));
        assert_eq!((other.header("content-type"), size(&other.body)), (kind, expected));
    }
    assert_eq!(size(&image("").body).0, 1200);
    let etag = whole.header("etag");
    let target = format!("/v1/pages/{reference}/image?width=300&format=png");
    let again = server.ask("GET", &target, &[("If-None-Match", etag)], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let head = server.ask("HEAD", &target, &[], b"");
    assert_eq!((head.status, head.body.len(), head.header("etag")), (200, 0, etag));
    // A part of it: the width is the part's.
    let part = image("?width=200&format=png&region=100,100,300,150");
    assert_eq!(size(&part.body), (200, 50));
    for heat in ["query=travel+expenses", "query=travel+expenses&word=1", "query=travel&token=0"] {
        let map = server.get(&format!("/v1/pages/{reference}/heatmap?{heat}&width=300"));
        assert_eq!((map.status, size(&map.body)), (200, expected), "{heat}");
    }
    let posted = json!({"query": "travel expenses", "width": 300});
    let posted = server.post(&format!("/v1/pages/{reference}/heatmap"), &posted);
    let got = server.get(&format!("/v1/pages/{reference}/heatmap?query=travel+expenses&width=300"));
    assert_eq!(posted.body, got.body);
}

#[test]
fn maps_and_regions_say_where_words_stand() {
    let shared = shared();
    let (_, server) = &*shared;
    let reference = first_ref(server, "travel expenses");
    let page = server.ok(&format!("/v1/pages/{reference}?words=true"));
    let words = page["words"].as_array().unwrap();
    assert!(words.len() > 20, "{}", words.len());
    let size: Vec<f64> =
        page["size_pt"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    let numbers = |value: &Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    for word in words {
        let rect = numbers(&word["rect_pt"]);
        assert!(rect[0] < rect[2] && rect[1] < rect[3], "{word}");
        assert!(rect[0] >= 0.0 && rect[2] <= size[0] + 0.5 && rect[3] <= size[1] + 0.5, "{word}");
    }
    let found =
        server.ok(&format!("/v1/pages/{reference}/regions?query=travel+expenses&words=true"));
    let first = &found["regions"][0];
    let text = first["text"].as_str().unwrap().to_lowercase();
    assert!(text.contains("travel") || text.contains("expense"), "{found}");
    assert_eq!(first["kind"], "text");
    let rect = numbers(&first["rect_pt"]);
    let share = (rect[2] - rect[0]) * (rect[3] - rect[1]) / (size[0] * size[1]);
    assert!(share <= 0.4 + 1e-6, "{share}");
    let cut = server.get(first["image_url"].as_str().unwrap());
    assert_eq!(cut.status, 200);
    let map =
        server.ok(&format!("/v1/pages/{reference}/heatmap?query=travel+expenses&format=json"));
    let (columns, rows) = (map["columns"].as_u64().unwrap(), map["rows"].as_u64().unwrap());
    let values = map["values"].as_array().unwrap();
    assert_eq!(values.len() as u64, columns * rows);
    let heat: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
    assert!(heat.iter().all(|value| (0.0..=1.0).contains(value)));
    assert!((heat.iter().copied().fold(0.0, f64::max) - 1.0).abs() < 1e-3);
    assert_eq!(map["words"][1]["text"], "expenses");
    assert_eq!(
        (map["words"][1]["start"].as_u64(), map["words"][1]["end"].as_u64()),
        (Some(7), Some(15))
    );
}

#[test]
fn documents_are_listed_and_served() {
    let shared = shared();
    let (place, server) = &*shared;
    let all = server.ok("/v1/documents");
    let paths: Vec<&str> =
        all["documents"].as_array().unwrap().iter().map(|d| d["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["reports/form.pdf", "reports/rotated.pdf", "scan.pdf"]);
    let first = server.ok("/v1/documents?limit=2");
    let next = first["next"].as_str().unwrap();
    let rest = server.ok(&format!("/v1/documents?limit=2&after={next}"));
    assert_eq!(
        (rest["documents"][0]["path"].as_str(), &rest["next"]),
        (Some("scan.pdf"), &Value::Null)
    );
    let some = server.ok("/v1/documents?path=reports/**&status=ok");
    assert_eq!(some["documents"].as_array().unwrap().len(), 2);
    let url = all["documents"][0]["url"].as_str().unwrap();
    let detail = server.ok(url);
    assert_eq!((&detail["paths"], &detail["failures"]), (&json!(["reports/form.pdf"]), &json!([])));
    let bytes = std::fs::read(place.path().join("reports/form.pdf")).unwrap();
    let file = server.get(&format!("{url}/file"));
    assert_eq!((file.status, file.header("content-type")), (200, "application/pdf"));
    assert_eq!(file.header("content-security-policy"), "sandbox");
    assert!(file.header("content-disposition").starts_with("inline; filename=\"form.pdf\""));
    assert_eq!(file.body, bytes);
    let part = server.ask("GET", &format!("{url}/file"), &[("Range", "bytes=5-14")], b"");
    assert_eq!((part.status, &part.body[..]), (206, &bytes[5..15]));
    assert_eq!(part.header("content-range"), format!("bytes 5-14/{}", bytes.len()));
    let none = server.ask("GET", &format!("{url}/file"), &[("Range", "bytes=99999999-")], b"");
    assert_eq!((none.status, none.code().as_str()), (416, "range_not_satisfiable"));
    assert_eq!(none.header("content-range"), format!("bytes */{}", bytes.len()));
}

#[test]
fn maps_of_meaning_are_made_of_the_words() {
    let place = Place::with(&["form.pdf"]);
    let model = fixtures().join("embedder/bert").display().to_string();
    let ran = place.run(&["index", "--model", "nano", "--meaning", &model, "--no-ocr", "."]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let server = Server::start(&place, &[]);
    let reference = first_ref(&server, "travel expenses");
    let url = format!("/v1/pages/{reference}");
    let seen = server.ok(&format!("{url}/heatmap?query=travel+expenses&format=json"));
    let meant =
        server.ok(&format!("{url}/heatmap?query=travel+expenses&channel=meaning&format=json"));
    assert_ne!(seen["model_id"], meant["model_id"]);
    assert_eq!((&seen["approximate"], &meant["approximate"]), (&json!(false), &json!(true)));
    assert_eq!(meant["words"].as_array().unwrap().len(), 2);
    // Heat stands on words alone.
    let page = server.ok(&format!("{url}?words=true"));
    let (width, height) =
        (page["size_pt"][0].as_f64().unwrap(), page["size_pt"][1].as_f64().unwrap());
    let (columns, rows) = (meant["columns"].as_u64().unwrap(), meant["rows"].as_u64().unwrap());
    let values = meant["values"].as_array().unwrap();
    assert_eq!(values.len() as u64, columns * rows);
    let words = page["words"].as_array().unwrap();
    for (cell, value) in (0..).zip(values).filter(|(_, value)| !value.is_null()) {
        let (column, row) = (cell % columns, cell / columns);
        let (x, y) = (width / columns as f64, height / rows as f64);
        let (left, top) = (column as f64 * x, row as f64 * y);
        let on = |word: &&Value| {
            let edge = |at: usize| word["rect_pt"][at].as_f64().unwrap();
            edge(0) < left + x + 1.0
                && left < edge(2) + 1.0
                && edge(1) < top + y + 1.0
                && top < edge(3) + 1.0
        };
        assert!(words.iter().any(|word| on(&word)), "heat {value} beside the words at {cell}");
    }
    let map = server.get(&format!("{url}/heatmap?query=travel&channel=meaning&width=300"));
    assert_eq!((map.status, map.header("content-type")), (200, "image/png"));
    let regions = server.ok(&format!("{url}/regions?query=travel&channel=meaning"));
    assert_eq!(regions["model_id"], meant["model_id"]);
    assert!(!regions["regions"].as_array().unwrap().is_empty());
    // An agent is shown the same part of the page as a program.
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "get_page", "arguments": {
            "ref": reference, "include": ["text"], "query": "travel", "channel": "meaning",
        }},
    });
    let headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2025-06-18"),
    ];
    let told = server.ask("POST", "/mcp", &headers, call.to_string().as_bytes()).json();
    let told = &told["result"]["structuredContent"]["region"];
    assert_eq!(told["rect_pt"], regions["regions"][0]["rect_pt"], "{told}");
    let wrong = server.get(&format!("{url}/heatmap?query=travel&channel=words"));
    assert_eq!((wrong.status, wrong.code().as_str()), (422, "invalid_value"));
    let own = json!({"query_vectors": [vec![0.1; 128]], "channel": "meaning"});
    let own = server.post(&format!("{url}/heatmap"), &own);
    assert_eq!((own.status, own.code().as_str()), (400, "bad_request"));
    // An index that knows no meaning has no such map.
    assert_eq!(place.run(&["index", "--meaning", "off", "."]).code, 0);
    let server = Server::start(&place, &[]);
    let none = server.get(&format!("{url}/regions?query=travel&channel=meaning"));
    assert_eq!(none.code(), "no_model");
}
