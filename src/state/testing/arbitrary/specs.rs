//! What clients ask for.
//!
//! Nothing here has violations.

use super::{work::execution, *};

fn evidence() -> impl Strategy<Value = Evidence> {
    (select(vec!["CAC-2026-1", "SCC 77"]), option::of(time())).prop_map(
        |(reference, valid_until)| Evidence {
            reference: reference.into(),
            valid_until,
        },
    )
}

fn origin_basis() -> impl Strategy<Value = OriginBasis> {
    let kinds = vec![
        OriginBasisKind::Ctia,
        OriginBasisKind::Scc,
        OriginBasisKind::Bcr,
        OriginBasisKind::Consent,
        OriginBasisKind::Tia,
        OriginBasisKind::RegulatorApproval,
    ];
    (country(), select(kinds), option::of(evidence())).prop_map(|(country, kind, evidence)| {
        OriginBasis {
            country,
            kind,
            evidence,
        }
    })
}

fn requirements() -> impl Strategy<Value = Requirements> {
    let flags = any::<[bool; 4]>();
    (flags, option::of(name())).prop_map(|([a, b, c, d], gateway)| Requirements {
        no_domestic_mix: a,
        offshore_enclave: b,
        leased_line: c,
        gateway,
        encrypted_in_use: d,
    })
}

/// Labels without violations.
pub(crate) fn data_policy() -> impl Strategy<Value = DataPolicy> {
    let classes = vec![
        DataClass::None,
        DataClass::Anonymised,
        DataClass::Personal,
        DataClass::SensitivePersonal,
        DataClass::Important,
        DataClass::Core,
    ];
    let sectors = vec![
        Sector::Other,
        Sector::Finance,
        Sector::Health,
        Sector::Public,
        Sector::Telecom,
        Sector::Map,
    ];
    let flows = vec![
        CnFlow::NoCn,
        CnFlow::DomesticOnly,
        CnFlow::InboundProcessReexport,
        CnFlow::Outbound,
    ];
    let bases = vec![
        ExportBasis::NoneNeeded,
        ExportBasis::Art3,
        ExportBasis::Art4,
        ExportBasis::Art5,
        ExportBasis::BelowThreshold,
        ExportBasis::StandardContract,
        ExportBasis::Certification,
        ExportBasis::SecurityAssessment,
        ExportBasis::FtzList,
    ];
    let numbers = (1..1_000_000_u64, 0..10_000_000_u64);
    let kinds = (select(classes), select(sectors), select(flows));
    let export = (option::of(select(bases)), option::of(evidence()));
    let countries = (vec(country(), 1..3), vec(country(), 0..3), any::<bool>());
    let sites = (vec(name(), 0..3), any::<bool>());
    let rest = (vec(origin_basis(), 0..3), requirements());
    (kinds, numbers, export, countries, sites, rest).prop_map(
        |(kinds, numbers, export, countries, (sites, allow_sites), (origin_bases, require))| {
            let (collected_in, listed, allow_countries) = countries;
            let (allowed_sites, denied_sites) = one_side(sites, allow_sites);
            let (allowed_countries, denied_countries) = one_side(listed.clone(), allow_countries);
            DataPolicy {
                data_class: kinds.0,
                collected_in: collected_in.into(),
                subject_count: numbers.0,
                sector: kinds.1,
                cn_flow: kinds.2,
                export_basis: export.0,
                export_evidence: export.1,
                origin_bases: origin_bases.into(),
                output_to: listed.into(),
                allowed_sites,
                denied_sites,
                allowed_countries,
                denied_countries,
                require,
                retention_seconds: numbers.1,
            }
        },
    )
}

/// A list as the allowed or as the denied ones: never both.
fn one_side<T>(list: Vec<T>, allow: bool) -> (Box<[T]>, Box<[T]>) {
    if allow {
        (list.into(), Box::default())
    } else {
        (Box::default(), list.into())
    }
}

fn origin() -> impl Strategy<Value = Origin> {
    let place = prop_oneof![
        name().prop_map(ClientPlace::City),
        name().prop_map(ClientPlace::Zone),
    ];
    let path = select(vec![NetworkPath::Leased, NetworkPath::Internet]);
    let quantile = select(vec![RttQuantile::P50, RttQuantile::P95]);
    (place, option::of(1..10_000_000_u32), path, quantile).prop_map(
        |(place, max_rtt_us, path, quantile)| Origin {
            place,
            max_rtt_us,
            path,
            quantile,
        },
    )
}

