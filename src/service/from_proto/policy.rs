//! Reads data-policy labels.
//!
//! Fail closed: a class, flow or basis that this version does not know is refused, never taken for a weaker one.

use super::fields::{Fields, Rounding};
use crate::{
    domain::{
        data_policy::{
            CnFlow, DataClass, DataPolicy, Evidence, ExportBasis, OriginBasis, OriginBasisKind,
            Requirements, Sector,
        },
        ids::{SiteId, SiteKind},
        site::Country,
    },
    limits,
    proto::v1,
};

const CLASSES: [(v1::DataClass, DataClass); 6] = [
    (v1::DataClass::None, DataClass::None),
    (v1::DataClass::Anonymised, DataClass::Anonymised),
    (v1::DataClass::Personal, DataClass::Personal),
    (
        v1::DataClass::SensitivePersonal,
        DataClass::SensitivePersonal,
    ),
    (v1::DataClass::Important, DataClass::Important),
    (v1::DataClass::Core, DataClass::Core),
];

const FLOWS: [(v1::CnFlow, CnFlow); 4] = [
    (v1::CnFlow::NoCn, CnFlow::NoCn),
    (v1::CnFlow::DomesticOnly, CnFlow::DomesticOnly),
    (
        v1::CnFlow::InboundProcessReexport,
        CnFlow::InboundProcessReexport,
    ),
    (v1::CnFlow::Outbound, CnFlow::Outbound),
];

const BASES: [(v1::ExportBasis, ExportBasis); 9] = [
    (v1::ExportBasis::NoneNeeded, ExportBasis::NoneNeeded),
    (v1::ExportBasis::Art3, ExportBasis::Art3),
    (v1::ExportBasis::Art4, ExportBasis::Art4),
    (v1::ExportBasis::Art5, ExportBasis::Art5),
    (v1::ExportBasis::BelowThreshold, ExportBasis::BelowThreshold),
    (
        v1::ExportBasis::StandardContract,
        ExportBasis::StandardContract,
    ),
    (v1::ExportBasis::Certification, ExportBasis::Certification),
    (
        v1::ExportBasis::SecurityAssessment,
        ExportBasis::SecurityAssessment,
    ),
    (v1::ExportBasis::FtzList, ExportBasis::FtzList),
];

const ORIGIN_BASES: [(v1::OriginBasisKind, OriginBasisKind); 6] = [
    (v1::OriginBasisKind::Ctia, OriginBasisKind::Ctia),
    (v1::OriginBasisKind::Scc, OriginBasisKind::Scc),
    (v1::OriginBasisKind::Bcr, OriginBasisKind::Bcr),
    (v1::OriginBasisKind::Consent, OriginBasisKind::Consent),
    (v1::OriginBasisKind::Tia, OriginBasisKind::Tia),
    (
        v1::OriginBasisKind::RegulatorApproval,
        OriginBasisKind::RegulatorApproval,
    ),
];

const SECTORS: [(v1::Sector, Sector); 6] = [
    (v1::Sector::Other, Sector::Other),
    (v1::Sector::Finance, Sector::Finance),
    (v1::Sector::Health, Sector::Health),
    (v1::Sector::Public, Sector::Public),
    (v1::Sector::Telecom, Sector::Telecom),
    (v1::Sector::Map, Sector::Map),
];

