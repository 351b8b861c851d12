//! What a client asked for, with the labels of its data.
//!
//! A rigid job, a named city and absent times are told apart from their neighbours by presence, never by a 0.

use std::sync::Arc;

use crate::{
    domain::{
        data_policy::{DataPolicy, Evidence, OriginBasis, Requirements},
        interner::Interner,
        job::{ClientPlace, Flexibility, JobSpec, Origin, TaskResources, Timing, Weights},
        latency::{NetworkPath, RttQuantile},
    },
    limits,
    proto::journal_v1,
    slot::TimeMs,
    store::codec::{
        DecodeError,
        enums::{
            decode_cn_flow, decode_confidence, decode_data_class, decode_export_basis,
            decode_origin_basis_kind, decode_sector, encode_cn_flow, encode_data_class,
            encode_export_basis, encode_origin_basis_kind, encode_sector,
        },
        error::{FieldProblem, Located},
        fields::{
            country, decode_countries, decode_names, encode_countries, encode_names,
            encode_optional, optional_name, optional_time, required,
        },
        links::{decode_staging, encode_staging},
        work::{decode_execution, encode_execution},
    },
};

pub(super) fn encode_spec(spec: &JobSpec) -> journal_v1::JobSpec {
    let (city_id, zone_id) = match &spec.origin.place {
        ClientPlace::City(city) => (city.as_str().to_owned(), String::new()),
        ClientPlace::Zone(zone) => (String::new(), zone.as_str().to_owned()),
    };
    let (min_chunk_ms, resume_cost_ms, speed_permille) = match &spec.flexibility {
        Flexibility::Rigid => (None, 0, Vec::new()),
        Flexibility::Interruptible {
            min_chunk_ms,
            resume_cost_ms,
        } => (Some(*min_chunk_ms), *resume_cost_ms, Vec::new()),
        Flexibility::Malleable { speed_permille } => (None, 0, speed_permille.to_vec()),
    };
    let labels = spec.labels.iter().flat_map(|(key, value)| [key, value]);
    journal_v1::JobSpec {
        name: spec.name.as_ref().into(),
        labels: labels.map(|text| text.as_ref().into()).collect(),
        city_id,
        zone_id,
        max_rtt_us: spec.origin.max_rtt_us.unwrap_or_default(),
        internet: match spec.origin.path {
            NetworkPath::Leased => false,
            NetworkPath::Internet => true,
        },
        p95: match spec.origin.quantile {
            RttQuantile::P50 => false,
            RttQuantile::P95 => true,
        },
        cpu_cores: spec.task.cpu_cores,
        memory_mib: spec.task.memory_mib,
        gpus: spec.task.gpus,
        gpu_model: encode_optional(spec.task.gpu_model.as_deref()),
        exclusive_node: spec.task.exclusive_node,
        task_count: spec.task_count,
        task_power_watts: spec.task_power_watts,
        runtime_ms: spec.timing.runtime_ms,
        earliest_start_ms: spec.timing.earliest_start.map(|time| time.0),
        start_deadline_ms: spec.timing.start_deadline.map(|time| time.0),
        finish_deadline_ms: spec.timing.finish_deadline.map(|time| time.0),
        min_chunk_ms,
        resume_cost_ms,
        min_green_share_permille: spec.min_green_share_permille,
        confidence_permille: spec.confidence.permille(),
        data_policy: Some(encode_policy(&spec.data_policy)),
        weights: spec.weights.map(|weights| journal_v1::Weights {
            grid_energy_micro_cny_per_kwh: weights.grid_energy_micro_cny_per_kwh,
            carbon_micro_cny_per_kg: weights.carbon_micro_cny_per_kg,
            cost_permille: weights.cost_permille,
            delay_micro_cny_per_hour: weights.delay_micro_cny_per_hour,
        }),
        speed_permille,
        priority: (spec.priority != limits::PRIORITY_DEFAULT).then_some(spec.priority),
        staging: spec.staging.map(encode_staging),
        execution: spec.execution.as_deref().map(encode_execution),
    }
}

