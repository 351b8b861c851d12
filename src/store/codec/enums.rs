//! Numbers of enumerations.
//!
//! A number never changes its meaning and 0 is never written, except where it stands for absence.

use crate::{
    domain::{
        data_policy::{CnFlow, DataClass, ExportBasis, OriginBasisKind, Sector},
        forecast::ForecastProduct,
        job::ChangeCause,
        outlook::Confidence,
        site::SupplyKind,
    },
    proto::journal_v1,
    store::codec::error::FieldProblem,
};

pub(super) fn encode_cause(cause: ChangeCause) -> i32 {
    use journal_v1::ChangeCause as Wire;
    let wire = match cause {
        ChangeCause::Submitted => Wire::Submitted,
        ChangeCause::Updated => Wire::Updated,
        ChangeCause::Held => Wire::Held,
        ChangeCause::Released => Wire::Released,
        ChangeCause::Cancelled => Wire::Cancelled,
        ChangeCause::Forecast => Wire::Forecast,
        ChangeCause::Cordon => Wire::Cordon,
        ChangeCause::SiteAvailable => Wire::SiteAvailable,
        ChangeCause::SiteChanged => Wire::SiteChanged,
        ChangeCause::Latency => Wire::Latency,
        ChangeCause::LinkChanged => Wire::LinkChanged,
        ChangeCause::StartMissed => Wire::StartMissed,
        ChangeCause::Room => Wire::Room,
        ChangeCause::Deadline => Wire::Deadline,
        ChangeCause::StartDue => Wire::StartDue,
        ChangeCause::Accepted => Wire::Accepted,
        ChangeCause::Declined => Wire::Declined,
        ChangeCause::Started => Wire::Started,
        ChangeCause::Suspended => Wire::Suspended,
        ChangeCause::Resumed => Wire::Resumed,
        ChangeCause::Ended => Wire::Ended,
        ChangeCause::Retry => Wire::Retry,
        ChangeCause::Overrun => Wire::Overrun,
        ChangeCause::Displaced => Wire::Displaced,
        ChangeCause::SiteSilent => Wire::SiteSilent,
        ChangeCause::SiteBack => Wire::SiteBack,
        ChangeCause::SiteLost => Wire::SiteLost,
        ChangeCause::Requeued => Wire::Requeued,
        ChangeCause::MadeRoom => Wire::MadeRoom,
        ChangeCause::Sweep => Wire::Sweep,
        ChangeCause::Drain => Wire::Drain,
        ChangeCause::Maintenance => Wire::Maintenance,
        ChangeCause::Curtailed => Wire::Curtailed,
        ChangeCause::Forbidden => Wire::Forbidden,
        ChangeCause::Paused => Wire::Paused,
    };
    wire.into()
}

