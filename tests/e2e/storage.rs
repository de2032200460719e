//! Disks with bad blocks, and disks that disappear, beside healthy files: each file has its row, and
//! faults of one file do not affect another.

use std::fs;
use std::time::Duration;

use crate::support::disk::Disk;
use crate::support::healthy::{Healthy, finish_while_hanging, rows_by, rows_of};
use crate::support::rows::Outcome;
use crate::support::scripted::Scripted;
use crate::support::tree::{Corpus, content, list};
use crate::support::{for_each_engine, peers};

const PATIENCE: Duration = Duration::from_secs(25);
const TIMEOUT: [&str; 2] = ["--timeout", "4s"];

/// Three files whose inodes are known and whose content hangs.
#[test]
fn content_that_hangs() {
    let (local, on_disk) = (Corpus::new(1000), Corpus::new(1000));
    let names = ["one block", "some blocks", "many blocks"];
    for (name, size) in names.into_iter().zip([100, 12_000, 3 << 20]) {
        on_disk.scratch.file(name, content(size, size));
    }
    for_each_engine(|engine| {
        let Some(disk) = Disk::new(on_disk.dir()) else {
            return;
        };
        let healthy = Healthy::of(&local, local.dir());
        let healthy = healthy.mixed_with(Healthy::of(&on_disk, &disk.dir()));
        healthy.warm();
        for name in names {
            fs::metadata(disk.path(name)).unwrap();
        }
        let last = |name| (disk.blocks(name).pop().unwrap(), "hang");
        disk.set_faults(&names.map(last));
        let paths = healthy.list_with(&names.map(|name| disk.utf8_path(name)));
        let mill = rows_of(engine, &paths).args(TIMEOUT).arg("--unordered");
        let mill = mill.start();
        let output = finish_while_hanging(mill, paths.len(), disk.server(), PATIENCE).exits(1);
        for row in healthy.rows_of_others(&paths, &output) {
            assert_eq!(row.error(), ("read", "-", "timed out after 4s"));
        }
    });
}

/// 300 files of a disk that answers nothing once `prepare` is done; `list` mixes them with 2,000
/// healthy files of another disk. Calls on the 300 hang in `operation`.
#[track_caller]
fn a_disk_hangs(
    operation: &str,
    prepare: impl Fn(&Disk, &[String]),
    list: impl Fn(&Healthy, &[String]) -> Vec<String>,
) {
    let (local, on_disk) = (Corpus::new(2000), Corpus::new(300));
    for_each_engine(|engine| {
        let Some(disk) = Disk::new(on_disk.dir()) else {
            return;
        };
        let healthy = Healthy::of(&local, local.dir());
        healthy.warm();
        let sick = on_disk.names.iter().map(|name| disk.utf8_path(name));
        let sick: Vec<String> = sick.collect();
        prepare(&disk, &sick);
        disk.set_faults(&[(0..u64::MAX / 2, "hang")]);
        let paths = list(&healthy, &sick);
        let mill = rows_of(engine, &paths).args(TIMEOUT).arg("--unordered");
        let output = finish_while_hanging(mill.start(), paths.len(), disk.server(), PATIENCE);
        for row in healthy.rows_of_others(&paths, &output.exits(1)) {
            let (tried, _, message) = row.error();
            let is_good = tried == operation && message == "timed out after 4s";
            assert!(is_good || message.contains("not tried"), "{row:?}");
        }
    });
}

/// More reads than the queue of the device has places for: one more request would block its caller.
#[test]
fn more_content_that_hangs_than_a_device_takes_requests() {
    let inodes = |_: &Disk, sick: &[String]| {
        for path in sick {
            fs::metadata(path).unwrap();
        }
    };
    a_disk_hangs("read", inodes, Healthy::list_with);
}

