//! Sets up a ring with the best flags that the kernel accepts, and explains a refusal.

use crate::error::Errno;
use io_uring::{IoUring, Probe, opcode};
use std::io;

/// Why io_uring cannot be used here.
#[derive(Clone, Debug, thiserror::Error)]
#[error("io_uring is not available: {cause}")]
pub struct Refusal {
    /// The errno that the kernel returned, if it was asked.
    pub errno: Option<Errno>,
    /// The likely cause, in words.
    pub cause: String,
    /// What would help.
    pub hint: &'static str,
}

impl Refusal {
    fn from_setup(error: &io::Error) -> Self {
        let errno = Errno::from(error);
        let (cause, hint) = match errno.raw() {
            libc::EPERM | libc::EACCES => match disabled_by_sysctl() {
                Some(level) => (
                    format!("the sysctl kernel.io_uring_disabled is {level}"),
                    "sysctl kernel.io_uring_disabled=0 allows it",
                ),
                None => (
                    format!("{}; a seccomp filter or security module forbids it", errno),
                    "in a container, run with a seccomp profile that allows io_uring_setup, \
                     io_uring_enter and io_uring_register",
                ),
            },
            libc::ENOSYS => (
                "the kernel has no io_uring, or a seccomp filter hides it".to_owned(),
                "Linux 5.11 or later is needed; in a container, a seccomp profile that allows \
                 io_uring_setup, io_uring_enter and io_uring_register",
            ),
            libc::ENOMEM => (
                "not enough memory for the ring, or RLIMIT_MEMLOCK is too low".to_owned(),
                "raise the limit with ulimit -l, or lower --in-flight",
            ),
            _ => (errno.to_string(), ""),
        };
        Self {
            errno: Some(errno),
            cause,
            hint,
        }
    }
}

fn disabled_by_sysctl() -> Option<i32> {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    text.trim().parse().ok().filter(|&level| level > 0)
}

/// Asks the kernel whether a ring can be set up here, without keeping it.
///
/// # Errors
/// A refusal by the kernel, with its likely cause.
pub fn probe() -> Result<(), Refusal> {
    let (mut ring, _) = build(8, 8)?;
    // A seccomp filter may allow a ring to be made but not to be used.
    // SAFETY: a no-op contains no pointers.
    let pushed = unsafe { ring.submission().push(&opcode::Nop::new().build()) };
    pushed.expect("a new queue has room");
    ring.submit_and_wait(1)
        .map(drop)
        .map_err(|error| Refusal::from_setup(&error))
}

/// The names of the ring features that the kernel reports; empty where there can be no ring.
#[must_use]
pub fn features() -> Vec<&'static str> {
    let Ok((ring, _)) = build(8, 8) else {
        return Vec::new();
    };
    let params = ring.params();
    let features = [
        ("single_mmap", params.is_feature_single_mmap()),
        ("nodrop", params.is_feature_nodrop()),
        ("submit_stable", params.is_feature_submit_stable()),
        ("rw_cur_pos", params.is_feature_rw_cur_pos()),
        ("cur_personality", params.is_feature_cur_personality()),
        ("fast_poll", params.is_feature_fast_poll()),
        ("poll_32bits", params.is_feature_poll_32bits()),
        ("sqpoll_nonfixed", params.is_feature_sqpoll_nonfixed()),
        ("ext_arg", params.is_feature_ext_arg()),
        ("native_workers", params.is_feature_native_workers()),
        ("resource_tagging", params.is_feature_resource_tagging()),
        (
            "skip_cqe_on_success",
            params.is_feature_skip_cqe_on_success(),
        ),
        ("linked_file", params.is_feature_linked_file()),
        ("recvsend_bundle", params.is_feature_recvsend_bundle()),
        ("min_timeout", params.is_feature_min_timeout()),
    ];
    let has = |&(name, has): &(&'static str, bool)| has.then_some(name);
    features.iter().filter_map(has).collect()
}

/// A set of flags, by name.
type Profile = (&'static str, fn(&mut io_uring::Builder));

/// The sets tried, best first. A kernel that does not know a flag answers EINVAL.
const PROFILES: [Profile; 4] = [
    (
        "single issuer, deferred task work, submit all, no SQ array",
        |builder| {
            builder
                .setup_single_issuer()
                .setup_defer_taskrun()
                .setup_taskrun_flag();
            builder.setup_submit_all().setup_no_sqarray();
        },
    ),
    ("single issuer, deferred task work, submit all", |builder| {
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag();
        builder.setup_submit_all();
    }),
    ("cooperative task work, submit all", |builder| {
        builder
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all();
    }),
    ("plain", |_| {}),
];

/// A ring of at least this many entries, and the name of the profile it was set up with.
pub(super) fn build(sq_entries: u32, cq_entries: u32) -> Result<(IoUring, &'static str), Refusal> {
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for (name, configure) in PROFILES {
        let mut builder = IoUring::builder();
        builder
            .setup_clamp()
            .setup_cqsize(cq_entries.max(sq_entries));
        configure(&mut builder);
        match builder.build(sq_entries) {
            Ok(ring) => return check(ring).map(|ring| (ring, name)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(Refusal::from_setup(&error)),
        }
    }
    Err(Refusal::from_setup(&refused))
}

/// Refuses a kernel that lacks something that every run needs.
fn check(ring: IoUring) -> Result<IoUring, Refusal> {
    let needed = [
        opcode::OpenAt::CODE,
        opcode::Statx::CODE,
        opcode::Read::CODE,
        opcode::AsyncCancel::CODE,
    ];
    let mut probe = Probe::new();
    let known = ring.submitter().register_probe(&mut probe).is_ok();
    let nodrop = ring.params().is_feature_nodrop() && ring.params().is_feature_ext_arg();
    if known && nodrop && needed.iter().all(|&code| probe.is_supported(code)) {
        return Ok(ring);
    }
    Err(Refusal {
        errno: None,
        cause: "this kernel's io_uring is too old".to_owned(),
        hint: "Linux 5.11 or later is needed",
    })
}
