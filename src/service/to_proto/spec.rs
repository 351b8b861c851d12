//! Job descriptions.
//!
//! What was left out comes back as the default it means.

use super::{attempts, duration, time};
use crate::{
    domain::{
        data_policy::{
            CnFlow, DataClass, DataPolicy, Evidence, ExportBasis, OriginBasis, OriginBasisKind,
            Sector,
        },
        ids::Name,
        job::{ClientPlace, Flexibility, JobSpec, Origin, TaskResources, Timing},
        latency::{NetworkPath, RttQuantile},
        site::Country,
    },
    proto::v1,
};

/// A description.
pub(super) fn job_spec(spec: &JobSpec) -> v1::JobSpec {
    let labels = spec.labels.iter();
    v1::JobSpec {
        name: spec.name.to_string(),
        labels: labels
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect(),
        origin: Some(origin(&spec.origin)),
        task_resources: Some(task_resources(&spec.task)),
        task_count: spec.task_count,
        task_power_watts: spec.task_power_watts,
        timing: Some(timing(&spec.timing)),
        flexibility: Some(flexibility(&spec.flexibility)),
        green: Some(v1::GreenRequirement {
            min_share_permille: spec.min_green_share_permille,
            confidence_permille: spec.confidence.permille(),
        }),
        data_policy: Some(data_policy(&spec.data_policy)),
        weights: spec.weights.map(|weights| v1::Weights {
            grid_energy_micro_cny_per_kwh: weights.grid_energy_micro_cny_per_kwh,
            carbon_micro_cny_per_kg: weights.carbon_micro_cny_per_kg,
            cost_permille: weights.cost_permille,
            delay_micro_cny_per_hour: weights.delay_micro_cny_per_hour,
        }),
        priority: spec.priority,
        staging: spec.staging.map(|staging| v1::Staging {
            input_bytes: staging.input_bytes,
            max_bits_per_second: staging.bits_per_second(None),
        }),
        execution: spec.execution.as_deref().map(attempts::execution),
    }
}

fn origin(origin: &Origin) -> v1::Origin {
    let (city_id, zone_id) = match &origin.place {
        ClientPlace::City(city) => (city.to_string(), String::new()),
        ClientPlace::Zone(zone) => (String::new(), zone.to_string()),
    };
    let path = match origin.path {
        NetworkPath::Leased => v1::NetworkPath::Leased,
        NetworkPath::Internet => v1::NetworkPath::Internet,
    };
    let quantile = match origin.quantile {
        RttQuantile::P50 => v1::RttQuantile::P50,
        RttQuantile::P95 => v1::RttQuantile::P95,
    };
    v1::Origin {
        city_id,
        zone_id,
        max_rtt_us: origin.max_rtt_us.unwrap_or(0),
        path: path.into(),
        quantile: quantile.into(),
    }
}

pub(super) fn task_resources(task: &TaskResources) -> v1::TaskResources {
    v1::TaskResources {
        cpu_cores: task.cpu_cores,
        memory_mib: task.memory_mib,
        gpus: task.gpus,
        gpu_model: task.gpu_model.as_deref().unwrap_or_default().to_owned(),
        exclusive_node: task.exclusive_node,
    }
}

fn timing(timing: &Timing) -> v1::Timing {
    v1::Timing {
        runtime: Some(duration(timing.runtime_ms)),
        earliest_start: timing.earliest_start.map(time),
        start_deadline: timing.start_deadline.map(time),
        finish_deadline: timing.finish_deadline.map(time),
    }
}

fn flexibility(flexibility: &Flexibility) -> v1::Flexibility {
    use v1::flexibility::Kind;
    let kind = match flexibility {
        Flexibility::Rigid => Kind::Rigid(v1::Rigid {}),
        Flexibility::Interruptible {
            min_chunk_ms,
            resume_cost_ms,
        } => Kind::Interruptible(v1::Interruptible {
            min_chunk: Some(duration(*min_chunk_ms)),
            resume_cost: Some(duration(*resume_cost_ms)),
        }),
        Flexibility::Malleable { speed_permille } => Kind::Malleable(v1::Malleable {
            speed_permille: speed_permille.to_vec(),
        }),
    };
    v1::Flexibility { kind: Some(kind) }
}

