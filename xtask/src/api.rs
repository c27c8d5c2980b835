//! `cargo xtask api`: the public names of the library `pagesight`, with their signatures, compared
//! with the committed `api.txt`. A change of them is then seen in review, on purpose or not.
//!
//! The names are read from the sources: what `src/lib.rs` declares or re-exports, and of each its
//! public fields, variants and methods wherever they are written. rustdoc's JSON would be exact
//! about generated code, but its format belongs to the nightly compiler, and its HTML needs
//! everything compiled; this takes a second and gives lines that a reviewer can read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, Type, UseTree, Visibility};

use super::files;

/// Compares, or writes the list anew.
pub fn run(clone: &Path, write: bool) -> Result<()> {
    let names = public_names(clone)?;
    let path = clone.join("api.txt");
    let before = fs::read_to_string(&path).unwrap_or_default();
    if write {
        fs::write(&path, &names).with_context(|| format!("writing {}", path.display()))?;
        println!("{} public names in {}", names.lines().count(), path.display());
        return Ok(());
    }
    if names == before {
        return Ok(());
    }
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (before.lines().collect(), names.lines().collect());
    let gone = old.difference(&new).map(|line| format!("- {line}\n"));
    let come = new.difference(&old).map(|line| format!("+ {line}\n"));
    let changes: String = gone.chain(come).collect();
    bail!(
        "the public names of the library are no longer those of api.txt:\n{changes}Where that is \
         meant, run `cargo xtask api --write` and say so in CHANGELOG.md"
    )
}

/// What a name of one crate is made of: the lines after it.
#[derive(Default)]
struct Sources {
    /// Lines of the definition and of the methods, by the name of the type, trait or function.
    of: BTreeMap<String, Vec<String>>,
}

fn public_names(clone: &Path) -> Result<String> {
    let manifest = fs::read_to_string(clone.join("Cargo.toml"))?;
    // Lines like: pagesight-core = { path = "core" }
    let rooms = manifest.lines().filter(|line| line.starts_with("pagesight-"));
    let rooms =
        rooms.filter_map(|line| Some((line.split_once(" = {")?.0, line.split('"').nth(1)?)));
    let mut crates = BTreeMap::new();
    for (name, folder) in rooms {
        crates.insert(name.replace('-', "_"), sources(&clone.join(folder).join("src"))?);
    }
    crates.insert("crate".into(), sources(&clone.join("src"))?);

    let front = parse(&clone.join("src/lib.rs"))?;
    let mut lines = Vec::new();
    for item in &front.items {
        match item {
            Item::Use(item) if is_public(&item.vis) && !is_hidden(&item.attrs) => {
                let mut exports = Vec::new();
                leaves(&item.tree, &mut Vec::new(), &mut exports);
                for (path, name) in exports {
                    let home = crates.get(&path[0]).unwrap_or(&crates["crate"]);
                    let original = path.last().context("a path has a last part")?;
                    let anywhere = || crates.values().find_map(|sources| sources.of.get(original));
                    let Some(found) = home.of.get(original).or_else(anywhere) else {
                        lines.push(format!("use {name} = {}", path.join("::")));
                        continue;
                    };
                    lines.extend(found.iter().map(|line| line.replacen(&**original, &name, 1)));
                }
            }
            item => define(item, &mut |_, line| lines.push(line)),
        }
    }
    lines.sort();
    lines.dedup();
    Ok(lines.join("\n") + "\n")
}

fn parse(path: &Path) -> Result<syn::File> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    syn::parse_file(&text).with_context(|| format!("parsing {}", path.display()))
}

fn sources(folder: &Path) -> Result<Sources> {
    let mut sources = Sources::default();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in files(&folder)? {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                for item in parse(&path)?.items {
                    define(&item, &mut |name, line| {
                        sources.of.entry(name).or_default().push(line);
                    });
                }
            }
        }
    }
    Ok(sources)
}

/// Calls `add` with the name that an item belongs to and the line for it, and with those of its
/// public parts.
fn define(item: &Item, add: &mut dyn FnMut(String, String)) {
    match item {
        Item::Struct(item) if is_public(&item.vis) => {
            let name = item.ident.to_string();
            add(
                name.clone(),
                format!("{}struct {name}{}", open(&item.attrs), text(&item.generics)),
            );
            fields(&name, &item.fields, true, add);
        }
        Item::Enum(item) if is_public(&item.vis) => {
            let name = item.ident.to_string();
            add(name.clone(), format!("{}enum {name}{}", open(&item.attrs), text(&item.generics)));
            for variant in &item.variants {
                let path = format!("{name}::{}", variant.ident);
                add(name.clone(), format!("{path}{}", tuple(&variant.fields)));
                let mut under = |_, line| add(name.clone(), line);
                fields(&path, &variant.fields, false, &mut under);
            }
        }
        Item::Trait(item) if is_public(&item.vis) => {
            let name = item.ident.to_string();
            let above = text(&item.supertraits);
            let above = if above.is_empty() { above } else { format!(": {above}") };
            add(name.clone(), format!("trait {name}{}{above}", text(&item.generics)));
            for part in &item.items {
                let line = match part {
                    syn::TraitItem::Fn(part) => text(&part.sig),
                    syn::TraitItem::Type(part) => format!("type {}", part.ident),
                    syn::TraitItem::Const(part) => {
                        format!("const {}: {}", part.ident, text(&part.ty))
                    }
                    _ => continue,
                };
                add(name.clone(), format!("{name}::{line}"));
            }
        }
        Item::Fn(item) if is_public(&item.vis) => {
            add(item.sig.ident.to_string(), format!("{} // fn", text(&item.sig)));
        }
        Item::Const(item) if is_public(&item.vis) => {
            add(item.ident.to_string(), format!("const {}: {}", item.ident, text(&item.ty)));
        }
        Item::Type(item) if is_public(&item.vis) => {
            add(item.ident.to_string(), format!("type {} = {}", item.ident, text(&item.ty)));
        }
        Item::Mod(item) if is_public(&item.vis) => {
            add(item.ident.to_string(), format!("mod {}", item.ident));
        }
        Item::Impl(item) if item.trait_.is_none() => {
            let Type::Path(path) = &*item.self_ty else { return };
            let Some(last) = path.path.segments.last() else { return };
            let name = last.ident.to_string();
            for part in &item.items {
                let line = match part {
                    ImplItem::Fn(part) if is_public(&part.vis) && !is_hidden(&part.attrs) => {
                        text(&part.sig)
                    }
                    ImplItem::Const(part) if is_public(&part.vis) => {
                        format!("const {}: {}", part.ident, text(&part.ty))
                    }
                    _ => continue,
                };
                add(name.clone(), format!("{name}::{line}"));
            }
        }
        _ => {}
    }
}