/// Many inodes in a row that hang: the next files, on another disk, must not be treated as uncached,
/// too.
#[test]
fn inodes_in_a_row_that_hang() {
    let names = |disk: &Disk, sick: &[String]| {
        let found = fs::read_dir(disk.dir()).unwrap().count();
        assert!(found >= sick.len());
    };
    a_disk_hangs("open", names, |healthy, sick| {
        let mut paths = healthy.list_with(&[]);
        paths.splice(500..500, sick.iter().cloned());
        paths
    });
}

/// A bad block at any place of a file, in its inode, or in its directory.
#[test]
fn blocks_that_cannot_be_read() {
    let (local, on_disk) = (Corpus::new(1000), Corpus::new(1000));
    let sizes = [
        ("1 block", 100),
        ("3 blocks", 12_000),
        ("many blocks", 5 << 20),
    ];
    let places = ["beginning", "middle", "end"];
    let mut names = Vec::new();
    for (kind, size) in sizes {
        for place in places {
            names.push(format!("{kind}, {place}"));
            on_disk
                .scratch
                .file(names.last().unwrap(), content(size, size));
        }
    }
    on_disk.scratch.file("inode", "never read");
    fs::create_dir(on_disk.scratch.join("directory")).unwrap();
    on_disk.scratch.file("directory/file", "never found");
    for_each_engine(|engine| {
        for is_warm in [true, false] {
            eprintln!("the healthy files are warm: {is_warm}");
            let Some(disk) = Disk::new(on_disk.dir()) else {
                return;
            };
            let healthy = Healthy::of(&local, local.dir());
            let healthy = healthy.mixed_with(Healthy::of(&on_disk, &disk.dir()));
            if is_warm {
                healthy.warm();
            }
            let mut faults = vec![
                (disk.inode("inode"), "fail EIO"),
                (disk.blocks("directory")[0].clone(), "fail EIO"),
            ];
            for name in &names {
                let blocks = disk.blocks(name);
                let place = match name.rsplit(' ').next().unwrap() {
                    "beginning" => 0,
                    "middle" => blocks.len() / 2,
                    _ => blocks.len() - 1,
                };
                faults.push((blocks[place].clone(), "fail EIO"));
            }
            disk.set_faults(&faults);
            let mut sick: Vec<String> = names.iter().map(|name| disk.utf8_path(name)).collect();
            sick.extend(["inode", "directory/file"].map(|name| disk.utf8_path(name)));
            let paths = healthy.list_with(&sick);
            let output = rows_of(engine, &paths).run().exits(1);
            let rows = healthy.rows_of_others(&paths, &output);
            for (row, path) in rows.iter().zip(&sick) {
                let operation = if path.contains(" block") {
                    "read"
                } else {
                    "open"
                };
                assert_eq!(
                    row.error(),
                    (operation, "EIO", "Input/output error"),
                    "{path}"
                );
            }
        }
    });
}

