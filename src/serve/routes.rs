//! The routes: each with its handler and what `/openapi.json` says of it. There is no other list,
//! so that no route is undocumented.

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::call::Call;
use super::jobs::JobInfo;
use super::json::Json;
use super::problem::{Code, Problem};
use super::state::Shared;
use super::{ask, context, documents, meters, pages, schema, search, status, web, wire, writing};

/// What the `channel` of maps and regions is.
const CHANNEL_OF_MAP: &str =
    "What answers: the patches of the page's picture, or what the words of the page mean.";

/// A route with its description.
pub struct Route {
    pub method: &'static str,
    pub path: &'static str,
    /// Whether it is open without a token.
    pub open: bool,
    handler: fn() -> MethodRouter<Shared>,
    operation: Operation,
}

/// What is said of a route.
pub struct Operation {
    id: &'static str,
    description: &'static str,
    parameters: Vec<Value>,
    body: Option<Body>,
    answers: Vec<Answer>,
    problems: Vec<Code>,
}

struct Body {
    kind: &'static str,
    schema: fn(&mut SchemaGenerator) -> Value,
}

/// Makes the schema of a body.
type Shape = fn(&mut SchemaGenerator) -> Value;

struct Answer {
    status: u16,
    description: &'static str,
    /// Media types with their schemas; none for an empty answer.
    content: Vec<(&'static str, Shape)>,
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn binary(_: &mut SchemaGenerator) -> Value {
    json!({"type": "string", "format": "binary"})
}

fn text(_: &mut SchemaGenerator) -> Value {
    json!({"type": "string"})
}

fn object(_: &mut SchemaGenerator) -> Value {
    json!({"type": "object"})
}

impl Operation {
    fn new(id: &'static str, description: &'static str) -> Self {
        let (parameters, answers, problems) = (Vec::new(), Vec::new(), Vec::new());
        Self { id, description, parameters, body: None, answers, problems }
    }

    fn parameter(mut self, name: &str, place: &str, schema: Value, description: &str) -> Self {
        let required = place == "path" || schema.get("x-required").is_some();
        let mut schema = schema;
        if let Value::Object(fields) = &mut schema {
            fields.remove("x-required");
        }
        self.parameters.push(json!({
            "name": name,
            "in": place,
            "required": required,
            "description": description,
            "schema": schema,
        }));
        self
    }

    fn query(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter(name, "query", schema, description)
    }

    fn index(self) -> Self {
        let description = "The index, by name; the default one when it is left out.";
        self.query("index", json!({"type": "string"}), description).problems(&[Code::IndexNotFound])
    }

    fn page(self) -> Self {
        let schema = json!({"type": "string", "pattern": "^[0-9A-Fa-f]{8,64}-[1-9][0-9]*$"});
        let description = "A page's reference, DOC-PAGE: 8 to 64 hexadecimal digits of the \
                           document's id and the page's number from 1.";
        self.parameter("ref", "path", schema, description)
            .problems(&[Code::PageNotFound, Code::AmbiguousRef])
    }

    fn document(self) -> Self {
        let schema = json!({"type": "string", "pattern": "^[0-9A-Fa-f]{8,64}$"});
        let description = "8 to 64 hexadecimal digits of the document's id.";
        self.parameter("doc", "path", schema, description)
            .problems(&[Code::DocumentNotFound, Code::AmbiguousRef])
    }

    fn job(self) -> Self {
        self.parameter("id", "path", json!({"type": "string"}), "The job's id.")
            .problems(&[Code::JobNotFound])
    }

    fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body { kind: "application/json", schema: of::<T> });
        self.problems(&[Code::BodyTooLarge, Code::UnsupportedMediaType, Code::RequestTimeout])
    }

    fn pdf(mut self) -> Self {
        self.body = Some(Body { kind: "application/pdf", schema: binary });
        self.problems(&[Code::BodyTooLarge, Code::UnsupportedMediaType, Code::RequestTimeout])
    }

