//! Interval logs: histograms of one stretch of time after the other, compressed (format 1.3, V2 with
//! deflate, of HdrHistogram's `HistogramLogWriter`), each with its phase as a tag.

use super::Series;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime};

/// The unit of the maximum that stands beside each histogram, as other writers have it.
const NS_PER_MS: f64 = 1e6;

/// What compressed histograms begin with, before the length of the rest.
const COMPRESSED_COOKIE: [u8; 4] = [0x1c, 0x84, 0x93, 0x14];

/// Before the counts of an encoded histogram stand a cookie, their length and the shape.
const HEADER_LEN: usize = 40;

/// The longest encoded histogram that is read, in bytes. Ours take 300 KiB at the very most.
const ENCODED_LEN_MAX: u64 = 64 << 20;

/// What the head of a log begins with, whoever has written it. A log of a run without items has nothing
/// else.
const FORMAT: &[u8] = b"#[Histogram log format version ";

/// Before the name of a series and how many latencies in this interval were out of range. To other
/// readers it is a comment.
const OUT_OF_RANGE: &str = "#[OutOfRange: ";

/// The name of what has no tag.
const UNTAGGED: &str = "untagged";

/// Writes an interval log.
pub struct IntervalLog<W> {
    out: W,
    serializer: V2DeflateSerializer,
    /// Where the next interval starts, since the start of the log.
    position: Duration,
}

impl<W: Write> IntervalLog<W> {
    /// Begins a log at this time.
    ///
    /// # Errors
    /// If its head cannot be written.
    pub fn begin(mut out: W, start: SystemTime) -> io::Result<Self> {
        let since_epoch = start
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = since_epoch.as_secs_f64();
        let date = humantime::format_rfc3339_millis(start);
        writeln!(
            out,
            "#[Logged with ringmill {}, latencies in ns]",
            env!("CARGO_PKG_VERSION")
        )?;
        writeln!(out, "#[Histogram log format version 1.3]")?;
        writeln!(
            out,
            "#[StartTime: {seconds:.3} (seconds since epoch), {date}]"
        )?;
        writeln!(out, "#[BaseTime: {seconds:.3} (seconds since epoch)]")?;
        writeln!(
            out,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )?;
        Ok(Self {
            out,
            serializer: V2DeflateSerializer::new(),
            position: Duration::ZERO,
        })
    }

    /// Where the next interval starts, since the start of the log.
    pub fn position(&self) -> Duration {
        self.position
    }

    /// Writes what has been recorded since the end of the last interval, up to `end` after the start
    /// of the log.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn interval(&mut self, series: &[Series], end: Duration) -> io::Result<()> {
        let length = end.saturating_sub(self.position).as_secs_f64();
        for one in series.iter().filter(|one| !one.histogram.is_empty()) {
            let mut bytes = Vec::new();
            self.serializer
                .serialize(&one.histogram, &mut bytes)
                .map_err(io::Error::other)?;
            #[allow(clippy::cast_precision_loss)]
            let max = one.histogram.max() as f64 / NS_PER_MS;
            writeln!(
                self.out,
                "Tag={},{:.3},{length:.3},{max:.3},{}",
                one.name,
                self.position.as_secs_f64(),
                STANDARD.encode(bytes)
            )?;
        }
        for one in series.iter().filter(|one| one.out_of_range > 0) {
            writeln!(
                self.out,
                "{OUT_OF_RANGE}{}, {}]",
                one.name, one.out_of_range
            )?;
        }
        self.position = end;
        self.out.flush()
    }
}

/// Why something is no interval log.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A line has not the form of one.
    #[error("line {0} is not one of an interval log")]
    Line(usize),
    /// What stands in a line is no histogram.
    #[error("the histogram of line {line} cannot be read: {cause}")]
    Histogram {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        cause: String,
    },
    /// It holds neither a histogram nor the head of a log.
    #[error("there is neither a histogram nor the head of an interval log in it")]
    Empty,
}

/// What an interval log holds.
#[derive(Debug)]
pub struct Content {
    /// All intervals added, by tag, in the order of their first appearance. A log may have none.
    pub series: Vec<Series>,
    /// From the start of the first interval to the end of the last.
    pub span: Duration,
}

/// Reads a whole interval log, of ringmill or of any other program.
///
/// # Errors
/// If it is none.
pub fn read(bytes: &[u8]) -> Result<Content, ReadError> {
    let mut series: Vec<Series> = Vec::new();
    let (mut first, mut last) = (Duration::MAX, Duration::ZERO);
    let mut has_head = false;
    let mut deserializer = Deserializer::new();
    // One line after the other, so that a message can name it.
    for (at, text) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = at + 1;
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        has_head |= text.starts_with(FORMAT);
        if let Some((name, count)) = out_of_range(text) {
            series_of(&mut series, name).add_out_of_range(count);
            continue;
        }
        if text.is_empty() || text.starts_with(b"#") || text.starts_with(b"\"") {
            continue;
        }
        let text = [text, b"\n"].concat();
        let Some(Ok(LogEntry::Interval(interval))) = IntervalLogIterator::new(&text).next() else {
            return Err(ReadError::Line(line));
        };
        let unreadable = |cause: String| ReadError::Histogram { line, cause };
        let histogram = decode(interval.encoded_histogram(), &mut deserializer);
        let histogram = histogram.map_err(unreadable)?;
        let name = interval.tag().map_or(UNTAGGED, |tag| tag.as_str());
        series_of(&mut series, name).add(&histogram);
        first = first.min(interval.start_timestamp());
        last = last.max(interval.start_timestamp() + interval.duration());
    }
    if series.is_empty() && !has_head {
        return Err(ReadError::Empty);
    }
    Ok(Content {
        series,
        span: last.saturating_sub(first),
    })
}

