//! Reads job descriptions.
//!
//! A part that cannot be read is replaced by a placeholder, so that the rest is still checked; the violation of the
//! part keeps the placeholder from ever being used.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    execution,
    fields::{Fields, Rounding, placeholder},
    links, policy,
};
use crate::{
    domain::{
        data_policy::{CnFlow, DataPolicy},
        ids::{CityKind, ZoneKind},
        job::{ClientPlace, Flexibility, JobSpec, Origin, TaskResources, Timing, Weights},
        latency::{NetworkPath, RttQuantile},
        outlook::Confidence,
    },
    limits,
    proto::v1,
    state::Settings,
};

const PATHS: [(v1::NetworkPath, NetworkPath); 2] = [
    (v1::NetworkPath::Leased, NetworkPath::Leased),
    (v1::NetworkPath::Internet, NetworkPath::Internet),
];

const QUANTILES: [(v1::RttQuantile, RttQuantile); 2] = [
    (v1::RttQuantile::P50, RttQuantile::P50),
    (v1::RttQuantile::P95, RttQuantile::P95),
];

/// Reads a description and checks it as far as no state is needed.
pub(super) fn job_spec(fields: &mut Fields, spec: &v1::JobSpec, settings: Settings) -> JobSpec {
    let origin = fields.required("origin", spec.origin.as_ref(), origin);
    let task = fields.required("task_resources", spec.task_resources.as_ref(), |_, task| {
        task_resources(task)
    });
    let timing = fields.required("timing", spec.timing.as_ref(), timing);
    let (timing, runtime_known) = timing.unwrap_or_else(|| (unknown_timing(), false));
    let flexibility = flexibility(fields, spec.flexibility.as_ref());
    let (min_green_share_permille, confidence) = green(fields, spec.green.as_ref());
    let data_policy = fields.required(
        "data_policy",
        spec.data_policy.as_ref(),
        policy::data_policy,
    );
    let read = JobSpec {
        name: spec.name.as_str().into(),
        labels: labels(fields, &spec.labels),
        origin: origin.unwrap_or_else(unknown_origin),
        task: task.unwrap_or_else(|| task_resources(&v1::TaskResources::default())),
        task_count: spec.task_count,
        task_power_watts: spec.task_power_watts,
        timing,
        flexibility: match flexibility {
            // Its pieces are compared with the runtime.
            Flexibility::Interruptible { .. } if !runtime_known => Flexibility::Rigid,
            flexibility => flexibility,
        },
        min_green_share_permille,
        confidence,
        data_policy: Arc::new(
            data_policy.unwrap_or_else(|| DataPolicy::unprotected(CnFlow::DomesticOnly)),
        ),
        weights: spec.weights.as_ref().map(weights),
        priority: priority(spec.priority),
        staging: links::staging(fields, spec.staging.as_ref()),
        execution: execution::execution(fields, spec.execution.as_ref()).map(Arc::new),
    };
    fields.merge(read.violations(settings.grid, settings.horizon_slots));
    read
}

/// Reads labels; the domain checks their size.
pub(super) fn labels(
    fields: &mut Fields,
    labels: &BTreeMap<String, String>,
) -> Box<[(Arc<str>, Arc<str>)]> {
    if labels.len() <= limits::LABELS_MAX {
        for value in labels.values() {
            fields.plain("labels", value);
        }
    }
    // No more than one above the bound is needed to be refused.
    let kept = labels.iter().take(limits::LABELS_MAX + 1);
    kept.map(|(key, value)| (key.as_str().into(), value.as_str().into()))
        .collect()
}

/// Reads how the run may be cut.
pub(super) fn flexibility(
    fields: &mut Fields,
    flexibility: Option<&v1::Flexibility>,
) -> Flexibility {
    use v1::flexibility::Kind;
    match flexibility.and_then(|flexibility| flexibility.kind.as_ref()) {
        None | Some(Kind::Rigid(v1::Rigid {})) => Flexibility::Rigid,
        Some(Kind::Interruptible(cut)) => fields.within("flexibility", |fields| {
            fields.within("interruptible", |fields| Flexibility::Interruptible {
                // What cannot be read is noted; 1 ms passes the checks that compare.
                min_chunk_ms: fields
                    .duration_ms("min_chunk", cut.min_chunk.as_ref())
                    .unwrap_or(1),
                resume_cost_ms: fields
                    .duration_ms("resume_cost", cut.resume_cost.as_ref())
                    .unwrap_or(0),
            })
        }),
        Some(Kind::Malleable(v1::Malleable { speed_permille })) => Flexibility::Malleable {
            // No more than one above the bound is needed to be refused.
            speed_permille: speed_permille
                .iter()
                .take(limits::SPEEDS.end() + 1)
                .copied()
                .collect(),
        },
    }
}

