//! appc's `pathWhitelist`: which paths survive rendering.
//!
//! A path counts exactly as listed, after cleaning; a listed directory does not
//! bring its children. Parents of what is kept exist with default metadata if
//! they are not listed themselves. The root is always kept as it is.

use std::collections::HashMap;

use super::{Children, Ino};

/// The tree that is filtered.
pub(super) trait Directories {
    fn children(&self, ino: Ino) -> Option<&Children>;
    fn set_children(&mut self, dir: Ino, children: Children);
    /// Makes a directory's metadata that of an implied one.
    fn forget_meta(&mut self, dir: Ino);
}

#[derive(Default)]
struct Listed<'a> {
    itself: bool,
    below: HashMap<&'a [u8], Listed<'a>>,
}

/// Removes every path that `whitelist` does not list.
pub(super) fn keep_only(tree: &mut impl Directories, root: Ino, whitelist: &[String]) {
    let mut top = Listed::default();
    for path in whitelist {
        let mut node = &mut top;
        let components = path.split('/').filter(|c| !matches!(*c, "" | "."));
        for component in components {
            node = node.below.entry(component.as_bytes()).or_default();
        }
        node.itself = true;
    }
    filter(tree, root, &top);
}

/// Filters a directory's content; whether anything is left. The recursion ends
/// where the tree does, which is never deep.
fn filter(tree: &mut impl Directories, dir: Ino, listed: &Listed<'_>) -> bool {
    let mut kept = Children::new();
    let children = tree.children(dir).cloned().unwrap_or_default();
    for (name, ino) in children {
        let Some(listed) = listed.below.get(&*name) else {
            continue;
        };
        let keep = if tree.children(ino).is_some() {
            let any = filter(tree, ino, listed);
            if any && !listed.itself {
                tree.forget_meta(ino);
            }
            any || listed.itself
        } else {
            listed.itself
        };
        if keep {
            kept.insert(name, ino);
        }
    }
    let any = !kept.is_empty();
    tree.set_children(dir, kept);
    any
}
