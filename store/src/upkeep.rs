//! Care for a whole index: damage is named and mended, and an index moves between machines.

pub(crate) mod repair;
pub(crate) mod transfer;
pub(crate) mod verify;
