//! The layouts in which the weights of a family are published: the same tensors under other names.

use std::fmt;

/// How a checkpoint names its tensors: each prefix in its files stands for a canonical prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// What the layout is called.
    pub name: &'static str,
    /// Published and canonical prefix; the first that fits a name counts.
    pub prefixes: &'static [(&'static str, &'static str)],
}

/// All names that the checkpoints of a family use.
#[derive(Debug)]
pub struct Names {
    /// The layouts; each says every tensor of the model.
    pub layouts: &'static [Layout],
    /// Tensors that a checkpoint may have although the model does not use them. A name that ends
    /// with a point stands for all below it.
    pub unused: &'static [&'static str],
}

impl Names {
    /// The layout that knows most of `keys`, the first of equals; `None` when none knows any.
    pub fn detect<'a>(&self, keys: impl Iterator<Item = &'a str> + Clone) -> Option<Layout> {
        let known = |layout: Layout| keys.clone().filter(move |key| layout.knows(key)).count();
        let (layout, count) = self
            .layouts
            .iter()
            .map(|&layout| (layout, known(layout)))
            .reduce(|best, next| if next.1 > best.1 { next } else { best })?;
        (count > 0).then_some(layout)
    }

    /// How many of `keys` the layout knows that knows most.
    pub fn known<'a>(&self, keys: impl Iterator<Item = &'a str> + Clone) -> usize {
        let layout = self.detect(keys.clone());
        layout.map_or(0, |layout| keys.filter(|key| layout.knows(key)).count())
    }

    /// Whether a checkpoint may have `key` although the model does not use it.
    pub fn is_unused(&self, key: &str) -> bool {
        self.unused.iter().any(|name| {
            let rest = key.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || name.ends_with('.'))
        })
    }
}

impl Layout {
    fn knows(&self, key: &str) -> bool {
        self.prefixes.iter().any(|(published, _)| key.starts_with(published))
    }

    /// The canonical name of the file's `key`; `None` for a name that this layout does not have.
    pub fn canonical(&self, key: &str) -> Option<String> {
        self.prefixes.iter().find_map(|(published, canonical)| {
            Some(format!("{canonical}{}", key.strip_prefix(published)?))
        })
    }

    /// The inverse of [`canonical`](Self::canonical).
    pub fn key(&self, canonical: &str) -> String {
        let found = self.prefixes.iter().find_map(|(published, prefix)| {
            Some(format!("{published}{}", canonical.strip_prefix(prefix)?))
        });
        found.unwrap_or_else(|| canonical.to_string())
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
