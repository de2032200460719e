//! A disk that can be broken: an ext4 image on a loop device, served by the scripted file system, whose
//! rules can name its blocks. It is mounted read-only, without a journal, so that only the tests
//! themselves ever wait for a block that hangs.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use super::peers;
use super::scripted::{Scripted, kernel_lacks};

const IMAGE: &str = "disk.ext4";
const BLOCK: u64 = 4096;

/// A mounted disk. On drop it is removed, even if calls hang in it: without its server every call to it
/// fails.
pub struct Disk {
    server: Scripted,
    device: PathBuf,
    dir: TempDir,
}

impl Disk {
    /// A disk with a copy of the files in `source`, nothing of which is cached; `None` where the kernel
    /// has no FUSE or no loop devices.
    ///
    /// An inode takes a whole block, so that each inode can be bad alone.
    #[track_caller]
    pub fn new(source: &Path) -> Option<Self> {
        if kernel_lacks("/dev/loop-control") {
            return None;
        }
        let dir = tempfile::tempdir().expect("temporary directory");
        for name in ["served", "mnt"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        make_image(source, &dir.path().join("served").join(IMAGE));
        let server = Scripted::new(&dir.path().join("served"), "")?;
        let device = attach(&server.path(IMAGE));
        let disk = Disk {
            server,
            device,
            dir,
        };
        // Inodes next to the requested one are not read.
        let options = c"inode_readahead_blks=1,errors=continue";
        let flags = MountFlags::RDONLY | MountFlags::NOATIME;
        mount(&disk.device, disk.dir(), c"ext4", flags, options).expect("mount the disk");
        Some(disk)
    }

    /// Where it is mounted.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The same path as text, for a list of names.
    pub fn utf8_path(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    /// The server, to wait for calls that hang, to release them, or to kill it.
    pub fn server(&self) -> &Scripted {
        &self.server
    }

    /// Sets the faults of byte ranges of the disk, from now on: `hang`, `delay 50ms`, `fail EIO`.
    #[track_caller]
    pub fn set_faults(&self, faults: &[(Range<u64>, &str)]) {
        let rules: String = faults
            .iter()
            .map(|(bytes, action)| {
                let length = bytes.end - bytes.start;
                format!("read {IMAGE} @{}+{length} {action}\n", bytes.start)
            })
            .collect();
        self.server.set_rules(&rules);
    }

    /// The block of a file's or directory's inode.
    #[track_caller]
    pub fn inode(&self, name: &str) -> Range<u64> {
        let answer = self.ask(&format!("imap \"/{name}\""));
        let place = answer.split("located at block ").nth(1);
        let number = place.and_then(|rest| rest.split(',').next());
        block(number.unwrap_or_else(|| panic!("debugfs: {answer}")))
    }

    /// The blocks of a file's content, or of a directory's entries.
    #[track_caller]
    pub fn blocks(&self, name: &str) -> Vec<Range<u64>> {
        let answer = self.ask(&format!("blocks \"/{name}\""));
        answer.split_whitespace().map(block).collect()
    }

    #[track_caller]
    fn ask(&self, request: &str) -> String {
        let image = self.image();
        let args = ["-R".as_ref(), request.as_ref(), image.as_os_str()];
        let output = peers::run("debugfs", &args, Path::new("/"), b"");
        String::from_utf8(output.stdout).expect("ASCII")
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("served").join(IMAGE)
    }

    /// Removes most of the disk.
    pub fn truncate(&self) {
        let image = OpenOptions::new().write(true).open(self.image());
        image
            .and_then(|file| file.set_len(BLOCK))
            .expect("truncate");
    }

    /// Unmounts it as `umount --lazy` does.
    pub fn detach(&self) {
        unmount(self.dir(), UnmountFlags::DETACH).expect("unmount");
    }

    /// Shuts the file system down, as it does by itself after errors that it cannot recover from.
    pub fn shut_down(&self) {
        const SHUTDOWN: libc::c_ulong = 0x8004_587d;
        const NOLOGFLUSH: u32 = 2;
        let root = File::open(self.dir()).expect("the root");
        let code = std::os::fd::AsRawFd::as_raw_fd(&root);
        // SAFETY: EXT4_IOC_SHUTDOWN reads one number, which lives until the call returns.
        let result = unsafe { libc::ioctl(code, SHUTDOWN, &NOLOGFLUSH) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.server.end();
        while unmount(self.dir(), UnmountFlags::DETACH).is_ok() {}
        // A process that was left behind may still hold a file: the device is freed when that is
        // closed.
        let _ = losetup(&["--detach".as_ref(), self.device.as_os_str()]);
    }
}

fn block(number: &str) -> Range<u64> {
    let number: u64 = number.trim().parse().expect("the number of a block");
    number * BLOCK..(number + 1) * BLOCK
}

#[track_caller]
fn make_image(source: &Path, image: &Path) {
    let (mut files, mut bytes) = (0, 0);
    let mut folders = vec![source.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the files").flatten() {
            let metadata = entry.metadata().expect("metadata");
            files += 1;
            bytes += metadata.len().next_multiple_of(BLOCK);
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    let inodes = (files + 100).to_string();
    let size = format!("{}k", (bytes + files * (BLOCK + 300)) / 1024 + (16 << 10));
    let fixed = "-q -F -m 0 -b 4096 -I 4096 -E nodiscard -O ^has_journal,^resize_inode -N";
    let mut args: Vec<&OsStr> = fixed.split(' ').map(OsStr::new).collect();
    args.push(OsStr::new(&inodes));
    args.extend([OsStr::new("-d"), source.as_os_str(), image.as_os_str()]);
    args.push(OsStr::new(&size));
    peers::run("mkfs.ext4", &args, Path::new("/"), b"");
}

/// With direct I/O: otherwise the device has one thread, and a block that hangs would stop all reads.
#[track_caller]
fn attach(image: &Path) -> PathBuf {
    let fixed = ["--find", "--show", "--read-only", "--direct-io=on"];
    let mut args = fixed.map(OsStr::new).to_vec();
    args.push(image.as_os_str());
    for _ in 0..20 {
        match losetup(&args) {
            Ok(device) => return device.trim().into(),
            // Another process has chosen the same device a moment earlier.
            Err(error) => eprintln!("losetup: {error}"),
        }
        sleep(Duration::from_millis(50));
    }
    panic!("no loop device");
}

fn losetup(args: &[&OsStr]) -> Result<String, String> {
    let output = std::process::Command::new("losetup").args(args).output();
    let output = output.expect("losetup; scripts/test installs what is needed");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

#[test]
fn blocks_can_be_bad() {
    use std::thread;

    let scratch = super::tree::Scratch::new();
    fs::create_dir(scratch.join("sub")).unwrap();
    for name in ["data", "inode", "hangs", "good", "warm", "sub/file"] {
        scratch.file(name, super::tree::content(name.len(), 10_000));
    }
    let Some(disk) = Disk::new(scratch.path()) else {
        return;
    };
    let read = |name: &str| fs::read(disk.path(name));
    let content = |name: &str| fs::read(scratch.join(name)).unwrap();
    assert_eq!(disk.blocks("data").len(), 3);
    read("warm").unwrap();
    disk.set_faults(&[
        (disk.blocks("data")[1].clone(), "fail EIO"),
        (disk.inode("inode"), "fail EIO"),
        (disk.inode("warm"), "fail EIO"),
        (disk.blocks("sub")[0].clone(), "fail EIO"),
        (disk.inode("hangs"), "hang"),
    ]);
    assert_eq!(read("good").unwrap(), content("good"));
    assert_eq!(read("warm").unwrap(), content("warm"), "it was read before");
    for name in ["data", "inode", "sub/file"] {
        assert_eq!(read(name).unwrap_err().raw_os_error(), Some(5), "{name}");
    }
    thread::scope(|scope| {
        let reader = scope.spawn(|| read("hangs"));
        disk.server().wait_until_hung(1);
        assert!(!reader.is_finished());
        disk.set_faults(&[]);
        disk.server().release();
        assert_eq!(reader.join().unwrap().unwrap(), content("hangs"));
    });
}

/// Even if a thread waits for a block that hangs.
#[test]
fn a_disk_leaves_nothing_behind() {
    let scratch = super::tree::Scratch::new();
    scratch.file("hangs", "content");
    let Some(disk) = Disk::new(scratch.path()) else {
        return;
    };
    disk.set_faults(&[(disk.inode("hangs"), "hang")]);
    let (dir, device) = (disk.dir(), disk.device.clone());
    let reader = std::thread::spawn({
        let path = disk.path("hangs");
        move || fs::read(path)
    });
    disk.server().wait_until_hung(1);
    drop(disk);
    reader.join().unwrap().unwrap_err();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(dir.to_str().unwrap()), "{mounts}");
    let backing = Path::new("/sys/block")
        .join(device.file_name().unwrap())
        .join("loop/backing_file");
    super::eventually("the device is free", Duration::from_secs(10), || {
        fs::read_to_string(&backing).map_or(true, |text| !text.contains(dir.to_str().unwrap()))
    });
}