pub(super) fn decode_spec(
    wire: &journal_v1::JobSpec,
    interner: &mut Interner,
) -> Result<JobSpec, DecodeError> {
    if wire.min_green_share_permille > 1_000 {
        return Err(FieldProblem::OutOfRange).at("min_green_share_permille");
    }
    let policy = required(wire.data_policy.as_ref(), "data_policy")?;
    Ok(JobSpec {
        name: wire.name.as_str().into(),
        labels: decode_labels(&wire.labels, interner).at("labels")?,
        origin: decode_origin(wire, interner)?,
        task: TaskResources {
            cpu_cores: wire.cpu_cores,
            memory_mib: wire.memory_mib,
            gpus: wire.gpus,
            gpu_model: (!wire.gpu_model.is_empty()).then(|| interner.text(&wire.gpu_model)),
            exclusive_node: wire.exclusive_node,
        },
        task_count: wire.task_count,
        task_power_watts: wire.task_power_watts,
        timing: Timing {
            runtime_ms: wire.runtime_ms,
            earliest_start: optional_time(wire.earliest_start_ms).at("earliest_start_ms")?,
            start_deadline: optional_time(wire.start_deadline_ms).at("start_deadline_ms")?,
            finish_deadline: optional_time(wire.finish_deadline_ms).at("finish_deadline_ms")?,
        },
        flexibility: decode_flexibility(wire)?,
        min_green_share_permille: wire.min_green_share_permille,
        confidence: decode_confidence(wire.confidence_permille).at("confidence_permille")?,
        data_policy: interner.policy(decode_policy(policy).at("data_policy")?),
        weights: wire.weights.as_ref().map(|weights| Weights {
            grid_energy_micro_cny_per_kwh: weights.grid_energy_micro_cny_per_kwh,
            carbon_micro_cny_per_kg: weights.carbon_micro_cny_per_kg,
            cost_permille: weights.cost_permille,
            delay_micro_cny_per_hour: weights.delay_micro_cny_per_hour,
        }),
        priority: decode_priority(wire.priority).at("priority")?,
        staging: (wire.staging.as_ref())
            .map(|staging| decode_staging(staging).at("staging"))
            .transpose()?,
        execution: (wire.execution.as_ref())
            .map(|execution| decode_execution(execution).at("execution").map(Arc::new))
            .transpose()?,
    })
}

/// The default is never written: it was in force before there were priorities.
fn decode_priority(priority: Option<u32>) -> Result<u32, FieldProblem> {
    match priority {
        None => Ok(limits::PRIORITY_DEFAULT),
        Some(0 | limits::PRIORITY_DEFAULT) => Err(FieldProblem::OutOfRange),
        Some(priority) => Ok(priority),
    }
}

/// Labels as text by text: key and value in turn, keys rising.
type Labels = Box<[(Arc<str>, Arc<str>)]>;

fn decode_labels(texts: &[String], interner: &mut Interner) -> Result<Labels, FieldProblem> {
    let (pairs, rest) = texts.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(FieldProblem::WrongLength {
            len: texts.len(),
            expected: texts.len() + 1,
        });
    }
    if !pairs.is_sorted_by(|[a, _], [b, _]| a < b) {
        return Err(FieldProblem::Unordered);
    }
    let read = |[key, value]: &[String; 2]| (interner.text(key), interner.text(value));
    Ok(pairs.iter().map(read).collect())
}

fn decode_origin(
    wire: &journal_v1::JobSpec,
    interner: &mut Interner,
) -> Result<Origin, DecodeError> {
    let place = match (wire.city_id.as_str(), wire.zone_id.as_str()) {
        ("", "") => return Err(FieldProblem::Missing).at("city_id"),
        (city, "") => ClientPlace::City(interner.name(city).at("city_id")?),
        ("", zone) => ClientPlace::Zone(interner.name(zone).at("zone_id")?),
        (_, _) => {
            let problem = FieldProblem::Contradiction("a city and a zone are named");
            return Err(problem).at("zone_id");
        }
    };
    Ok(Origin {
        place,
        max_rtt_us: (wire.max_rtt_us > 0).then_some(wire.max_rtt_us),
        path: if wire.internet {
            NetworkPath::Internet
        } else {
            NetworkPath::Leased
        },
        quantile: if wire.p95 {
            RttQuantile::P95
        } else {
            RttQuantile::P50
        },
    })
}

fn decode_flexibility(wire: &journal_v1::JobSpec) -> Result<Flexibility, DecodeError> {
    let is_malleable = !wire.speed_permille.is_empty();
    match wire.min_chunk_ms {
        Some(_) if is_malleable => {
            let problem = FieldProblem::Contradiction("a malleable job has no pieces");
            Err(problem).at("min_chunk_ms")
        }
        Some(min_chunk_ms) => Ok(Flexibility::Interruptible {
            min_chunk_ms,
            resume_cost_ms: wire.resume_cost_ms,
        }),
        None if wire.resume_cost_ms != 0 => {
            let problem = FieldProblem::Contradiction("only an interruptible job resumes");
            Err(problem).at("resume_cost_ms")
        }
        None if is_malleable => Ok(Flexibility::Malleable {
            speed_permille: decode_speeds(&wire.speed_permille).at("speed_permille")?,
        }),
        None => Ok(Flexibility::Rigid),
    }
}

