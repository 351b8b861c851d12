//! Durable commits on sled: how many records of 300 bytes a second, by records per commit.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lancang::store::{Record, SledStore, Store as _};
use uuid::Uuid;

const RECORD_BYTES: usize = 300;

fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store/commit");
    group.sample_size(20);
    for count in [1_u64, 10, 100, 1000] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut store =
            SledStore::open_or_create(dir.path(), 900, Uuid::nil()).expect("a new store");
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let first = store.last_revision() + 1;
                let records: Vec<Record> = (first..first + count)
                    .map(|revision| Record {
                        revision,
                        payload: vec![0x5a; RECORD_BYTES],
                    })
                    .collect();
                store.commit(black_box(&records)).expect("a healthy disk");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, commit);
criterion_main!(benches);
