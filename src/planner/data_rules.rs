//! The data rules as a dated table: what a job's labels allow, and what they ask of a site.
//!
//! Fails closed: what no row allows is refused, and no green energy outweighs a refusal. Not legal advice.

use crate::{
    domain::{
        data_policy::{
            CnFlow, DataClass, DataPolicy, Evidence, ExportBasis, OriginBasis, OriginBasisKind,
            Sector,
        },
        refusal::{Refusal, RefusalReason, RefusalUnit},
        site::{Country, Site},
    },
    planner::feasibility::Sink,
    slot::TimeMs,
};

/// Version of the rules below: China's as of January 2026 (CAC Order 16 of 2024, Certification Measures of 2026),
/// those of the countries of collection at the same date.
pub const POLICY_VERSION: &str = "cn-2026-01";

/// People a year from which personal data need more than [`ExportBasis::BelowThreshold`].
const BELOW_THRESHOLD_PEOPLE: u64 = 100_000;
/// People a year up to which a contract or certificate is enough for personal data.
const CONTRACT_PEOPLE_MAX: u64 = 1_000_000;
/// People a year from which a contract or certificate is not enough for sensitive personal data.
const SENSITIVE_CONTRACT_PEOPLE: u64 = 10_000;

/// What the labels of a job mean, worked out once for all sites.
#[derive(Debug, Clone)]
pub(super) struct JobRules<'a> {
    policy: &'a DataPolicy,
    /// What no site can mend.
    broken: Vec<Refusal>,
    /// Expiry of the proof of the export basis, when one is used and it expires.
    export_valid_until: Option<TimeMs>,
    /// Only sites with an offshore enclave.
    pub(super) needs_enclave: bool,
    /// Only pools that domestic data never share.
    pub(super) needs_no_mix: bool,
}

impl<'a> JobRules<'a> {
    pub(super) fn new(policy: &'a DataPolicy) -> Self {
        let mut broken = Vec::new();
        check_flow(policy, &mut broken);
        let export_valid_until = check_export(policy, &mut broken);
        let reexport = policy.cn_flow == CnFlow::InboundProcessReexport;
        Self {
            policy,
            broken,
            export_valid_until,
            needs_enclave: policy.require.offshore_enclave || reexport,
            needs_no_mix: policy.require.no_domestic_mix || reexport,
        }
    }

    /// Refuses what the labels forbid at the site, pools apart. Gives the moment until which all evidence used
    /// is valid; `None` means without end.
    pub(super) fn check(&self, site: &Site, sink: &mut impl Sink) -> Option<TimeMs> {
        for refusal in &self.broken {
            sink.refuse(|| refusal.clone());
        }
        self.check_site_country(site, sink);
        let origin_valid_until = self.check_origin(site, sink);
        self.check_lists(site, sink);
        if self.needs_enclave && !site.offshore_enclave {
            sink.refuse(|| {
                Refusal::plain(
                    RefusalReason::EnclaveRequired,
                    format!(
                        "{} has no offshore enclave and the data may be processed in one only",
                        site.id
                    ),
                )
            });
        }
        earliest(self.export_valid_until, origin_valid_until)
    }

    fn check_site_country(&self, site: &Site, sink: &mut impl Sink) {
        let in_china = site.country == Country::CN;
        let what = match self.policy.cn_flow {
            CnFlow::NoCn if in_china => "flow NO_CN allows sites outside China only",
            CnFlow::DomesticOnly if !in_china => "flow DOMESTIC_ONLY allows sites in China only",
            CnFlow::NoCn
            | CnFlow::DomesticOnly
            | CnFlow::InboundProcessReexport
            | CnFlow::Outbound => return,
        };
        sink.refuse(|| {
            Refusal::plain(
                RefusalReason::DataPolicyForbids,
                format!("{what} and {} is in {}", site.id, site.country.as_str()),
            )
        });
    }

