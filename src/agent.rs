//! What asks other machines over HTTP: chat models that answer, and the parts of an index.

use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

/// The settings that all of it has. Redirects are not followed and proxies of the environment are
/// not used, so that what is sent, and a key, reach the named host alone. An answer of any status is
/// an answer. A connection stands within `connect`.
pub fn settings(connect: Duration) -> ConfigBuilder<AgentScope> {
    ureq::Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .timeout_connect(Some(connect))
        .user_agent(concat!("pagesight/", env!("CARGO_PKG_VERSION")))
}
