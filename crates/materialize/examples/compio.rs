//! On compio, whose files are not `Send`: prints the sizes of files, as `wc -c` does, 16 files at a
//! time, in the order of the arguments. Without arguments it reads this crate's sources.
//!
//!     cargo run --example compio -- FILE ...

use compio::runtime::Runtime;
use ringmill_materialize::materialize;
use std::io;
use std::path::PathBuf;

const IN_FLIGHT: usize = 16;

async fn size(path: PathBuf) -> (PathBuf, io::Result<usize>) {
    let content = compio::fs::read(&path).await;
    (path, content.map(|content| content.len()))
}

/// Reads all files; the driver is a task of its own.
pub fn run(
    paths: Vec<PathBuf>,
    mut each: impl FnMut(PathBuf, io::Result<usize>),
) -> io::Result<()> {
    Runtime::new()?.block_on(async {
        let (driver, mut rows) = materialize(paths.into_iter().map(size), IN_FLIGHT).split();
        compio::runtime::spawn(driver).detach();
        while let Some((path, size)) = rows.next().await {
            each(path, size);
        }
    });
    Ok(())
}

pub fn own_sources() -> io::Result<Vec<PathBuf>> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let entries = std::fs::read_dir(directory)?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    paths.sort();
    Ok(paths)
}

fn main() -> io::Result<()> {
    let mut paths: Vec<_> = std::env::args_os().skip(1).map(Into::into).collect();
    if paths.is_empty() {
        paths = own_sources()?;
    }
    let (mut files, mut total) = (0, 0);
    run(paths, |path, size| match size {
        Ok(size) => {
            println!("{size:>8} {}", path.display());
            files += 1;
            total += size;
        }
        Err(error) => eprintln!("{}: {error}", path.display()),
    })?;
    println!("{total:>8} {files} files");
    Ok(())
}