    /// Personal data processed outside their country of collection need a basis there.
    fn check_origin(&self, site: &Site, sink: &mut impl Sink) -> Option<TimeMs> {
        if !is_personal(self.policy.data_class) {
            return None;
        }
        let mut valid_until = None;
        for &country in &self.policy.collected_in {
            // What leaves China is the export basis's affair.
            if country == site.country || country == Country::CN {
                continue;
            }
            let accepted = accepted_bases(country, self.policy.sector);
            match best_basis(&self.policy.origin_bases, country, accepted) {
                Some(basis) => {
                    let expiry = basis.evidence.as_ref().and_then(|proof| proof.valid_until);
                    valid_until = earliest(valid_until, expiry);
                }
                None => sink.refuse(|| origin_missing(country, accepted)),
            }
        }
        valid_until
    }

    fn check_lists(&self, site: &Site, sink: &mut impl Sink) {
        let policy = self.policy;
        let country = site.country.as_str();
        if !policy.allowed_sites.is_empty() && !policy.allowed_sites.contains(&site.id) {
            sink.refuse(|| {
                Refusal::plain(
                    RefusalReason::SiteNotAllowed,
                    format!("data_policy.allowed_sites leaves {} out", site.id),
                )
            });
        }
        if policy.denied_sites.contains(&site.id) {
            sink.refuse(|| {
                Refusal::plain(
                    RefusalReason::SiteDenied,
                    format!("data_policy.denied_sites names {}", site.id),
                )
            });
        }
        if !policy.allowed_countries.is_empty() && !policy.allowed_countries.contains(&site.country)
        {
            sink.refuse(|| {
                Refusal::plain(
                    RefusalReason::CountryNotAllowed,
                    format!("data_policy.allowed_countries leaves {country} out"),
                )
            });
        }
        if policy.denied_countries.contains(&site.country) {
            sink.refuse(|| {
                Refusal::plain(
                    RefusalReason::CountryDenied,
                    format!("data_policy.denied_countries names {country}"),
                )
            });
        }
    }
}

/// Contradictions between class, flow, countries of collection and outputs.
fn check_flow(policy: &DataPolicy, broken: &mut Vec<Refusal>) {
    let mut forbid = |message: &str| {
        broken.push(Refusal::plain(RefusalReason::DataPolicyForbids, message));
    };
    let collected_in_china = policy.collected_in.contains(&Country::CN);
    let china_in_output = policy.output_to.contains(&Country::CN);
    let foreign_output = policy.output_to.iter().any(|&to| to != Country::CN);
    match policy.cn_flow {
        CnFlow::NoCn => {
            if collected_in_china {
                forbid(
                    "flow NO_CN and data collected in CN contradict each other; state the true flow",
                );
            }
        }
        CnFlow::DomesticOnly => {
            if foreign_output {
                forbid(
                    "flow DOMESTIC_ONLY allows output_to CN only; for results that leave use OUTBOUND \
                     with an export basis",
                );
            }
        }
        CnFlow::InboundProcessReexport => {
            if collected_in_china {
                forbid(
                    "incoming-data processing brings no domestic data in: take CN out of collected_in or \
                     use OUTBOUND",
                );
            }
            if policy.output_to.is_empty() {
                forbid("incoming-data processing states in output_to where the results go");
            }
            if china_in_output {
                forbid(
                    "incoming-data processing sends all results out again: take CN out of output_to",
                );
            }
        }
        CnFlow::Outbound => {}
    }
    let stays = policy.cn_flow == CnFlow::DomesticOnly;
    let no_cn = policy.cn_flow == CnFlow::NoCn;
    if policy.data_class == DataClass::Core && !stays {
        forbid("core data never leave China: only flow DOMESTIC_ONLY is possible");
    }
    if policy.data_class == DataClass::Important && no_cn {
        forbid("important data are a class of Chinese law: flow NO_CN contradicts it");
    }
}

