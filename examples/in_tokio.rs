//! Uses rows as a stream in a tokio runtime: `cargo run --release --example in_tokio -- FILE...`

use futures_util::TryStreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ringmill::Error> {
    let paths: Vec<_> = std::env::args_os().skip(1).collect();
    let rows = ringmill::hash(paths).start()?;
    rows.try_for_each(|row| async move {
        match row.result {
            Ok(hashed) => println!("{}  {}", hashed.digest, row.input.display()),
            Err(error) => eprintln!("{error}"),
        }
        Ok(())
    })
    .await
}
