//! Interval logs: compressed histograms of successive intervals of time, each with its phase as a tag
//! (format 1.3 of HdrHistogram's `HistogramLogWriter`, histograms in V2 with deflate).

use super::Series;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime};

/// The unit of the maximum beside each histogram, the same as in other writers.
const NS_PER_MS: f64 = 1e6;

/// The first bytes of a compressed histogram; the length of the rest follows.
const COMPRESSED_COOKIE: [u8; 4] = [0x1c, 0x84, 0x93, 0x14];

/// The header of an encoded histogram, before its counts: a cookie, their length and the shape.
const HEADER_LEN: usize = 40;

/// The longest encoded histogram that is read, in bytes. Ours take at most 300 KiB.
const ENCODED_LEN_MAX: u64 = 64 << 20;

/// The first bytes of a log's head, the same for all writers. The log of a run without items has only a
/// head.
const FORMAT: &[u8] = b"#[Histogram log format version ";

/// The prefix of a line with the name of a series and its number of latencies out of range in this
/// interval. Other readers skip the line as a comment.
const OUT_OF_RANGE: &str = "#[OutOfRange: ";

/// The name of a series without a tag.
const UNTAGGED: &str = "untagged";

/// Writes an interval log.
pub struct IntervalLog<W> {
    out: W,
    serializer: V2DeflateSerializer,
    /// The start of the next interval, from the start of the log.
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

    /// The start of the next interval, from the start of the log.
    pub fn position(&self) -> Duration {
        self.position
    }

    /// Writes the latencies of an interval, which starts at the end of the last one and ends at `end`,
    /// counted from the start of the log.
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

/// Why an interval log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A line does not have the form of an interval log.
    #[error("line {0} is not one of an interval log")]
    Line(usize),
    /// The histogram of a line cannot be decoded.
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

/// The content of an interval log.
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
/// If it is not an interval log.
pub fn read(bytes: &[u8]) -> Result<Content, ReadError> {
    let mut series: Vec<Series> = Vec::new();
    let (mut first, mut last) = (Duration::MAX, Duration::ZERO);
    let mut has_head = false;
    let mut deserializer = Deserializer::new();
    // One line at a time, so that an error can name its line.
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

/// The series with this name, which is added if it does not exist yet.
fn series_of<'a>(series: &'a mut Vec<Series>, name: &str) -> &'a mut Series {
    let known = series.iter().position(|one| one.name == name);
    let place = known.unwrap_or_else(|| {
        series.push(Series::new(name));
        series.len() - 1
    });
    &mut series[place]
}

/// The name and count in a line with the prefix [`OUT_OF_RANGE`].
fn out_of_range(line: &[u8]) -> Option<(&str, u64)> {
    let line = std::str::from_utf8(line).ok()?;
    let (name, count) = line
        .strip_prefix(OUT_OF_RANGE)?
        .strip_suffix("]")?
        .rsplit_once(", ")?;
    Some((name, count.parse().ok()?))
}

/// Decodes a histogram. The library trusts the length in the header; here it is checked against the data
/// first.
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
    let counts_len = u32::from_be_bytes([encoded[4], encoded[5], encoded[6], encoded[7]]);
    if usize::try_from(counts_len).is_ok_and(|counts_len| counts_len > payload.len()) {
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

    /// A header of 40 bytes, according to which 4 GiB follow.
    #[test]
    fn a_length_beyond_the_data_is_refused() {
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