/// Whether the export basis carries the class and number of people; gives the expiry of its proof.
fn check_export(policy: &DataPolicy, broken: &mut Vec<Refusal>) -> Option<TimeMs> {
    let enough = match policy.cn_flow {
        CnFlow::NoCn | CnFlow::DomesticOnly => return None,
        CnFlow::InboundProcessReexport => reexport_basis_is_enough(policy),
        CnFlow::Outbound => outbound_basis_is_enough(policy),
    };
    let export_valid_until = policy
        .export_evidence
        .as_ref()
        .and_then(|proof| proof.valid_until);
    match enough {
        Ok(()) => {}
        Err(refusal) => broken.push(*refusal),
    }
    let unproven =
        policy.export_basis.is_some_and(needs_evidence) && policy.export_evidence.is_none();
    if unproven {
        broken.push(insufficient(
            "the export basis stated needs a proof: set data_policy.export_evidence",
        ));
    }
    export_valid_until
}

/// Foreign data that are processed here and sent out again.
fn reexport_basis_is_enough(policy: &DataPolicy) -> Result<(), Box<Refusal>> {
    match policy.data_class {
        DataClass::None | DataClass::Anonymised => Ok(()),
        DataClass::Personal | DataClass::SensitivePersonal => match policy.export_basis {
            Some(ExportBasis::Art4) => Ok(()),
            _ => Err(Box::new(insufficient(
                "foreign personal data that are sent out again rest on Article 4: set export_basis ART4",
            ))),
        },
        DataClass::Important => only_assessment(policy.export_basis),
        // Refused as a contradiction already.
        DataClass::Core => Ok(()),
    }
}

/// Domestic data whose results leave.
fn outbound_basis_is_enough(policy: &DataPolicy) -> Result<(), Box<Refusal>> {
    use ExportBasis as Basis;
    let people = policy.subject_count;
    let up_to = |most: u64, basis: &str| {
        if people <= most {
            return Ok(());
        }
        Err(Box::new(Refusal::numbers(
            RefusalReason::ExportBasisInsufficient,
            RefusalUnit::People,
            people,
            most,
            format!(
                "{basis} covers at most {most} people a year and the job concerns {people}; \
                 a stronger basis is needed, splitting the number is barred"
            ),
        )))
    };
    let too_weak = |message: &str| Err(Box::new(insufficient(message)));
    match (policy.data_class, policy.export_basis) {
        (DataClass::Core, _) => Ok(()),
        (_, None) => too_weak("results leave China: state data_policy.export_basis"),
        (DataClass::Important, basis) => only_assessment(basis),
        (
            DataClass::None | DataClass::Anonymised,
            Some(Basis::NoneNeeded | Basis::Art3 | Basis::FtzList),
        )
        | (DataClass::Personal, Some(Basis::Art5 | Basis::SecurityAssessment | Basis::FtzList))
        | (DataClass::SensitivePersonal, Some(Basis::Art5 | Basis::SecurityAssessment)) => Ok(()),
        (DataClass::Personal, Some(Basis::BelowThreshold)) => {
            up_to(BELOW_THRESHOLD_PEOPLE - 1, "export_basis BELOW_THRESHOLD")
        }
        (DataClass::Personal, Some(Basis::StandardContract | Basis::Certification)) => {
            up_to(CONTRACT_PEOPLE_MAX, "a standard contract or certificate")
        }
        (DataClass::SensitivePersonal, Some(Basis::StandardContract | Basis::Certification)) => {
            up_to(
                SENSITIVE_CONTRACT_PEOPLE - 1,
                "a standard contract or certificate for sensitive data",
            )
        }
        (
            DataClass::None | DataClass::Anonymised,
            Some(
                Basis::Art4
                | Basis::Art5
                | Basis::BelowThreshold
                | Basis::StandardContract
                | Basis::Certification
                | Basis::SecurityAssessment,
            ),
        ) => too_weak(
            "data that are neither personal nor important leave on NONE_NEEDED, ART3 or FTZ_LIST",
        ),
        (DataClass::Personal, Some(Basis::NoneNeeded | Basis::Art3 | Basis::Art4)) => too_weak(
            "domestic personal data leave on ART5, BELOW_THRESHOLD, STANDARD_CONTRACT, CERTIFICATION, \
             SECURITY_ASSESSMENT or FTZ_LIST",
        ),
        (
            DataClass::SensitivePersonal,
            Some(
                Basis::NoneNeeded
                | Basis::Art3
                | Basis::Art4
                | Basis::BelowThreshold
                | Basis::FtzList,
            ),
        ) => too_weak(
            "sensitive personal data leave on ART5, STANDARD_CONTRACT, CERTIFICATION or SECURITY_ASSESSMENT",
        ),
    }
}

