//! Names in an archive, cleaned or refused.

use super::error::EntryFault;

/// `NAME_MAX` of Linux.
pub(super) const NAME_MAX: usize = 255;
/// `PATH_MAX` of Linux without its NUL.
pub(super) const PATH_MAX: usize = 4095;
/// Real trees have some dozen; beyond this nobody can open them by path, and
/// the tree backend would run out of descriptors.
pub(super) const MOST_COMPONENTS: usize = 512;

/// The components of a relative path: `.` and empty ones are left out, as
/// appc's path cleaning does; the path of the root has none.
pub(super) fn components(path: &[u8]) -> Result<Vec<&[u8]>, EntryFault> {
    if path.is_empty() {
        return Err(EntryFault::Empty);
    }
    if path.len() > PATH_MAX {
        return Err(EntryFault::PathTooLong);
    }
    if path[0] == b'/' {
        return Err(EntryFault::Absolute);
    }
    if path.contains(&0) {
        return Err(EntryFault::Nul);
    }
    let mut found = Vec::with_capacity(8);
    for component in path.split(|&b| b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(EntryFault::ParentReference),
            long if long.len() > NAME_MAX => return Err(EntryFault::NameTooLong),
            name => found.push(name),
        }
    }
    if found.len() > MOST_COMPONENTS {
        return Err(EntryFault::TooDeep);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_or_refused() {
        for (path, expected) in [
            ("a/b", Ok(vec!["a", "b"])),
            ("./a//b/.", Ok(vec!["a", "b"])),
            ("./", Ok(vec![])),
            ("a/...", Ok(vec!["a", "..."])),
            ("", Err(EntryFault::Empty)),
            ("/a", Err(EntryFault::Absolute)),
            ("a/../b", Err(EntryFault::ParentReference)),
            ("..", Err(EntryFault::ParentReference)),
            ("a\0b", Err(EntryFault::Nul)),
            (&"x".repeat(256), Err(EntryFault::NameTooLong)),
            (&"x/".repeat(2048), Err(EntryFault::PathTooLong)),
            (&"x/".repeat(513), Err(EntryFault::TooDeep)),
        ] {
            let expected = expected.map(|c| c.iter().map(|c| c.as_bytes()).collect());
            assert_eq!(components(path.as_bytes()), expected, "{path:?}");
        }
    }
}