/// Speeds that never fall, from that of one unit on.
fn decode_speeds(speed_permille: &[u32]) -> Result<Arc<[u32]>, FieldProblem> {
    if speed_permille.first() != Some(&1_000) {
        return Err(FieldProblem::OutOfRange);
    }
    if !speed_permille.is_sorted() {
        return Err(FieldProblem::Unordered);
    }
    Ok(speed_permille.into())
}

fn encode_policy(policy: &DataPolicy) -> journal_v1::DataPolicy {
    let encode_basis = |basis: &OriginBasis| journal_v1::OriginBasis {
        country: basis.country.as_str().into(),
        kind: encode_origin_basis_kind(basis.kind),
        evidence: basis.evidence.as_ref().map(encode_evidence),
    };
    journal_v1::DataPolicy {
        data_class: encode_data_class(policy.data_class),
        collected_in: encode_countries(&policy.collected_in),
        subject_count: policy.subject_count,
        sector: encode_sector(policy.sector),
        cn_flow: encode_cn_flow(policy.cn_flow),
        export_basis: encode_export_basis(policy.export_basis),
        export_evidence: policy.export_evidence.as_ref().map(encode_evidence),
        origin_bases: policy.origin_bases.iter().map(encode_basis).collect(),
        output_to: encode_countries(&policy.output_to),
        allowed_sites: encode_names(&policy.allowed_sites),
        denied_sites: encode_names(&policy.denied_sites),
        allowed_countries: encode_countries(&policy.allowed_countries),
        denied_countries: encode_countries(&policy.denied_countries),
        no_domestic_mix: policy.require.no_domestic_mix,
        offshore_enclave: policy.require.offshore_enclave,
        leased_line: policy.require.leased_line,
        gateway_id: encode_optional(policy.require.gateway.as_ref().map(|id| id.as_str())),
        encrypted_in_use: policy.require.encrypted_in_use,
        retention_seconds: policy.retention_seconds,
    }
}

/// Policies are shared as a whole: their parts need no sharing.
fn decode_policy(wire: &journal_v1::DataPolicy) -> Result<DataPolicy, DecodeError> {
    let off = &mut Interner::off();
    let read_basis = |(i, basis): (usize, &journal_v1::OriginBasis)| {
        decode_origin_basis(basis).at_index("origin_bases", i)
    };
    Ok(DataPolicy {
        data_class: decode_data_class(wire.data_class).at("data_class")?,
        collected_in: decode_countries(&wire.collected_in, "collected_in")?,
        subject_count: wire.subject_count,
        sector: decode_sector(wire.sector).at("sector")?,
        cn_flow: decode_cn_flow(wire.cn_flow).at("cn_flow")?,
        export_basis: decode_export_basis(wire.export_basis).at("export_basis")?,
        export_evidence: decode_evidence(wire.export_evidence.as_ref()).at("export_evidence")?,
        origin_bases: wire
            .origin_bases
            .iter()
            .enumerate()
            .map(read_basis)
            .collect::<Result<_, _>>()?,
        output_to: decode_countries(&wire.output_to, "output_to")?,
        allowed_sites: decode_names(&wire.allowed_sites, "allowed_sites", off)?,
        denied_sites: decode_names(&wire.denied_sites, "denied_sites", off)?,
        allowed_countries: decode_countries(&wire.allowed_countries, "allowed_countries")?,
        denied_countries: decode_countries(&wire.denied_countries, "denied_countries")?,
        require: Requirements {
            no_domestic_mix: wire.no_domestic_mix,
            offshore_enclave: wire.offshore_enclave,
            leased_line: wire.leased_line,
            gateway: optional_name(&wire.gateway_id, off).at("gateway_id")?,
            encrypted_in_use: wire.encrypted_in_use,
        },
        retention_seconds: wire.retention_seconds,
    })
}

fn decode_origin_basis(wire: &journal_v1::OriginBasis) -> Result<OriginBasis, DecodeError> {
    Ok(OriginBasis {
        country: country(&wire.country).at("country")?,
        kind: decode_origin_basis_kind(wire.kind).at("kind")?,
        evidence: decode_evidence(wire.evidence.as_ref()).at("evidence")?,
    })
}

fn encode_evidence(evidence: &Evidence) -> journal_v1::Evidence {
    journal_v1::Evidence {
        reference: evidence.reference.as_ref().into(),
        valid_until_ms: evidence.valid_until.map(|time: TimeMs| time.0),
    }
}

fn decode_evidence(wire: Option<&journal_v1::Evidence>) -> Result<Option<Evidence>, DecodeError> {
    let Some(wire) = wire else { return Ok(None) };
    Ok(Some(Evidence {
        reference: wire.reference.as_str().into(),
        valid_until: optional_time(wire.valid_until_ms).at("valid_until_ms")?,
    }))
}
