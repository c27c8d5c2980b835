//! Fewer vectors a page: similar ones merged into their mean.

mod hierarchical;
mod k_means;

pub use hierarchical::{Pooled, hierarchical_clusters, pool_hierarchical};
pub use k_means::{pool, pool_k_means, pool_to};
