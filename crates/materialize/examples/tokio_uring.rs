//! On tokio-uring: counts lines and bytes of files, as `wc -lc` does, 16 files at a time, and
//! prints them in the order of the arguments. Without arguments it counts this crate's sources.
//!
//!     cargo run --example tokio_uring -- FILE ...

#[cfg(target_os = "linux")]
mod linux {
    use ringmill_materialize::materialize;
    use std::io;
    use std::path::{Path, PathBuf};
    use tokio_uring::fs::File;

    const IN_FLIGHT: usize = 16;
    const BUFFER_LEN: usize = 16 * 1024;

    pub struct Counted {
        pub lines: usize,
        pub bytes: u64,
    }

    async fn count(path: PathBuf) -> (PathBuf, io::Result<Counted>) {
        let counted = read(&path).await;
        (path, counted)
    }

    async fn read(path: &Path) -> io::Result<Counted> {
        let file = File::open(path).await?;
        let (mut lines, mut bytes) = (0, 0);
        let mut buffer = Vec::with_capacity(BUFFER_LEN);
        loop {
            // The kernel owns the buffer while it reads.
            let (result, returned) = file.read_at(buffer, bytes).await;
            buffer = returned;
            let len = result?;
            if len == 0 {
                break;
            }
            lines += buffer[..len].iter().filter(|&&byte| byte == b'\n').count();
            bytes += len as u64;
        }
        file.close().await?;
        Ok(Counted { lines, bytes })
    }

    /// Counts all files; the driver is a task of its own, which need not be `Send`.
    pub fn run(paths: Vec<PathBuf>, mut each: impl FnMut(PathBuf, io::Result<Counted>)) {
        tokio_uring::start(async {
            let counts = materialize(paths.into_iter().map(count), IN_FLIGHT);
            let (driver, mut rows) = counts.split();
            tokio_uring::spawn(driver);
            while let Some((path, counted)) = rows.next().await {
                each(path, counted);
            }
        });
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
}

#[cfg(target_os = "linux")]
pub use linux::{own_sources, run};

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    let mut paths: Vec<_> = std::env::args_os().skip(1).map(Into::into).collect();
    if paths.is_empty() {
        paths = own_sources()?;
    }
    let (mut files, mut all_lines, mut all_bytes) = (0, 0, 0);
    run(paths, |path, counted| match counted {
        Ok(counted) => {
            println!(
                "{:>6} {:>8} {}",
                counted.lines,
                counted.bytes,
                path.display()
            );
            files += 1;
            all_lines += counted.lines;
            all_bytes += counted.bytes;
        }
        Err(error) => eprintln!("{}: {error}", path.display()),
    });
    println!("{all_lines:>6} {all_bytes:>8} {files} files");
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("tokio-uring runs only on Linux");
}
