//! Hashes the files below a directory, which `walkdir` lists:
//! `cargo run --release --example hash_tree -- DIR`

use walkdir::WalkDir;

fn main() -> Result<(), ringmill::Error> {
    let root = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    let entries = WalkDir::new(root).into_iter().filter_map(Result::ok);
    let files = entries.filter(|entry| entry.file_type().is_file());
    for row in ringmill::hash(files.map(|file| file.into_path())).start()? {
        let row = row?;
        match row.result {
            Ok(hashed) => println!("{}  {}", hashed.digest, row.input.display()),
            Err(error) => eprintln!("{error}"),
        }
    }
    Ok(())
}
