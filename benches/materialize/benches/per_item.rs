//! What each contender costs per item, without I/O: futures that are ready at once, and futures that
//! are pending once.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use materialize_contenders::workloads::Counts;
use materialize_contenders::{Contender, Workload};
use std::time::Duration;

const ITEMS: u64 = 1 << 16;
const LIMIT: Duration = Duration::from_secs(60);

fn per_item(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    for (name, workload) in [
        ("ready", Workload::Ready),
        ("pending once", Workload::PendingOnce),
    ] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(ITEMS));
        for in_flight in [1, 32, 1000] {
            for contender in Contender::ALL {
                let id = BenchmarkId::new(contender.name(), in_flight);
                group.bench_function(id, |b| {
                    b.iter(|| {
                        // Spawned tasks need `'static` counts; the leak is small.
                        let counts: &'static Counts = Box::leak(Box::new(Counts::new()));
                        runtime.block_on(contender.run(workload, ITEMS, in_flight, LIMIT, counts));
                        assert!(counts.in_order() && counts.received() == ITEMS);
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, per_item);
criterion_main!(benches);
