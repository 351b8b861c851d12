//! Placements, and why there is none.
//!
//! Times are the starts of slots; energy is in the order hydro, solar, wind, grid.

use super::{duration, links::stage_in, time};
use crate::{
    domain::{
        placement::{Placement, Run},
        refusal::{Outcome, Refusal, RefusalReason, SiteVerdict, SuggestedChange, Suggestion},
    },
    proto::v1,
    slot::{SlotGrid, TimeMs},
};

/// A placement.
pub(in crate::service) fn placement(placement: &Placement, grid: SlotGrid) -> v1::Placement {
    let runs = placement.runs.iter();
    let [hydro, solar, wind] = placement.energy.green_watt_seconds;
    v1::Placement {
        site_id: placement.site.to_string(),
        pool_id: placement.pool.to_string(),
        runs: runs.map(|one| run(one, grid)).collect(),
        power_watts: placement.power_watts,
        energy: Some(v1::EnergyMix {
            hydro_watt_seconds: hydro,
            solar_watt_seconds: solar,
            wind_watt_seconds: wind,
            grid_watt_seconds: placement.energy.grid_watt_seconds,
        }),
        green_share_permille: placement.green_share_permille(),
        confidence_permille: placement.confidence.permille(),
        carbon: Some(v1::Carbon {
            location_mg: placement.carbon.location_mg,
            contract_mg: placement.carbon.contract_mg,
            marginal_mg: placement.carbon.marginal_mg,
        }),
        cost_micro_cny: placement.cost_micro_cny,
        rtt_us: placement.rtt_us,
        fallback_slots: placement.fallback_slots,
        policy_version: placement.policy_version.to_string(),
        decided_revision: placement.decided_revision.0,
        stage_in: placement
            .stage_in
            .as_ref()
            .map(|found| stage_in(found, grid)),
    }
}

/// A piece of a job's run.
fn run(run: &Run, grid: SlotGrid) -> v1::Run {
    v1::Run {
        start_time: Some(time(grid.start_of(run.slots.start))),
        end_time: Some(time(grid.start_of(run.slots.end))),
        units: run.units,
    }
}

/// How a site came out.
pub(in crate::service) fn site_verdict(verdict: &SiteVerdict, grid: SlotGrid) -> v1::SiteVerdict {
    let (kind, refusals, best) = match &verdict.outcome {
        Outcome::Chosen(best) => (v1::Verdict::Chosen, Vec::new(), Some(best)),
        Outcome::Feasible(best) => (v1::Verdict::Feasible, Vec::new(), Some(best)),
        Outcome::Refused(refusals) => {
            let refusals = refusals.iter().map(refusal).collect();
            (v1::Verdict::Refused, refusals, None)
        }
    };
    v1::SiteVerdict {
        site_id: verdict.site.to_string(),
        verdict: kind.into(),
        refusals,
        placement: best.map(|best| placement(best, grid)),
    }
}

/// A reason with its numbers.
pub(in crate::service) fn refusal(refusal: &Refusal) -> v1::Refusal {
    v1::Refusal {
        reason: refusal_reason(refusal.reason).into(),
        need: refusal.need,
        have: refusal.have,
        unit: refusal.unit.name().to_owned(),
        until: refusal.until.map(time),
        message: refusal.message.clone(),
    }
}

/// A change that would help. `end_by` is the finish deadline in force, to tell the delay from.
pub(in crate::service) fn suggestion(
    suggestion: &Suggestion,
    end_by: Option<TimeMs>,
) -> v1::Suggestion {
    let mut answer = v1::Suggestion {
        site_id: suggestion.site.to_string(),
        message: suggestion.message.clone(),
        ..v1::Suggestion::default()
    };
    match suggestion.change {
        SuggestedChange::LaterDeadline(deadline) => {
            answer.set_kind(v1::SuggestionKind::LaterDeadline);
            answer.finish_deadline = Some(time(deadline));
            let later_ms = end_by.and_then(|end_by| u64::try_from(deadline.0 - end_by.0).ok());
            answer.delay = later_ms.map(duration);
        }
        SuggestedChange::LargerRtt(us) => {
            answer.set_kind(v1::SuggestionKind::LargerRtt);
            answer.max_rtt_us = us;
        }
        SuggestedChange::LowerGreenShare(permille) => {
            answer.set_kind(v1::SuggestionKind::LowerGreenShare);
            answer.min_share_permille = permille;
        }
    }
    answer
}

/// The typed reason.
pub(in crate::service) fn refusal_reason(reason: RefusalReason) -> v1::RefusalReason {
    match reason {
        RefusalReason::DataPolicyForbids => v1::RefusalReason::DataPolicyForbids,
        RefusalReason::ExportBasisInsufficient => v1::RefusalReason::ExportBasisInsufficient,
        RefusalReason::OriginBasisMissing => v1::RefusalReason::OriginBasisMissing,
        RefusalReason::EvidenceExpires => v1::RefusalReason::EvidenceExpires,
        RefusalReason::SiteNotAllowed => v1::RefusalReason::SiteNotAllowed,
        RefusalReason::SiteDenied => v1::RefusalReason::SiteDenied,
        RefusalReason::CountryNotAllowed => v1::RefusalReason::CountryNotAllowed,
        RefusalReason::CountryDenied => v1::RefusalReason::CountryDenied,
        RefusalReason::EnclaveRequired => v1::RefusalReason::EnclaveRequired,
        RefusalReason::DomesticMix => v1::RefusalReason::DomesticMix,
        RefusalReason::EncryptionInUseRequired => v1::RefusalReason::EncryptionInUseRequired,
        RefusalReason::GatewayMismatch => v1::RefusalReason::GatewayMismatch,
        RefusalReason::LeasedLineRequired => v1::RefusalReason::LeasedLineRequired,
        RefusalReason::LatencyUnknown => v1::RefusalReason::LatencyUnknown,
        RefusalReason::LatencyExceeded => v1::RefusalReason::LatencyExceeded,
        RefusalReason::GpuModelMissing => v1::RefusalReason::GpuModelMissing,
        RefusalReason::TaskExceedsNode => v1::RefusalReason::TaskExceedsNode,
        RefusalReason::JobExceedsPool => v1::RefusalReason::JobExceedsPool,
        RefusalReason::PowerExceedsCap => v1::RefusalReason::PowerExceedsCap,
        RefusalReason::WindowTooShort => v1::RefusalReason::WindowTooShort,
        RefusalReason::BeyondHorizon => v1::RefusalReason::BeyondHorizon,
        RefusalReason::SiteCordoned => v1::RefusalReason::SiteCordoned,
        RefusalReason::CapacityBusy => v1::RefusalReason::CapacityBusy,
        RefusalReason::PowerBusy => v1::RefusalReason::PowerBusy,
        RefusalReason::GreenShareUnreachable => v1::RefusalReason::GreenShareUnreachable,
        RefusalReason::StageInTooLong => v1::RefusalReason::StageInTooLong,
        RefusalReason::LinkBusy => v1::RefusalReason::LinkBusy,
        RefusalReason::NoAgent => v1::RefusalReason::NoAgent,
        RefusalReason::Maintenance => v1::RefusalReason::Maintenance,
        RefusalReason::Curtailed => v1::RefusalReason::Curtailed,
    }
}
