//! The server as a black box: the real program on real PDFs, asked over HTTP by a client of a few
//! lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ask::{Fake, reply, streamed};
use super::{Place, hits};

/// A server that ends with the test.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_string()
    }
}

impl Server {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let whole = [&["serve", "--bind", "127.0.0.1:0", "--json"], arguments].concat();
        let mut command = place.command(&whole);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("the listening line");
        assert_eq!((&said["v"], &said["type"]), (&json!(1), &json!("listening")));
        let address = said["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_string();
        Self { child, address }
    }

    /// Sends what it is given, and reads one answer.
    fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request).unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("an answer");
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        let mut body = bytes[end + 4..].to_vec();
        let chunked = |(name, value): &(String, String)| {
            name.eq_ignore_ascii_case("transfer-encoding") && value == "chunked"
        };
        if headers.iter().any(chunked) {
            body = unchunked(&body);
        }
        Answer { status, headers, body }
    }

    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request.push_str(&format!("Host: {}\r\n", self.address));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        self.raw(&[request.as_bytes(), body].concat())
    }

    fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[], b"")
    }

    fn post(&self, target: &str, body: &Value) -> Answer {
        let headers = [("Content-Type", "application/json")];
        self.ask("POST", target, &headers, body.to_string().as_bytes())
    }

    fn ok(&self, target: &str) -> Value {
        let answer = self.get(target);
        assert_eq!(answer.status, 200, "{target}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
    whole
}

/// An index of a form and slides by nano, and a server for all tests that only read.
fn shared() -> &'static (Place, Server) {
    static SHARED: OnceLock<(Place, Server)> = OnceLock::new();
    SHARED.get_or_init(|| {
        let place = Place::new();
        place.add("form.pdf", "reports/form.pdf");
        place.add("rotated.pdf", "reports/rotated.pdf");
        place.add("scan.pdf", "scan.pdf");
        assert_eq!(place.run(&["index", "--model", "nano", "--no-ocr", "."]).code, 0);
        let server = Server::start(&place, &[]);
        (place, server)
    })
}

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
    let (place, server) = shared();
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

fn first_ref(server: &Server, query: &str) -> String {
    let answer = server.post("/v1/search", &json!({"query": query, "k": 1}));
    answer.json()["hits"][0]["ref"].as_str().unwrap().to_string()
}

#[test]
fn a_search_over_http_is_that_of_the_command_line() {
    let (place, server) = shared();
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
    let (_, server) = shared();
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
fn pictures_and_maps_lie_over_each_other() {
    let (_, server) = shared();
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
    let (_, server) = shared();
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
    let (place, server) = shared();
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
fn what_is_wrong_is_said_as_a_problem() {
    let (_, server) = shared();
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
    let (_, server) = shared();
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
    let (_, server) = shared();
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
}

#[test]
fn a_context_keeps_to_its_budget() {
    let (_, server) = shared();
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
    let bytes = std::fs::read(super::fixtures().join("pdf/slides.pdf")).unwrap();
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
    let (place, server) = shared();
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