    fn json<T: JsonSchema>(mut self, status: u16, description: &'static str) -> Self {
        let content: Vec<(&'static str, Shape)> = vec![("application/json", of::<T>)];
        self.answers.push(Answer { status, description, content });
        self
    }

    fn other(
        mut self,
        status: u16,
        description: &'static str,
        content: &[(&'static str, Shape)],
    ) -> Self {
        self.answers.push(Answer { status, description, content: content.to_vec() });
        self
    }

    fn problems(mut self, codes: &[Code]) -> Self {
        self.problems.extend(codes);
        self
    }

    /// What searches, pictures and maps may end with.
    fn busy(self) -> Self {
        self.problems(&[Code::TooBusy, Code::Deadline, Code::IndexUnavailable, Code::InvalidValue])
    }

    fn written(self) -> Self {
        self.problems(&[Code::ReadOnly, Code::Scope])
    }

    fn to_json(&self, open: bool, generator: &mut SchemaGenerator) -> Value {
        let mut responses = Map::new();
        for answer in &self.answers {
            let mut response = json!({"description": answer.description});
            if !answer.content.is_empty() {
                let mut content = Map::new();
                for (kind, schema) in &answer.content {
                    content.insert((*kind).into(), json!({"schema": schema(generator)}));
                }
                response["content"] = Value::Object(content);
            }
            responses.insert(answer.status.to_string(), response);
        }
        let problem = generator.subschema_for::<Problem>().to_value();
        // Hosts, origins and parameters are looked at on every route, tokens on most.
        let mut codes = self.problems.clone();
        codes.extend([
            Code::BadRequest,
            Code::HostNotAllowed,
            Code::OriginNotAllowed,
            Code::UriTooLong,
            Code::HeadersTooLarge,
            Code::Internal,
        ]);
        if !open {
            codes.extend([Code::Unauthorized, Code::Starting]);
        }
        let mut by_status: std::collections::BTreeMap<u16, Vec<&str>> = Default::default();
        for code in codes {
            let words = by_status.entry(code.status()).or_default();
            if !words.contains(&code.as_str()) {
                words.push(code.as_str());
            }
        }
        for (status, mut words) in by_status {
            words.sort_unstable();
            let description = format!("A problem: `{}`.", words.join("`, `"));
            let content = json!({"application/problem+json": {"schema": problem}});
            let response = json!({"description": description, "content": content});
            responses.insert(status.to_string(), response);
        }
        let mut operation = json!({
            "operationId": self.id,
            "description": self.description,
            "responses": responses,
        });
        if !self.parameters.is_empty() {
            operation["parameters"] = json!(self.parameters);
        }
        if let Some(body) = &self.body {
            let schema = (body.schema)(generator);
            operation["requestBody"] =
                json!({"required": true, "content": {body.kind: {"schema": schema}}});
        }
        if open {
            operation["security"] = json!([]);
        }
        operation
    }
}

fn route(
    method: &'static str,
    path: &'static str,
    handler: fn() -> MethodRouter<Shared>,
    operation: Operation,
) -> Route {
    Route { method, path, open: false, handler, operation }
}

fn open(
    method: &'static str,
    path: &'static str,
    handler: fn() -> MethodRouter<Shared>,
    operation: Operation,
) -> Route {
    Route { method, path, open: true, handler, operation }
}

fn whole(least: u64, most: u64, default: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most, "default": default})
}

fn words(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words, "default": words[0]})
}

fn flag(default: bool) -> Value {
    json!({"type": "boolean", "default": default})
}

fn required() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 4096, "x-required": true})
}

