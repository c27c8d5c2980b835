//! `/metrics`: what the server counts, as Prometheus reads it. No label takes what a client sent.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::call::Call;
use super::documents::by_status;
use super::problem::Problem;
use super::state::{App, Shared};

/// Upper ends of the buckets of times, seconds.
const SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0];

/// Starts to count.
///
/// # Errors
/// When something else in this process counts already.
pub fn start() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for name in [
        "pagesight_http_request_seconds",
        "pagesight_search_stage_seconds",
        "pagesight_draw_seconds",
    ] {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.into()), &SECONDS)?;
    }
    let handle = builder.install_recorder()?;
    describe();
    Ok(handle)
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("pagesight_build_info", "Always 1; the label is the version.");
    describe_gauge!("pagesight_index_pages", "Pages of an index.");
    describe_gauge!("pagesight_index_documents", "Documents of an index by status.");
    describe_gauge!("pagesight_index_snapshot", "Number of the snapshot that searches see.");
    describe_counter!(
        "pagesight_refresh_failed_total",
        "Looks for a newer snapshot in a bucket that failed; what is here is served."
    );
    describe_counter!("pagesight_http_requests_total", "Requests by route, method and status.");
    describe_histogram!("pagesight_http_request_seconds", "Time of requests by route.");
    describe_histogram!("pagesight_search_stage_seconds", "Time of searches by stage.");
    describe_gauge!("pagesight_search_queue", "Searches that wait.");
    describe_counter!("pagesight_rejected_total", "Requests that were sent away, by reason.");
    describe_histogram!("pagesight_draw_seconds", "Time from a wish for a picture to its bytes.");
    describe_counter!(
        "pagesight_draw_workers_ended_total",
        "Drawings that failed, by what became of their worker."
    );
    describe_gauge!("pagesight_cache_bytes", "Pictures and maps that are kept, bytes.");
    describe_counter!("pagesight_cache_requests_total", "Pictures and maps asked for.");
    describe_gauge!("pagesight_jobs", "Jobs that are remembered, by state.");
    describe_counter!("pagesight_pages_indexed_total", "Pages that jobs have read.");
    describe_gauge!("process_resident_memory_bytes", "Memory of the process, bytes.");
    describe_gauge!("process_open_fds", "Open files of the process.");
    describe_gauge!("process_start_time_seconds", "When the process started, Unix time.");
}

/// What is measured when it is asked for.
fn measure(app: &App) {
    metrics::gauge!("pagesight_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for served in app.indexes() {
        let snapshot = served.index.snapshot();
        let name = served.name.clone();
        metrics::gauge!("pagesight_index_pages", "index" => name.clone())
            .set(snapshot.pages() as f64);
        metrics::gauge!("pagesight_index_snapshot", "index" => name.clone())
            .set(snapshot.number() as f64);
        if served.index.is_in_bucket() {
            let failed = served.index.refresh_failures();
            metrics::counter!("pagesight_refresh_failed_total", "index" => name.clone())
                .absolute(failed);
        }
        // There from the start, so that a rate sees the first ones.
        for outcome in ["ok", "failed"] {
            let read = "pagesight_pages_indexed_total";
            metrics::counter!(read, "index" => name.clone(), "outcome" => outcome).increment(0);
        }
        // A ledger that cannot be read is said where documents are asked for.
        for (status, count) in by_status(served).into_iter().flatten() {
            let documents = "pagesight_index_documents";
            metrics::gauge!(documents, "index" => name.clone(), "status" => status)
                .set(count as f64);
        }
    }
    let jobs = app.jobs.by_state();
    for state in ["queued", "running", "stopping", "done", "failed", "cancelled"] {
        let count = jobs.get(state).copied().unwrap_or_default();
        metrics::gauge!("pagesight_jobs", "state" => state).set(count as f64);
    }
    metrics::gauge!("pagesight_search_queue").set(app.searches.waiting() as f64);
    metrics::gauge!("pagesight_cache_bytes").set(app.cache.bytes() as f64);
    let started = app.started.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    metrics::gauge!("process_start_time_seconds").set(started.as_secs_f64());
    if let Some(bytes) = resident_bytes() {
        metrics::gauge!("process_resident_memory_bytes").set(bytes as f64);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        metrics::gauge!("process_open_fds").set(open.count() as f64);
    }
}

/// Memory of this process, bytes, where the system says.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// `GET /metrics`.
pub async fn get(State(app): State<Shared>, call: Call) -> Result<Response<Body>, Problem> {
    call.query(&[], &[])?;
    let text = tokio::task::spawn_blocking(move || {
        measure(&app);
        app.metrics.render()
    });
    let text = text.await.map_err(|error| Problem::internal(error.to_string()))?;
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}
