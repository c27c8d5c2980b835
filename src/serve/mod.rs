//! `pagesight serve`: an index over HTTP, as a web page, and for agents.
//!
//! A request goes through [`gate`] (host, origin, size), its token is looked at, and a handler of
//! [`routes`] answers it in a place of its own ([`admission`]). What indexes compute is the
//! library's; here is only what belongs to HTTP.

#![allow(
    clippy::result_large_err,
    reason = "a problem is made once a request at most, and is written at once"
)]

mod admission;
pub mod answerer;
mod ask;
mod cache;
mod call;
pub mod client;
mod context;
mod documents;
mod fields;
mod gate;
mod jobs;
mod json;
mod layer;
mod log;
mod mcp;
mod meters;
pub mod options;
mod pages;
mod part;
pub mod parts;
mod problem;
mod routes;
mod schema;
mod search;
mod served;
mod server;
mod session;
mod state;
mod status;
mod tools;
mod web;
mod wire;
mod writing;

pub use mcp::run as run_stdio;
pub use server::{Ended, run};
