//! The API as other programs use it, on real files.

use ringmill::{Algorithm, Engine, Error, ErrorKind, Io, NotReady, Row, RunEnd};
use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tempfile::TempDir;

/// This many small files, each containing its number.
fn files(count: usize) -> (TempDir, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let path = |number: usize| directory.path().join(format!("f{number}"));
    let paths: Vec<PathBuf> = (0..count).map(path).collect();
    for (number, path) in paths.iter().enumerate() {
        fs::write(path, number.to_string()).unwrap();
    }
    (directory, paths)
}

fn lines_of<V: std::fmt::Display>(
    rows: impl Iterator<Item = Result<Row<PathBuf, V>, Error>>,
) -> String {
    let line = |row: Result<Row<PathBuf, V>, Error>| {
        let row = row.unwrap();
        format!("{}  {}\n", row.result.unwrap(), row.input.display())
    };
    rows.map(line).collect()
}

#[test]
fn digests_are_those_of_sha256sum_in_the_order_of_the_paths() {
    let (_directory, paths) = files(5_000);
    let output = Command::new("sha256sum").args(&paths).output().unwrap();
    let expected = String::from_utf8(output.stdout).unwrap();
    for engine in [Engine::Auto, Engine::Threads] {
        let run = ringmill::hash(paths.clone())
            .algorithm(Algorithm::Sha256)
            .engine(engine);
        let rows = run.start().unwrap();
        let lines = rows.map(|row| {
            let row = row?;
            let (digest, path) = (row.result?.digest, row.input);
            Ok(format!("{digest}  {}\n", path.display()))
        });
        let lines: Result<String, Error> = lines.collect();
        assert_eq!(lines.unwrap(), expected);
    }
}

#[test]
fn unordered_rows_are_the_same_rows() {
    let (_directory, paths) = files(1_000);
    let rows = ringmill::hash(paths.clone()).unordered().start().unwrap();
    let mut seen = HashSet::new();
    for row in rows {
        let row = row.unwrap();
        assert_eq!(row.input, paths[row.index as usize]);
        assert_eq!(
            row.result.unwrap().size_bytes,
            row.index.to_string().len() as u64
        );
        assert!(seen.insert(row.index));
    }
    assert_eq!(seen.len(), 1_000);
}

async fn content(io: Io, path: PathBuf) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&io.read(&path).await?).into_owned())
}

/// On local file systems, and on procfs, whose calls may block: there, jobs run on workers.
#[test]
fn a_job_of_ones_own_reads_files() {
    let (_directory, mut paths) = files(2_000);
    paths.push("/proc/self/comm".into());
    for engine in [Engine::Auto, Engine::Threads] {
        let rows = ringmill::run(paths.clone(), content)
            .engine(engine)
            .start()
            .unwrap();
        let lines = lines_of(rows);
        for ((number, line), path) in lines.lines().enumerate().zip(&paths[..2_000]) {
            assert_eq!(line, format!("{number}  {}", path.display()));
        }
        assert_eq!(
            lines.lines().count(),
            2_002,
            "that of /proc ends with a newline of its own"
        );
    }
}

#[test]
fn errors_name_the_operation_and_its_subject() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    let is_made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(is_made.success());
    let missing = directory.path().join("missing");
    let paths = [
        missing.as_path(),
        &fifo,
        directory.path(),
        Path::new("a\0b"),
    ];
    let expected = [
        (ErrorKind::System, "open", Some(2)),
        (ErrorKind::SpecialFile, "open", None),
        (ErrorKind::System, "read", Some(21)),
        (ErrorKind::InvalidInput, "open", None),
    ];
    let rows = ringmill::hash(paths.map(Path::to_owned)).start().unwrap();
    for (row, (kind, operation, errno)) in rows.zip(expected) {
        let row = row.unwrap();
        let error = row.result.unwrap_err();
        assert_eq!(
            (error.kind(), error.operation(), error.errno()),
            (kind, operation, errno)
        );
        assert_eq!(error.subject(), row.input.as_os_str());
        let text = error.to_string();
        assert!(!text.contains("--"), "no word of the command line: {text}");
    }
    let own = |io: Io, path: PathBuf| async move {
        io.open(path).await?;
        Ok::<_, Error>(())
    };
    let rows = ringmill::run(paths.map(Path::to_owned), own)
        .start()
        .unwrap();
    let kinds: Vec<ErrorKind> = rows
        .map(|row| row.unwrap().result.unwrap_err().kind())
        .collect();
    assert_eq!(kinds, expected.map(|(kind, ..)| kind));
}

