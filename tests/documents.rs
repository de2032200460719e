//! Links in documents lead to existing files, and those in documents of the packaged crate to files of
//! the package.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of this repository that the document links to, relative to its root.
fn links(document: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let here = document.parent().unwrap();
    let own = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    let files = own.map(|target| target.split('#').next().unwrap());
    files.map(|target| normal(&here.join(target))).collect()
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => assert!(normal.pop(), "{} leads out", path.display()),
            other => normal.push(other),
        }
    }
    normal
}

#[test]
fn links_lead_to_files() {
    let in_docs = fs::read_dir(root().join("docs")).unwrap();
    let in_docs = in_docs.map(|entry| Path::new("docs").join(entry.unwrap().file_name()));
    let at_top = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(PathBuf::from);
    let mut count = 0;
    for document in at_top.into_iter().chain(in_docs) {
        for link in links(&document) {
            let (document, target) = (document.display(), link.display());
            assert!(root().join(&link).exists(), "{document} links to {target}");
            count += 1;
        }
    }
    assert!(count > 20, "{count} links");
}

/// The package contains the files that its documents link to, and none of the benchmarks.
#[test]
fn the_package_is_complete() {
    let list = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let files: Vec<&Path> = list.lines().map(Path::new).collect();
    assert!(files.contains(&Path::new("src/lib.rs")), "{list}");
    for unwanted in ["results", "scripts", "benches", "tests"] {
        assert!(
            !files.iter().any(|file| file.starts_with(unwanted)),
            "{unwanted}"
        );
    }
    for document in files
        .iter()
        .filter(|file| file.extension().is_some_and(|it| it == "md"))
    {
        for link in links(document) {
            let is_there = files.iter().any(|file| file.starts_with(&link));
            let (document, target) = (document.display(), link.display());
            assert!(is_there, "{document} links to {target}");
        }
    }
}
