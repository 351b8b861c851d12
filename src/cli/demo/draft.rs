//! Builds the jobs of the demonstration from a few words.
//!
//! The parts say what differs; a job is only finished by saying which rules its data are under.

use jiff::{SignedDuration, Timestamp};

use crate::{
    cli::time::{duration_to_proto, to_proto},
    proto::v1,
};

/// A job with the trade it stands for.
#[derive(Debug, Clone)]
pub(super) struct DemoJob {
    /// What is submitted.
    pub(super) spec: v1::JobSpec,
    /// What the client does.
    pub(super) trade: &'static str,
}

/// Client cities with their countries.
pub(super) const CITIES: [(&str, &str); 10] = [
    ("bangkok", "TH"),
    ("hanoi", "VN"),
    ("hochiminh", "VN"),
    ("singapore", "SG"),
    ("vientiane", "LA"),
    ("dhaka", "BD"),
    ("kualalumpur", "MY"),
    ("yangon", "MM"),
    ("phnompenh", "KH"),
    ("hongkong", "HK"),
];

/// A job under construction: the parts say what differs, `open`, `inbound` and `important` finish it.
pub(super) struct Draft {
    spec: v1::JobSpec,
    trade: &'static str,
    country: &'static str,
    now: Timestamp,
}

/// Begins a job of a client in a city.
pub(super) fn job(
    name: &str,
    trade: &'static str,
    city: &str,
    runtime_h: i64,
    deadline_h: i64,
    now: Timestamp,
) -> Draft {
    let country = CITIES
        .iter()
        .find(|(id, _)| *id == city)
        .map_or("", |(_, country)| *country);
    Draft {
        spec: v1::JobSpec {
            name: name.to_owned(),
            labels: [("trade".to_owned(), trade.replace(' ', "-"))].into(),
            origin: Some(v1::Origin {
                city_id: city.to_owned(),
                ..v1::Origin::default()
            }),
            timing: Some(v1::Timing {
                runtime: Some(duration_to_proto(SignedDuration::from_hours(runtime_h))),
                finish_deadline: Some(after(now, deadline_h)),
                ..v1::Timing::default()
            }),
            ..v1::JobSpec::default()
        },
        trade,
        country,
        now,
    }
}

fn after(now: Timestamp, hours: i64) -> prost_types::Timestamp {
    to_proto(
        now.saturating_add(SignedDuration::from_hours(hours))
            .unwrap_or(now),
    )
}

impl Draft {
    /// Tasks on CPU nodes; a core draws 12 W.
    pub(super) fn cpu(mut self, tasks: u32, cores: u32) -> Self {
        self.spec.task_count = tasks;
        self.spec.task_power_watts = u64::from(cores) * 12;
        self.spec.task_resources = Some(v1::TaskResources {
            cpu_cores: cores,
            memory_mib: u64::from(cores) * 4096,
            ..v1::TaskResources::default()
        });
        self
    }

    /// Tasks on whole GPU nodes of eight; a node draws 9.6 kW.
    pub(super) fn gpu(mut self, nodes: u32) -> Self {
        self.spec.task_count = nodes;
        self.spec.task_power_watts = 9_600;
        self.spec.task_resources = Some(v1::TaskResources {
            cpu_cores: 96,
            memory_mib: 1 << 20,
            gpus: 8,
            ..v1::TaskResources::default()
        });
        self
    }

    /// Brings so many gigabytes of input in, at up to so many gigabits a second.
    pub(super) fn brings(mut self, gigabytes: u64, gbit_per_second: u64) -> Self {
        self.spec.staging = Some(v1::Staging {
            input_bytes: gigabytes * 1_000_000_000,
            max_bits_per_second: gbit_per_second * 1_000_000_000,
        });
        self
    }

    /// May be cut into pieces of at least so many hours; each resumption repeats a quarter of an hour.
    pub(super) fn cut(mut self, min_chunk_h: i64) -> Self {
        self.spec.flexibility = Some(v1::Flexibility {
            kind: Some(v1::flexibility::Kind::Interruptible(v1::Interruptible {
                min_chunk: Some(duration_to_proto(SignedDuration::from_hours(min_chunk_h))),
                resume_cost: Some(duration_to_proto(SignedDuration::from_mins(15))),
            })),
        });
        self
    }

    /// Must reach a green share, at a confidence, both in thousandths.
    pub(super) fn green(mut self, min_share_permille: u32, confidence_permille: u32) -> Self {
        self.spec.green = Some(v1::GreenRequirement {
            min_share_permille,
            confidence_permille,
        });
        self
    }

    /// Must run so near.
    pub(super) fn within_ms(mut self, milliseconds: u32) -> Self {
        if let Some(origin) = &mut self.spec.origin {
            origin.max_rtt_us = milliseconds * 1000;
        }
        self
    }

    /// Data that are neither personal nor important; results go home under Article 3 of CAC Order 16.
    pub(super) fn open(self) -> DemoJob {
        let policy = v1::DataPolicy {
            data_class: v1::DataClass::None.into(),
            cn_flow: v1::CnFlow::Outbound.into(),
            export_basis: v1::ExportBasis::Art3.into(),
            output_to: vec![self.country.to_owned()],
            ..v1::DataPolicy::default()
        };
        self.under(policy)
    }

    /// Data of people abroad, processed in an enclave and sent home under Article 4.
    pub(super) fn inbound(
        self,
        data_class: v1::DataClass,
        sector: v1::Sector,
        subject_count: u64,
        basis: Option<v1::OriginBasisKind>,
    ) -> DemoJob {
        let evidence = |reference: String| v1::Evidence {
            reference,
            valid_until: Some(after(self.now, 365 * 24)),
        };
        let policy = v1::DataPolicy {
            data_class: data_class.into(),
            collected_in: vec![self.country.to_owned()],
            subject_count,
            sector: sector.into(),
            cn_flow: v1::CnFlow::InboundProcessReexport.into(),
            export_basis: v1::ExportBasis::Art4.into(),
            export_evidence: Some(evidence(format!("ART4-{}", self.spec.name))),
            origin_bases: basis
                .map(|kind| v1::OriginBasis {
                    country: self.country.to_owned(),
                    kind: kind.into(),
                    evidence: Some(evidence(format!("{}-{}", self.country, self.spec.name))),
                })
                .into_iter()
                .collect(),
            output_to: vec![self.country.to_owned()],
            require_no_domestic_mix: true,
            require_offshore_enclave: true,
            require_leased_line: true,
            retention: Some(duration_to_proto(SignedDuration::from_hours(24))),
            ..v1::DataPolicy::default()
        };
        self.under(policy)
    }

    /// Important domestic data whose results would leave without an assessment.
    pub(super) fn important(self, sector: v1::Sector) -> DemoJob {
        let policy = v1::DataPolicy {
            data_class: v1::DataClass::Important.into(),
            collected_in: vec!["CN".to_owned()],
            sector: sector.into(),
            cn_flow: v1::CnFlow::Outbound.into(),
            export_basis: v1::ExportBasis::StandardContract.into(),
            export_evidence: Some(v1::Evidence {
                reference: "SC-2026-0417".to_owned(),
                valid_until: Some(after(self.now, 365 * 24)),
            }),
            output_to: vec![self.country.to_owned()],
            ..v1::DataPolicy::default()
        };
        self.under(policy)
    }

    fn under(mut self, policy: v1::DataPolicy) -> DemoJob {
        self.spec.data_policy = Some(policy);
        DemoJob {
            spec: self.spec,
            trade: self.trade,
        }
    }
}
