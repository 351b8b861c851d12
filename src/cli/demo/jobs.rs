//! The jobs of the demonstration: what banks, hospitals, hotels, studios and laboratories of the region might send.
//!
//! Every job is invented; three of them break a rule on purpose, so that the table shows refusals with their reasons.

use jiff::Timestamp;

use super::draft::{DemoJob, job};
use crate::proto::v1;

/// All jobs, with deadlines counted from `now`.
pub(super) fn all(now: Timestamp) -> Vec<DemoJob> {
    let mut jobs = finance(now);
    jobs.extend(health(now));
    jobs.extend(tourism(now));
    jobs.extend(rendering(now));
    jobs.extend(training(now));
    jobs.extend(refused(now));
    jobs
}

fn finance(now: Timestamp) -> Vec<DemoJob> {
    use v1::{DataClass::Personal, OriginBasisKind as Basis, Sector::Finance};
    vec![
        job("fx-risk-nightly", "finance", "singapore", 2, 18, now)
            .cpu(200, 16)
            .open(),
        job("stress-test", "finance", "hongkong", 4, 48, now)
            .cpu(400, 32)
            .cut(1)
            .open(),
        job("loan-scoring", "finance", "hanoi", 3, 24, now)
            .cpu(48, 32)
            .inbound(Personal, Finance, 90_000, Some(Basis::Ctia)),
        job("card-fraud-train", "finance", "bangkok", 6, 72, now)
            .gpu(16)
            .cut(2)
            .inbound(Personal, Finance, 800_000, Some(Basis::Scc)),
        job("bank-reconciliation", "finance", "dhaka", 1, 12, now)
            .cpu(24, 16)
            .inbound(Personal, Finance, 60_000, Some(Basis::RegulatorApproval)),
        job("remittance-aml", "finance", "kualalumpur", 2, 24, now)
            .cpu(64, 16)
            .inbound(Personal, Finance, 250_000, Some(Basis::Tia)),
    ]
}

fn health(now: Timestamp) -> Vec<DemoJob> {
    use v1::{DataClass::SensitivePersonal, OriginBasisKind as Basis, Sector::Health};
    vec![
        job("ct-lung-screening", "healthcare", "bangkok", 4, 48, now)
            .gpu(8)
            .cut(1)
            .inbound(SensitivePersonal, Health, 8_000, Some(Basis::Consent)),
        job("xray-triage", "healthcare", "vientiane", 1, 8, now)
            .gpu(4)
            .inbound(SensitivePersonal, Health, 1_200, Some(Basis::Consent)),
        job("maternal-records", "healthcare", "dhaka", 2, 30, now)
            .cpu(16, 32)
            .inbound(SensitivePersonal, Health, 5_000, Some(Basis::Consent)),
        job("dengue-genomes", "healthcare", "hochiminh", 5, 48, now)
            .cpu(100, 32)
            .cut(1)
            .brings(2_000, 5)
            .open(),
        job("protein-folding", "healthcare", "singapore", 12, 96, now)
            .gpu(64)
            .cut(2)
            .green(900, 500)
            .open(),
    ]
}

fn tourism(now: Timestamp) -> Vec<DemoJob> {
    vec![
        job("hotel-demand", "tourism", "bangkok", 2, 12, now)
            .cpu(40, 16)
            .open(),
        job("flight-repricing", "tourism", "kualalumpur", 1, 4, now)
            .cpu(20, 16)
            .open(),
        job("review-translation", "tourism", "hanoi", 3, 24, now)
            .gpu(8)
            .open(),
        job("angkor-3d-tour", "tourism", "phnompenh", 6, 72, now)
            .gpu(16)
            .cut(1)
            .open(),
    ]
}

fn rendering(now: Timestamp) -> Vec<DemoJob> {
    vec![
        job("film-frames-a", "rendering", "bangkok", 8, 72, now)
            .gpu(100)
            .cut(1)
            .brings(12_000, 20)
            .open(),
        job("film-frames-b", "rendering", "hochiminh", 10, 96, now)
            .gpu(60)
            .cut(1)
            .green(800, 500)
            .open(),
        job("temple-vr", "rendering", "vientiane", 5, 48, now)
            .gpu(12)
            .cut(1)
            .open(),
        job("look-development", "rendering", "kualalumpur", 2, 10, now)
            .gpu(10)
            .open(),
    ]
}