fn data_policy(policy: &DataPolicy) -> v1::DataPolicy {
    let export_basis = policy
        .export_basis
        .map_or(v1::ExportBasis::Unspecified, export_basis);
    let gateway = policy.require.gateway.as_ref();
    v1::DataPolicy {
        data_class: data_class(policy.data_class).into(),
        collected_in: countries(&policy.collected_in),
        subject_count: policy.subject_count,
        sector: sector(policy.sector).into(),
        cn_flow: cn_flow(policy.cn_flow).into(),
        export_evidence: policy.export_evidence.as_ref().map(evidence),
        export_basis: export_basis.into(),
        origin_bases: policy.origin_bases.iter().map(origin_basis).collect(),
        output_to: countries(&policy.output_to),
        allowed_sites: names(&policy.allowed_sites),
        denied_sites: names(&policy.denied_sites),
        allowed_countries: countries(&policy.allowed_countries),
        denied_countries: countries(&policy.denied_countries),
        require_no_domestic_mix: policy.require.no_domestic_mix,
        require_offshore_enclave: policy.require.offshore_enclave,
        require_leased_line: policy.require.leased_line,
        require_gateway_id: gateway.map_or_else(String::new, ToString::to_string),
        require_encrypted_in_use: policy.require.encrypted_in_use,
        retention: (policy.retention_seconds > 0)
            .then(|| duration(policy.retention_seconds.saturating_mul(1_000))),
    }
}

fn origin_basis(basis: &OriginBasis) -> v1::OriginBasis {
    let kind = match basis.kind {
        OriginBasisKind::Ctia => v1::OriginBasisKind::Ctia,
        OriginBasisKind::Scc => v1::OriginBasisKind::Scc,
        OriginBasisKind::Bcr => v1::OriginBasisKind::Bcr,
        OriginBasisKind::Consent => v1::OriginBasisKind::Consent,
        OriginBasisKind::Tia => v1::OriginBasisKind::Tia,
        OriginBasisKind::RegulatorApproval => v1::OriginBasisKind::RegulatorApproval,
    };
    v1::OriginBasis {
        country: basis.country.as_str().to_owned(),
        kind: kind.into(),
        evidence: basis.evidence.as_ref().map(evidence),
    }
}

fn evidence(evidence: &Evidence) -> v1::Evidence {
    v1::Evidence {
        reference: evidence.reference.to_string(),
        valid_until: evidence.valid_until.map(time),
    }
}

fn data_class(class: DataClass) -> v1::DataClass {
    match class {
        DataClass::None => v1::DataClass::None,
        DataClass::Anonymised => v1::DataClass::Anonymised,
        DataClass::Personal => v1::DataClass::Personal,
        DataClass::SensitivePersonal => v1::DataClass::SensitivePersonal,
        DataClass::Important => v1::DataClass::Important,
        DataClass::Core => v1::DataClass::Core,
    }
}

fn cn_flow(flow: CnFlow) -> v1::CnFlow {
    match flow {
        CnFlow::NoCn => v1::CnFlow::NoCn,
        CnFlow::DomesticOnly => v1::CnFlow::DomesticOnly,
        CnFlow::InboundProcessReexport => v1::CnFlow::InboundProcessReexport,
        CnFlow::Outbound => v1::CnFlow::Outbound,
    }
}

fn export_basis(basis: ExportBasis) -> v1::ExportBasis {
    match basis {
        ExportBasis::NoneNeeded => v1::ExportBasis::NoneNeeded,
        ExportBasis::Art3 => v1::ExportBasis::Art3,
        ExportBasis::Art4 => v1::ExportBasis::Art4,
        ExportBasis::Art5 => v1::ExportBasis::Art5,
        ExportBasis::BelowThreshold => v1::ExportBasis::BelowThreshold,
        ExportBasis::StandardContract => v1::ExportBasis::StandardContract,
        ExportBasis::Certification => v1::ExportBasis::Certification,
        ExportBasis::SecurityAssessment => v1::ExportBasis::SecurityAssessment,
        ExportBasis::FtzList => v1::ExportBasis::FtzList,
    }
}

fn sector(sector: Sector) -> v1::Sector {
    match sector {
        Sector::Other => v1::Sector::Other,
        Sector::Finance => v1::Sector::Finance,
        Sector::Health => v1::Sector::Health,
        Sector::Public => v1::Sector::Public,
        Sector::Telecom => v1::Sector::Telecom,
        Sector::Map => v1::Sector::Map,
    }
}

fn countries(countries: &[Country]) -> Vec<String> {
    let letters = countries.iter().map(Country::as_str);
    letters.map(str::to_owned).collect()
}

fn names<K>(names: &[Name<K>]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}
