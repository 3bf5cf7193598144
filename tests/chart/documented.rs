//! The rights as `docs/rbac.md` has them.

use std::collections::BTreeSet;

/// A resource and a verb on it.
pub(crate) type Right = (String, String);

/// What a section of the page says, by its heading.
pub(crate) fn documented(heading: &str) -> BTreeSet<Right> {
    let page = include_str!("../../docs/rbac.md");
    let section = page.split("\n## ").find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("docs/rbac.md has no section {heading}"));
    let mut rights = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert!(cells[3].len() > 10, "no reason: {row}");
        for resource in cells[1].split(", ") {
            for verb in cells[2].split(", ") {
                assert!(rights.insert((resource.trim_matches('`').to_owned(), verb.to_owned())), "twice: {row}");
            }
        }
    }
    rights
}