fn only_assessment(basis: Option<ExportBasis>) -> Result<(), Box<Refusal>> {
    if basis == Some(ExportBasis::SecurityAssessment) {
        return Ok(());
    }
    Err(Box::new(insufficient(
        "important data leave on a SECURITY_ASSESSMENT only",
    )))
}

fn insufficient(message: &str) -> Refusal {
    Refusal::plain(RefusalReason::ExportBasisInsufficient, message)
}

fn needs_evidence(basis: ExportBasis) -> bool {
    match basis {
        ExportBasis::StandardContract
        | ExportBasis::Certification
        | ExportBasis::SecurityAssessment
        | ExportBasis::FtzList => true,
        ExportBasis::NoneNeeded
        | ExportBasis::Art3
        | ExportBasis::Art4
        | ExportBasis::Art5
        | ExportBasis::BelowThreshold => false,
    }
}

/// Bases that a country of collection accepts for processing personal data abroad.
///
/// Viet Nam: PDP Law 91/2025. Thailand: PDPA s.28/29. Malaysia: PDPA s.129. Singapore: PDPA s.26. Indonesia: GR
/// 71/2019 and PDP Law. Bangladesh: Ordinance of 2025 and central bank. Every other country, also one that is known
/// to have no regime: the people's consent or the regulator's word.
fn accepted_bases(country: Country, sector: Sector) -> &'static [OriginBasisKind] {
    use OriginBasisKind as Kind;
    let regulated = match sector {
        Sector::Finance | Sector::Public => true,
        Sector::Other | Sector::Health | Sector::Telecom | Sector::Map => false,
    };
    match country.as_str() {
        "VN" => &[Kind::Ctia],
        "TH" | "SG" => &[Kind::Scc, Kind::Bcr, Kind::Consent],
        "MY" => &[Kind::Tia, Kind::Consent],
        "ID" if regulated => &[Kind::RegulatorApproval],
        "ID" => &[Kind::Scc, Kind::Consent],
        "BD" if sector == Sector::Finance => &[Kind::RegulatorApproval],
        _ => &[Kind::Consent, Kind::RegulatorApproval],
    }
}

/// The basis of the country that holds longest.
fn best_basis<'a>(
    bases: &'a [OriginBasis],
    country: Country,
    accepted: &[OriginBasisKind],
) -> Option<&'a OriginBasis> {
    bases
        .iter()
        .filter(|basis| basis.country == country && accepted.contains(&basis.kind))
        .max_by_key(|basis| expiry(basis.evidence.as_ref()))
}

/// Expiry for comparison: without end is latest.
fn expiry(evidence: Option<&Evidence>) -> TimeMs {
    evidence
        .and_then(|proof| proof.valid_until)
        .unwrap_or(TimeMs::MAX)
}

fn origin_missing(country: Country, accepted: &[OriginBasisKind]) -> Refusal {
    let names: Vec<&str> = accepted.iter().map(|&kind| basis_name(kind)).collect();
    Refusal::plain(
        RefusalReason::OriginBasisMissing,
        format!(
            "personal data collected in {} need a basis for processing abroad: add {} to \
             data_policy.origin_bases",
            country.as_str(),
            names.join(" or ")
        ),
    )
}