fn task() -> impl Strategy<Value = TaskResources> {
    let gpus = option::of((1..=8_u32, option::of(select(vec!["H100", "910B"]))));
    (1..=128_u32, 1..=4_194_304_u64, gpus, any::<bool>()).prop_map(
        |(cpu_cores, memory_mib, gpus, exclusive_node)| {
            let (gpus, gpu_model) = gpus.unwrap_or_default();
            TaskResources {
                cpu_cores,
                memory_mib,
                gpus,
                gpu_model: gpu_model.map(Arc::from),
                exclusive_node,
            }
        },
    )
}

/// Times that leave room for the runtime, and a way to cut it.
fn timing() -> impl Strategy<Value = (Timing, Flexibility)> {
    let runtime_ms = 1_000..1_000_000_000_u64;
    let times = (time(), any::<[bool; 3]>());
    (runtime_ms, times, flexibility()).prop_map(|(runtime_ms, (start, set), flexibility)| {
        let finish = start.plus_ms(2 * i64::try_from(runtime_ms).unwrap());
        let timing = Timing {
            runtime_ms,
            earliest_start: set[0].then_some(start),
            start_deadline: set[1].then_some(start.plus_ms(1)),
            finish_deadline: set[2].then_some(finish),
        };
        (timing, flexibility)
    })
}

/// A way to cut or to vary any run of a second or more.
fn flexibility() -> impl Strategy<Value = Flexibility> {
    let pieces = (1..=1_000_u64, 0..=1_000_u64).prop_map(|(min_chunk_ms, resume_cost_ms)| {
        Flexibility::Interruptible {
            min_chunk_ms,
            resume_cost_ms,
        }
    });
    let gains = vec(0..=1_000_u32, 1..64);
    let units = gains.prop_map(|mut gains| {
        gains.sort_unstable_by(|a, b| b.cmp(a));
        let speeds = gains.into_iter().scan(1_000, |speed, gain| {
            *speed += gain;
            Some(*speed)
        });
        Flexibility::Malleable {
            speed_permille: std::iter::once(1_000).chain(speeds).collect(),
        }
    });
    prop_oneof![Just(Flexibility::Rigid), pieces, units]
}

fn weights() -> impl Strategy<Value = Weights> {
    (1..1_000_000_u64, 0..1_000_000_u64, 0..1_000_u32, 0..9_u64).prop_map(|weights| Weights {
        grid_energy_micro_cny_per_kwh: weights.0,
        carbon_micro_cny_per_kg: weights.1,
        cost_permille: weights.2,
        delay_micro_cny_per_hour: weights.3,
    })
}

/// Input that is there within two slots.
fn staging() -> impl Strategy<Value = Staging> {
    let bytes = 1..200_000_000_000_u64;
    let rate = option::of(1_000_000_000..=limits::STAGING_BITS_PER_SECOND_MAX);
    (bytes, rate).prop_map(|(input_bytes, max_bits_per_second)| Staging {
        input_bytes,
        max_bits_per_second,
    })
}

/// A description without violations.
pub(crate) fn job_spec() -> impl Strategy<Value = JobSpec> {
    let labels = btree_map(select(vec!["team", "cost.centre", "x_1"]), text(), 0..3);
    let names = (select(vec!["render", "Risk_1", "etl.v2"]), labels);
    let size = (task(), 1..1_000_000_u32, 1..1_000_000_u64);
    let wishes = (
        0..=1_000_u32,
        confidence(),
        option::of(weights()),
        limits::PRIORITY,
        (option::of(staging()), option::of(execution())),
    );
    (names, origin(), size, timing(), wishes, data_policy()).prop_map(
        |((name, labels), origin, size, (timing, flexibility), wishes, policy)| JobSpec {
            name: name.into(),
            labels: labels.into_iter().map(|(k, v)| (k.into(), v)).collect(),
            origin,
            task: size.0,
            task_count: size.1,
            task_power_watts: size.2,
            timing,
            flexibility,
            min_green_share_permille: wishes.0,
            confidence: wishes.1,
            data_policy: Arc::new(policy),
            weights: wishes.2,
            priority: wishes.3,
            staging: wishes.4.0,
            execution: wishes.4.1.map(Arc::new),
        },
    )
}