#[test]
fn an_error_of_a_job_becomes_its_row() {
    let halves = |_: Io, number: u64| async move {
        match number % 3 {
            0 => Ok(number),
            1 => Err(Error::other("not that one")),
            _ => Err(std::io::Error::from_raw_os_error(5).into()),
        }
    };
    let mut rows = ringmill::run(0..30, halves).start().unwrap();
    for (number, row) in (0..).zip(rows.by_ref()) {
        let row = row.unwrap();
        assert_eq!((row.index, row.input), (number, number));
        match (number % 3, row.result) {
            (0, Ok(value)) => assert_eq!(value, number),
            (1, Err(error)) => assert_eq!(error.kind(), ErrorKind::Other),
            (_, Err(error)) => assert_eq!(error.errno(), Some(5)),
            (_, Ok(value)) => panic!("{value} for {number}"),
        }
    }
    assert_eq!(rows.report().failed, 20);
    let mut rows = ringmill::run(0..30, halves).fail_fast().start().unwrap();
    assert_eq!(rows.by_ref().count(), 2);
    assert_eq!(rows.report().end, Some(RunEnd::FailFast));
}

/// Inputs are pulled only as far as the window and the feed have room, and a run that is stopped yields
/// an exact prefix.
#[test]
fn an_endless_input_is_pulled_only_as_far_as_rows_are_taken() {
    let pulled = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&pulled);
    let inputs = (0..).inspect(move |_| {
        counting.fetch_add(1, Ordering::Relaxed);
    });
    let double = |_: Io, number: u64| async move { Ok::<_, Error>(2 * number) };
    let mut rows = ringmill::run(inputs, double)
        .in_flight(8)
        .window(16)
        .start()
        .unwrap();
    let stopper = rows.stopper();
    for number in 0..10_000 {
        let row = rows.next().unwrap().unwrap();
        assert_eq!(
            (row.index, row.input, row.result.unwrap()),
            (number, number, 2 * number)
        );
        let ahead = pulled.load(Ordering::Relaxed) - number;
        assert!(ahead < 16 + 8 + 5 * 256, "{ahead}");
    }
    stopper.stop();
    let rest: Vec<u64> = rows.by_ref().map(|row| row.unwrap().index).collect();
    assert_eq!(
        rest,
        (10_000..10_000 + rest.len() as u64).collect::<Vec<_>>()
    );
    let report = rows.report();
    assert_eq!(report.end, Some(RunEnd::Stopped));
    assert_eq!(report.taken, 10_000 + rest.len() as u64);
}

/// An input is started at once, however long the next one takes to come.
#[test]
fn inputs_that_trickle_are_not_held_back() {
    let (sender, receiver) = mpsc::channel();
    let double = |_: Io, number: u64| async move { Ok::<_, Error>(2 * number) };
    let mut rows = ringmill::run(receiver, double).start().unwrap();
    for number in 0..100 {
        sender.send(number).unwrap();
        let row = rows.next().unwrap().unwrap();
        assert_eq!(row.result.unwrap(), 2 * number);
    }
    let none = rows.next_timeout(Duration::from_millis(1));
    assert!(matches!(none, Err(NotReady)));
    drop(sender);
    assert!(rows.next().is_none());
    assert!(rows.next().is_none(), "it stays at its end");
}

#[test]
fn a_panic_of_the_input_comes_after_the_rows_before_it() {
    let inputs = (0..100_u64).inspect(|&number| assert_ne!(number, 50, "this panic is intended"));
    let same = |_: Io, number: u64| async move { Ok::<_, Error>(number) };
    let mut rows = ringmill::run(inputs, same).start().unwrap();
    let mut taken = 0;
    let caught = catch_unwind(AssertUnwindSafe(|| {
        rows.by_ref().for_each(|row| {
            assert_eq!(row.unwrap().input, taken);
            taken += 1;
        });
    }));
    assert!(caught.is_err());
    assert_eq!(taken, 50);
    assert_eq!(rows.report().end, Some(RunEnd::Broken));
    assert!(rows.next().is_none());
}