fn basis_name(kind: OriginBasisKind) -> &'static str {
    match kind {
        OriginBasisKind::Ctia => "CTIA",
        OriginBasisKind::Scc => "SCC",
        OriginBasisKind::Bcr => "BCR",
        OriginBasisKind::Consent => "CONSENT",
        OriginBasisKind::Tia => "TIA",
        OriginBasisKind::RegulatorApproval => "REGULATOR_APPROVAL",
    }
}

fn is_personal(class: DataClass) -> bool {
    match class {
        DataClass::Personal | DataClass::SensitivePersonal => true,
        DataClass::None | DataClass::Anonymised | DataClass::Important | DataClass::Core => false,
    }
}

fn earliest(a: Option<TimeMs>, b: Option<TimeMs>) -> Option<TimeMs> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::{
        feasibility::Collected,
        testing::{country, site},
    };

    fn policy(class: DataClass, flow: CnFlow, collected_in: &[&str]) -> DataPolicy {
        DataPolicy {
            data_class: class,
            collected_in: collected_in.iter().map(|code| country(code)).collect(),
            subject_count: 1,
            export_basis: None,
            ..DataPolicy::unprotected(flow)
        }
    }

    fn proof() -> Option<Evidence> {
        Some(Evidence {
            reference: "no 1".into(),
            valid_until: None,
        })
    }

    fn reasons(policy: &DataPolicy, site: &Site) -> Vec<RefusalReason> {
        let mut sink = Collected::default();
        JobRules::new(policy).check(site, &mut sink);
        sink.into_vec()
            .into_iter()
            .map(|refusal| refusal.reason)
            .collect()
    }

    fn abroad() -> Site {
        Site {
            country: country("LA"),
            ..site("vientiane")
        }
    }

    fn enclave() -> Site {
        Site {
            offshore_enclave: true,
            ..site("enclave")
        }
    }

    #[test]
    fn a_flow_decides_on_the_side_of_the_border() {
        let none = |flow| policy(DataClass::None, flow, &[]);
        let forbids = [RefusalReason::DataPolicyForbids];
        assert_eq!(reasons(&none(CnFlow::NoCn), &site("a")), forbids);
        assert_eq!(reasons(&none(CnFlow::NoCn), &abroad()), []);
        assert_eq!(reasons(&none(CnFlow::DomesticOnly), &site("a")), []);
        assert_eq!(reasons(&none(CnFlow::DomesticOnly), &abroad()), forbids);
    }

    #[test]
    fn contradictions_are_mended_by_no_site() {
        let forbids = [RefusalReason::DataPolicyForbids];
        let no_cn = policy(DataClass::None, CnFlow::NoCn, &["CN"]);
        assert_eq!(reasons(&no_cn, &abroad()), forbids);
        let mut domestic = policy(DataClass::None, CnFlow::DomesticOnly, &["CN"]);
        domestic.output_to = [country("CN"), country("LA")].into();
        assert_eq!(reasons(&domestic, &site("a")), forbids);
        let core = policy(DataClass::Core, CnFlow::Outbound, &["CN"]);
        assert_eq!(reasons(&core, &site("a")), forbids);
        let core = policy(DataClass::Core, CnFlow::DomesticOnly, &["CN"]);
        assert_eq!(reasons(&core, &site("a")), []);
        let important = policy(DataClass::Important, CnFlow::NoCn, &["LA"]);
        assert_eq!(reasons(&important, &abroad()), forbids);
    }

    #[test]
    fn incoming_data_go_through_an_enclave_and_out_again() {
        let good = DataPolicy {
            output_to: [country("LA")].into(),
            export_basis: Some(ExportBasis::Art4),
            origin_bases: [OriginBasis {
                country: country("LA"),
                kind: OriginBasisKind::Consent,
                evidence: None,
            }]
            .into(),
            ..policy(DataClass::Personal, CnFlow::InboundProcessReexport, &["LA"])
        };
        assert!(JobRules::new(&good).needs_no_mix);
        assert_eq!(reasons(&good, &enclave()), []);
        assert_eq!(reasons(&good, &site("a")), [RefusalReason::EnclaveRequired]);
        type Change = fn(&mut DataPolicy);
        let cases: [(Change, RefusalReason); 5] = [
            (
                |policy| policy.collected_in = [country("LA"), country("CN")].into(),
                RefusalReason::DataPolicyForbids,
            ),
            (
                |policy| policy.output_to = Box::default(),
                RefusalReason::DataPolicyForbids,
            ),
            (
                |policy| policy.output_to = [country("CN")].into(),
                RefusalReason::DataPolicyForbids,
            ),
            (
                |policy| policy.export_basis = Some(ExportBasis::Art5),
                RefusalReason::ExportBasisInsufficient,
            ),
            (
                |policy| policy.origin_bases = Box::default(),
                RefusalReason::OriginBasisMissing,
            ),
        ];
        for (change, reason) in cases {
            let mut policy = good.clone();
            change(&mut policy);
            assert_eq!(reasons(&policy, &enclave()), [reason], "{policy:?}");
        }
    }

    #[track_caller]
    fn check_export(class: DataClass, basis: Option<ExportBasis>, people: u64, is_enough: bool) {
        let policy = DataPolicy {
            export_basis: basis,
            subject_count: people,
            export_evidence: proof(),
            ..policy(class, CnFlow::Outbound, &["CN"])
        };
        let expected: &[RefusalReason] = if is_enough {
            &[]
        } else {
            &[RefusalReason::ExportBasisInsufficient]
        };
        assert_eq!(
            reasons(&policy, &site("a")),
            expected,
            "{class:?} of {people} people on {basis:?}"
        );
    }

    #[test]
    fn an_export_basis_carries_personal_data_up_to_a_number_of_people() {
        use ExportBasis as Basis;
        let personal = [
            (None, 1, false),
            (Some(Basis::NoneNeeded), 1, false),
            (Some(Basis::Art3), 1, false),
            (Some(Basis::Art4), 1, false),
            (Some(Basis::Art5), 9_000_000, true),
            (Some(Basis::BelowThreshold), 99_999, true),
            (Some(Basis::BelowThreshold), 100_000, false),
            (Some(Basis::StandardContract), 1_000_000, true),
            (Some(Basis::Certification), 1_000_001, false),
            (Some(Basis::SecurityAssessment), 9_000_000, true),
            (Some(Basis::FtzList), 9_000_000, true),
        ];
        for (basis, people, is_enough) in personal {
            check_export(DataClass::Personal, basis, people, is_enough);
        }
        let sensitive = [
            (Some(Basis::BelowThreshold), 1, false),
            (Some(Basis::StandardContract), 9_999, true),
            (Some(Basis::Certification), 10_000, false),
            (Some(Basis::SecurityAssessment), 10_000, true),
            (Some(Basis::Art5), 10_000, true),
            (Some(Basis::FtzList), 1, false),
        ];
        for (basis, people, is_enough) in sensitive {
            check_export(DataClass::SensitivePersonal, basis, people, is_enough);
        }
    }

    #[test]
    fn other_data_leave_on_a_basis_of_their_own() {
        use ExportBasis as Basis;
        check_export(DataClass::None, Some(Basis::NoneNeeded), 0, true);
        check_export(DataClass::None, Some(Basis::Art3), 0, true);
        check_export(DataClass::Anonymised, Some(Basis::FtzList), 0, true);
        check_export(DataClass::None, Some(Basis::BelowThreshold), 0, false);
        check_export(DataClass::None, None, 0, false);
        check_export(
            DataClass::Important,
            Some(Basis::SecurityAssessment),
            0,
            true,
        );
        check_export(DataClass::Important, Some(Basis::Certification), 0, false);
    }

    #[test]
    fn contracts_certificates_assessments_and_lists_need_a_proof() {
        use ExportBasis as Basis;
        for basis in [
            Basis::StandardContract,
            Basis::Certification,
            Basis::SecurityAssessment,
            Basis::FtzList,
        ] {
            let policy = DataPolicy {
                export_basis: Some(basis),
                ..policy(DataClass::Personal, CnFlow::Outbound, &["CN"])
            };
            assert_eq!(
                reasons(&policy, &site("a")),
                [RefusalReason::ExportBasisInsufficient],
                "{basis:?}"
            );
        }
    }

    #[test]
    fn personal_data_abroad_rest_on_what_their_country_accepts() {
        use OriginBasisKind as Kind;
        let cases: [(&str, Sector, Kind, bool); 18] = [
            ("VN", Sector::Other, Kind::Ctia, true),
            ("VN", Sector::Other, Kind::Consent, false),
            ("TH", Sector::Other, Kind::Scc, true),
            ("TH", Sector::Other, Kind::Ctia, false),
            ("SG", Sector::Other, Kind::Bcr, true),
            ("MY", Sector::Other, Kind::Tia, true),
            ("MY", Sector::Other, Kind::Scc, false),
            ("ID", Sector::Other, Kind::Scc, true),
            ("ID", Sector::Finance, Kind::Scc, false),
            ("ID", Sector::Finance, Kind::RegulatorApproval, true),
            ("ID", Sector::Public, Kind::Consent, false),
            ("BD", Sector::Finance, Kind::Consent, false),
            ("BD", Sector::Finance, Kind::RegulatorApproval, true),
            ("BD", Sector::Health, Kind::Consent, true),
            ("LA", Sector::Other, Kind::Consent, true),
            ("MM", Sector::Other, Kind::Scc, false),
            ("FR", Sector::Other, Kind::RegulatorApproval, true),
            ("FR", Sector::Other, Kind::Scc, false),
        ];
        for (from, sector, kind, is_accepted) in cases {
            let policy = DataPolicy {
                sector,
                origin_bases: [OriginBasis {
                    country: country(from),
                    kind,
                    evidence: None,
                }]
                .into(),
                ..policy(DataClass::Personal, CnFlow::DomesticOnly, &[from])
            };
            let expected: &[RefusalReason] = if is_accepted {
                &[]
            } else {
                &[RefusalReason::OriginBasisMissing]
            };
            assert_eq!(
                reasons(&policy, &site("a")),
                expected,
                "{kind:?} for {from} {sector:?}"
            );
        }
    }

    #[test]
    fn data_processed_where_they_were_collected_need_no_basis() {
        let policy = policy(DataClass::Personal, CnFlow::NoCn, &["LA"]);
        assert_eq!(reasons(&policy, &abroad()), []);
    }

    #[test]
    fn the_basis_that_holds_longest_counts_and_the_first_to_expire_ends_the_window() {
        let until = |moment: i64| {
            Some(Evidence {
                reference: "no 1".into(),
                valid_until: Some(TimeMs(moment)),
            })
        };
        let basis = |from: &str, kind, moment| OriginBasis {
            country: country(from),
            kind,
            evidence: until(moment),
        };
        let policy = DataPolicy {
            origin_bases: [
                basis("TH", OriginBasisKind::Scc, 10),
                basis("TH", OriginBasisKind::Bcr, 40),
                basis("MY", OriginBasisKind::Tia, 30),
            ]
            .into(),
            ..policy(DataClass::Personal, CnFlow::DomesticOnly, &["TH", "MY"])
        };
        let valid_until = JobRules::new(&policy).check(&site("a"), &mut Collected::default());
        assert_eq!(valid_until, Some(TimeMs(30)));
    }
}