/// Reads the labels of a job.
pub(super) fn data_policy(fields: &mut Fields, policy: &v1::DataPolicy) -> DataPolicy {
    let data_class = fields.choice("data_class", policy.data_class, &CLASSES, |class| {
        class.as_str_name()
    });
    let cn_flow = fields.choice("cn_flow", policy.cn_flow, &FLOWS, |flow| flow.as_str_name());
    // An unset basis is a statement of its own: none is claimed.
    let export_basis = match policy.export_basis {
        0 => None,
        number => fields.choice("export_basis", number, &BASES, |basis| basis.as_str_name()),
    };
    DataPolicy {
        // The placeholders are those about which the fewest other labels are asked for.
        data_class: data_class.unwrap_or(DataClass::None),
        collected_in: countries(fields, "collected_in", &policy.collected_in),
        subject_count: policy.subject_count,
        sector: fields.choice_or("sector", policy.sector, Sector::Other, &SECTORS, |sector| {
            sector.as_str_name()
        }),
        cn_flow: cn_flow.unwrap_or(CnFlow::DomesticOnly),
        export_basis,
        export_evidence: evidence(fields, "export_evidence", policy.export_evidence.as_ref()),
        origin_bases: fields
            .list(
                "origin_bases",
                &policy.origin_bases,
                limits::POLICY_LIST_MAX,
                origin_basis,
            )
            .into(),
        output_to: countries(fields, "output_to", &policy.output_to),
        allowed_sites: sites(fields, "allowed_sites", &policy.allowed_sites),
        denied_sites: sites(fields, "denied_sites", &policy.denied_sites),
        allowed_countries: countries(fields, "allowed_countries", &policy.allowed_countries),
        denied_countries: countries(fields, "denied_countries", &policy.denied_countries),
        require: Requirements {
            no_domestic_mix: policy.require_no_domestic_mix,
            offshore_enclave: policy.require_offshore_enclave,
            leased_line: policy.require_leased_line,
            gateway: fields.name_or_none("require_gateway_id", &policy.require_gateway_id),
            encrypted_in_use: policy.require_encrypted_in_use,
        },
        retention_seconds: fields
            .duration_ms("retention", policy.retention.as_ref())
            .unwrap_or(0)
            .div_ceil(1_000),
    }
}

fn origin_basis(fields: &mut Fields, _: usize, basis: &v1::OriginBasis) -> OriginBasis {
    let kind = fields.choice("kind", basis.kind, &ORIGIN_BASES, |kind| kind.as_str_name());
    OriginBasis {
        country: fields
            .country("country", &basis.country)
            .unwrap_or(Country::CN),
        kind: kind.unwrap_or(OriginBasisKind::Consent),
        evidence: evidence(fields, "evidence", basis.evidence.as_ref()),
    }
}

fn evidence(
    fields: &mut Fields,
    field: &'static str,
    evidence: Option<&v1::Evidence>,
) -> Option<Evidence> {
    let evidence = evidence?;
    fields.within(field, |fields| {
        let len_ok = (1..=limits::EVIDENCE_BYTES_MAX).contains(&evidence.reference.len());
        fields.check(len_ok, "reference", || {
            format!("has 1 to {} bytes", limits::EVIDENCE_BYTES_MAX)
        });
        let plain = fields.plain("reference", &evidence.reference);
        Some(Evidence {
            // The domain's own check does not say which evidence it finds fault with.
            reference: match evidence.reference.as_str() {
                reference if len_ok && plain => reference.into(),
                _ => "unreadable".into(),
            },
            valid_until: fields.time("valid_until", evidence.valid_until.as_ref(), Rounding::Down),
        })
    })
}

/// Countries; one that cannot be read is noted and left out, or stands as China where the list must not be empty.
fn countries(fields: &mut Fields, field: &'static str, items: &[String]) -> Box<[Country]> {
    let read = |fields: &mut Fields, _, text: &String| fields.country("", text);
    let read = fields.list(field, items, limits::POLICY_LIST_MAX, read);
    let mut countries: Vec<Country> = read.iter().copied().flatten().collect();
    if field == "collected_in" && countries.len() < items.len() {
        countries.push(Country::CN);
    }
    countries.into()
}

fn sites(fields: &mut Fields, field: &'static str, items: &[String]) -> Box<[SiteId]> {
    let read = |fields: &mut Fields, _, text: &String| fields.name::<SiteKind>("", text);
    let read = fields.list(field, items, limits::POLICY_LIST_MAX, read);
    read.into_iter().flatten().collect()
}
