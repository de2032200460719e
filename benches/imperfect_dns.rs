//! A name server with faults, for `scripts/bench dns-imperfect`: it answers late, wrongly, or not at
//! all, as the first letter of a name says. The end-to-end tests run the same server in a thread.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use imperfect::{Behaviour, Edns, Imperfect, Tcp};

#[path = "../tests/e2e/support/imperfect/mod.rs"]
mod imperfect;

const USAGE: &str = "\
usage: imperfect_dns [OPTION]...

Serves names at a port of 127.0.0.1 by UDP and TCP, and prints its address. On SIGTERM it prints
what it counted, as one line of JSON, and ends. A name has one address; by its first letter it is:

  x  never answered           t  truncated in datagrams
  w  answered late            f  preceded by a record of another owner
  s  SERVFAIL                 l  lost in a share of its queries
  r  REFUSED                  others  answered as usual

  --port N              the port (default: a free one)
  --delay-ms N          from a query to its answer (default 20)
  --slow-ms N           the same for w (default 1000)
  --loss-percent N      share of the queries for l that are lost (default 0)
  --queue N             drop queries beyond N that wait for their answers
  --rate N              drop queries beyond N a second, and N/50 at once
  --refuse-beyond N     REFUSED for queries beyond N that wait for their answers
  --edns HOW            what is done with an OPT record: answer (default), ignore, formerr, notimp,
                        servfail, drop
  --tcp HOW             ok (default), closes-after-one, silent, refused, forgets-first
  --seed N              of what is lost (default 1)
";

struct Options {
    port: u16,
    behaviour: Behaviour,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // `cargo bench` starts every bench with `--bench`.
    let asks_for_usage = |argument: &String| argument == "--bench" || argument == "--help";
    if arguments.iter().any(asks_for_usage) {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match parse(&arguments) {
        Ok(options) => options,
        Err(problem) => {
            eprint!("imperfect_dns: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("imperfect_dns: {error}");
            ExitCode::from(1)
        }
    }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options {
        port: 0,
        behaviour: Behaviour::default(),
    };
    let behaviour = &mut options.behaviour;
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let value = rest
            .next()
            .ok_or_else(|| format!("{flag}: needs a value"))?;
        let wrong = || format!("{flag} {value}: not a value for it");
        let number = || value.parse::<u64>().map_err(|_| wrong());
        let small = || value.parse::<u32>().map_err(|_| wrong());
        let count = || value.parse::<usize>().map_err(|_| wrong());
        match flag.as_str() {
            "--port" => options.port = value.parse().map_err(|_| wrong())?,
            "--delay-ms" => behaviour.delay = Duration::from_millis(number()?),
            "--slow-ms" => behaviour.slow = Duration::from_millis(number()?),
            "--loss-percent" => behaviour.loss_percent = number()?,
            "--queue" => behaviour.queue = Some(count()?),
            "--rate" => behaviour.rate = Some(small()?),
            "--refuse-beyond" => behaviour.refuse_beyond = Some(count()?),
            "--edns" => behaviour.edns = edns(value).ok_or_else(wrong)?,
            "--tcp" => behaviour.tcp = tcp(value).ok_or_else(wrong)?,
            "--seed" => behaviour.seed = number()?,
            _ => return Err(format!("{flag}: unknown")),
        }
    }
    Ok(options)
}

fn edns(word: &str) -> Option<Edns> {
    Some(match word {
        "answer" => Edns::Answer,
        "ignore" => Edns::Ignore,
        "formerr" => Edns::FormErr,
        "notimp" => Edns::NotImp,
        "servfail" => Edns::ServFail,
        "drop" => Edns::Drop,
        _ => return None,
    })
}

fn tcp(word: &str) -> Option<Tcp> {
    Some(match word {
        "ok" => Tcp::Ok,
        "closes-after-one" => Tcp::ClosesAfterOne,
        "silent" => Tcp::Silent,
        "refused" => Tcp::Refused,
        "forgets-first" => Tcp::ForgetsFirst,
        _ => return None,
    })
}

/// Serves until a signal comes.
fn run(options: Options) -> io::Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let server = Imperfect::bind(options.port, options.behaviour)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", server.at)?;
    stdout.flush()?;
    let counts = server.serve(&ended)?;
    writeln!(stdout, "{}", serde_json::to_string(&counts)?)
}
