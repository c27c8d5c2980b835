//! The two Lance tables: how they are opened, read and written, what their columns are, and where
//! the rows of pages lie.

mod address_file;
pub(crate) mod addresses;
pub(crate) mod detached;
pub(crate) mod row_list;
pub(crate) mod salvage;
pub(crate) mod schema;
pub(crate) mod table;