/// All routes but the web page and MCP.
pub fn all() -> Vec<Route> {
    let health =
        |id, description| Operation::new(id, description).json::<schema::Health>(200, "It is so.");
    let searched = |id, description| {
        Operation::new(id, description)
            .json::<schema::SearchAnswer>(200, "Ranked pages; none when nothing was found.")
            .busy()
            .problems(&[Code::IndexNotFound, Code::NoModel, Code::AmbiguousRef])
            .problems(&[Code::PartUnavailable])
    };
    let drawn = || [Code::DrawFailed, Code::FileGone, Code::FileChanged];
    let map = |id, description| {
        Operation::new(id, description)
            .page()
            .other(
                200,
                "The map.",
                &[("image/png", binary), ("application/json", of::<schema::Heatmap>)],
            )
            .other(304, "The client has it already.", &[])
            .busy()
            .problems(&[Code::IndexNotFound, Code::NoModel, Code::NoVectors])
    };
    vec![
        open(
            "get",
            "/healthz",
            || get(status::live),
            health("healthz", "Whether the process serves."),
        ),
        open("get", "/livez", || get(status::live), health("livez", "Whether the process serves.")),
        open(
            "get",
            "/readyz",
            || get(status::ready),
            health("readyz", "Whether the indexes are open and the models warm.")
                .problems(&[Code::Starting, Code::Stopping]),
        ),
        open(
            "post",
            "/v1/session",
            || post(status::begin),
            Operation::new(
                "begin_session",
                "Begins a session of the web page, which a cookie names.",
            )
            .body::<schema::SessionRequest>()
            .other(204, "The session has begun.", &[])
            .problems(&[Code::Unauthorized, Code::TooBusy]),
        ),
        open(
            "delete",
            "/v1/session",
            || delete(status::end),
            Operation::new("end_session", "Ends the session of the web page.")
                .other(204, "There is no session any more.", &[])
                .problems(&[Code::Unauthorized]),
        ),
        route(
            "get",
            "/metrics",
            || get(meters::get),
            Operation::new("metrics", "What the server counts, as Prometheus reads it.").other(
                200,
                "Prometheus text.",
                &[("text/plain", text)],
            ),
        ),
        route(
            "get",
            "/openapi.json",
            || get(describe),
            Operation::new("openapi", "This description.").other(
                200,
                "OpenAPI 3.1.",
                &[("application/json", object)],
            ),
        ),
        route(
            "get",
            "/v1/status",
            || get(status::status),
            Operation::new("status", "What the server is, what it has, and what it takes at most.")
                .json::<wire::Status>(200, "The status."),
        ),
        route(
            "get",
            "/v1/indexes",
            || get(status::indexes),
            Operation::new("list_indexes", "The indexes.")
                .json::<status::Indexes>(200, "The indexes."),
        ),
        route(
            "post",
            "/v1/search",
            || post(search::post),
            searched("search", "Ranks pages for a question, by how they look and by their words.")
                .body::<schema::SearchRequest>(),
        ),
        route(
            "get",
            "/v1/search",
            || get(search::get),
            searched(
                "search_get",
                "As the search that is posted, for links and for the command line.",
            )
            .query("q", required(), "What is asked, 1 to 4,096 bytes after trimming.")
            .query("k", whole(1, 200, 10), "How many hits.")
            .query(
                "channel",
                words(&["both", "visual", "text", "meaning"]),
                "Which channels answer.",
            )
            .query(
                "path",
                json!({"type": "array", "items": {"type": "string"}, "maxItems": 32}),
                "Only documents whose ledger path matches one of these globs; repeat.",
            )
            .query("explain", flag(false), "Whether to say what of each hit answers each token.")
            .query("regions", whole(0, 5, 0), "Regions of each of the first 10 hits.")
            .query("text", words(&["snippet", "none", "full"]), "How much of a page's text.")
            .query(
                "all",
                flag(false),
                "Whether to give the best pages even where nothing speaks for an answer.",
            )
            .index(),
        ),
        route(
            "post",
            "/v1/context",
            || post(context::post),
            Operation::new("context", "Sources for an answer, within a budget of characters.")
                .body::<schema::ContextRequest>()
                .json::<schema::ContextAnswer>(200, "The sources.")
                .busy()
                .problems(&[Code::IndexNotFound, Code::NoModel, Code::AmbiguousRef])
                .problems(&[Code::PartUnavailable])
                .problems(&drawn()),
        ),
        route(
            "post",
            "/v1/ask",
            || post(ask::post),
            Operation::new(
                "ask",
                "Answers a question in words, from the best passage or by the model that the server \
                 was started with, and checks the citations.",
            )
            .body::<schema::AskRequest>()
            .other(
                200,
                "Events: the sources (`retrieved`), the text piece by piece (`delta`), and the answer \
                 with its sentences checked (`answer`), or why there is none (`error`).",
                &[("text/event-stream", text), ("application/x-ndjson", text)],
            )
            .busy()
            .problems(&[Code::IndexNotFound, Code::NoModel, Code::AmbiguousRef]),
        ),
        route(
            "get",
            "/v1/pages/{ref}",
            || get(pages::info),
            Operation::new("page", "A page: what it says and where it is from.")
                .page()
                .query("words", flag(false), "Whether to add its words with their places.")
                .index()
                .json::<wire::PageInfo>(200, "The page.")
                .busy()
                .problems(&drawn()),
        ),
        route(
            "get",
            "/v1/pages/{ref}/image",
            || get(pages::image),
            Operation::new("page_image", "The picture of a page, or of a part of it.")
                .page()
                .query("width", whole(16, 4096, 1200), "Width, px; of a part, the part's.")
                .query("format", words(&["webp", "png", "jpeg"]), "How it is encoded.")
                .query("quality", whole(1, 100, 85), "Quality of a JPEG.")
                .query(
                    "region",
                    json!({"type": "string", "examples": ["72,72,300,200"]}),
                    "A part of the page: x0,y0,x1,y1, points, cut to the page.",
                )
                .index()
                .other(
                    200,
                    "The picture.",
                    &[("image/webp", binary), ("image/png", binary), ("image/jpeg", binary)],
                )
                .other(304, "The client has it already.", &[])
                .busy()
                .problems(&drawn()),
        ),
        route(
            "get",
            "/v1/pages/{ref}/heatmap",
            || get(pages::get_heatmap),
            map("heatmap", "Where on a page a question, a word or a token of it is answered.")
                .query("query", required(), "What is asked, 1 to 4,096 bytes after trimming.")
                .query("channel", words(&["visual", "meaning"]), CHANNEL_OF_MAP)
                .query(
                    "word",
                    json!({"type": "integer", "minimum": 0}),
                    "A word, from 0; not with token.",
                )
                .query(
                    "token",
                    json!({"type": "integer", "minimum": 0}),
                    "A token, from 0; not with word.",
                )
                .query("width", whole(16, 2048, 800), "Width, px.")
                .query("format", words(&["png", "json"]), "A picture or numbers.")
                .query("smooth", flag(true), "Whether heat between cells is bilinear.")
                .query("scale", words(&["page", "absolute"]), "What heat is measured against.")
                .index(),
        ),
        route(
            "post",
            "/v1/pages/{ref}/heatmap",
            || post(pages::post_heatmap),
            map("heatmap_post", "As the map that is got, for vectors of your own.")
                .body::<schema::HeatmapRequest>(),
        ),
        route(
            "get",
            "/v1/pages/{ref}/regions",
            || get(pages::regions),
            Operation::new("regions", "The parts of a page that answer a question, best first.")
                .page()
                .query("query", required(), "What is asked, 1 to 4,096 bytes after trimming.")
                .query("channel", words(&["visual", "meaning"]), CHANNEL_OF_MAP)
                .query("word", json!({"type": "integer", "minimum": 0}), "A word of it, from 0.")
                .query("n", whole(1, 5, 3), "How many.")
                .query("words", flag(false), "Whether to add their words with their places.")
                .index()
                .json::<schema::Regions>(200, "The regions.")
                .busy()
                .problems(&drawn())
                .problems(&[Code::NoModel, Code::NoVectors]),
        ),
        route(
            "get",
            "/v1/documents",
            || get(documents::list),
            Operation::new("list_documents", "Documents by path, some at a time.")
                .query(
                    "status",
                    json!({"type": "string", "enum": ["ok", "partial", "failed", "in_progress"]}),
                    "Only documents in this state.",
                )
                .query(
                    "path",
                    json!({"type": "array", "items": {"type": "string"}, "maxItems": 32}),
                    "Only documents whose ledger path matches one of these globs; repeat.",
                )
                .query("limit", whole(1, 1000, 100), "How many.")
                .query("after", json!({"type": "string"}), "The `next` of the list before.")
                .index()
                .json::<documents::Documents>(200, "The documents.")
                .problems(&[Code::InvalidValue, Code::IndexUnavailable]),
        ),
        route(
            "post",
            "/v1/documents",
            || post(writing::upload),
            Operation::new("upload", "Takes a PDF in and indexes it.")
                .query(
                    "name",
                    json!({"type": "string", "maxLength": 200, "x-required": true}),
                    "A bare file name that ends in .pdf, at most 200 bytes.",
                )
                .index()
                .pdf()
                .json::<writing::Uploaded>(200, "Its bytes are in the index already.")
                .json::<writing::Uploaded>(202, "A job indexes it.")
                .written()
                .busy()
                .problems(&[Code::NotAPdf, Code::Stopping]),
        ),
        route(
            "get",
            "/v1/documents/{doc}",
            || get(documents::one),
            Operation::new("document", "A document: what became of it and of its pages.")
                .document()
                .index()
                .json::<schema::DocumentDetail>(200, "The document."),
        ),
        route(
            "delete",
            "/v1/documents/{doc}",
            || delete(writing::delete),
            Operation::new(
                "delete_document",
                "Removes a document that was uploaded, file and pages.",
            )
            .document()
            .index()
            .json::<JobInfo>(200, "The job that removes it.")
            .written()
            .problems(&[Code::NotAnUpload, Code::TooBusy, Code::Stopping]),
        ),
        route(
            "get",
            "/v1/documents/{doc}/file",
            || get(documents::file),
            Operation::new("document_file", "The PDF itself, or a range of its bytes.")
                .document()
                .index()
                .other(200, "The PDF.", &[("application/pdf", binary)])
                .other(206, "The range that was asked for.", &[("application/pdf", binary)])
                .other(304, "The client has it already.", &[])
                .problems(&[Code::FileGone, Code::FileChanged, Code::TooBusy, Code::Deadline])
                .problems(&[Code::RangeNotSatisfiable]),
        ),
        route(
            "post",
            "/v1/jobs",
            || post(writing::start),
            Operation::new("start_job", "Brings an index in step with a folder below a root.")
                .body::<schema::JobRequest>()
                .json::<JobInfo>(202, "The job.")
                .written()
                .problems(&[
                    Code::IndexNotFound,
                    Code::RootNotFound,
                    Code::OutsideRoot,
                    Code::InvalidValue,
                    Code::TooBusy,
                    Code::Stopping,
                ]),
        ),
        route(
            "get",
            "/v1/jobs",
            || get(writing::all),
            Operation::new("list_jobs", "The last 100 jobs, the newest first.")
                .json::<writing::JobList>(200, "The jobs.")
                .problems(&[Code::Scope]),
        ),
        route(
            "get",
            "/v1/jobs/{id}",
            || get(writing::one),
            Operation::new("job", "A job.")
                .job()
                .json::<JobInfo>(200, "The job.")
                .problems(&[Code::Scope]),
        ),
        route(
            "delete",
            "/v1/jobs/{id}",
            || delete(writing::stop),
            Operation::new("stop_job", "Asks a job to stop after its batch.")
                .job()
                .json::<JobInfo>(202, "The job, which stops.")
                .written()
                .problems(&[Code::JobEnded]),
        ),
        route(
            "get",
            "/v1/jobs/{id}/events",
            || get(writing::events),
            Operation::new("job_events", "What happens in a job, as it happens.")
                .job()
                .query(
                    "after",
                    json!({"type": "integer", "minimum": 0, "default": 0}),
                    "Only events after this number.",
                )
                .other(
                    200,
                    "Events.",
                    &[("application/x-ndjson", text), ("text/event-stream", text)],
                )
                .problems(&[Code::NotAcceptable, Code::Scope, Code::InvalidValue]),
        ),
    ]
}

