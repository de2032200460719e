//! Looks up the names in a list: `cargo run --release --example resolve_list < names.txt`

use std::io::{self, BufRead, BufReader};

fn main() -> Result<(), ringmill::Error> {
    // An error of standard input ends the list, as its end does.
    let names = BufReader::new(io::stdin()).lines().map_while(Result::ok);
    for row in ringmill::dns(names).retries(3).start()? {
        let row = row?;
        match row.result {
            Ok(resolved) => {
                let data = resolved.records.iter().map(|record| &*record.data);
                println!(
                    "{} {:?} {}",
                    row.input,
                    resolved.status,
                    data.collect::<Vec<_>>().join(" ")
                );
            }
            Err(error) => eprintln!("{error}"),
        }
    }
    Ok(())
}
