//! Questions answered in words, with the pages that prove it.
//!
//! [`Evidence`] says which pages, which of their words and which pictures an answer may lean on.
//! [`Evidence::passage`] answers with what the best page says itself, and needs no model;
//! [`Evidence::ask_model`] lets a PaliGemma of this machine read it off a page;
//! [`Evidence::ask`] gives the evidence to a chat model that a user named
//! ([`Endpoint`](crate::endpoint::Endpoint)). In each case every sentence of the answer is checked
//! against the words of the pages that it cites.
//!
//! Pages are data from strangers. What is sent stands between marks that nobody outside can know,
//! and is named as quoted material; that helps, and does not protect. Words that a page has and does
//! not show are left out. An answer is a text: nothing in it is fetched, opened or run.

mod chat;
mod evidence;
mod paligemma;
mod passage;
mod said;

pub use pagesight_query::Support;

pub use crate::ask::evidence::{Budget, Evidence};
pub use crate::ask::said::{Checked, Cite, Said};
