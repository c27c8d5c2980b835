//! Every tensor that a model of given sizes has, and what a page costs.

use crate::checkpoint::inventory::{Entry, Inventory};
use crate::families::idefics3::config::{Config, TextSizes};
use crate::families::idefics3::names::{CONNECTOR, LANGUAGE, VISION};

/// The tensors of the vision tower and of what is between it and the language model.
pub fn vision(config: &Config) -> Vec<Entry> {
    let mut list = Inventory::default();
    config.vision.list(VISION, &mut list);
    let joined = config.vision.hidden * config.shuffle * config.shuffle;
    list.linear(CONNECTOR, joined, config.text.hidden(), false);
    list.entries
}

/// All tensors of the model.
pub fn all(config: &Config) -> Vec<Entry> {
    let mut list = Inventory { entries: vision(config) };
    match &config.text {
        TextSizes::Modern(sizes) => sizes.list(LANGUAGE, &mut list),
        TextSizes::Llama(sizes) => sizes.list(LANGUAGE, &mut list),
    }
    list.linear("head", config.text.hidden(), config.dim, true);
    list.entries
}

/// Multiplications and additions for a page of so many tiles and positions.
pub fn operations(config: &Config, tiles: usize, positions: usize) -> u64 {
    let (seen, hidden) = (&config.vision, config.text.hidden());
    let features = config.side() * config.side();
    let connector = 2 * features * seen.hidden * config.shuffle * config.shuffle * hidden;
    let text = match &config.text {
        TextSizes::Modern(sizes) => sizes.operations(positions),
        TextSizes::Llama(sizes) => sizes.operations(positions),
    };
    let head = 2 * positions * hidden * config.dim;
    (tiles * (seen.operations() + connector) + text + head) as u64
}