fn training(now: Timestamp) -> Vec<DemoJob> {
    vec![
        job(
            "thai-llm-pretraining",
            "AI training",
            "bangkok",
            36,
            160,
            now,
        )
        .gpu(240)
        .cut(4)
        .green(600, 500)
        .open(),
        job("burmese-speech", "AI training", "yangon", 10, 96, now)
            .gpu(24)
            .cut(2)
            .open(),
        job("bengali-ocr", "AI training", "dhaka", 8, 72, now)
            .gpu(16)
            .cut(2)
            .green(800, 900)
            .open(),
    ]
}

/// Three jobs that must not run as asked.
fn refused(now: Timestamp) -> Vec<DemoJob> {
    use v1::{DataClass, Sector};
    vec![
        // No site of Yunnan is 20 ms from Singapore.
        job("option-pricing-live", "finance", "singapore", 1, 6, now)
            .cpu(8, 16)
            .within_ms(20)
            .open(),
        // Viet Nam asks for a transfer dossier before personal data are processed abroad.
        job("customer-onboarding", "finance", "hanoi", 1, 24, now)
            .cpu(8, 16)
            .inbound(DataClass::Personal, Sector::Finance, 40_000, None),
        // Important data leave China only after a security assessment.
        job("border-survey", "mapping", "vientiane", 2, 48, now)
            .cpu(8, 16)
            .important(Sector::Map),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::{demo::draft::CITIES, starter};

    fn demo_jobs() -> Vec<DemoJob> {
        all("2026-11-24T06:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_set_is_mixed() {
        let jobs = demo_jobs();
        assert_eq!(jobs.len(), 25);
        let names: BTreeSet<&str> = jobs.iter().map(|job| job.spec.name.as_str()).collect();
        assert_eq!(names.len(), jobs.len(), "names are keys of idempotency");
        let trades: BTreeSet<&str> = jobs.iter().map(|job| job.trade).collect();
        for trade in [
            "finance",
            "healthcare",
            "tourism",
            "rendering",
            "AI training",
        ] {
            assert!(trades.contains(trade), "{trade}");
        }
        let cut = jobs
            .iter()
            .filter(|job| job.spec.flexibility.is_some())
            .count();
        assert!(8 < cut && cut < 17, "{cut} may be cut");
    }

    #[test]
    fn every_city_is_one_of_the_starter_data_in_its_country() {
        let zones = starter::latencies().unwrap().zones;
        let cities: BTreeSet<(&str, &str)> = zones
            .iter()
            .flat_map(|zone| &zone.cities)
            .map(|city| (city.city_id.as_str(), city.country.as_str()))
            .collect();
        for city in CITIES {
            assert!(cities.contains(&city), "{city:?}");
        }
        for job in demo_jobs() {
            let city = job.spec.origin.unwrap().city_id;
            assert!(CITIES.iter().any(|(id, _)| *id == city), "{city}");
        }
    }

    #[test]
    fn every_job_states_its_data_and_fits_its_window() {
        for job in demo_jobs() {
            let policy = job.spec.data_policy.unwrap();
            assert_ne!(policy.data_class(), v1::DataClass::Unspecified);
            assert_ne!(policy.cn_flow(), v1::CnFlow::Unspecified);
            let timing = job.spec.timing.unwrap();
            let start = "2026-11-24T06:00:00Z"
                .parse::<Timestamp>()
                .unwrap()
                .as_second();
            let window = timing.finish_deadline.unwrap().seconds - start;
            assert!(
                timing.runtime.unwrap().seconds * 2 < window + 1,
                "{}",
                job.spec.name
            );
            assert!(job.spec.task_resources.is_some(), "{}", job.spec.name);
        }
    }
}