/// The series of this name, which is added if there is none.
fn series_of<'a>(series: &'a mut Vec<Series>, name: &str) -> &'a mut Series {
    let known = series.iter().position(|one| one.name == name);
    let place = known.unwrap_or_else(|| {
        series.push(Series::new(name));
        series.len() - 1
    });
    &mut series[place]
}

/// What a line of ours says of latencies out of range.
fn out_of_range(line: &[u8]) -> Option<(&str, u64)> {
    let line = std::str::from_utf8(line).ok()?;
    let (name, count) = line
        .strip_prefix(OUT_OF_RANGE)?
        .strip_suffix("]")?
        .rsplit_once(", ")?;
    Some((name, count.parse().ok()?))
}

/// Decodes a histogram. The library would believe any length that a file says; here it is held
/// against what there is.
fn decode(text: &str, deserializer: &mut Deserializer) -> Result<Histogram<u64>, String> {
    let cut_off = || "it is cut off".to_owned();
    let mut encoded = STANDARD.decode(text).map_err(|error| error.to_string())?;
    if encoded.starts_with(&COMPRESSED_COOKIE) {
        let compressed = encoded.get(8..).ok_or_else(cut_off)?;
        let mut inflated = Vec::new();
        ZlibDecoder::new(compressed)
            .take(ENCODED_LEN_MAX)
            .read_to_end(&mut inflated)
            .map_err(|error| error.to_string())?;
        encoded = inflated;
    }
    let payload = encoded.get(HEADER_LEN..).ok_or_else(cut_off)?;
    let said_len = u32::from_be_bytes([encoded[4], encoded[5], encoded[6], encoded[7]]);
    if usize::try_from(said_len).is_ok_and(|said_len| said_len > payload.len()) {
        return Err(cut_off());
    }
    deserializer
        .deserialize(&mut &encoded[..])
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, values: &[u64]) -> Series {
        let mut series = Series::new(name);
        values
            .iter()
            .for_each(|&ns| series.histogram.record(ns).unwrap());
        series
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut log = IntervalLog::begin(Vec::new(), SystemTime::now()).unwrap();
        let second = Duration::from_secs(1);
        log.interval(
            &[series("open", &[1, 2000]), series("read", &[700])],
            second,
        )
        .unwrap();
        let mut late = series("open", &[5_000_000_000]);
        late.out_of_range = 7;
        log.interval(&[late], 3 * second).unwrap();
        let content = read(&log.out).unwrap();
        assert_eq!(content.span, 3 * second);
        let names: Vec<(&str, u64, u64)> = content
            .series
            .iter()
            .map(|one| (&*one.name, one.histogram.len(), one.histogram.min()))
            .collect();
        assert_eq!(names, [("open", 3, 1), ("read", 1, 700)]);
        let expected = series("open", &[1, 2000, 5_000_000_000]).histogram;
        assert_eq!(content.series[0].histogram, expected);
        assert_eq!(content.series[0].out_of_range, 7);
    }

    #[test]
    fn a_log_may_hold_no_values() {
        let mut log = IntervalLog::begin(Vec::new(), SystemTime::now()).unwrap();
        log.interval(&[series("open", &[])], Duration::from_secs(1))
            .unwrap();
        let content = read(&log.out).unwrap();
        assert!(content.series.is_empty());
        assert_eq!(content.span, Duration::ZERO);
    }

    #[test]
    fn what_is_no_log_is_refused_with_its_line() {
        let error = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        let nothing = "there is neither a histogram nor the head of an interval log in it";
        assert_eq!(
            (error(""), error("#[x]\n")),
            (nothing.into(), nothing.into())
        );
        assert_eq!(
            error("#[x]\nhello\n"),
            "line 2 is not one of an interval log"
        );
        assert_eq!(error("0.1,1.0,2.0"), "line 1 is not one of an interval log");
        assert!(error("Tag=a,0.1,1.0,2.0,!!!\n").starts_with("the histogram of line 1 "));
        assert!(error("Tag=a,0.1,1.0,2.0,AAAA\n").starts_with("the histogram of line 1 "));
    }

    /// 40 bytes that say that 4 GiB follow.
    #[test]
    fn a_length_that_is_not_there_is_not_believed() {
        let mut encoded = vec![0x1c, 0x84, 0x93, 0x13];
        encoded.extend([0xff; 4]);
        encoded.resize(HEADER_LEN, 0);
        let line = format!("0.1,1.0,2.0,{}\n", STANDARD.encode(encoded));
        let error = read(line.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            error,
            "the histogram of line 1 cannot be read: it is cut off"
        );
    }
}
