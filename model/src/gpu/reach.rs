//! How far positions see.

/// What a position attends to, inside its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All positions.
    All,
    /// Itself and those before it.
    Causal,
    /// Those that are at most so many positions away, before and after it.
    Window(usize),
}
