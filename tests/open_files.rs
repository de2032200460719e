//! The library within a limit on open files of 16, which holds for the whole process: so all in one test.

use ringmill::{Algorithm, Engine, Error};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::path::PathBuf;

const LIMIT: u64 = 16;

#[test]
fn runs_fit_into_the_limit_on_open_files() {
    let directory = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..3_000)
        .map(|number| directory.path().join(format!("f{number}")))
        .collect();
    for path in &paths {
        fs::write(path, path.as_os_str().as_encoded_bytes()).unwrap();
    }
    let before = getrlimit(Resource::Nofile);
    let soft = |current| Rlimit { current, ..before };
    // What this process was started with counts, too.
    let open_now = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let limit = LIMIT.max(open_now + LIMIT - 4);
    setrlimit(Resource::Nofile, soft(Some(limit))).unwrap();
    for engine in [Engine::Auto, Engine::Threads] {
        let run = ringmill::hash(paths.clone()).engine(engine);
        let rows = run.algorithm(Algorithm::Sha256).start().unwrap();
        let report = rows.report();
        assert_eq!(report.limited_by_open_files, Some(limit), "{report:?}");
        assert!(report.in_flight_max < limit as usize, "{report:?}");
        let rows: Result<Vec<_>, Error> = rows.collect();
        for (path, row) in paths.iter().zip(rows.unwrap()) {
            assert_eq!(&row.input, path);
            let expected = Algorithm::Sha256.digest(path.as_os_str().as_encoded_bytes());
            assert_eq!(row.result.unwrap().digest, expected);
        }
        let limit_now = getrlimit(Resource::Nofile).current;
        assert_eq!(limit_now, Some(limit), "nobody asked for another");
    }

    let run = ringmill::hash(paths.clone()).raise_open_files_limit();
    let rows = run.start().unwrap();
    assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    assert_eq!(rows.report().limited_by_open_files, None);
    assert_eq!(rows.report().in_flight_max, 512);
    assert_eq!(rows.count(), paths.len());
    setrlimit(Resource::Nofile, before).unwrap();
}
