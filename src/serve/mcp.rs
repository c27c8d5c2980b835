//! The Model Context Protocol: the tools of [`super::tools`] for agents, over stdin and stdout and
//! at `/mcp`.

use std::io;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use axum::Router;
use axum::body::Body;
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::map_response;
use axum::response::IntoResponse;
use axum::routing::post_service;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorCode, ErrorData,
    ListResourceTemplatesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::{RoleServer, ServerHandler, serve_server};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::call::BODY;
use super::meters;
use super::options::Options;
use super::problem::{Code, Problem};
use super::served::Served;
use super::state::{App, Phase, Shared};
use super::tools;

/// Answers agents.
#[derive(Clone)]
struct Agent(Shared);

/// What we write as JSON, as the protocol's own type.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

impl ServerHandler for Agent {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::default();
        if let Ok(capabilities) = typed(json!({"tools": {}, "resources": {}})) {
            info.capabilities = capabilities;
        }
        let named = json!({
            "name": "pagesight",
            "title": "pagesight",
            "version": env!("CARGO_PKG_VERSION"),
        });
        if let Ok(named) = typed(named) {
            info.server_info = named;
        }
        info.instructions = Some(tools::INSTRUCTIONS.into());
        info
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools: Vec<Value> = tools::of(&self.0)
            .into_iter()
            .map(|tool| {
                json!({
                    "name": tool.name,
                    "title": tool.title,
                    "description": tool.description,
                    "inputSchema": tool.input,
                    "outputSchema": tool.output,
                    "annotations": {
                        "title": tool.title,
                        "readOnlyHint": true,
                        "destructiveHint": false,
                        "idempotentHint": true,
                        "openWorldHint": false,
                    },
                })
            })
            .collect();
        typed(json!({"resultType": "complete", "tools": tools}))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let Some(answer) = tools::call(&self.0, &request.name, arguments).await else {
            let detail = format!("there is no tool `{}`", request.name);
            return Err(ErrorData::invalid_params(detail, None));
        };
        let result = match answer {
            Ok(answer) => {
                let mut content = Vec::new();
                if let Some(picture) = &answer.picture {
                    let data = BASE64_STANDARD.encode(&picture.bytes);
                    content.push(json!({"type": "image", "data": data, "mimeType": picture.kind}));
                }
                content.push(json!({"type": "text", "text": answer.text}));
                content.extend(answer.links.iter().map(|(uri, name)| {
                    json!({"type": "resource_link", "uri": uri, "name": name, "mimeType": "text/plain"})
                }));
                json!({
                    "resultType": "complete",
                    "content": content,
                    "structuredContent": answer.structured,
                    "isError": false,
                })
            }
            Err(problem) => {
                let said = format!("{}: {}", problem.code.as_str(), problem.detail);
                json!({
                    "resultType": "complete",
                    "content": [{"type": "text", "text": said}],
                    "isError": true,
                })
            }
        };
        Ok(typed::<CallToolResult>(result)?.into())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        typed(json!({
            "resultType": "complete",
            "resourceTemplates": [{
                "uriTemplate": "pagesight://{index}/{ref}",
                "name": "page",
                "title": "A page",
                "description": "A page of an index: its text and its picture.",
            }],
        }))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri;
        let (text, picture) = tools::read(&self.0, &uri).await.map_err(|problem| {
            let known = matches!(problem.status, 400..=499) && problem.code != Code::TooBusy;
            let said = format!("{}: {}", problem.code.as_str(), problem.detail);
            let code = if known { ErrorCode::INVALID_PARAMS } else { ErrorCode::INTERNAL_ERROR };
            ErrorData::new(code, said, None)
        })?;
        let mut contents = vec![json!({"uri": uri, "mimeType": "text/plain", "text": text})];
        if let Some(picture) = picture {
            contents.push(json!({"uri": uri, "mimeType": "image/jpeg", "blob": picture}));
        }
        Ok(typed::<ReadResourceResult>(json!({"resultType": "complete", "contents": contents}))?
            .into())
    }
}

/// `/mcp`: one request, one answer as JSON, no session. Host and origin were looked at before, on
/// every route.
pub fn routes(app: &Shared) -> Router<Shared> {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(BODY)
        .disable_allowed_hosts();
    let agent = Agent(Arc::clone(app));
    let make = move || -> Result<Agent, io::Error> { Ok(agent.clone()) };
    let service =
        StreamableHttpService::new(make, Arc::new(LocalSessionManager::default()), config);
    Router::new().route("/mcp", post_service(service)).layer(map_response(as_problem))
}

/// What the transport refuses, it refuses in plain text: a problem like those of the other routes.
async fn as_problem(response: Response<Body>) -> Response<Body> {
    let status = response.status();
    let is_ours = response.headers().get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"application/json") || kind.starts_with(b"application/problem+json")
    });
    if is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let code = match status.as_u16() {
        404 => Code::NotFound,
        406 => Code::NotAcceptable,
        413 => Code::BodyTooLarge,
        415 => Code::UnsupportedMediaType,
        400..=499 => Code::BadRequest,
        _ => Code::Internal,
    };
    let said = axum::body::to_bytes(response.into_body(), 4 << 10).await.unwrap_or_default();
    Problem::new(code, String::from_utf8_lossy(&said).into_owned()).into_response()
}

/// `pagesight mcp`: answers on stdout what is asked on stdin, until that ends.
///
/// # Errors
/// When an index cannot be opened.
pub fn run(options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("mcp")
        .build()
        .context("starting the threads")?;
    let ended = runtime.block_on(async move {
        let recorder = meters::start().context("starting the metrics")?;
        let app: Shared = Arc::new(App::new(options, recorder));
        let opened = {
            let app = Arc::clone(&app);
            tokio::task::spawn_blocking(move || open(&app)).await
        };
        let served = opened.map_err(|error| anyhow!("opening the indexes: {error}"))??;
        let _ = app.served.set(served);
        app.phase.send_replace(Phase::Ready);
        let service = serve_server(Agent(app), rmcp::transport::stdio()).await;
        match service {
            Ok(service) => {
                service.waiting().await.context("answering")?;
                Ok(())
            }
            // A client that went away before it said what it speaks.
            Err(_) => Ok(()),
        }
    });
    runtime.shutdown_background();
    ended
}

/// Opens the indexes; their models are loaded when they are first needed, so that an agent need not
/// wait for what it may not use.
fn open(app: &App) -> Result<Vec<Served>> {
    let mut served: Vec<Served> = Vec::new();
    for (name, folder) in &app.options.indexes {
        let what = || format!("opening {}", folder.display());
        let index = app.options.open(folder).with_context(what)?;
        served.push(Served { name: name.clone(), index, is_default: served.is_empty() });
    }
    Ok(served)
}
