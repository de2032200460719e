//! Files with latencies: whatever they hold, reading them ends, and what is read can be written and
//! is the same when it is read again.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use ringmill::stats::hlog::IntervalLog;
use ringmill::stats::{document, hlog};
use std::time::{Duration, SystemTime};

fuzz_target!(|input: &[u8]| -> Corpus {
    if let Ok(phases) = document::read(input) {
        for phase in phases {
            assert!(phase.percentiles_ns.iter().all(|point| point.0 <= 100.0));
        }
    }
    let Ok(content) = hlog::read(input) else {
        return Corpus::Keep;
    };
    let mut written = Vec::new();
    let mut log = IntervalLog::begin(&mut written, SystemTime::UNIX_EPOCH).unwrap();
    log.interval(&content.series, Duration::from_secs(1)).unwrap();
    let in_range = |series: &&ringmill::stats::Series| !series.histogram.is_empty();
    let expected: Vec<_> = content.series.iter().filter(in_range).collect();
    let again = hlog::read(&written).map(|content| content.series).unwrap_or_default();
    assert_eq!(again.len(), expected.len());
    for (again, expected) in again.iter().zip(expected) {
        assert_eq!(again.name, expected.name);
        assert_eq!(again.histogram, expected.histogram);
    }
    Corpus::Keep
});