/// Half of the files are hashed, then `breaks` happens to their disk while a read hangs, then the rest
/// is requested. Content that the kernel has in memory may still be read. Files on another disk are not
/// affected.
#[track_caller]
fn a_disk_goes_away(breaks: impl Fn(&Disk), errno: &str) {
    let (local, on_disk) = (Corpus::new(1000), Corpus::new(1000));
    // Only one: of several neighbours, some may be read by one call, and some only after that has
    // ended.
    let hanging = ["hangs"];
    for name in hanging {
        on_disk.scratch.file(name, "content");
    }
    let digest_of_hanging = peers::digest("sha256", b"content");
    for_each_engine(|engine| {
        let Some(disk) = Disk::new(on_disk.dir()) else {
            return;
        };
        for name in hanging {
            fs::metadata(disk.path(name)).unwrap();
        }
        disk.set_faults(&hanging.map(|name| (disk.blocks(name).remove(0), "hang")));
        let healthy = Healthy::of(&local, local.dir());
        let sick: Vec<String> = on_disk
            .names
            .iter()
            .map(|name| disk.utf8_path(name))
            .collect();
        let mixed: Vec<String> = sick
            .iter()
            .map(String::as_str)
            .zip(healthy.paths())
            .flat_map(|(sick, healthy)| [sick.to_owned(), healthy.to_owned()])
            .collect();
        let (before, after) = mixed.split_at(1000);
        let hanging = hanging.map(|name| disk.utf8_path(name));

        let mut mill = rows_by(engine).arg("--unordered").stdin_pipe().start();
        mill.feed(list(before, b'\n'));
        before.iter().for_each(|_| drop(mill.read_line()));
        mill.feed(list(&hanging, b'\n'));
        disk.server().wait_until_hung(hanging.len());
        breaks(&disk);
        mill.feed(list(after, b'\n'));
        let paths = [before, &hanging, after].concat();
        let rest = after.len();
        (0..rest).for_each(|_| drop(mill.read_line()));
        // If the server still runs, it answers with the present state of the disk.
        disk.server().release();
        let output = mill.finish().exits(1);

        let rows = healthy.rows_of_others(&paths, &output);
        let digests = on_disk.digests.iter();
        let (first, last) = digests.as_slice().split_at(500);
        let expected = first.iter().chain([&digest_of_hanging]).chain(last);
        let mut failures = 0;
        for ((place, row), expected) in rows.iter().enumerate().zip(expected) {
            match &row.outcome {
                Outcome::Digest { digest, .. } => assert_eq!(digest, expected, "{row:?}"),
                Outcome::Error { .. } => {
                    assert!(place >= 500, "before it broke: {row:?}");
                    assert_eq!(row.error().1, errno, "{row:?}");
                    failures += 1;
                }
            }
        }
        assert!(failures >= 400, "{failures} files were concerned");
    });
}

#[test]
fn a_file_system_that_shuts_down() {
    a_disk_goes_away(Disk::shut_down, "EIO");
}

#[test]
fn a_disk_that_loses_its_end() {
    a_disk_goes_away(Disk::truncate, "EIO");
}

#[test]
fn a_disk_that_is_unmounted_lazily() {
    a_disk_goes_away(Disk::detach, "ENOENT");
}

#[test]
fn a_disk_that_loses_its_server() {
    a_disk_goes_away(|disk| disk.server().kill(), "EIO");
}

/// The same without a disk: the file system's own server dies.
#[test]
fn a_file_system_that_loses_its_server() {
    let (local, served) = (Corpus::new(1000), Corpus::new(1000));
    for_each_engine(|engine| {
        let rules = "read f0040? hang\n";
        let Some(fuse) = Scripted::new(served.dir(), rules) else {
            return;
        };
        let healthy = Healthy::of(&local, local.dir());
        let gone = Healthy::of(&served, &fuse.dir());
        let paths: Vec<String> = healthy
            .mixed_with(gone)
            .paths()
            .map(str::to_owned)
            .collect();
        let healthy = Healthy::of(&local, local.dir());
        // The rows of the files before those that hang are printed first.
        let mill = rows_of(engine, &paths).arg("--unordered");
        let mut mill = mill.args(["--io-workers", "8"]).start();
        (0..300).for_each(|_| drop(mill.read_line()));
        fuse.wait_until_hung(5);
        fuse.kill();
        let output = mill.finish().exits(1);
        let mut failures = 0;
        let rows = healthy.rows_of_others(&paths, &output);
        for (row, expected) in rows.iter().zip(&served.digests) {
            match &row.outcome {
                Outcome::Digest { digest, .. } => assert_eq!(digest, expected, "{row:?}"),
                Outcome::Error { .. } => {
                    // Calls that were in progress, and later calls.
                    let errno = row.error().1;
                    assert!(["ECONNABORTED", "ENOTCONN"].contains(&errno), "{row:?}");
                    failures += 1;
                }
            }
        }
        assert!(failures >= 10, "{failures} files were concerned");
    });
}
