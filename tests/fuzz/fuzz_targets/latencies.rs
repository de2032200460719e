//! Files with latencies: whatever they contain, reading them ends, and what was read can be written and
//! read again unchanged.

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
    let again = hlog::read(&written).map(|content| content.series).unwrap_or_default();
    let expected = content.series.iter().filter(|series| series.count() > 0);
    for expected in expected {
        let again = again.iter().find(|series| series.name == expected.name);
        let again = again.expect("it was written");
        assert_eq!(again.histogram, expected.histogram);
        assert_eq!(again.out_of_range, expected.out_of_range);
    }
    Corpus::Keep
});
