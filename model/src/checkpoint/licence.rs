//! The licence that a checkpoint states.

use std::path::Path;

use crate::checkpoint::Checkpoint;

/// No licence has a longer name.
const LONGEST: usize = 100;

/// The licence in the head of the checkpoint's `README.md`, where models of a hub state it:
/// `license_name` where the field `license` says `other`, else that field.
pub fn licence(checkpoint: &Checkpoint) -> Option<String> {
    let folder = checkpoint.files().folder()?;
    stated(&std::fs::read_to_string(Path::new(folder).join("README.md")).ok()?)
}

/// The licence in the head of `readme`: lines between two of three dashes.
fn stated(readme: &str) -> Option<String> {
    let head = readme.strip_prefix("---")?.split("\n---").next()?;
    let field = |name: &str| {
        let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let value = value.trim().trim_matches(['"', '\'']);
        (!value.is_empty() && value.len() <= LONGEST).then(|| value.to_string())
    };
    match field("license").as_deref() {
        Some("other") => field("license_name").or_else(|| Some("other".into())),
        _ => field("license"),
    }
}

#[cfg(test)]
mod tests {
    use super::stated;

    #[test]
    fn the_head_of_a_readme_states_it() {
        for (readme, expected) in [
            ("---\nlicense: apache-2.0\ntags:\n- x\n---\n# A model", Some("apache-2.0")),
            ("---\nlicense: \"mit\"\n---\n", Some("mit")),
            ("---\nlicense: other\nlicense_name: gemma\n---\n", Some("gemma")),
            ("---\nlicense: other\n---\n", Some("other")),
            ("---\ntags: x\n---\nlicense: mit", None),
            ("license: mit", None),
            ("", None),
        ] {
            assert_eq!(stated(readme).as_deref(), expected, "{readme:?}");
        }
    }
}