pub(super) fn decode_cause(number: i32) -> Result<ChangeCause, FieldProblem> {
    use journal_v1::ChangeCause as Wire;
    match known(number)? {
        Wire::Unspecified => Err(unknown(number)),
        Wire::Submitted => Ok(ChangeCause::Submitted),
        Wire::Updated => Ok(ChangeCause::Updated),
        Wire::Held => Ok(ChangeCause::Held),
        Wire::Released => Ok(ChangeCause::Released),
        Wire::Cancelled => Ok(ChangeCause::Cancelled),
        Wire::Forecast => Ok(ChangeCause::Forecast),
        Wire::Cordon => Ok(ChangeCause::Cordon),
        Wire::SiteAvailable => Ok(ChangeCause::SiteAvailable),
        Wire::SiteChanged => Ok(ChangeCause::SiteChanged),
        Wire::Latency => Ok(ChangeCause::Latency),
        Wire::LinkChanged => Ok(ChangeCause::LinkChanged),
        Wire::StartMissed => Ok(ChangeCause::StartMissed),
        Wire::Room => Ok(ChangeCause::Room),
        Wire::Deadline => Ok(ChangeCause::Deadline),
        Wire::StartDue => Ok(ChangeCause::StartDue),
        Wire::Accepted => Ok(ChangeCause::Accepted),
        Wire::Declined => Ok(ChangeCause::Declined),
        Wire::Started => Ok(ChangeCause::Started),
        Wire::Suspended => Ok(ChangeCause::Suspended),
        Wire::Resumed => Ok(ChangeCause::Resumed),
        Wire::Ended => Ok(ChangeCause::Ended),
        Wire::Retry => Ok(ChangeCause::Retry),
        Wire::Overrun => Ok(ChangeCause::Overrun),
        Wire::Displaced => Ok(ChangeCause::Displaced),
        Wire::SiteSilent => Ok(ChangeCause::SiteSilent),
        Wire::SiteBack => Ok(ChangeCause::SiteBack),
        Wire::SiteLost => Ok(ChangeCause::SiteLost),
        Wire::Requeued => Ok(ChangeCause::Requeued),
        Wire::MadeRoom => Ok(ChangeCause::MadeRoom),
        Wire::Sweep => Ok(ChangeCause::Sweep),
        Wire::Drain => Ok(ChangeCause::Drain),
        Wire::Maintenance => Ok(ChangeCause::Maintenance),
        Wire::Curtailed => Ok(ChangeCause::Curtailed),
        Wire::Forbidden => Ok(ChangeCause::Forbidden),
        Wire::Paused => Ok(ChangeCause::Paused),
    }
}

pub(super) fn encode_supply_kind(kind: SupplyKind) -> i32 {
    use journal_v1::SupplyKind as Wire;
    let wire = match kind {
        SupplyKind::Hydro => Wire::Hydro,
        SupplyKind::Solar => Wire::Solar,
        SupplyKind::Wind => Wire::Wind,
    };
    wire.into()
}

pub(super) fn decode_supply_kind(number: i32) -> Result<SupplyKind, FieldProblem> {
    use journal_v1::SupplyKind as Wire;
    match known(number)? {
        Wire::Unspecified => Err(unknown(number)),
        Wire::Hydro => Ok(SupplyKind::Hydro),
        Wire::Solar => Ok(SupplyKind::Solar),
        Wire::Wind => Ok(SupplyKind::Wind),
    }
}

pub(super) fn encode_product(product: ForecastProduct) -> i32 {
    use journal_v1::ForecastProduct as Wire;
    let wire = match product {
        ForecastProduct::DayAhead => Wire::DayAhead,
        ForecastProduct::Intraday => Wire::Intraday,
        ForecastProduct::WeekAhead => Wire::WeekAhead,
    };
    wire.into()
}

pub(super) fn decode_product(number: i32) -> Result<ForecastProduct, FieldProblem> {
    use journal_v1::ForecastProduct as Wire;
    match known(number)? {
        Wire::Unspecified => Err(unknown(number)),
        Wire::DayAhead => Ok(ForecastProduct::DayAhead),
        Wire::Intraday => Ok(ForecastProduct::Intraday),
        Wire::WeekAhead => Ok(ForecastProduct::WeekAhead),
    }
}

pub(super) fn encode_data_class(class: DataClass) -> u32 {
    match class {
        DataClass::None => 1,
        DataClass::Anonymised => 2,
        DataClass::Personal => 3,
        DataClass::SensitivePersonal => 4,
        DataClass::Important => 5,
        DataClass::Core => 6,
    }
}

pub(super) fn decode_data_class(number: u32) -> Result<DataClass, FieldProblem> {
    match number {
        1 => Ok(DataClass::None),
        2 => Ok(DataClass::Anonymised),
        3 => Ok(DataClass::Personal),
        4 => Ok(DataClass::SensitivePersonal),
        5 => Ok(DataClass::Important),
        6 => Ok(DataClass::Core),
        _ => Err(unknown(number)),
    }
}

pub(super) fn encode_cn_flow(flow: CnFlow) -> u32 {
    match flow {
        CnFlow::NoCn => 1,
        CnFlow::DomesticOnly => 2,
        CnFlow::InboundProcessReexport => 3,
        CnFlow::Outbound => 4,
    }
}

