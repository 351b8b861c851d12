//! Labels that say which rules a job's data are under.
//!
//! Labels only; the rules that read them are a dated table in the planner, and what no rule knows is refused.

use std::sync::Arc;

use crate::{
    domain::{
        ids::{GatewayId, SiteId},
        site::Country,
        violation::{Violation, Violations},
    },
    limits,
    slot::TimeMs,
};

/// Class of the most sensitive data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataClass {
    /// Neither personal nor important.
    None,
    /// Anonymous for good.
    Anonymised,
    /// Personal.
    Personal,
    /// Sensitive personal.
    SensitivePersonal,
    /// Important data.
    Important,
    /// Core data.
    Core,
}

/// How data cross the Chinese border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CnFlow {
    /// Not in China at all.
    NoCn,
    /// Domestic and stays.
    DomesticOnly,
    /// Collected abroad, processed here, sent out again.
    InboundProcessReexport,
    /// Domestic, results leave.
    Outbound,
}

/// Basis on which data leave China.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportBasis {
    /// Nothing leaves that needs one.
    NoneNeeded,
    /// CAC Order 16 Article 3.
    Art3,
    /// Article 4.
    Art4,
    /// Article 5.
    Art5,
    /// Below the yearly threshold.
    BelowThreshold,
    /// Standard contract.
    StandardContract,
    /// Certification.
    Certification,
    /// Security assessment.
    SecurityAssessment,
    /// Outside a free-trade zone's negative list.
    FtzList,
}

/// Basis in a country of collection for processing abroad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OriginBasisKind {
    /// Transfer impact dossier.
    Ctia,
    /// Standard contractual clauses.
    Scc,
    /// Binding corporate rules.
    Bcr,
    /// Consent.
    Consent,
    /// Transfer impact assessment.
    Tia,
    /// Approval of the regulator.
    RegulatorApproval,
}

/// Sector the data come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Sector {
    /// Anything else.
    #[default]
    Other,
    /// Finance.
    Finance,
    /// Health care.
    Health,
    /// Public bodies.
    Public,
    /// Telecommunications.
    Telecom,
    /// Surveying and mapping.
    Map,
}

/// A document that proves a basis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Evidence {
    /// Reference of the document.
    pub reference: Arc<str>,
    /// Until when it is valid; `None` means without end.
    pub valid_until: Option<TimeMs>,
}

/// Basis in one country of collection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OriginBasis {
    /// The country.
    pub country: Country,
    /// The basis.
    pub kind: OriginBasisKind,
    /// Its proof.
    pub evidence: Option<Evidence>,
}

/// The labels of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DataPolicy {
    /// Class.
    pub data_class: DataClass,
    /// Countries of collection.
    pub collected_in: Box<[Country]>,
    /// People concerned in this year.
    pub subject_count: u64,
    /// Sector.
    pub sector: Sector,
    /// How data cross the border.
    pub cn_flow: CnFlow,
    /// Basis of the export; `None` when none is stated.
    pub export_basis: Option<ExportBasis>,
    /// Proof of the export basis.
    pub export_evidence: Option<Evidence>,
    /// Bases in the countries of collection.
    pub origin_bases: Box<[OriginBasis]>,
    /// Countries the results go to.
    pub output_to: Box<[Country]>,
    /// Sites allowed; empty means any.
    pub allowed_sites: Box<[SiteId]>,
    /// Sites denied.
    pub denied_sites: Box<[SiteId]>,
    /// Countries allowed; empty means any.
    pub allowed_countries: Box<[Country]>,
    /// Countries denied.
    pub denied_countries: Box<[Country]>,
    /// What the site must offer.
    pub require: Requirements,
    /// How long results stay at the site after the end, seconds.
    pub retention_seconds: u64,
}

/// What a site must offer, whatever the class.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Requirements {
    /// A pool that domestic data never share.
    pub no_domestic_mix: bool,
    /// An offshore enclave.
    pub offshore_enclave: bool,
    /// A leased line.
    pub leased_line: bool,
    /// This gateway.
    pub gateway: Option<GatewayId>,
    /// A pool that encrypts memory in use.
    pub encrypted_in_use: bool,
}

impl DataPolicy {
    /// Labels for data that no rule protects: class NONE, no export basis needed.
    #[must_use]
    pub fn unprotected(cn_flow: CnFlow) -> Self {
        Self {
            data_class: DataClass::None,
            collected_in: Box::default(),
            subject_count: 0,
            sector: Sector::Other,
            cn_flow,
            export_basis: Some(ExportBasis::NoneNeeded),
            export_evidence: None,
            origin_bases: Box::default(),
            output_to: Box::default(),
            allowed_sites: Box::default(),
            denied_sites: Box::default(),
            allowed_countries: Box::default(),
            denied_countries: Box::default(),
            require: Requirements::default(),
            retention_seconds: 0,
        }
    }

    /// When a job must have ended that rests on a proof which is valid until a moment: it must outlive the results.
    #[must_use]
    pub fn must_end_by(&self, valid_until: TimeMs) -> TimeMs {
        let retention_ms = i64::try_from(self.retention_seconds.saturating_mul(1_000));
        valid_until.plus_ms(-retention_ms.unwrap_or(i64::MAX))
    }

    /// All proofs, whether or not the rules need them.
    pub fn proofs(&self) -> impl Iterator<Item = &Evidence> {
        let origins = self.origin_bases.iter();
        let origins = origins.filter_map(|basis| basis.evidence.as_ref());
        self.export_evidence.iter().chain(origins)
    }

    /// Everything that is wrong with the labels themselves, by field of the API's `DataPolicy`.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::new();
        let lists = [
            ("collected_in", self.collected_in.len()),
            ("origin_bases", self.origin_bases.len()),
            ("output_to", self.output_to.len()),
            ("allowed_sites", self.allowed_sites.len()),
            ("denied_sites", self.denied_sites.len()),
            ("allowed_countries", self.allowed_countries.len()),
            ("denied_countries", self.denied_countries.len()),
        ];
        for (field, len) in lists {
            found.check(len <= limits::POLICY_LIST_MAX, field, || {
                format!("has at most {} entries", limits::POLICY_LIST_MAX)
            });
        }
        let personal = matches!(
            self.data_class,
            DataClass::Personal | DataClass::SensitivePersonal
        );
        found.check(
            self.data_class == DataClass::None || !self.collected_in.is_empty(),
            "collected_in",
            || "names at least one country unless data_class is NONE".into(),
        );
        found.check(!personal || self.subject_count > 0, "subject_count", || {
            "is above 0 for personal data".into()
        });
        for site in &self.allowed_sites {
            found.check(!self.denied_sites.contains(site), "denied_sites", || {
                format!("`{site}` is both allowed and denied")
            });
        }
        for country in &self.allowed_countries {
            found.check(
                !self.denied_countries.contains(country),
                "denied_countries",
                || format!("{} is both allowed and denied", country.as_str()),
            );
        }
        for proof in self.proofs() {
            found.check(
                (1..=limits::EVIDENCE_BYTES_MAX).contains(&proof.reference.len())
                    && !proof.reference.chars().any(char::is_control),
                "evidence.reference",
                || {
                    format!(
                        "has 1 to {} bytes and no control characters",
                        limits::EVIDENCE_BYTES_MAX
                    )
                },
            );
        }
        found.into_vec()
    }
}
