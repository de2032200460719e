//! On tokio, with one thread and with several.
//!
//!     cargo run --example tokio

use ringmill_materialize::materialize;
use std::io;
use std::time::Duration;
use tokio::runtime::Builder;

/// In each group of eight, later ones take less time.
async fn cube(n: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(8 - n % 8)).await;
    n * n * n
}

/// One thread; the futures make progress while the consumer waits for results.
pub fn one_thread() -> io::Result<Vec<u64>> {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    Ok(runtime.block_on(async {
        let mut cubes = Vec::new();
        let mut rows = materialize((0..100).map(cube), 10);
        while let Some(row) = rows.next().await {
            cubes.push(row);
        }
        cubes
    }))
}

/// Several threads; the driver is a task of its own, so the futures make progress while the
/// consumer is busy with a result.
pub fn two_tasks() -> io::Result<Vec<u64>> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    Ok(runtime.block_on(async {
        let (driver, mut rows) = materialize((0..100).map(cube), 10).window(50).split();
        let driver = tokio::spawn(driver);
        let consumer = tokio::spawn(async move {
            let mut cubes = Vec::new();
            while let Some(row) = rows.next().await {
                tokio::time::sleep(Duration::from_micros(100)).await;
                cubes.push(row);
            }
            cubes
        });
        driver.await.expect("no future panics");
        consumer.await.expect("the driver reaches its end")
    }))
}

fn main() -> io::Result<()> {
    for (name, cubes) in [("one thread", one_thread()?), ("two tasks", two_tasks()?)] {
        let in_order = cubes.is_sorted();
        let sum: u64 = cubes.iter().sum();
        println!(
            "{name}: {} cubes, in order: {in_order}, sum {sum}",
            cubes.len()
        );
    }
    Ok(())
}
