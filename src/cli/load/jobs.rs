//! The jobs of a load: spread over cities, sizes, runtimes and two weeks.
//!
//! The same seed, caller and share give the same jobs, but for the moment they count from.

use jiff::SignedDuration;

use crate::{cli::load::Now, proto::v1};

const CITIES: [&str; 8] = [
    "bangkok",
    "vientiane",
    "hanoi",
    "mandalay",
    "singapore",
    "kualalumpur",
    "phnompenh",
    "hochiminh",
];

/// An iterator over submissions.
pub(super) struct JobMix {
    random: SplitMix,
    prefix: String,
    next: u32,
    n_jobs: u32,
    now: Now,
}

/// The splitmix64 generator (Steele, Lea, Flood 2014): good enough for a mix, no dependency, the same everywhere.
struct SplitMix(u64);

impl JobMix {
    /// `n_jobs` submissions of one caller.
    pub(super) fn new(seed: u64, caller: u32, n_jobs: u32, now: Now) -> Self {
        Self {
            random: SplitMix(seed.wrapping_mul(1_000_003).wrapping_add(u64::from(caller))),
            prefix: format!("load-{}-{seed}-{caller}", now.as_millisecond()),
            next: 0,
            n_jobs,
            now,
        }
    }

    fn spec(&mut self) -> v1::JobSpec {
        let random = &mut self.random;
        let minutes = 15 * random.between(1, 16);
        let from_hours = random.between(0, 11 * 24);
        let slack_hours = random.between(6, 48);
        let earliest = self.now + SignedDuration::from_hours(i64::from(from_hours));
        let window = SignedDuration::from_hours(i64::from(slack_hours))
            + SignedDuration::from_mins(i64::from(minutes));
        let deadline = earliest + window;
        let interruptible = random.between(0, 9) == 0;
        let city = usize::try_from(random.between(0, 7)).unwrap_or(0);
        let chunk = prost_types::Duration {
            seconds: 900,
            nanos: 0,
        };
        let kind = if interruptible {
            v1::flexibility::Kind::Interruptible(v1::Interruptible {
                min_chunk: Some(chunk),
                resume_cost: None,
            })
        } else {
            v1::flexibility::Kind::Rigid(v1::Rigid {})
        };
        v1::JobSpec {
            name: format!("load-{}", self.next),
            origin: Some(v1::Origin {
                city_id: CITIES[city].to_owned(),
                max_rtt_us: 100_000,
                ..v1::Origin::default()
            }),
            task_resources: Some(v1::TaskResources {
                cpu_cores: 4 * random.between(1, 8),
                memory_mib: 4_096 * u64::from(random.between(1, 8)),
                ..v1::TaskResources::default()
            }),
            task_count: random.between(1, 4),
            task_power_watts: u64::from(random.between(100, 600)),
            timing: Some(v1::Timing {
                runtime: Some(prost_types::Duration {
                    seconds: i64::from(minutes) * 60,
                    nanos: 0,
                }),
                earliest_start: Some(timestamp(earliest)),
                start_deadline: None,
                finish_deadline: Some(timestamp(deadline)),
            }),
            flexibility: Some(v1::Flexibility { kind: Some(kind) }),
            green: None,
            data_policy: Some(v1::DataPolicy {
                data_class: v1::DataClass::None.into(),
                cn_flow: v1::CnFlow::DomesticOnly.into(),
                export_basis: v1::ExportBasis::NoneNeeded.into(),
                ..v1::DataPolicy::default()
            }),
            ..v1::JobSpec::default()
        }
    }
}

impl Iterator for JobMix {
    type Item = v1::SubmitJobRequest;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.n_jobs {
            return None;
        }
        let submission = v1::SubmitJobRequest {
            idempotency_key: format!("{}-{}", self.prefix, self.next),
            spec: Some(self.spec()),
            ..v1::SubmitJobRequest::default()
        };
        self.next += 1;
        Some(submission)
    }
}

impl SplitMix {
    /// A number from `low` to `high`, both included.
    fn between(&mut self, low: u32, high: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let span = u64::from(high - low) + 1;
        low + u32::try_from(z % span).unwrap_or(0)
    }
}

fn timestamp(at: Now) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.as_second(),
        nanos: at.subsec_nanosecond(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_jobs_and_another_gives_others() {
        let jobs = |seed| JobMix::new(seed, 0, 50, Now::UNIX_EPOCH).collect::<Vec<_>>();
        assert_eq!(jobs(7), jobs(7));
        assert_ne!(jobs(7)[0].spec, jobs(8)[0].spec);
    }

    #[test]
    fn callers_never_share_a_key() {
        let keys =
            |caller| JobMix::new(1, caller, 20, Now::UNIX_EPOCH).map(|job| job.idempotency_key);
        let all: std::collections::BTreeSet<String> = keys(0).chain(keys(1)).collect();
        assert_eq!(all.len(), 40);
    }
}
