//! What can go wrong with an endpoint. Messages name its host, never a key.

/// Why an endpoint gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The address is none.
    #[error("{url:?} is not an address of an endpoint: {reason}")]
    Address {
        /// What was given, without what may be a password.
        url: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Plain HTTP would send pages and key through a network unprotected.
    #[error("{host} is another machine, and http is not encrypted")]
    Insecure {
        /// The host.
        host: String,
    },
    /// It cannot be reached, or the connection broke.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// The host.
        host: String,
        /// What the connection says.
        reason: String,
    },
    /// It says nothing.
    #[error("{host} sent nothing for {seconds} s")]
    Silent {
        /// The host.
        host: String,
        /// How long.
        seconds: u64,
    },
    /// It sends elsewhere.
    #[error("{host} answers with a redirect ({status}), which is refused")]
    Redirect {
        /// The host.
        host: String,
        /// The status.
        status: u16,
    },
    /// It refuses.
    #[error("{host} answers {status}: {message}")]
    Status {
        /// The host.
        host: String,
        /// The status.
        status: u16,
        /// The beginning of what it says.
        message: String,
    },
    /// What it sends is no answer.
    #[error("{host} sends what is no answer: {got:?}")]
    Garbage {
        /// The host.
        host: String,
        /// The beginning of it.
        got: String,
    },
    /// It sends too much.
    #[error("{host} sends more than {most} bytes")]
    TooLong {
        /// The host.
        host: String,
        /// The limit.
        most: usize,
    },
    /// It stops in the middle.
    #[error("{host} stopped in the middle of its answer")]
    Cut {
        /// The host.
        host: String,
    },
    /// Whoever asked wants no more.
    #[error("interrupted")]
    Stopped,
}