fn fields(path: &str, fields: &Fields, only_public: bool, add: &mut dyn FnMut(String, String)) {
    for (at, field) in fields.iter().enumerate() {
        let name = match &field.ident {
            Some(name) => name.to_string(),
            None if only_public => at.to_string(),
            None => continue,
        };
        if is_public(&field.vis) || !only_public {
            add(path.into(), format!("{path}.{name}: {}", text(&field.ty)));
        }
    }
}

fn tuple(fields: &Fields) -> String {
    match fields {
        Fields::Unnamed(fields) => text(fields),
        _ => String::new(),
    }
}

/// Path and name of each leaf of `use a::{b, c as d}`.
fn leaves(tree: &UseTree, above: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    let path = |last: &syn::Ident, above: &[String]| {
        let mut path = above.to_vec();
        path.push(last.to_string());
        path
    };
    match tree {
        UseTree::Path(tree) => {
            above.push(tree.ident.to_string());
            leaves(&tree.tree, above, found);
            above.pop();
        }
        UseTree::Name(tree) => found.push((path(&tree.ident, above), tree.ident.to_string())),
        UseTree::Rename(tree) => found.push((path(&tree.ident, above), tree.rename.to_string())),
        UseTree::Group(tree) => tree.items.iter().for_each(|tree| leaves(tree, above, found)),
        UseTree::Glob(_) => found.push((above.clone(), "*".into())),
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    let mut docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    docs.any(|attribute| attribute.to_token_stream().to_string().contains("hidden"))
}

fn open(attributes: &[Attribute]) -> &'static str {
    let mut all = attributes.iter();
    if all.any(|attribute| attribute.path().is_ident("non_exhaustive")) { "open " } else { "" }
}

/// Rust as people write it: tokens print with a blank between each two.
fn text(tokens: &impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (from, to) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" < ", "<"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        ("- >", "->"),
        ("& ", "&"),
        (" ,", ","),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        ("[ ", "["),
        (" ]", "]"),
        (" :", ":"),
        (" ;", ";"),
        (",)", ")"),
        ("fn(", "fn ("),
        (">->", "> ->"),
        (")->", ") ->"),
        ("->", " -> "),
        ("  ", " "),
        ("' ", "'"),
    ] {
        text = text.replace(from, to);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_parts_are_listed_and_private_ones_are_not() {
        let source = "\
            #[non_exhaustive] pub struct Hit { pub score: f32, secret: u8 }\n\
            impl Hit { pub fn page(&self) -> &PageId { todo!() } fn hidden(&self) {} }\n\
            pub enum Channel { Patches, Words(u8), Named { at: usize } }\n\
            pub trait Model: Send { fn record(&self) -> Vec<u8>; }\n\
            pub fn open(path: &Path) -> Result<(), Error> { todo!() }\n\
            pub(crate) struct Inner; struct Private;\n\
            impl Clone for Hit { fn clone(&self) -> Self { todo!() } }\n";
        let mut lines = Vec::new();
        for item in syn::parse_file(source).unwrap().items {
            define(&item, &mut |name, line| lines.push(format!("{name} | {line}")));
        }
        assert_eq!(
            lines,
            [
                "Hit | open struct Hit",
                "Hit | Hit.score: f32",
                "Hit | Hit::fn page(&self) -> &PageId",
                "Channel | enum Channel",
                "Channel | Channel::Patches",
                "Channel | Channel::Words(u8)",
                "Channel | Channel::Named",
                "Channel | Channel::Named.at: usize",
                "Model | trait Model: Send",
                "Model | Model::fn record(&self) -> Vec<u8>",
                "open | fn open(path: &Path) -> Result<(), Error> // fn",
            ]
        );
    }

    #[test]
    fn every_leaf_of_a_use_is_found() {
        let tree: syn::ItemUse = syn::parse_str("pub use a::{b::C, D as E, f};").unwrap();
        let mut found = Vec::new();
        leaves(&tree.tree, &mut Vec::new(), &mut found);
        let found: Vec<_> =
            found.iter().map(|(path, name)| format!("{} {name}", path.join("."))).collect();
        assert_eq!(found, ["a.b.C C", "a.D E", "a.f f"]);
    }
}