#[test]
fn a_panic_of_a_job_reaches_the_consumer_of_the_rows() {
    let job = |_: Io, number: u64| async move {
        assert_ne!(number, 50, "this panic is intended");
        Ok::<_, Error>(number)
    };
    let rows = ringmill::run(0..100, job).start().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| rows.for_each(drop))).is_err());
}

/// What the closure owns is dropped with the rows: no thread holds it any more.
#[test]
fn rows_that_are_dropped_end_the_run() {
    let kept = Arc::new(());
    let known = Arc::downgrade(&kept);
    let job = move |io: Io, _: u64| {
        let kept = Arc::clone(&kept);
        async move {
            io.sleep(Duration::from_secs(3600)).await;
            Ok::<_, Error>(kept)
        }
    };
    let mut rows = ringmill::run(0.., job).start().unwrap();
    while rows.report().in_flight == 0 {
        assert!(rows.next_timeout(Duration::from_millis(10)).is_err());
    }
    drop(rows);
    // The thread that pulls inputs may not have seen the end yet, but it holds nothing of the closure.
    assert!(known.upgrade().is_none());
}

/// Loops and workers have descriptor tables of their own. A descriptor that the program closes is
/// closed there, too.
#[test]
fn a_run_keeps_no_descriptor_of_the_program_open() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (sender, receiver) = mpsc::channel::<PathBuf>();
    let (_directory, paths) = files(10);
    let mut rows = ringmill::hash(receiver).start().unwrap();
    // One of the paths is processed by a worker.
    for path in paths.into_iter().chain(["/proc/self/stat".into()]) {
        sender.send(path).unwrap();
        rows.next().unwrap().unwrap().result.unwrap();
    }
    drop(writer);
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut read).unwrap();
    assert!(read.is_empty() && rows.report().end.is_none());
}

#[test]
fn an_item_that_takes_too_long_is_given_up() {
    let job = |io: Io, seconds: u64| async move {
        io.sleep(Duration::from_secs(seconds)).await;
        Ok::<_, Error>(seconds)
    };
    let run = ringmill::run([0, 3600, 0], job).timeout(Duration::from_millis(50));
    let kinds: Vec<_> = run
        .start()
        .unwrap()
        .map(|row| {
            row.unwrap()
                .result
                .map_err(|error| (error.kind(), error.to_string()))
        })
        .collect();
    // It has not opened anything, so the message names no operation.
    let timed_out = (ErrorKind::TimedOut, "timed out after 50ms".to_owned());
    assert_eq!(kinds, [Ok(0), Err(timed_out), Ok(0)]);
}

#[test]
fn options_out_of_range_are_reported_before_anything_starts() {
    let paths = ["a"];
    for error in [
        ringmill::hash(paths).in_flight(0).start().unwrap_err(),
        ringmill::hash(paths).window(0).start().unwrap_err(),
        ringmill::hash(paths).loops(0).start().unwrap_err(),
        ringmill::hash(paths).rate(0.0).start().unwrap_err(),
        ringmill::hash(paths).rate(f64::NAN).start().unwrap_err(),
        ringmill::hash(paths).rate(1e-300).start().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Start);
        assert_eq!(error.operation(), "start");
    }
}

#[test]
fn rows_can_be_taken_on_another_thread() {
    let (_directory, paths) = files(100);
    let rows = ringmill::hash(paths).start().unwrap();
    let counted = std::thread::spawn(move || rows.count());
    assert_eq!(counted.join().unwrap(), 100);
}

