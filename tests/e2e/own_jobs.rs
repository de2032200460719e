//! Jobs of a program of its own (`ringmill::run`) on file systems that hang.

use std::path::PathBuf;
use std::time::Duration;

use ringmill::{Engine, Error, ErrorKind, Io};

use crate::support::scripted::Scripted;
use crate::support::tree::Corpus;

const PATIENCE: Duration = Duration::from_secs(60);

/// The first bytes of a file.
async fn start_of(io: Io, path: PathBuf) -> Result<Vec<u8>, Error> {
    let file = io.open(&path).await?;
    let mut start = vec![0; 16];
    let len = file.read_at(&mut start, 0).await?;
    start.truncate(len);
    Ok(start)
}

/// A third of the files of one mount hang, in more calls than there are workers. All files of another have
/// their results meanwhile, and so have the healthy ones of the same mount, or they say that they were not tried.
#[test]
fn a_mount_that_hangs_beside_a_healthy_one() {
    let (local, served) = (Corpus::new(600), Corpus::new(600));
    let sick = |number: usize| number % 3 == 1;
    let rules: String = (0..600)
        .filter(|number| sick(*number))
        .map(|number| format!("{} f{number:05} hang\n", ["open", "read"][number % 2]))
        .collect();
    for engine in [Engine::Auto, Engine::Threads] {
        let Some(fuse) = Scripted::new(served.dir(), &rules) else {
            return;
        };
        let mut paths = Vec::new();
        for name in &local.names {
            paths.push(local.dir().join(name));
            paths.push(fuse.dir().join(name));
        }
        let run = ringmill::run(paths, start_of).engine(engine).io_workers(8);
        let run = run.timeout(Duration::from_secs(2)).unordered();
        let mut rows = run.start().unwrap();
        let mut seen = [0; 4];
        crate::support::healthy::while_hanging(&fuse, PATIENCE, || {
            for row in rows.by_ref().take(1200) {
                let row = row.unwrap();
                let number = row.index as usize / 2;
                let expected = || {
                    let content = std::fs::read(local.dir().join(&local.names[number])).unwrap();
                    content[..content.len().min(16)].to_vec()
                };
                let is_local = row.index % 2 == 0;
                match row.result {
                    Ok(start) => {
                        assert!(is_local || !sick(number), "{} hangs", row.input.display());
                        assert_eq!(start, expected(), "{}", row.input.display());
                        seen[usize::from(is_local)] += 1;
                    }
                    Err(error) => {
                        assert!(!is_local, "{error}");
                        match error.kind() {
                            ErrorKind::TimedOut => seen[2] += 1,
                            ErrorKind::NotTried => seen[3] += 1,
                            _ => panic!("{error}"),
                        }
                    }
                }
            }
        });
        assert!(rows.next().is_none());
        assert_eq!(seen[1], 600, "all of the healthy mount");
        assert_eq!(seen.iter().sum::<u64>(), 1200, "{seen:?}");
        assert!(seen[2] > 0, "{seen:?}");
    }
}