/// Reads a priority; the domain checks its bounds.
pub(super) fn priority(priority: u32) -> u32 {
    match priority {
        0 => limits::PRIORITY_DEFAULT,
        priority => priority,
    }
}

/// Reads the least green share and its confidence.
pub(super) fn green(
    fields: &mut Fields,
    green: Option<&v1::GreenRequirement>,
) -> (u32, Confidence) {
    let Some(green) = green else {
        return (0, Confidence::Even);
    };
    let confidence = match green.confidence_permille {
        0 => Some(Confidence::Even),
        permille => Confidence::from_permille(permille),
    };
    fields.check(confidence.is_some(), "green.confidence_permille", || {
        "is 100, 500 or 900; 0 means 500".into()
    });
    (green.min_share_permille, confidence.unwrap_or_default())
}

/// Reads weights.
pub(super) fn weights(weights: &v1::Weights) -> Weights {
    Weights {
        grid_energy_micro_cny_per_kwh: weights.grid_energy_micro_cny_per_kwh,
        carbon_micro_cny_per_kg: weights.carbon_micro_cny_per_kg,
        cost_permille: weights.cost_permille,
        delay_micro_cny_per_hour: weights.delay_micro_cny_per_hour,
    }
}

fn origin(fields: &mut Fields, origin: &v1::Origin) -> Origin {
    let place = match (origin.city_id.as_str(), origin.zone_id.as_str()) {
        ("", "") => {
            fields.add("city_id", "is required unless zone_id is set");
            None
        }
        (city, "") => fields
            .name::<CityKind>("city_id", city)
            .map(ClientPlace::City),
        ("", zone) => fields
            .name::<ZoneKind>("zone_id", zone)
            .map(ClientPlace::Zone),
        (_, _) => {
            fields.add("zone_id", "is set only when city_id is not");
            None
        }
    };
    Origin {
        place: place.unwrap_or_else(|| ClientPlace::City(placeholder(0))),
        max_rtt_us: (origin.max_rtt_us > 0).then_some(origin.max_rtt_us),
        path: fields.choice_or("path", origin.path, NetworkPath::Leased, &PATHS, |path| {
            path.as_str_name()
        }),
        quantile: fields.choice_or(
            "quantile",
            origin.quantile,
            RttQuantile::P50,
            &QUANTILES,
            |quantile| quantile.as_str_name(),
        ),
    }
}

fn unknown_origin() -> Origin {
    Origin {
        place: ClientPlace::City(placeholder(0)),
        max_rtt_us: None,
        path: NetworkPath::Leased,
        quantile: RttQuantile::P50,
    }
}

fn task_resources(task: &v1::TaskResources) -> TaskResources {
    TaskResources {
        cpu_cores: task.cpu_cores,
        memory_mib: task.memory_mib,
        gpus: task.gpus,
        gpu_model: (!task.gpu_model.is_empty()).then(|| task.gpu_model.as_str().into()),
        exclusive_node: task.exclusive_node,
    }
}

/// The timing, and whether its runtime could be read.
fn timing(fields: &mut Fields, timing: &v1::Timing) -> (Timing, bool) {
    fields.check(timing.runtime.is_some(), "runtime", || "is required".into());
    let runtime_ms = fields
        .duration_ms("runtime", timing.runtime.as_ref())
        .filter(|_| timing.runtime.is_some());
    let read = Timing {
        runtime_ms: runtime_ms.unwrap_or_else(|| unknown_timing().runtime_ms),
        earliest_start: fields.time(
            "earliest_start",
            timing.earliest_start.as_ref(),
            Rounding::Up,
        ),
        start_deadline: fields.time(
            "start_deadline",
            timing.start_deadline.as_ref(),
            Rounding::Down,
        ),
        finish_deadline: fields.time(
            "finish_deadline",
            timing.finish_deadline.as_ref(),
            Rounding::Down,
        ),
    };
    (read, runtime_ms.is_some())
}

/// A timing that no check finds fault with.
fn unknown_timing() -> Timing {
    Timing {
        runtime_ms: 1_000,
        earliest_start: None,
        start_deadline: None,
        finish_deadline: None,
    }
}