#[cfg(feature = "stream")]
#[tokio::test]
async fn rows_are_a_stream() {
    use futures_util::StreamExt;

    let (sender, receiver) = mpsc::channel();
    let double = |_: Io, number: u64| async move { Ok::<_, Error>(2 * number) };
    let mut rows = ringmill::run(receiver, double).start().unwrap();
    let sending = std::thread::spawn(move || {
        for number in 0..1_000 {
            sender.send(number).unwrap();
            if number % 100 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    });
    for number in 0..1_000 {
        let row = StreamExt::next(&mut rows).await.unwrap().unwrap();
        assert_eq!(row.result.unwrap(), 2 * number);
    }
    assert!(StreamExt::next(&mut rows).await.is_none());
    sending.join().unwrap();
}

#[cfg(feature = "latency")]
#[test]
fn latencies_are_recorded_on_request() {
    let (_directory, paths) = files(100);
    let mut rows = ringmill::hash(paths.clone())
        .record_latencies()
        .start()
        .unwrap();
    assert!(rows.latencies().is_empty(), "it has not ended");
    assert_eq!(rows.by_ref().count(), 100);
    let latencies = rows.latencies();
    let total = latencies
        .iter()
        .find(|latency| latency.phase() == "total")
        .unwrap();
    assert_eq!((total.count(), total.out_of_range()), (100, 0));
    assert!(total.min() <= total.percentile(50.0) && total.percentile(50.0) <= total.max());
    let mut rows = ringmill::hash(paths).start().unwrap();
    rows.by_ref().for_each(drop);
    assert!(rows.latencies().is_empty());
}

/// A name server that answers according to the first letter of the name.
#[cfg(feature = "dns")]
fn name_server() -> std::net::SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((len, peer)) = socket.recv_from(&mut query) {
            let name_len = query[12..len].iter().position(|&byte| byte == 0).unwrap();
            // The name, the NUL that ends it, type and class.
            let question = &query[12..12 + name_len + 5];
            let (rcode, answers) = match question[1] {
                b'a' => (0, 1),
                b'n' => (3, 0),
                b's' => (2, 0),
                _ => continue,
            };
            let mut reply = vec![
                query[0],
                query[1],
                0x81,
                0x80 | rcode,
                0,
                1,
                0,
                answers,
                0,
                0,
                0,
                0,
            ];
            reply.extend_from_slice(question);
            if answers > 0 {
                // The name of the question, A, IN, 300 s, four octets.
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 7]);
            }
            let _ = socket.send_to(&reply, peer);
        }
    });
    address
}

#[cfg(feature = "dns")]
#[test]
fn names_are_answered_or_are_errors_that_say_why() {
    use ringmill::{DnsStatus, RecordType};

    let server = name_server();
    let kinds = ["a", "n", "s", "dead", "a..b"];
    let names = (0..500).map(|number| format!("{}{number}.example", kinds[number % 5]));
    let names: Vec<String> = names.collect();
    let mut run = ringmill::dns(names.clone()).resolvers([server]);
    // So long that the others do not time out on a busy machine.
    run = run.retries(1).attempt_timeout(Duration::from_secs(3));
    let mut rows = run.start().unwrap();
    for (number, row) in rows.by_ref().enumerate() {
        let row = row.unwrap();
        assert_eq!((row.index, &row.input), (number as u64, &names[number]));
        match (kinds[number % 5], row.result) {
            ("a", Ok(found)) => {
                assert_eq!(
                    (found.status, found.record_type),
                    (DnsStatus::NoError, RecordType::A)
                );
                assert_eq!(found.resolver, Some(server));
                let record = &found.records[0];
                assert_eq!((&*record.name, &*record.data), (&*row.input, "192.0.2.7"));
                assert_eq!((record.ttl_s, found.records.len()), (300, 1));
            }
            ("n", Ok(found)) => assert_eq!(found.status, DnsStatus::NxDomain),
            ("s", Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Unanswered);
                assert!(
                    error
                        .to_string()
                        .contains(&format!("SERVFAIL from {server}")),
                    "{error}"
                );
            }
            ("dead", Err(error)) => assert_eq!(error.kind(), ErrorKind::TimedOut),
            ("a..b", Err(error)) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
            (kind, result) => panic!("{kind}: {result:?}"),
        }
    }
    assert_eq!((rows.report().taken, rows.report().failed), (500, 300));
}

#[cfg(feature = "dns")]
#[test]
fn names_of_an_unreachable_server() {
    let unused = std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let rows = ringmill::dns(["a.example", "b.example"])
        .resolvers([unused])
        .start()
        .unwrap();
    for row in rows {
        let error = row.unwrap().result.unwrap_err();
        assert_eq!(
            (error.kind(), error.operation()),
            (ErrorKind::Unanswered, "resolve")
        );
        assert!(error.to_string().contains("UNREACHABLE"), "{error}");
    }
}