/// `GET /openapi.json`.
async fn describe(call: Call) -> Result<Json<Value>, Problem> {
    call.query(&[], &[])?;
    Ok(Json(description()))
}

/// The router of all routes; `with_web` adds the page.
pub fn router(with_web: bool) -> Router<Shared> {
    let mut router = Router::new();
    for route in all() {
        router = router.route(route.path, (route.handler)());
    }
    if with_web {
        router = router
            .route("/", get(web::page))
            .route("/app.js", get(web::script))
            .route("/app.css", get(web::style))
            .route("/favicon.svg", get(web::icon));
    }
    router
}

/// The router of those routes that say how the server is: what a part of an index answers to others than
/// its router.
pub fn state() -> Router<Shared> {
    const OF_STATE: [&str; 6] =
        ["/healthz", "/livez", "/readyz", "/metrics", "/v1/status", "/v1/indexes"];
    let of_state = all().into_iter().filter(|route| OF_STATE.contains(&route.path));
    of_state.fold(Router::new(), |router, route| router.route(route.path, (route.handler)()))
}

/// OpenAPI 3.1, made from the routes and their types.
pub fn description() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in all() {
        let operation = route.operation.to_json(route.open, &mut generator);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation;
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "pagesight",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Searches PDFs by how their pages look. Lengths: `_pt` points (1/72 inch, \
                origin top left of the page as displayed), `_px` pixels, `ms` milliseconds. Fields \
                are added to answers within /v1, never changed: ignore what you do not know.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The server's token."},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": super::session::COOKIE_NAME,
                    "description": "A session of the web page.",
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_the_one_that_is_committed() {
        let text = serde_json::to_string_pretty(&description()).unwrap() + "\n";
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        if std::env::var_os("PAGESIGHT_WRITE_OPENAPI").is_some() {
            std::fs::write(file, &text).unwrap();
        }
        let committed = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            committed == text,
            "docs/openapi.json is not what the code says: PAGESIGHT_WRITE_OPENAPI=1 cargo test \
             --bin pagesight writes it anew"
        );
    }

    #[test]
    fn every_operation_is_described_and_every_field_too() {
        let description = description();
        let mut ids = std::collections::BTreeSet::new();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_string()), "{id} stands twice");
                assert!(operation["description"].as_str().is_some_and(|said| said.len() > 5));
                let responses = operation["responses"].as_object().unwrap();
                if path.starts_with("/v1/") {
                    assert!(responses.contains_key("401"), "{method} {path} has no 401");
                    assert!(responses.contains_key("403"), "{method} {path} has no 403");
                }
            }
        }
        for (name, schema) in description["components"]["schemas"].as_object().unwrap() {
            assert!(schema["description"].is_string(), "{name} is not described");
            for (field, of) in schema["properties"].as_object().into_iter().flatten() {
                let described = of["description"].is_string() || of["$ref"].is_string();
                assert!(described, "{name}.{field} is not described");
            }
        }
    }

    #[test]
    fn what_is_read_is_what_is_described() {
        let description = description();
        let fields = |name: &str| -> Vec<String> {
            let properties = &description["components"]["schemas"][name]["properties"];
            let mut fields: Vec<String> = properties.as_object().unwrap().keys().cloned().collect();
            fields.sort();
            fields
        };
        let sorted = |known: &[&str]| -> Vec<String> {
            let mut known: Vec<String> = known.iter().map(ToString::to_string).collect();
            known.sort();
            known
        };
        assert_eq!(fields("SearchRequest"), sorted(&search::FIELDS));
        assert_eq!(fields("ContextRequest"), sorted(&context::FIELDS));
        assert_eq!(fields("HeatmapRequest"), sorted(&pages::MAP));
        assert_eq!(fields("JobRequest"), sorted(&writing::JOB));
    }
}