pub(super) fn decode_cn_flow(number: u32) -> Result<CnFlow, FieldProblem> {
    match number {
        1 => Ok(CnFlow::NoCn),
        2 => Ok(CnFlow::DomesticOnly),
        3 => Ok(CnFlow::InboundProcessReexport),
        4 => Ok(CnFlow::Outbound),
        _ => Err(unknown(number)),
    }
}

pub(super) fn encode_export_basis(basis: Option<ExportBasis>) -> u32 {
    match basis {
        None => 0,
        Some(ExportBasis::NoneNeeded) => 1,
        Some(ExportBasis::Art3) => 2,
        Some(ExportBasis::Art4) => 3,
        Some(ExportBasis::Art5) => 4,
        Some(ExportBasis::BelowThreshold) => 5,
        Some(ExportBasis::StandardContract) => 6,
        Some(ExportBasis::Certification) => 7,
        Some(ExportBasis::SecurityAssessment) => 8,
        Some(ExportBasis::FtzList) => 9,
    }
}

pub(super) fn decode_export_basis(number: u32) -> Result<Option<ExportBasis>, FieldProblem> {
    match number {
        0 => Ok(None),
        1 => Ok(Some(ExportBasis::NoneNeeded)),
        2 => Ok(Some(ExportBasis::Art3)),
        3 => Ok(Some(ExportBasis::Art4)),
        4 => Ok(Some(ExportBasis::Art5)),
        5 => Ok(Some(ExportBasis::BelowThreshold)),
        6 => Ok(Some(ExportBasis::StandardContract)),
        7 => Ok(Some(ExportBasis::Certification)),
        8 => Ok(Some(ExportBasis::SecurityAssessment)),
        9 => Ok(Some(ExportBasis::FtzList)),
        _ => Err(unknown(number)),
    }
}

pub(super) fn encode_origin_basis_kind(kind: OriginBasisKind) -> u32 {
    match kind {
        OriginBasisKind::Ctia => 1,
        OriginBasisKind::Scc => 2,
        OriginBasisKind::Bcr => 3,
        OriginBasisKind::Consent => 4,
        OriginBasisKind::Tia => 5,
        OriginBasisKind::RegulatorApproval => 6,
    }
}

pub(super) fn decode_origin_basis_kind(number: u32) -> Result<OriginBasisKind, FieldProblem> {
    match number {
        1 => Ok(OriginBasisKind::Ctia),
        2 => Ok(OriginBasisKind::Scc),
        3 => Ok(OriginBasisKind::Bcr),
        4 => Ok(OriginBasisKind::Consent),
        5 => Ok(OriginBasisKind::Tia),
        6 => Ok(OriginBasisKind::RegulatorApproval),
        _ => Err(unknown(number)),
    }
}

pub(super) fn encode_sector(sector: Sector) -> u32 {
    match sector {
        Sector::Other => 1,
        Sector::Finance => 2,
        Sector::Health => 3,
        Sector::Public => 4,
        Sector::Telecom => 5,
        Sector::Map => 6,
    }
}

pub(super) fn decode_sector(number: u32) -> Result<Sector, FieldProblem> {
    match number {
        1 => Ok(Sector::Other),
        2 => Ok(Sector::Finance),
        3 => Ok(Sector::Health),
        4 => Ok(Sector::Public),
        5 => Ok(Sector::Telecom),
        6 => Ok(Sector::Map),
        _ => Err(unknown(number)),
    }
}

/// Confidence is written as its probability.
pub(super) fn decode_confidence(permille: u32) -> Result<Confidence, FieldProblem> {
    Confidence::from_permille(permille).ok_or_else(|| unknown(permille))
}

/// The value of the wire's enumeration.
pub(super) fn known<T: TryFrom<i32>>(number: i32) -> Result<T, FieldProblem> {
    T::try_from(number).map_err(|_| unknown(number))
}

/// A number without a meaning.
pub(super) fn unknown(number: impl Into<i64>) -> FieldProblem {
    FieldProblem::UnknownNumber(number.into())
}
